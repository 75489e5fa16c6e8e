"""Speaker-prompt lists: for each utterance the most similar other ones of its speaker, or of the whole dataset.

    python -m vall_e.emb.similar --input-dataset DATA [--input-audio VOICES]

Features (MFCC statistics of the audio, or histograms of the codes) → cosine by blocked matrix products → the best K.
DATA/similar.jsonl gets one row per utterance, `{"id": …, "similar": [[id, score], …]}`, best first; an utterance
without another one gets an empty list.
"""

from __future__ import annotations

import argparse
import collections
import functools
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from vall_e import audio, config, manifest, stage
from vall_e.emb._top_k import top_k
from vall_e.executor import make_executor
from vall_e.types import CodecSpec, ContractError, UsageError, safe_path

STAGE = "similar"
UTTERANCES, DATASET = "utterances.jsonl", "dataset.json"
ROWS, SETTINGS, GROUPS = "similar.jsonl", "similar.json", "similar_groups.jsonl"
VERSION = 1  # of the features and their order: rows of two versions do not mix
MADE_BY = "python -m vall_e.emb.process"


class FeatureExtractor(Protocol):
    """Turns utterances into rows whose scalar product is a similarity."""

    needs_audio: bool

    def extract(self, inputs: Sequence[Any]) -> np.ndarray:
        """Statistics, float32 [B,D], each as if alone.

        `inputs`: (mono float32 [n], its rate in Hz) each if `needs_audio`, else codes uint16 [K,T].
        """
        ...

    def normalise(self, raw: np.ndarray) -> np.ndarray:
        """Statistics [N,D] of one group (a speaker or the corpus) → rows [N,D'] of unit norm, or zero, float32."""
        ...


@dataclass(frozen=True, kw_only=True)
class SimilarOptions:
    """Options of this stage: flags, and keys of the section `similar` in a config file."""

    similarity_backend: str = config.option(
        "mfcc", "features: mfcc of the audio, or histograms of the codes", choices=("mfcc", "codes")
    )
    top_k: int = config.option(8, "length of each list, at most")
    scope: str = config.option("speaker", "where to look for similar ones", choices=("speaker", "dataset"))
    code_levels: int = config.option(0, "backend codes: use that many levels from the first; 0 for all")
    workers: int = config.option(1, "processes that extract features; 0 for one per core")
    executor: str = config.option("local", "where they run", choices=("local", "ray"))
    overwrite: bool = config.option(False, "drop the lists of an earlier run")

    def __post_init__(self) -> None:
        if self.top_k < 1:
            raise ValueError(f"top_k: {self.top_k} is below 1")


@dataclass(frozen=True, kw_only=True)
class Slice:
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

    @property
    def end_samples(self) -> int:
        return self.start_samples + self.num_samples


@dataclass(frozen=True)
class RecordingSlices:
    """The unit of work: one recording, read once for all its slices, in order of start."""

    id: str
    slices: tuple[Slice, ...]


def _make_mfcc(input_dataset: Path, options: SimilarOptions) -> FeatureExtractor:
    from vall_e.emb.backends.mfcc import MfccExtractor

    return MfccExtractor()


def _make_codes(input_dataset: Path, options: SimilarOptions) -> FeatureExtractor:
    from vall_e.emb.backends.histogram import HistogramExtractor

    spec = _codec(input_dataset)
    return HistogramExtractor(
        num_levels=spec.num_levels, codebook_size=spec.codebook_size, use_levels=options.code_levels
    )


EXTRACTORS: dict[str, Callable[[Path, SimilarOptions], FeatureExtractor]] = {"mfcc": _make_mfcc, "codes": _make_codes}


