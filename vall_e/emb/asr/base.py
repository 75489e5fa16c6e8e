"""What a recogniser is: something that says what is spoken in a recording."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from vall_e import audio
from vall_e.types import NoTranscript, Transcript


class Recogniser(Protocol):
    """A recogniser. Constructing one is cheap and reports what is missing; its model is loaded when first used.

    Attributes:
        bunch_s, bunch_items: seconds of audio and number of short recordings that it is faster with than with one;
            they may be left out where it gains nothing.
    """

    @property
    def name_and_version(self) -> str: ...


    def transcribe(self, sources: Sequence[audio.Source], language: str | None) -> list[Transcript | NoTranscript]:
        """One result per source, in order, each as if it were alone.

        Args:
            sources: recordings, whose audio `Source.blocks` reads in pieces.
            language: ISO 639-1 code of all of them; None: unknown.
        """
        ...
