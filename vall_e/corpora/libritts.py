"""LibriTTS (https://www.openslr.org/60), LibriTTS-R (https://www.openslr.org/141), LibriSpeech (https://www.openslr.org/12).

`<subset>/<reader>/<chapter>/<reader>_<chapter>_….wav` with `….normalized.txt` beside it; LibriSpeech has one
`<reader>-<chapter>.trans.txt` a chapter. PATH is the folder of the subsets, or one of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vall_e.corpora.base import audio_files, lines, one_line, own_id
from vall_e.corpora.registry import ImportOptions
from vall_e.types import Problem, Recording, Reject, RejectReason, UsageError

_SUBSET = re.compile("(train|dev|test)-(clean|other)(-[0-9]+)?")


def load(options: ImportOptions) -> LibriTTS:
    return LibriTTS(options.split)


class LibriTTS:
    """Reader and subset by the path; English."""

    def __init__(self, split: str | None = None) -> None:
        self._split = split
        self._chapter: tuple[Path, dict[str, str]] = (Path(), {})

    def is_at(self, root: Path) -> bool:
        if not root.is_dir():
            return False
        subsets = [path for path in sorted(root.iterdir()) if _SUBSET.fullmatch(path.name) and path.is_dir()]
        marks = ("*/*/*.normalized.txt", "*/*/*.trans.txt")
        return any(next(subset.glob(mark), None) is not None for subset in subsets for mark in marks)

    def recordings(self, root: Path) -> Iterator[Recording | Reject]:
        """See Corpus. Raises UsageError: no such subset."""
        alone = _SUBSET.fullmatch(root.name) is not None
        subsets = [root.name] if alone else sorted(each.name for each in root.iterdir() if _SUBSET.fullmatch(each.name))
        wanted = [name for name in subsets if self._split in (None, name)]
        if not wanted:
            raise UsageError(f"{root}: no subset {self._split or 'like train-clean-100'} there")
        for subset in wanted:
            folder = root if alone else root / subset
            for path in audio_files(folder):
                parts = path.split("/")
                stem = parts[-1].rpartition(".")[0]
                yield Recording(
                    id=own_id(stem),
                    path=path if alone else f"{subset}/{path}",
                    speaker=re.split("[_-]", stem)[0],
                    language="en",
                    split=subset,
                    **self._text(folder / path, stem),
                )

    def _text(self, path: Path, stem: str) -> dict[str, Any]:
        for suffix in (".normalized.txt", ".original.txt"):
            beside = path.with_name(stem + suffix)
            if beside.is_file():
                try:
                    return {"text": one_line(" ".join(line for _, line in lines(beside))) or None}
                except UsageError as error:
                    return {"text_problem": Problem(reason=RejectReason.NO_TEXT, detail=str(error))}
        if self._chapter[0] != path.parent:
            texts: dict[str, str] = {}
            for table in sorted(path.parent.glob("*.trans.txt")):
                texts |= {line.partition(" ")[0]: one_line(line.partition(" ")[2]) for _, line in lines(table)}
            self._chapter = path.parent, texts
        return {"text": self._chapter[1].get(stem) or None}