def similar(input_dataset: Path, options: SimilarOptions, *, input_audio: Path | None = None) -> stage.StageReport:
    """Brings DATA/similar.jsonl up to date; where it is, nothing is loaded and nothing written.

    Raises:
        UsageError: no dataset, no audio folder, or rows that were made with other options.
        BackendError: a package is missing.
        ContractError: codes or audio that do not fit the dataset's rows, by id.
    """
    started = time.monotonic()
    groups = _group(load_slices(input_dataset), options.scope)
    with manifest.folder_lock(input_dataset):
        settings = _settings(input_dataset, options)
        done = set() if options.overwrite else _done(input_dataset, groups, settings)
        todo = {key: groups[key] for key in sorted(groups.keys() - done)}
        report = stage.StageReport(stage=STAGE, num_rows=sum(map(len, groups.values())))
        report.num_items = report.num_rows
        report.num_resumed = sum(len(groups[key]) for key in done)
        if todo:
            report.audio_s = _run(input_dataset, options, input_audio, settings, groups, todo)
        else:
            _keep_only(input_dataset, settings, groups)
    report.wall_s = time.monotonic() - started
    return report


def load_slices(input_dataset: Path) -> list[Slice]:
    """The utterances, sorted by id.

    Raises:
        UsageError: there is no dataset. ContractError: a bad row, an id twice, or times outside any audio.
    """
    path = manifest.require_file(input_dataset / UTTERANCES, MADE_BY)
    names = Slice.__dataclass_fields__.keys()
    slices: dict[str, Slice] = {}
    for number, row in manifest.read_json_lines(path):
        piece = manifest.from_row(Slice, {key: row[key] for key in names if key in row}, f"{path}:{number}")
        if piece.id in slices:
            raise ContractError(f"{path}:{number}: {piece.id} for the second time")
        if piece.start_samples < 0 or piece.num_samples < 1:
            raise ContractError(f"{path}:{number}: {piece.id}: no audio from sample {piece.start_samples} on")
        slices[piece.id] = piece
    return [slices[key] for key in sorted(slices)]


def _group(slices: Iterable[Slice], scope: str) -> dict[str, list[Slice]]:
    """Those that are compared with each other; speakers of one name in two groups are two people."""
    groups: dict[str, list[Slice]] = collections.defaultdict(list)
    for piece in slices:
        groups[f"{piece.group}/{piece.speaker}" if scope == "speaker" else "dataset"].append(piece)
    return dict(groups)


def _dataset_json(input_dataset: Path) -> dict[str, Any]:
    return manifest.read_json(manifest.require_file(input_dataset / DATASET, MADE_BY)) or {}


def _codec(input_dataset: Path) -> CodecSpec:
    return manifest.from_row(CodecSpec, _dataset_json(input_dataset).get("codec"), f"{input_dataset / DATASET}: codec")


def _voices(input_dataset: Path, input_audio: Path | None) -> Path:
    if input_audio is None:
        recorded = (_dataset_json(input_dataset).get("config") or {}).get("input_audio")
        if not recorded:
            raise UsageError(f"{input_dataset / DATASET} does not say where the audio is; give --input-audio")
        input_audio = Path(recorded)
    if not input_audio.is_dir():
        raise UsageError(f"{input_audio}: no such folder of audio; give --input-audio")
    return input_audio


# What is done, and what is kept of it


def _settings(input_dataset: Path, options: SimilarOptions) -> dict[str, Any]:
    """All that decides the result, apart from the utterances."""
    settings: dict[str, Any] = {"version": VERSION}
    settings |= {name: getattr(options, name) for name in ("similarity_backend", "top_k", "scope")}
    if options.similarity_backend == "codes":
        spec = _codec(input_dataset)
        settings |= {"code_levels": options.code_levels, "codec": spec.name, "weights_sha256": spec.weights_sha256}
    return settings


def _done(input_dataset: Path, groups: Mapping[str, Sequence[Slice]], settings: Mapping[str, Any]) -> set[str]:
    """Groups whose utterances all have rows, and are the same as when those were written.

    Raises:
        UsageError: the rows come from other settings.
    """
    have = {row.get("id") for _, row in manifest.read_json_lines(input_dataset / ROWS)}
    if not have:
        return set()
    path = input_dataset / SETTINGS
    written = manifest.read_json(path) or {}
    names = sorted(written.keys() | settings.keys())
    changes = [(name, written.get(name), settings.get(name)) for name in names]
    differing = ", ".join(f"{name}: {old}, now {new}" for name, old, new in changes if old != new)
    if differing:
        raise UsageError(f"{input_dataset / ROWS} was made with other options ({differing}); --overwrite drops it")
    marks = {row.get("id"): row.get("sha256") for _, row in manifest.read_json_lines(input_dataset / GROUPS)}
    return {
        key
        for key, slices in groups.items()
        if marks.get(key) == _fingerprint(slices) and all(piece.id in have for piece in slices)
    }


