"""Second pass over the input: utterances with their arrays and similar lists, checked and turned into numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vall_e import layout, storage
from vall_e.dataset import files, scan
from vall_e.scores import Limits
from vall_e.types import CodecSpec, ContractError, Durations, UsageError, Utterance, safe_path


@dataclass(frozen=True)
class Source:
    """The input folder, and how its files looked when the build began."""

    folder: Path
    spec: CodecSpec
    made: str  # changes when `process` recreates or updates the dataset, whatever its rows say
    gates: dict[str, dict[str, float | None]]  # limits of scores
    stamps: tuple[Any, ...]

    @property
    def utterances(self) -> Path:
        return self.folder / layout.UTTERANCES

    @property
    def process(self) -> dict[str, Any]:
        """The options that texts became phonemes with, and sound codes: a model needs them to speak."""
        head = storage.read_json(self.folder / layout.DATASET_JSON) or {}
        return {name: value for name, value in (head.get("config") or {}).items() if name != "input_audio"}

    @property
    def durations(self) -> Path | None:
        """The durations of these utterances; None where there are none, or only those of an earlier dataset."""
        path = self.folder / layout.DURATIONS
        made = (storage.read_json(self.folder / layout.DURATIONS_JSON) or {}).get("made")
        return path if path.is_file() and made == self.made else None

    @property
    def similar(self) -> Path:
        return self.folder / layout.SIMILAR

    @classmethod
    def open(cls, folder: Path) -> Source:
        if not folder.is_dir():
            raise UsageError(f"{folder}: no such folder")
        storage.require_file(folder / layout.UTTERANCES, layout.MADE_BY[layout.UTTERANCES])
        stamps = _stamps(folder)
        return cls(folder, *scan.read_head(folder / layout.DATASET_JSON), stamps)

    def check_unchanged(self) -> None:
        """Raises:
        ContractError: names the folder, if a file was written to since `open`.
        """
        if _stamps(self.folder) != self.stamps:
            raise ContractError(f"{self.folder}: changed while it was read; run again when nothing writes there")


def _stamps(folder: Path) -> tuple[Any, ...]:
    stamps: list[Any] = []
    for name in (layout.UTTERANCES, layout.SIMILAR, layout.DURATIONS, layout.DATASET_JSON):
        try:
            stat = (folder / name).stat()
            stamps.append((name, stat.st_ino, stat.st_size, stat.st_mtime_ns))
        except FileNotFoundError:
            stamps.append((name, None))
    return tuple(stamps)


class EntryReader:
    """Reads utterances by their place in the catalogue, and checks what is known only now. A context manager."""

    def __init__(self, source: Source, catalogue: scan.Catalogue, similar_offsets: np.ndarray, limits: Limits) -> None:
        self.source, self.limits = source, limits
        self.catalogue = catalogue
        self.similar_offsets = similar_offsets
        self._durations = None if source.durations is None else storage.RowIndex(source.durations, "id")
        self._speakers = {name: number for number, name in enumerate(catalogue.speakers)}

    def __enter__(self) -> EntryReader:
        self._rows = self.source.utterances.open("rb")
        self._similar = self.source.similar.open("rb") if (self.similar_offsets >= 0).any() else None
        return self

    def __exit__(self, *_: object) -> None:
        self._rows.close()
        if self._similar is not None:
            self._similar.close()

    def read(self, rows: range) -> list[files.Entry]:
        """Raises:
        ContractError: names the utterance whose array or row is not as promised.
        """
        names: list[str] = []
        scores: list[list[float]] = []
        for row in rows:
            _, others, values = self._similar_of(row)
            if self.catalogue.left_out:
                kept = [scan.hash_id(other, scan.ID_SALT) not in self.catalogue.left_out for other in others]
                others = [other for other, keep in zip(others, kept, strict=True) if keep]
                values = [value for value, keep in zip(values, kept, strict=True) if keep]
            names += others
            scores.append(values)
        found = self.catalogue.table.rows(names)
        if (found < 0).any():
            missing = names[int(np.argmax(found < 0))]
            raise ContractError(f"{self.source.similar}: {missing}: is called similar, but is not in the dataset")
        ends = np.cumsum([len(values) for values in scores])
        return [
            self._entry(row, found[end - len(values) : end], values)
            for row, values, end in zip(rows, scores, ends, strict=True)
        ]

    def _similar_of(self, row: int) -> tuple[str, list[str], list[float]]:
        name = self.catalogue.table.ids[row].as_py()
        if self._similar is None or self.similar_offsets[row] < 0:
            return name, [], []
        self._similar.seek(self.similar_offsets[row])
        where = f"{self.source.similar}: {name}"
        found = scan.similar_of(scan.parse_line(self._similar.readline(), where), where)
        if found[0] != name:
            raise ContractError(f"{name}: its line in {self.source.similar} changed while it was read")
        return found

    def _entry(self, row: int, similar: np.ndarray, scores: list[float]) -> files.Entry:
        name = self.catalogue.table.ids[row].as_py()
        self._rows.seek(self.catalogue.offsets[row])
        where = f"{self.source.utterances}: {name}"
        utterance = storage.decode(Utterance, self._rows.readline(), where)
        if utterance.id != name:
            raise ContractError(f"{name}: its row in {self.source.utterances} changed while it was read")
        vocabulary = self.catalogue.vocabulary
        tokens = vocabulary.encode(utterance.phonemes, name)
        return files.Entry(
            id=name,
            recording_id=utterance.recording_id,
            speaker=self._speakers[utterance.speaker_id],
            language=vocabulary.language_id(utterance.language, name),
            split=utterance.split,
            start_samples=utterance.start_samples,
            num_samples=utterance.num_samples,
            codes=read_codes(self.source.folder, utterance, self.source.spec),
            tokens=tokens,
            durations=self._durations_of(utterance, len(tokens)),
            similar=similar.astype(np.int32),
            scores=np.array(scores, np.float32),
            gate_scores=self.limits.scores_of(utterance),
        )

    def _durations_of(self, utterance: Utterance, num_tokens: int) -> np.ndarray:
        place = None if self._durations is None else self._durations.get(utterance.id)
        frames = None if place is None else place.read(Durations).durations_frames
        found = np.array(frames or (), np.int32)
        if len(found) and (len(found) != num_tokens or found.sum() != utterance.num_frames or found.min() < 0):
            promised = f"{num_tokens} tokens and {utterance.num_frames} frames"
            where = f"{utterance.id}: its durations in {layout.DURATIONS} are not of {promised}"
            raise ContractError(f"{where}; run {layout.MADE_BY[layout.DURATIONS]} --overwrite")
        return found


def read_codes(folder: Path, utterance: Utterance, spec: CodecSpec) -> np.ndarray:
    """uint16 [K,T] in memory.

    Raises:
        ContractError: names the utterance whose array is missing or not as its row and the codec promise.
    """
    try:
        codes = np.array(storage.read_array(safe_path(folder, utterance.codes)))
    except ContractError as error:
        raise ContractError(f"{utterance.id}: {error}") from None
    if codes.shape != (spec.num_levels, utterance.num_frames):
        promised = f"{spec.num_levels} levels and {utterance.num_frames} frames"
        raise ContractError(f"{utterance.id}: {promised} are promised, its array is {list(codes.shape)}")
    if codes.max() >= spec.codebook_size:
        raise ContractError(f"{utterance.id}: code {codes.max()} is outside the codebook of {spec.codebook_size}")
    return codes
