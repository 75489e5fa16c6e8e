"""The files of a built dataset: who writes which column, and how a column becomes a numpy view.

    built.json            schema version, codec, counts, options, speakers, size of each file
    vocab.json            see `vocab`
    index.arrow           one record batch: a row per utterance, in order of id, with its scores
    speakers.arrow        one record batch: the utterances of each speaker, those for training first
    rows-00000.arrow …    codes, tokens, their durations and similar utterances; `batch_rows` rows in a record batch

Row r lies in record batch r // batch_rows, and so on: there is no table to search. Each Arrow file carries the
fingerprint of its build, so that files of two builds are never mixed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vall_e.dataset.scan import ID_SALT, SPLIT_SALT, hash_id
from vall_e.types import ContractError, UsageError

BUILT_VERSION = 4
BUILT_JSON, VOCAB_JSON = "built.json", "vocab.json"
INDEX_FILE, SPEAKERS_FILE = "index.arrow", "speakers.arrow"
TRAIN, VALIDATION = 0, 1
HELD_OUT = ("dev", "val", "test", "eval")  # how the names of official splits begin that are not trained on
SPLITS = {"train": TRAIN, "validation": VALIDATION}
INDEX_COLUMNS = {
    "id_hash": np.uint64,
    "recording_hash": np.uint64,
    "start_samples": np.int64,
    "num_samples": np.int64,
    "num_frames": np.int32,
    "num_tokens": np.int32,
    "num_similar": np.int32,
    "speaker": np.int32,
    "language": np.int32,
    "split": np.int8,
    "aligned": np.int8,
}
ROW_COLUMNS = {
    "codes": np.uint16,
    "tokens": np.int32,
    "durations": np.int32,
    "similar": np.int32,
    "scores": np.float32,
}


def score_column(name: str) -> str:
    """Of the index: float32 [n], NaN where an utterance has no such score."""
    return f"score:{name}"


def rows_file(number: int) -> str:
    return f"rows-{number:05d}.arrow"


@dataclass(frozen=True)
class Entry:
    """One utterance, checked and turned into numbers. `similar` are rows of the dataset, best first."""

    id: str
    recording_id: str
    speaker: int
    language: int
    split: str | None  # that of the corpus
    start_samples: int
    num_samples: int
    codes: np.ndarray  # uint16 [K,T]
    tokens: np.ndarray  # int32 [S]
    durations: np.ndarray  # int32 [S], frames of each token; [0] where nobody knows
    similar: np.ndarray  # int32 [N]
    scores: np.ndarray  # float32 [N]
    gate_scores: Mapping[str, float | None]  # by name, of the utterance itself


class Writer:
    """Writes the Arrow files of `num_rows` utterances that come in order of id, `batch_rows` at a time.

    In memory are the index (about 60 bytes an utterance, 4 more for each of `scores`) and one record batch.
    """

    def __init__(
        self,
        folder: Path,
        num_rows: int,
        *,
        fingerprint: str,
        fraction: float,
        batch_rows: int,
        file_batches: int,
        scores: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.fingerprint = fingerprint
        self.batch_rows = batch_rows
        self.file_batches = file_batches
        self.columns = {name: np.zeros(num_rows, dtype) for name, dtype in INDEX_COLUMNS.items()}
        self.columns |= {score_column(name): np.full(num_rows, np.nan, np.float32) for name in scores}
        self.scores = tuple(scores)
        self.done = 0
        self._validation_below = int(fraction * 2**64)
        self._file: Any = None

    def write(self, entries: Sequence[Entry]) -> None:
        """Appends one record batch; only the last may be shorter than `batch_rows`."""
        first = self.done
        self.done += len(entries)
        recordings = [hash_id(entry.recording_id, SPLIT_SALT) for entry in entries]
        values = {
            "id_hash": [hash_id(entry.id, ID_SALT) for entry in entries],
            "recording_hash": recordings,
            "start_samples": [entry.start_samples for entry in entries],
            "num_samples": [entry.num_samples for entry in entries],
            "num_frames": [entry.codes.shape[1] for entry in entries],
            "num_tokens": [len(entry.tokens) for entry in entries],
            "num_similar": [len(entry.similar) for entry in entries],
            "speaker": [entry.speaker for entry in entries],
            "language": [entry.language for entry in entries],
            "aligned": [len(entry.durations) > 0 for entry in entries],
            "split": [self._split(entry, number) for entry, number in zip(entries, recordings, strict=True)],
        }
        for name, column in values.items():
            self.columns[name][first : self.done] = np.array(column, INDEX_COLUMNS[name])
        for name in self.scores:
            column = [entry.gate_scores.get(name) for entry in entries]
            self.columns[score_column(name)][first : self.done] = np.array(column, np.float32)  # None is NaN
        lists = {name: _list_column([getattr(entry, name) for entry in entries], name) for name in ROW_COLUMNS}
        self._append(lists, first // self.batch_rows)

    def _split(self, entry: Entry, number: int) -> int:
        """The corpus' own split where it has one, else by a hash of the recording's id."""
        if entry.split is not None:
            return VALIDATION if entry.split.lower().startswith(HELD_OUT) else TRAIN
        return VALIDATION if number < self._validation_below else TRAIN

    def _append(self, lists: dict[str, Any], number: int) -> None:
        batch = self._batch(lists)
        if number % self.file_batches == 0:
            self._close()
            self._file = _open_file(self.folder / rows_file(number // self.file_batches), batch.schema)
        self._file.write_batch(batch)
        if self.done == len(self.columns["split"]):
            self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _batch(self, columns: dict[str, Any]) -> Any:
        import pyarrow as pa

        batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
        return batch.replace_schema_metadata({"fingerprint": self.fingerprint})

    def finish(self, ids: Any, num_speakers: int) -> None:
        """Writes the index and the utterances of each speaker, once all rows are written."""
        import pyarrow as pa

        assert self.done == len(ids), "every row is written before the index"
        self._one_batch(INDEX_FILE, {"id": ids} | {name: pa.array(values) for name, values in self.columns.items()})
        speaker, split = self.columns["speaker"], self.columns["split"]
        members = np.lexsort((split, speaker)).astype(np.int32)
        bounds = np.searchsorted(speaker[members], np.arange(num_speakers + 1))
        training = np.bincount(speaker[split == TRAIN], minlength=num_speakers)
        utterances = pa.LargeListArray.from_arrays(pa.array(bounds, pa.int64()), pa.array(members))
        self._one_batch(SPEAKERS_FILE, {"utterances": utterances, "num_training": pa.array(training, pa.int64())})

    def _one_batch(self, name: str, columns: dict[str, Any]) -> None:
        batch = self._batch(columns)
        with _open_file(self.folder / name, batch.schema) as file:
            file.write_batch(batch)


def _open_file(path: Path, schema: Any) -> Any:
    import pyarrow as pa

    return pa.ipc.new_file(str(path), schema)


def _list_column(arrays: Sequence[np.ndarray], name: str) -> Any:
    import pyarrow as pa

    offsets = np.zeros(len(arrays) + 1, np.int64)
    np.cumsum([array.size for array in arrays], out=offsets[1:])
    values = np.concatenate([array.reshape(-1) for array in arrays]).astype(ROW_COLUMNS[name], copy=False)
    return pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(values))


class ArrowFile:
    """A memory-mapped Arrow file.

    Raises:
        ContractError: missing, damaged, or of another build than `fingerprint`.
    """

    def __init__(self, path: Path, fingerprint: str) -> None:
        import pyarrow as pa

        try:
            self._reader = pa.ipc.open_file(pa.memory_map(str(path), "r"))
        except (OSError, pa.ArrowInvalid) as error:
            raise ContractError(f"{path}: can't be read: {' '.join(str(error).split())}; build it again") from None
        metadata = self._reader.schema.metadata or {}
        if metadata.get(b"fingerprint") != fingerprint.encode():
            raise ContractError(f"{path}: belongs to another build; it was replaced while in use: open it again")

    def batch(self, number: int) -> Any:
        return self._reader.get_batch(number)


def numbers(column: Any) -> np.ndarray:
    """A column of numbers as a read-only view of the mapped file: nothing is copied."""
    view: np.ndarray = column.to_numpy(zero_copy_only=True)
    return view


def lists(column: Any) -> tuple[np.ndarray, np.ndarray]:
    """(offsets [n+1], values) of a column of lists, as views; list i is values[offsets[i]:offsets[i+1]]."""
    return numbers(column.offsets), numbers(column.values)


def split_number(name: str) -> int:
    """Raises:
    UsageError: not a split.
    """
    if name not in SPLITS:
        raise UsageError(f"split {name!r} is not one of {', '.join(SPLITS)}")
    return SPLITS[name]
