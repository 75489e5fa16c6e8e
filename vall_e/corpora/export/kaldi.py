"""A Kaldi data folder: wav.scp, segments, text, utt2spk, spk2utt, utt2lang. Audio is named where it is.

Only what Kaldi can't read from the file itself (a member of a tar, one channel or track of several) is written, as FLAC
into `audio/`, which wav.scp names relative to its own folder.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vall_e import audio
from vall_e.corpora.export.base import Work
from vall_e.types import Recording

_FILES = ("wav.scp", "segments", "text", "utt2spk", "spk2utt", "utt2lang")


def load() -> Kaldi:
    return Kaldi()


class Kaldi:
    """White space in ids becomes `_`. Utterances begin with their speaker, as Kaldi sorts by it."""

    def export(self, work: Work, out: Path) -> Iterator[int]:
        lines: dict[str, list[str]] = {name: [] for name in _FILES}
        of_speaker: dict[str, list[str]] = defaultdict(list)
        for recording, rows in work.groups():
            name = _word(recording.id)
            lines["wav.scp"].append(f"{name} {self._path(work.source(recording), recording, out)}")
            for row in rows:
                speaker = _word(row.speaker_id)
                key = f"{speaker}-{_word(row.id)}"
                start_s = row.start_samples / row.sample_rate_hz
                end_s = (row.start_samples + row.num_samples) / row.sample_rate_hz
                lines["segments"].append(f"{key} {name} {start_s:.6f} {end_s:.6f}")
                lines["text"].append(f"{key} {row.text}")
                lines["utt2spk"].append(f"{key} {speaker}")
                lines["utt2lang"].append(f"{key} {row.language}")
                of_speaker[speaker].append(key)
            yield len(rows)
        lines["spk2utt"] = [f"{speaker} {' '.join(sorted(keys))}" for speaker, keys in of_speaker.items()]
        for name, content in lines.items():
            ordered = sorted(content, key=lambda line: line.encode())  # as LC_ALL=C sorts, which Kaldi asks for
            (out / name).write_text("".join(f"{line}\n" for line in ordered), encoding="utf-8")

    def _path(self, source: audio.Source, recording: Recording, out: Path) -> Path:
        plain = (None, None, None)
        path = source.path.resolve()
        if (recording.member, recording.track, recording.channel) == plain and not re.search(r"\s", str(path)):
            return path
        target = out / "audio" / (_word(recording.id).replace("/", "_") + ".flac")
        target.parent.mkdir(exist_ok=True)
        rate_hz = recording.sample_rate_hz
        audio.write(target, np.concatenate(list(source.blocks(rate_hz, 5.0))), rate_hz)
        return Path("audio") / target.name


def _word(name: str) -> str:
    return re.sub(r"\s", "_", name)
