"""AISHELL-3 (https://www.openslr.org/93): 218 speakers of Mandarin.

`<split>/content.txt` with lines `SSB00050001.wav<tab>广 guang3 州 zhou1 …`, and `<split>/wav/<speaker>/….wav`. The
pinyin between the characters is not text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from vall_e.corpora.base import lines, own_id, rejected
from vall_e.corpora.files import AudioFiles
from vall_e.corpora.registry import ImportOptions
from vall_e.types import Recording, Reject, RejectReason, UsageError

_SPLITS = ("train", "test")
_PINYIN = re.compile("[a-zü:]+[0-5]")
_NAME = re.compile("(SSB[0-9]{4})[0-9]{4}")


def load(options: ImportOptions) -> AISHELL3:
    return AISHELL3(options.split)


class AISHELL3:
    """Speaker by the name of the file."""

    def __init__(self, split: str | None = None) -> None:
        self._split = split
        self.num_ignored = 0
        self.notes: list[str] = []

    def is_at(self, root: Path) -> bool:
        return any((root / split / "content.txt").is_file() and (root / split / "wav").is_dir() for split in _SPLITS)

    def recordings(self, root: Path) -> Iterator[Recording | Reject]:
        """See Corpus. Raises UsageError: no content.txt, or one that is no UTF-8."""
        self.num_ignored, self.notes = 0, []
        splits = [split for split in _SPLITS if (root / split / "content.txt").is_file()]
        wanted = [split for split in splits if self._split in (None, split)]
        if not wanted:
            raise UsageError(f"{root}: no {self._split or 'train'}/content.txt there")
        for split in wanted:
            files = AudioFiles(root, split)
            for number, line in lines(root / split / "content.txt"):
                name, _, content = line.partition("\t")
                where = f"{split}/content.txt, line {number}"
                stem = name.strip().removesuffix(".wav")
                found = _NAME.fullmatch(stem)
                path = files.find(f"{name.strip()}")
                if found is None or not content.strip():
                    yield rejected(f"{split}/content.txt:{number}", RejectReason.BAD_ROW, f"{where}: no name and text")
                elif path is None:
                    yield rejected(own_id(stem), RejectReason.UNREADABLE, f"{where}: no audio file for {name!r}")
                else:
                    yield Recording(
                        id=own_id(stem), path=path, speaker=found[1], language="zh", text=_text(content), split=split
                    )
            self.num_ignored += files.num_unused
            self.notes += files.unused_note(f"{split}/content.txt")


def _text(content: str) -> str | None:
    """The characters without their pinyin: every second word, as far as it is pinyin."""
    words = content.split()
    return "".join(word for place, word in enumerate(words) if not (place % 2 and _PINYIN.fullmatch(word))) or None