def _fingerprint(slices: Sequence[Slice]) -> str:
    digest = hashlib.sha256()
    for piece in slices:
        digest.update(json.dumps(list(vars(piece).values())).encode() + b"\n")
    return digest.hexdigest()


def _keep_only(input_dataset: Path, settings: Mapping[str, Any], kept: Mapping[str, Sequence[Slice]]) -> None:
    """Drops the rows of all other groups. Does not touch a file that holds no others."""
    ids = {piece.id for slices in kept.values() for piece in slices}
    # marks go first: a kill between the two leaves rows that count as not done
    for name, wanted in ((GROUPS, kept.keys()), (ROWS, ids)):
        path = input_dataset / name
        rows = {row.get("id"): row for _, row in manifest.read_json_lines(path)}
        if not path.exists() or not rows.keys() <= wanted:
            manifest.write_json_lines(path, (row for key, row in rows.items() if key in wanted), input_dataset)
    path = input_dataset / SETTINGS
    if manifest.read_json(path) != settings:
        manifest.write_json(path, settings, input_dataset)


# From files to features


def _run(
    input_dataset: Path,
    options: SimilarOptions,
    input_audio: Path | None,
    settings: Mapping[str, Any],
    groups: Mapping[str, Sequence[Slice]],
    todo: Mapping[str, Sequence[Slice]],
) -> float:
    """Appends the rows of `todo`, one group after the other; returns the seconds of audio that were read."""
    extractor = EXTRACTORS[options.similarity_backend](input_dataset, options)
    voices = _voices(input_dataset, input_audio) if extractor.needs_audio else None
    executor = make_executor(options.executor, options.workers)
    _keep_only(input_dataset, settings, {key: slices for key, slices in groups.items() if key not in todo})
    items = _items(todo)
    audio_s = 0.0

    def counted(outcomes: Iterable[stage.Outcome]) -> Iterator[stage.Outcome]:
        nonlocal audio_s
        for outcome in stage.track(outcomes, STAGE, len(items)):
            audio_s += outcome.audio_s
            yield outcome

    outcomes = executor.map(functools.partial(_make_worker, input_dataset, voices, options), items)
    rows_path, groups_path = input_dataset / ROWS, input_dataset / GROUPS
    with manifest.JsonlWriter(rows_path) as rows, manifest.JsonlWriter(groups_path) as marks:
        for key, raw in _gather(counted(outcomes), todo):
            rows.write(_rows(todo[key], extractor.normalise(raw), options.top_k))
            marks.write([{"id": key, "num_utterances": len(todo[key]), "sha256": _fingerprint(todo[key])}])
    return audio_s


def _items(todo: Mapping[str, Sequence[Slice]]) -> list[RecordingSlices]:
    """Recordings in the order in which groups need them; one that holds several speakers is read once."""
    by_recording: dict[str, list[Slice]] = collections.defaultdict(list)
    for slices in todo.values():
        for piece in slices:
            by_recording[piece.recording_id].append(piece)
    order = lambda piece: (piece.start_samples, piece.num_samples, piece.id)  # noqa: E731
    return [RecordingSlices(key, tuple(sorted(slices, key=order))) for key, slices in by_recording.items()]


def _make_worker(
    input_dataset: Path, voices: Path | None, options: SimilarOptions
) -> Callable[[RecordingSlices], stage.Outcome]:
    extractor = EXTRACTORS[options.similarity_backend](input_dataset, options)
    return functools.partial(_extract, extractor, input_dataset, voices)


