"""What turns text into phonemes: the protocol that callers see, and that of one back end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol


class Unspoken(ValueError):
    """A part of a text that has no sure reading: `part` as written, `kind` what it seems to be."""

    def __init__(self, part: str, kind: str, language: str) -> None:
        self.part, self.kind, self.language = part, kind, language
        super().__init__(f"{part.strip()!r} ({kind}) has no sure reading in {language!r}; write it in words")


Fail = Callable[[str, str], Unspoken]  # of a part and its kind, in the language at hand


class Phonemizer(Protocol):
    """What turns text into phonemes. `version` names the library and its number, for the data set's record."""

    version: str

    def spoken(self, text: str, language: str) -> str:
        """The text in words, as it is read: numbers, signs and short forms written out.

        Raises:
            Unspoken: a part of it has no sure reading.
            UsageError: there is no voice for `language`.
        """

    def supports(self, language: str) -> bool:
        """Whether there is a voice for a language code (ISO 639-1 as Whisper gives it, or the back end's own)."""

    def phonemize(self, texts: Sequence[str], language: str) -> list[str]:
        """N texts → N strings, in order; empty for a text that gives nothing. Single spaces, no line breaks.

        Lost characters are left out: ask for them first.

        Raises:
            Unspoken: a part of a text has no sure reading.
            UsageError: there is no voice for `language`.
        """

    def lost_characters(self, text: str, language: str) -> str:
        """The characters of `text` that would vanish or be read as a foreign letter, each once, in order.

        Raises:
            UsageError: there is no voice for `language`.
        """


class Voices(Protocol):
    """One back end of the phonemizer package, without punctuation."""

    version: str

    def voice(self, language: str) -> str | None: ...

    def languages(self) -> dict[str, str]: ...

    def read(self, chunks: Sequence[str], voice: str) -> list[str]: ...

    def is_lost(self, char: str, voice: str) -> bool: ...

    def is_stray(self, char: str, voice: str) -> bool: ...

    def spells(self, reading: str, voice: str) -> bool: ...

    def lost_in(self, word: str, voice: str) -> str: ...
