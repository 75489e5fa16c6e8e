"""VCTK (https://datashare.ed.ac.uk/handle/10283/3443): 110 speakers of English before two microphones.

Version 0.92 has `wav48_silence_trimmed/p225/p225_001_mic1.flac`, earlier ones `wav48/p225/p225_001.wav`; the texts are
in `txt/p225/p225_001.txt`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from vall_e.corpora.base import audio_files, lines, one_line, own_id
from vall_e.corpora.registry import ImportOptions
from vall_e.types import Recording, Reject, UsageError

_FOLDERS = ("wav48_silence_trimmed", "wav48", "wav16")
_NAME = re.compile(r"((?:p|s)[0-9]+)_([0-9]+)(?:_mic([12]))?")


def load(options: ImportOptions) -> VCTK:
    return VCTK(options.mic)


class VCTK:
    """Both microphones recorded the same take: one of them is read, unless both are asked for (`--mic`)."""

    def __init__(self, mic: str = "1") -> None:
        self._mics = (None, "1", "2") if mic == "both" else (None, mic)
        self.num_ignored = 0

    def is_at(self, root: Path) -> bool:
        return (root / "txt").is_dir() and any((root / name).is_dir() for name in _FOLDERS)

    def recordings(self, root: Path) -> Iterator[Recording | Reject]:
        """See Corpus. Raises UsageError: no folder of audio."""
        self.num_ignored = 0
        folder = next((name for name in _FOLDERS if (root / name).is_dir()), None)
        if folder is None:
            raise UsageError(f"{root}: none of {', '.join(_FOLDERS)} is there")
        for path in audio_files(root / folder):
            stem = path.rpartition("/")[2].rpartition(".")[0]
            found = _NAME.fullmatch(stem)
            if found is None or found.group(3) not in self._mics:
                self.num_ignored += 1
                continue
            speaker, number, _ = found.groups()
            beside = root / "txt" / speaker / f"{speaker}_{number}.txt"
            text = one_line(" ".join(line for _, line in lines(beside))) if beside.is_file() else ""
            yield Recording(id=own_id(stem), path=f"{folder}/{path}", speaker=speaker, language="en", text=text or None)
