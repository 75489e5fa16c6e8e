"""The audio of a dataset's utterances: where its recordings are, and the samples of each slice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vall_e import audio, layout, storage
from vall_e.corpora.importing import require_recordings
from vall_e.emb.features.slices import MADE_BY, RecordingSlices
from vall_e.types import ContractError, Recording, UsageError

_STALE = "the audio is not what the dataset was made of: give the right --input-audio or run all stages with --update"


@dataclass(frozen=True)
class Source:
    """The dataset, and where its recordings are: `roots` and `recordings` are None where no audio is read."""

    dataset: Path
    roots: audio.Roots | None
    recordings: storage.RowIndex | None

    def place_of(self, recording_id: str) -> storage.RowPlace | None:
        return None if self.recordings is None else self.recordings.get(recording_id)

    def is_there(self, recording_id: str) -> bool:
        """Whether the recording's audio is there; True where no audio is read."""
        if self.roots is None:
            return True
        place = self.place_of(recording_id)
        return place is not None and self.roots.find(place.read(Recording).path) is not None


def open_audio(
    dataset: Path, input_audio: Path | None, metadata: Path | None, *, executor: str, workers: int
) -> Source:
    """Finds the recordings; imports them where nobody has (datasets of version 1).

    Args:
        dataset: what `process` wrote.
        input_audio: the corpus; None: where the dataset says it is.
        metadata: the folder of recordings.jsonl; None: where the dataset says it is.
        executor, workers: of an import.

    Raises:
        UsageError: no such folder, or nobody says where it is.
    """
    head = dataset_json(dataset)
    recorded = (head.get("config") or {}).get("input_audio")
    folder = input_audio or (Path(recorded) if recorded else None)
    if folder is None:
        raise UsageError(f"{dataset / layout.DATASET_JSON} does not say where the audio is; give --input-audio")
    if not folder.exists():
        raise UsageError(f"{folder}: no such folder of audio; give --input-audio")
    metadata = metadata or dataset / head.get("input_metadata", f"../{layout.METADATA_FOLDER}")
    roots = require_recordings(folder, metadata, executor=executor, workers=workers)
    return Source(dataset, roots, storage.RowIndex(metadata / layout.RECORDINGS, "id"))


def dataset_json(input_dataset: Path) -> dict[str, Any]:
    """Raises UsageError: there is no dataset."""
    return storage.read_json(storage.require_file(input_dataset / layout.DATASET_JSON, MADE_BY)) or {}


def read_slices(roots: audio.Roots, item: RecordingSlices) -> Iterator[tuple[np.ndarray, int]]:
    """(mono float32 [n], its rate in Hz) of each slice of a recording, in their order.

    Raises:
        ContractError: the file is gone, or is not what the dataset was made of; names the utterance.
    """
    assert item.place is not None, "recordings that are not there were left out"
    recording = item.place.read(Recording)
    piece = item.slices[0]
    try:
        source = audio.locate(roots, recording)
        if source is None:
            raise ContractError(f"{item.id}: {recording.path}: no such file; {_STALE}")
        rate_hz = recording.sample_rate_hz
        spans = [(piece.start_samples, piece.num_samples) for piece in item.slices]
        pieces = source.slices(spans)
        for piece in item.slices:
            if piece.sample_rate_hz != rate_hz:
                what = f"{recording.path} has {rate_hz} Hz, the dataset says {piece.sample_rate_hz}"
                raise ContractError(f"{piece.id}: {what}; {_STALE}")
            yield next(pieces), rate_hz
    except (audio.AudioError, OSError) as error:
        raise ContractError(f"{piece.id}: {recording.path}: {error}; {_STALE}") from None