def _extract(
    extractor: FeatureExtractor, input_dataset: Path, voices: Path | None, item: RecordingSlices
) -> stage.Outcome:
    """An outcome whose rows are (utterance id, statistics [D])."""
    inputs = _read_codes(input_dataset, item) if voices is None else _read_audio(voices, item)
    rows = []
    for piece, value in zip(item.slices, inputs, strict=True):
        try:
            raw = extractor.extract([value])[0]
        except ContractError as error:
            raise ContractError(f"{piece.id}: {error}; run {MADE_BY} --overwrite") from None
        rows.append((piece.id, raw))
    audio_s = sum(piece.num_samples / piece.sample_rate_hz for piece in item.slices) if voices else 0.0
    return stage.Outcome(item_id=item.id, rows=tuple(rows), audio_s=audio_s)


def _read_audio(voices: Path, item: RecordingSlices) -> Iterator[tuple[np.ndarray, int]]:
    path = safe_path(voices, item.id)
    piece = item.slices[0]
    try:
        if not audio.is_inside(voices, path):
            raise ContractError(f"{item.id}: a link that leaves {voices}")
        rate_hz = audio.probe(path, item.id).sample_rate_hz
        pieces = audio.iter_slices(path, [(piece.start_samples, piece.num_samples) for piece in item.slices])
        for piece in item.slices:
            if piece.sample_rate_hz != rate_hz:
                told = f"{path} has {rate_hz} Hz, the dataset says {piece.sample_rate_hz}"
                raise ContractError(f"{piece.id}: {told}; {_STALE}")
            yield next(pieces), rate_hz
    except (audio.AudioError, OSError) as error:
        raise ContractError(f"{piece.id}: {path}: {error}; {_STALE}") from None


_STALE = f"the audio is not what the dataset was made of: give the right --input-audio or run {MADE_BY} --overwrite"


def _read_codes(input_dataset: Path, item: RecordingSlices) -> Iterator[np.ndarray]:
    for piece in item.slices:
        codes = manifest.read_array(safe_path(input_dataset, piece.codes))
        if codes.shape[1] != piece.num_frames:
            told = f"{piece.codes} has {codes.shape[1]} frames, its row says {piece.num_frames}"
            raise ContractError(f"{piece.id}: {told}; run {MADE_BY} --overwrite")
        yield codes


def _gather(
    outcomes: Iterable[stage.Outcome], todo: Mapping[str, Sequence[Slice]]
) -> Iterator[tuple[str, np.ndarray]]:
    """(key, statistics [N,D]) of each group, in the order of `todo`, whatever the order in which outcomes come."""
    place = {piece.id: (key, index) for key, slices in todo.items() for index, piece in enumerate(slices)}
    missing = {key: len(slices) for key, slices in todo.items()}
    arrays: dict[str, np.ndarray] = {}
    waiting = collections.deque(todo)
    for outcome in outcomes:
        for utterance_id, raw in outcome.rows:
            key, index = place[utterance_id]
            if key not in arrays:
                arrays[key] = np.empty((len(todo[key]), len(raw)), np.float32)
            arrays[key][index] = raw
            missing[key] -= 1
        while waiting and not missing[waiting[0]]:
            key = waiting.popleft()
            yield key, arrays.pop(key)


# From features to lists


def _rows(slices: Sequence[Slice], features: np.ndarray, k: int) -> list[dict[str, Any]]:
    """`slices` sorted by id, as ties go to the lower index."""
    indices, scores = top_k(features, k, excluded=same_stretch(slices))
    return [
        {"id": piece.id, "similar": [[slices[n].id, score] for n, score in zip(best, values, strict=True) if n >= 0]}
        for piece, best, values in zip(slices, indices.tolist(), scores.tolist(), strict=True)
    ]


def same_stretch(slices: Sequence[Slice]) -> list[np.ndarray]:
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


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m vall_e.emb.similar", description="Speaker-prompt lists.")
    parser.add_argument("--input-dataset", type=Path, required=True, metavar="DATA", help=f"what {MADE_BY} wrote")
    parser.add_argument("--input-audio", type=Path, metavar="VOICES", help="default: that of the dataset")
    config.add_options(parser, SimilarOptions)
    args = parser.parse_args(argv)
    options = config.resolve(SimilarOptions, args, STAGE)
    return similar(args.input_dataset, options, input_audio=args.input_audio).finish(None)


if __name__ == "__main__":
    config.run_main(main)
