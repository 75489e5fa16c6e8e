"""The audio files of a corpus, found by what its own tables call them."""

from __future__ import annotations

from pathlib import Path

from vall_e.corpora.base import audio_files
from vall_e.corpora.tables import path_form
from vall_e.types import has_audio_extension

MAX_SHOWN = 3


class AudioFiles:
    """The audio files below a folder: by path, or by the end of a path, with or without extension and case.

    Args:
        root: the folder.
        below: where below it to look; all of it where empty.
    """

    def __init__(self, root: Path, below: str = "") -> None:
        prefix = f"{below}/" if below else ""
        self.paths = [prefix + path for path in audio_files(root / below)]
        self._used = bytearray(len(self.paths))
        self._by_stem: dict[str, list[int]] = {}
        for number, path in enumerate(self.paths):
            self._by_stem.setdefault(_form(path).rpartition("/")[2], []).append(number)

    def find(self, name: str) -> str | None:
        """The one file that a table means by `name`; None where there is none, or several."""
        form = _form(path_form(name))
        alike = self._by_stem.get(form.rpartition("/")[2], ())
        ends = "/" + form
        fitting = [number for number in alike if ("/" + _form(self.paths[number])).endswith(ends)]
        if len(fitting) > 1:  # the one whose extension or place is the very same
            exact = [number for number in fitting if self.paths[number] == path_form(name)]
            fitting = exact or [number for number in fitting if self.paths[number].endswith("/" + path_form(name))]
        if len(fitting) != 1:
            return None
        self._used[fitting[0]] = 1
        return self.paths[fitting[0]]

    def unused_note(self, where: str) -> list[str]:
        """A line about the files that no row named, if there are any."""
        left = [path for path, used in zip(self.paths, self._used, strict=True) if not used]
        if not left:
            return []
        more = ", …" if len(left) > MAX_SHOWN else ""
        files = "1 audio file is" if len(left) == 1 else f"{len(left):,} audio files are"
        return [f"{files} named by no row of {where}, and left out: {', '.join(left[:MAX_SHOWN])}{more}"]

    @property
    def num_unused(self) -> int:
        return len(self.paths) - sum(self._used)


def _form(path: str) -> str:
    """Without extension and case."""
    return (path[: path.rindex(".")] if has_audio_extension(path) else path).casefold()
