"""Common Voice (https://commonvoice.mozilla.org): `<locale>/validated.tsv` and `<locale>/clips/*.mp3`.

PATH is a locale's folder, or the one above with several. The speaker is `client_id`; the official split of a clip is
that of train.tsv, dev.tsv or test.tsv; votes are kept as scores.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vall_e.corpora.base import language_fields, lines, number_of, own_id, rejected, text_of
from vall_e.corpora.registry import ImportOptions
from vall_e.corpora.tables import unquoted
from vall_e.types import Problem, Recording, Reject, RejectReason, UsageError

VALIDATED = "validated"
_OFFICIAL = ("train", "dev", "test")
_VOTES = ("up_votes", "down_votes")


def load(options: ImportOptions) -> CommonVoice:
    return CommonVoice(options.split or VALIDATED)


class CommonVoice:
    """One table of each locale."""

    def __init__(self, split: str = VALIDATED) -> None:
        self._split = split
        self.notes: list[str] = []

    def is_at(self, root: Path) -> bool:
        return root.is_dir() and bool(_locales(root))

    def recordings(self, root: Path) -> Iterator[Recording | Reject]:
        """See Corpus. Raises UsageError: no such table, or one without its columns."""
        self.notes = []
        locales = _locales(root)
        if not locales:
            raise UsageError(f"{root}: no folder with clips/ and validated.tsv there")
        for folder in locales:
            path = folder / f"{self._split}.tsv"
            if not path.is_file():
                raise UsageError(f"{path}: no such table; choose another --split")
            splits = _official_splits(folder) if self._split == VALIDATED else {}
            prefix = "" if folder == root else f"{folder.name}/"
            for line, row in _rows(path):
                yield self._recording(row, f"{path.name}:{line}", prefix, splits, folder.name)

    def _recording(
        self, row: dict[str, str], where: str, prefix: str, splits: dict[str, str], locale: str
    ) -> Recording | Reject:
        name, client = row.get("path") or "", row.get("client_id") or ""
        if not name or not client:
            return rejected(f"{prefix}{where}", RejectReason.BAD_ROW, "no path, or no client_id")
        name = name if "." in name else f"{name}.mp3"
        text = text_of(row.get("sentence"))
        problem = None if text else Problem(reason=RejectReason.NO_TEXT, detail=f"{where}: no sentence")
        votes: dict[str, float | None] = {
            vote: value for vote in _VOTES if (value := number_of(row.get(vote))) is not None
        }
        return Recording(
            id=own_id(f"{prefix}{name}"),
            path=f"{prefix}clips/{name}",
            speaker=client,
            text=text,
            text_problem=problem,
            split=self._split if self._split in _OFFICIAL else splits.get(name),
            scores=votes,
            **language_fields(row.get("locale") or locale),
        )


def _locales(root: Path) -> list[Path]:
    """The folders of locales, in order of name: `root` itself, or those in it."""
    folders = [root, *(path for path in sorted(root.iterdir()) if path.is_dir())]
    found = [path for path in folders if (path / "clips").is_dir() and (path / f"{VALIDATED}.tsv").is_file()]
    return found[:1] if root in found else found


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, cells by column) of a table; without the quotes that a program put around a cell with quotes."""
    header: list[str] | None = None
    for line, content in lines(path):
        cells = next(csv.reader([content], delimiter="\t", quoting=csv.QUOTE_NONE, strict=True), [])
        cells = [unquoted(cell) for cell in cells]
        if header is None:
            header = cells
            missing = [name for name in ("client_id", "path", "sentence") if name not in header]
            if missing:
                raise UsageError(f"{path}: its header has no column {', '.join(missing)}")
        else:
            yield line, dict(zip(header, cells, strict=False)) if len(cells) <= len(header) else {}


def _official_splits(folder: Path) -> dict[str, str]:
    splits: dict[str, Any] = {}
    for name in _OFFICIAL:
        path = folder / f"{name}.tsv"
        if path.is_file():
            splits |= {row["path"]: name for _, row in _rows(path) if row.get("path")}
    return splits
