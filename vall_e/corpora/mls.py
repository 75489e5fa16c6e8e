"""Multilingual LibriSpeech (https://www.openslr.org/94): `mls_<language>/<split>/transcripts.txt`, and `audio/`.

Lines are `<reader>_<book>_<number><tab>text`; the audio is `audio/<reader>/<book>/<reader>_<book>_<number>.flac` (or
opus).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vall_e.corpora.base import language_fields, lines, one_line, own_id, rejected
from vall_e.corpora.files import AudioFiles
from vall_e.corpora.registry import ImportOptions
from vall_e.types import Recording, Reject, RejectReason, UsageError

_SPLITS = ("train", "dev", "test")
_FOLDER = re.compile("mls_([a-z]+)(_opus)?")


def load(options: ImportOptions) -> MLS:
    return MLS(options.split)


class MLS:
    """The language is in the folder's name; PATH is that folder, or the one above with several."""

    def __init__(self, split: str | None = None) -> None:
        self._split = split
        self.num_ignored = 0
        self.notes: list[str] = []

    def is_at(self, root: Path) -> bool:
        return root.is_dir() and bool(_tables(root))

    def recordings(self, root: Path) -> Iterator[Recording | Reject]:
        """See Corpus. Raises UsageError: no transcripts, or such that are no UTF-8."""
        self.num_ignored, self.notes = 0, []
        tables = [table for table in _tables(root) if self._split in (None, table.parent.name)]
        if not tables:
            raise UsageError(f"{root}: no {self._split or 'train'}/transcripts.txt with audio/ beside it")
        for table in tables:
            found = _FOLDER.fullmatch(table.parent.parent.name)
            language: dict[str, Any] = language_fields(found[1]) if found else {}
            below = table.parent.relative_to(root).as_posix()
            files = AudioFiles(root, below)
            for number, line in lines(table):
                name, tab, text = line.partition("\t")
                path = files.find(f"{name.strip()}")
                where = f"{below}/transcripts.txt, line {number}"
                if not tab:
                    yield rejected(f"{below}/transcripts.txt:{number}", RejectReason.BAD_ROW, f"{where}: no tab")
                elif path is None:
                    yield rejected(own_id(name.strip()), RejectReason.UNREADABLE, f"{where}: no audio file")
                else:
                    yield Recording(
                        id=own_id(name.strip()),
                        path=path,
                        speaker=name.partition("_")[0],
                        text=one_line(text) or None,
                        split=table.parent.name,
                        **language,
                    )
            self.num_ignored += files.num_unused
            self.notes += files.unused_note(f"{below}/transcripts.txt")


def _tables(root: Path) -> list[Path]:
    folders = [root, *(path for path in sorted(root.iterdir()) if _FOLDER.fullmatch(path.name))]
    tables = [folder / split / "transcripts.txt" for folder in folders for split in _SPLITS]
    return [table for table in tables if table.is_file() and (table.parent / "audio").is_dir()]
