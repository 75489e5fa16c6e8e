"""JSUT (https://sites.google.com/site/shinnosuketakamichi/publication/jsut): one speaker of Japanese.

`<part>/transcript_utf8.txt` with lines `BASIC5000_0001:水をマレーシアから…`, and `<part>/wav/BASIC5000_0001.wav`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vall_e.corpora.base import lines, one_line, own_id, rejected
from vall_e.corpora.files import AudioFiles
from vall_e.corpora.registry import ImportOptions
from vall_e.types import Recording, Reject, RejectReason, UsageError

_TABLE = "transcript_utf8.txt"


def load(options: ImportOptions) -> JSUT:
    return JSUT()


class JSUT:
    """Parts (basic5000, onomatopee300, …) in order of name."""

    def __init__(self) -> None:
        self.num_ignored = 0
        self.notes: list[str] = []

    def is_at(self, root: Path) -> bool:
        return root.is_dir() and next(root.glob(f"*/{_TABLE}"), None) is not None

    def recordings(self, root: Path) -> Iterator[Recording | Reject]:
        """See Corpus. Raises UsageError: no transcripts, or such that are no UTF-8."""
        self.num_ignored, self.notes = 0, []
        tables = sorted(root.glob(f"*/{_TABLE}"))
        if not tables:
            raise UsageError(f"{root}: no <part>/{_TABLE} there")
        for table in tables:
            part = table.parent.name
            files = AudioFiles(root, part)
            for number, line in lines(table):
                name, colon, text = line.partition(":")
                where = f"{part}/{_TABLE}, line {number}"
                if not colon:
                    yield rejected(f"{part}/{_TABLE}:{number}", RejectReason.BAD_ROW, f"{where}: no colon")
                    continue
                path = files.find(f"{part}/wav/{name.strip()}")
                if path is None:
                    yield rejected(own_id(name.strip()), RejectReason.UNREADABLE, f"{where}: no audio file")
                    continue
                yield Recording(
                    id=own_id(name.strip()), path=path, speaker="JSUT", language="ja", text=one_line(text) or None
                )
            self.num_ignored += files.num_unused
            self.notes += files.unused_note(f"{part}/{_TABLE}")
