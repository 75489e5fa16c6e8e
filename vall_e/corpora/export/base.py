"""What an exporter is, and what it gets: the utterances of a WORK folder with their sound."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from vall_e import audio, layout, storage
from vall_e.corpora.importing import corpus_root, roots_of
from vall_e.types import ContractError, Recording, UsageError, Utterance

SHARD_ROWS = 1_000  # utterances in a tar or parquet file


@dataclass(frozen=True)
class Piece:
    """An utterance and its sound, mono float32 [n] at the recording's own rate."""

    row: Utterance
    samples: np.ndarray

    def flac(self) -> bytes:
        """The sound as FLAC of 16 bits."""
        import soundfile

        buffer = io.BytesIO()
        soundfile.write(buffer, np.clip(self.samples, -1, 1), self.row.sample_rate_hz, format="FLAC", subtype="PCM_16")
        return buffer.getvalue()


class Exporter(Protocol):
    """Writes the utterances of a WORK into an empty folder."""

    def export(self, work: Work, out: Path) -> Iterator[int]:
        """Yields a number of utterances whenever they are written."""
        ...


class Work:
    """The utterances and recordings of a WORK folder, in order of id, whatever the order in which they were made.

    Raises:
        UsageError: no dataset there, or its audio is gone.
    """

    def __init__(self, folder: Path) -> None:
        dataset, metadata = folder / layout.DATASET_FOLDER, folder / layout.METADATA_FOLDER
        storage.require_file(dataset / layout.UTTERANCES, layout.MADE_BY[layout.UTTERANCES])
        self.utterances = storage.RowIndex(dataset / layout.UTTERANCES, "id")
        self.recordings = storage.RowIndex(metadata / layout.RECORDINGS, "id")
        self.roots = roots_of(metadata, corpus_root(None, metadata))

    def __len__(self) -> int:
        return len(self.utterances)

    def rows(self) -> Iterator[Utterance]:
        """The utterances in order of id."""
        ids = list(self.utterances.ids())
        for number in sorted(range(len(ids)), key=ids.__getitem__):
            yield self.utterances.place(number).read(Utterance)

    def groups(self) -> Iterator[tuple[Recording, list[Utterance]]]:
        """The utterances of each recording, in order of time."""
        for name, rows in itertools.groupby(self.rows(), key=lambda row: row.recording_id):
            yield self.recording(name), sorted(rows, key=lambda row: row.start_samples)

    def recording(self, name: str) -> Recording:
        place = self.recordings.get(name)
        if place is None:
            raise ContractError(f"{name}: a recording of the dataset that is not in {layout.RECORDINGS}")
        return place.read(Recording)

    def source(self, recording: Recording) -> audio.Source:
        """Raises UsageError: the file is gone, or is not what it was."""
        try:
            source = audio.locate(self.roots, recording)
        except audio.AudioError as error:
            raise UsageError(f"{recording.id}: {error.detail}") from None
        if source is None:
            raise UsageError(f"{recording.id}: {recording.path}: no such file")
        return source

    def pieces(self) -> Iterator[Piece]:
        """The utterances with their sound; each recording is read once."""
        for recording, rows in self.groups():
            spans = [(row.start_samples, row.num_samples) for row in rows]
            for row, samples in zip(rows, self.source(recording).slices(spans), strict=True):
                yield Piece(row, samples)


def values_of(row: Utterance) -> dict[str, object]:
    """What a row of a manifest says of an utterance, beside its sound."""
    return {
        "id": row.id,
        "text": row.text,
        "spoken": row.spoken,
        "phonemes": row.phonemes,
        "speaker": row.speaker_id,
        "language": row.language,
        "split": row.split,
        "duration": row.duration_s,
        "scores": row.scores,
    }


def in_shards(pieces: Iterable[Piece], num_rows: int = SHARD_ROWS) -> Iterator[tuple[str, Sequence[Piece]]]:
    """(split or train, some utterances of it) in order; memory holds one shard of each split."""
    waiting: dict[str, list[Piece]] = {}
    for piece in pieces:
        split = piece.row.split or "train"
        waiting.setdefault(split, []).append(piece)
        if len(waiting[split]) == num_rows:
            yield split, waiting.pop(split)
    yield from sorted(waiting.items())
