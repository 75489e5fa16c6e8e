"""WebDataset tars (https://github.com/webdataset/webdataset): `key.mp3` with `key.json`, `key.txt` and the like.

PATH is a tar, or a folder of tars. The split is what the name of a tar or its folder begins with: train-000017.tar.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vall_e.corpora import rows, tars
from vall_e.corpora.base import audio_files, own_id, rejected, text_of
from vall_e.corpora.registry import ImportOptions
from vall_e.types import Recording, Reject, RejectReason, UsageError

_TEXTS = ("txt", "normalized.txt", "text", "lab")
_SPLIT = re.compile("(train|dev|valid|validation|test)(?=$|[-_.])")


def load(options: ImportOptions) -> WebDataset:
    return WebDataset(options.split)


class WebDataset:
    """Tars in order of path; samples without audio are ignored and counted."""

    def __init__(self, split: str | None = None) -> None:
        self._split = split
        self.num_ignored = 0

    def is_at(self, root: Path) -> bool:
        if root.is_file():
            return root.suffix == ".tar"
        is_there = next(root.glob("*.tar"), None) is not None
        return is_there and next(audio_files(root), None) is None  # else a folder of speech with a tar in it

    def recordings(self, root: Path) -> Iterator[Recording | Reject]:
        """See Corpus. Raises UsageError: no tar there, or one that is damaged or compressed."""
        self.num_ignored = 0
        folder = root if root.is_dir() else root.parent
        paths = sorted(root.rglob("*.tar")) if root.is_dir() else [root]
        if not paths:
            raise UsageError(f"{root}: no .tar there")
        for path in paths:
            name = path.relative_to(folder).as_posix()
            split = split_of(name)
            if self._split not in (None, split):
                continue
            for sample in tars.samples(path, name):
                if isinstance(sample, Reject):
                    yield sample
                elif sample.audio is None:
                    self.num_ignored += 1
                else:
                    yield recording(sample, name, split)


def split_of(path: str) -> str | None:
    """The official split that a file's name, or the nearest folder's, begins with."""
    return next((found[1] for part in reversed(path.lower().split("/")) if (found := _SPLIT.match(part))), None)


def recording(sample: tars.Sample, name: str, split: str | None) -> Recording | Reject:
    """A sample of a tar named `name`, whose audio it has."""
    item_id = own_id(f"{name.removesuffix('.tar')}/{sample.key}")
    row = sample.json()
    if "json" in sample.sides and row is None:
        return rejected(item_id, RejectReason.BAD_ROW, f"{sample.key}.json in {name}: not a JSON object")
    values: dict[str, Any] = rows.fields(row or {})
    beside = next((text for side in _TEXTS if (text := text_of(sample.text(side)))), None)
    if values["text"] is None:
        values["text"] = beside
    return Recording(id=item_id, path=name, member=sample.audio, split=split, **values)
