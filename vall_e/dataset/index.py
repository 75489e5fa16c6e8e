"""A built dataset, opened: columns as numpy views of memory-mapped files, row files opened when first touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vall_e import storage
from vall_e.dataset import files
from vall_e.dataset.vocab import Vocabulary
from vall_e.types import CodecSpec, ContractError, UsageError


class Index:
    """`n` utterances in order of id. Opening reads no row: it takes as long for a thousand as for ten million.

    Columns are read-only numpy views [n] of the mapped index: `num_frames`, `num_tokens` (<bos> and <eos> included),
    `num_similar`, `speaker` (place in `speakers`), `language` (id in `vocabulary`), `split` (0 training, 1 validation),
    `aligned` (1 where durations are known), `start_samples`, `num_samples`, and the hashes `id_hash` and
    `recording_hash`.

    Pickled, it is its path alone: a worker process maps the files itself.

    Raises:
        UsageError: there is no built dataset at `path`. ContractError: it is damaged or of another version.
    """

    num_frames: np.ndarray
    num_tokens: np.ndarray
    num_similar: np.ndarray
    speaker: np.ndarray
    language: np.ndarray
    split: np.ndarray
    aligned: np.ndarray
    start_samples: np.ndarray
    num_samples: np.ndarray
    id_hash: np.ndarray
    recording_hash: np.ndarray

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.built = read_built(self.path)
        self.fingerprint: str = self.built["fingerprint"]
        self.speakers: list[str] = self.built["speakers"]
        self.spec = storage.from_row(CodecSpec, self.built["codec"], f"{self.path / files.BUILT_JSON}: codec")
        self.vocabulary = Vocabulary.load(self.path / files.VOCAB_JSON)
        if self.vocabulary.sha256 != self.built["vocab_sha256"]:
            raise ContractError(f"{self.path / files.VOCAB_JSON}: not the vocabulary that the tokens were made with")
        batch = self._open(files.INDEX_FILE).batch(0)
        for name in files.INDEX_COLUMNS:
            setattr(self, name, files.numbers(batch.column(name)))
        names = self.built["scores"]
        self._scores = {name: files.numbers(batch.column(files.score_column(name))) for name in names}
        self._ids = batch.column("id")
        members = self._open(files.SPEAKERS_FILE).batch(0)
        self._bounds, self._members = files.lists(members.column("utterances"))
        self._num_training = files.numbers(members.column("num_training"))
        self._batch_rows: int = self.built["layout"]["batch_rows"]
        self._file_batches: int = self.built["layout"]["file_batches"]
        self._files: dict[int, files.ArrowFile] = {}
        self._batches: dict[int, dict[str, tuple[np.ndarray, np.ndarray]]] = {}

    def __len__(self) -> int:
        return len(self.split)

    def __reduce__(self) -> tuple[Any, ...]:
        return Index, (self.path,)

    def _open(self, name: str) -> files.ArrowFile:
        path = self.path / name
        expected = self.built["files"].get(name)
        if not path.is_file() or path.stat().st_size != expected:
            raise ContractError(f"{path}: missing, or not {expected} bytes long as built; build it again")
        return files.ArrowFile(path, self.fingerprint)

    def _lists(self, row: int, name: str) -> np.ndarray:
        number, place = divmod(int(row), self._batch_rows)
        if number not in self._batches:
            file_number, batch_number = divmod(number, self._file_batches)
            if file_number not in self._files:
                self._files[file_number] = self._open(files.rows_file(file_number))
            batch = self._files[file_number].batch(batch_number)
            self._batches[number] = {column: files.lists(batch.column(column)) for column in files.ROW_COLUMNS}
        offsets, values = self._batches[number][name]
        return values[offsets[place] : offsets[place + 1]]

    def id(self, row: int) -> str:
        name: str = self._ids[int(row)].as_py()
        return name

    def codes(self, row: int) -> np.ndarray:
        """uint16 [K,T], a read-only view of the file."""
        return self._lists(row, "codes").reshape(self.spec.num_levels, -1)

    def tokens(self, row: int) -> np.ndarray:
        """int32 [S] with <bos> and <eos>, a read-only view of the file."""
        return self._lists(row, "tokens")

    def durations(self, row: int) -> np.ndarray:
        """int32 [S], the frames of each token, a read-only view of the file; [0] where nobody knows them."""
        return self._lists(row, "durations")

    def similar(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """(rows int32 [N], scores float32 [N]), best first."""
        return self._lists(row, "similar"), self._lists(row, "scores")

    def score(self, name: str) -> np.ndarray:
        """float32 [n]: a score of each utterance, NaN where it has none.

        Raises:
            UsageError: no utterance has it.
        """
        if name not in self._scores:
            known = ", ".join(self._scores) or "none"
            raise UsageError(f"{self.path}: no utterance has a score {name!r}; there are {known}")
        return self._scores[name]

    def rows(self, split: int) -> np.ndarray:
        """int64 rows of one split, in order of id."""
        return np.flatnonzero(self.split == split)

    def speaker_rows(self, speaker: int, *, training_only: bool) -> np.ndarray:
        """int32 rows of a speaker; those for training, or all."""
        start, end = self._bounds[speaker], self._bounds[speaker + 1]
        return self._members[start : start + self._num_training[speaker] if training_only else end]


def read_built(path: Path) -> dict[str, Any]:
    """built.json of the dataset at `path`.

    Raises:
        UsageError: there is none. ContractError: not JSON, or of another version.
    """
    file = storage.require_file(path / files.BUILT_JSON, "`python -m vall_e.dataset build`")
    value = storage.read_json(file) or {}
    if value.get("version") != files.BUILT_VERSION:
        raise ContractError(f"{file}: not of version {files.BUILT_VERSION}; build it again")
    return value
