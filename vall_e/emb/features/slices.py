"""What `similar` reads of a dataset's rows: slices of recordings, whom they belong to, and which of them overlap."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vall_e import layout, storage
from vall_e.types import SAME_TAKE_S, ContractError, Record, speaker_key

MADE_BY = layout.MADE_BY[layout.UTTERANCES]


class Slice(Record, frozen=True, kw_only=True):
    """What this stage needs of an Utterance; the names are the same."""

    id: str
    recording_id: str
    group: str
    speaker: str
    sample_rate_hz: int
    start_samples: int
    num_samples: int
    num_frames: int
    codes: str
    text: str = ""

    @property
    def end_samples(self) -> int:
        return self.start_samples + self.num_samples

    @property
    def duration_s(self) -> float:
        return self.num_samples / self.sample_rate_hz


@dataclass(frozen=True)
class RecordingSlices:
    """The unit of work: one recording, read once for all its slices, in order of start."""

    id: str
    slices: tuple[Slice, ...]
    place: storage.RowPlace | None = None  # of its row in recordings.jsonl; None where no audio is read

    @property
    def duration_s(self) -> float:
        return sum(piece.num_samples / piece.sample_rate_hz for piece in self.slices)


def load_slices(input_dataset: Path) -> list[Slice]:
    """The utterances, sorted by id.

    Raises:
        UsageError: there is no dataset. ContractError: a bad row, an id twice, or times outside any audio.
    """
    path = storage.require_file(input_dataset / layout.UTTERANCES, MADE_BY)
    names = Slice.__struct_fields__
    slices: dict[str, Slice] = {}
    for number, row in storage.read_json_lines(path):
        piece = storage.from_row(Slice, {key: row[key] for key in names if key in row}, f"{path}:{number}")
        if piece.id in slices:
            raise ContractError(f"{path}:{number}: {piece.id} for the second time")
        if piece.start_samples < 0 or piece.num_samples < 1:
            raise ContractError(f"{path}:{number}: {piece.id}: no audio from sample {piece.start_samples} on")
        slices[piece.id] = piece
    return [slices[key] for key in sorted(slices)]


def group(slices: Iterable[Slice], scope: str) -> dict[str, list[Slice]]:
    """Those that are compared with each other; speakers of one name in two groups are two people."""
    groups: dict[str, list[Slice]] = collections.defaultdict(list)
    for piece in slices:
        groups[speaker_key(piece.group, piece.speaker) if scope == "speaker" else "dataset"].append(piece)
    return dict(groups)


def items_of(
    todo: Mapping[str, Sequence[Slice]], place_of: Callable[[str], storage.RowPlace | None]
) -> list[RecordingSlices]:
    """Recordings in the order in which groups need them; one that holds several speakers is read once."""
    by_recording: dict[str, list[Slice]] = collections.defaultdict(list)
    for slices in todo.values():
        for piece in slices:
            by_recording[piece.recording_id].append(piece)
    order = lambda piece: (piece.start_samples, piece.num_samples, piece.id)  # noqa: E731
    return [
        RecordingSlices(key, tuple(sorted(slices, key=order)), place_of(key)) for key, slices in by_recording.items()
    ]


def overlapping(slices: Sequence[Slice]) -> list[np.ndarray]:
    """For each slice the indices of the others that share a sample of the same recording with it."""
    by_recording: dict[str, list[int]] = collections.defaultdict(list)
    for index, piece in enumerate(slices):
        by_recording[piece.recording_id].append(index)
    shared: list[list[int]] = [[] for _ in slices]
    for indices in by_recording.values():
        indices.sort(key=lambda index: slices[index].start_samples)
        for position, early in enumerate(indices):
            for late in indices[position + 1 :]:
                if slices[late].start_samples >= slices[early].end_samples:
                    break
                shared[early].append(late)
                shared[late].append(early)
    return [np.array(sorted(found), np.int64) for found in shared]


def same_takes(slices: Sequence[Slice]) -> list[np.ndarray]:
    """For each slice the indices of the others that are its take under another name: a copy, or a second microphone.

    Those are of the same speaker, say the same, and last as long, to SAME_TAKE_S. Two readings of one sentence that
    last equally long pass for one take, which costs a prompt and harms nothing.
    """
    by_text: dict[tuple[str, str], list[int]] = collections.defaultdict(list)
    for index, piece in enumerate(slices):
        if piece.text:
            by_text[speaker_key(piece.group, piece.speaker), piece.text].append(index)
    shared: list[list[int]] = [[] for _ in slices]
    for indices in by_text.values():
        indices.sort(key=lambda index: slices[index].duration_s)
        for position, short in enumerate(indices):
            for longer in indices[position + 1 :]:
                if slices[longer].duration_s - slices[short].duration_s > SAME_TAKE_S:
                    break
                shared[short].append(longer)
                shared[longer].append(short)
    return [np.array(sorted(found), np.int64) for found in shared]
