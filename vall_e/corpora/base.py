"""What a corpus is: something that lists its recordings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from vall_e.types import Recording, Reject


class Corpus(Protocol):
    """A kind of corpus on disk: LJSpeech, Kaldi, a plain folder, …

    A corpus may have an attribute `num_ignored`: the number of files that were passed over because they are not audio,
    valid once `recordings` is exhausted; and one `notes`, lines for the person about what does not fit together.
    """

    def recordings(self, root: Path) -> Iterator[Recording | Reject]:
        """The recordings below `root`, always in the same order, and what can't be one, with the reason.

        No audio is opened: rate, length and identity of the file are filled in by the import. A text or language that
        is there and can't be used goes into `text_problem` or `language_problem`.

        Args:
            root: an absolute path. `Recording.path` is relative to it.
        """
        ...
