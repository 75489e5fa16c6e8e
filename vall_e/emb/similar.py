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
import itertools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np

from vall_e import audio, config, stage, storage
from vall_e.emb.features.slices import (
    DATASET,
    MADE_BY,
    RecordingSlices,
    Slice,
    group,
    items_of,
    load_slices,
    same_stretch,
)
from vall_e.emb.features.top_k import top_k
from vall_e.executor import make_executor
from vall_e.types import CodecSpec, ContractError, UsageError, safe_path

STAGE = "similar"
ROWS, SETTINGS, GROUPS = "similar.jsonl", "similar.json", "similar_groups.jsonl"
VERSION = 1  # of the features and their order: rows of two versions do not mix


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


def _make_mfcc(input_dataset: Path, options: SimilarOptions) -> FeatureExtractor:
    from vall_e.emb.features.mfcc import MfccExtractor

    return MfccExtractor()


def _make_codes(input_dataset: Path, options: SimilarOptions) -> FeatureExtractor:
    from vall_e.emb.features.histogram import HistogramExtractor

    spec = _codec(input_dataset)
    return HistogramExtractor(
        num_levels=spec.num_levels, codebook_size=spec.codebook_size, use_levels=options.code_levels
    )


EXTRACTORS: dict[str, Callable[[Path, SimilarOptions], FeatureExtractor]] = {"mfcc": _make_mfcc, "codes": _make_codes}


def similar(input_dataset: Path, options: SimilarOptions, *, input_audio: Path | None = None) -> stage.StageReport:
    """Brings DATA/similar.jsonl up to date; where it is, nothing is loaded and nothing written.

    Raises:
        UsageError: no dataset, no audio folder or one without any of the recordings, or rows made with other options.
        BackendError: a package is missing.
        ContractError: codes or audio that do not fit the dataset's rows, by id.
    """
    started = time.monotonic()
    groups = group(load_slices(input_dataset), options.scope)
    with storage.folder_lock(input_dataset):
        settings = _settings(input_dataset, options)
        done = set() if options.overwrite else _done(input_dataset, input_audio, groups, settings)
        todo = {key: groups[key] for key in sorted(groups.keys() - done)}
        report = stage.StageReport(stage=STAGE, num_rows=sum(map(len, groups.values())))
        report.num_items = report.num_rows
        report.num_resumed = sum(len(groups[key]) for key in done)
        if todo:
            report.audio_s = _run(input_dataset, options, input_audio, settings, groups, todo)
        else:
            _keep_only(input_dataset, settings, groups)
        report.notes += _notes(input_dataset)
    report.wall_s = time.monotonic() - started
    return report


def _dataset_json(input_dataset: Path) -> dict[str, Any]:
    return storage.read_json(storage.require_file(input_dataset / DATASET, MADE_BY)) or {}


def _codec(input_dataset: Path) -> CodecSpec:
    return storage.from_row(CodecSpec, _dataset_json(input_dataset).get("codec"), f"{input_dataset / DATASET}: codec")


def _folder(input_dataset: Path, input_audio: Path | None) -> Path | None:
    """Where the audio should be: as told now, else as `process` noted."""
    recorded = (_dataset_json(input_dataset).get("config") or {}).get("input_audio")
    return input_audio or (Path(recorded) if recorded else None)


def _voices(input_dataset: Path, input_audio: Path | None) -> Path:
    folder = _folder(input_dataset, input_audio)
    if folder is None:
        raise UsageError(f"{input_dataset / DATASET} does not say where the audio is; give --input-audio")
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder of audio; give --input-audio")
    return folder


def _missing(voices: Path, todo: Mapping[str, Sequence[Slice]], groups: Mapping[str, Sequence[Slice]]) -> set[str]:
    """Recordings of `todo` that are not in the folder any more.

    Raises:
        UsageError: nothing that the dataset was made of is there, so it is another folder.
    """
    wanted = {piece.recording_id for slices in todo.values() for piece in slices}
    missing = {name for name in wanted if not safe_path(voices, name).is_file()}
    others = (piece.recording_id for slices in groups.values() for piece in slices)
    if missing == wanted and not any(safe_path(voices, name).is_file() for name in others):
        raise UsageError(f"{voices}: holds none of the recordings, like {min(wanted)}; give the right --input-audio")
    return missing


# What is done, and what is kept of it


def _settings(input_dataset: Path, options: SimilarOptions) -> dict[str, Any]:
    """All that decides the result, apart from the utterances; `made` stands for what their audio and codes hold."""
    settings: dict[str, Any] = {"version": VERSION, "made": _dataset_json(input_dataset).get("made", "")}
    settings |= {name: getattr(options, name) for name in ("similarity_backend", "top_k", "scope")}
    if options.similarity_backend == "codes":
        spec = _codec(input_dataset)
        settings |= {"code_levels": options.code_levels, "codec": spec.name, "weights_sha256": spec.weights_sha256}
    return settings


def _done(
    input_dataset: Path,
    input_audio: Path | None,
    groups: Mapping[str, Sequence[Slice]],
    settings: Mapping[str, Any],
) -> set[str]:
    """Groups whose utterances all have rows and are the same as when those were written. No lost recording came back.

    Raises:
        UsageError: the rows come from other settings.
    """
    have = {row.get("id") for _, row in storage.read_json_lines(input_dataset / ROWS)}
    if not have:
        return set()
    written = storage.read_json(input_dataset / SETTINGS) or {}
    if written.get("made", "") != settings["made"]:
        return set()  # of a dataset that is no more, whatever the options were
    names = sorted(written.keys() | settings.keys())
    changes = [(name, written.get(name), settings.get(name)) for name in names if name != "made"]
    differing = ", ".join(f"{name}: {old}, now {new}" for name, old, new in changes if old != new)
    if differing:
        raise UsageError(f"{input_dataset / ROWS} was made with other options ({differing}); --overwrite drops it")
    marks = {row.get("id"): row for _, row in storage.read_json_lines(input_dataset / GROUPS)}
    folder = _folder(input_dataset, input_audio)
    back = {
        key
        for key, mark in marks.items()
        if folder and any(safe_path(folder, name).is_file() for name in mark.get("missing", ()))
    }
    return {
        key
        for key, slices in groups.items()
        if key in marks.keys() - back
        and marks[key].get("sha256") == _fingerprint(slices)
        and all(piece.id in have for piece in slices)
    }


def _notes(input_dataset: Path) -> list[str]:
    marks = (mark for _, mark in storage.read_json_lines(input_dataset / GROUPS))
    missing = sorted({name for mark in marks for name in mark.get("missing", ())})
    if not missing:
        return []
    found, whose = ("1 recording is", "its") if len(missing) == 1 else (f"{len(missing)} recordings are", "their")
    told = f"{found} not in the folder of audio any more, like {missing[0]}: {whose} utterances have no similar ones"
    return [f"{told}; {MADE_BY} --overwrite leaves them out"]


def _fingerprint(slices: Sequence[Slice]) -> str:
    digest = hashlib.sha256()
    for piece in slices:
        digest.update(json.dumps(list(msgspec.structs.astuple(piece))).encode() + b"\n")
    return digest.hexdigest()


def _keep_only(input_dataset: Path, settings: Mapping[str, Any], kept: Mapping[str, Sequence[Slice]]) -> None:
    """Drops the rows of all other groups. Does not touch a file that holds no others."""
    ids = {piece.id for slices in kept.values() for piece in slices}
    # marks go first: a kill between the two leaves rows that count as not done
    for name, wanted in ((GROUPS, kept.keys()), (ROWS, ids)):
        path = input_dataset / name
        rows = {row.get("id"): row for _, row in storage.read_json_lines(path)}
        if not path.exists() or not rows.keys() <= wanted:
            storage.write_json_lines(path, (row for key, row in rows.items() if key in wanted), input_dataset)
    path = input_dataset / SETTINGS
    if storage.read_json(path) != settings:
        storage.write_json(path, settings, input_dataset)


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
    missing = _missing(voices, todo, groups) if voices else set()
    here = {key: [piece for piece in slices if piece.recording_id not in missing] for key, slices in todo.items()}
    executor = make_executor(options.executor, options.workers)
    _keep_only(input_dataset, settings, {key: slices for key, slices in groups.items() if key not in todo})
    items = items_of(here)
    audio_s = 0.0

    def counted(outcomes: Iterable[stage.Outcome]) -> Iterator[stage.Outcome]:
        nonlocal audio_s
        for outcome in stage.track(outcomes, STAGE, len(items)):
            audio_s += outcome.audio_s
            yield outcome

    outcomes = executor.map(functools.partial(_make_worker, input_dataset, voices, options), items)
    rows_path, groups_path = input_dataset / ROWS, input_dataset / GROUPS
    with storage.JsonlWriter(rows_path) as rows, storage.JsonlWriter(groups_path) as marks:
        for key, raw in _gather(counted(outcomes), here):
            found = _rows(here[key], extractor.normalise(raw), options.top_k) if here[key] else []
            rows.write(_with_empty(todo[key], found))
            marks.write([_mark(key, todo[key], missing)])
    return audio_s


def _mark(key: str, slices: Sequence[Slice], missing: set[str]) -> dict[str, Any]:
    mark = {"id": key, "num_utterances": len(slices), "sha256": _fingerprint(slices)}
    gone = sorted(missing & {piece.recording_id for piece in slices})
    return mark | ({"missing": gone} if gone else {})


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
        codes = storage.read_array(safe_path(input_dataset, piece.codes))
        if codes.shape[1] != piece.num_frames:
            told = f"{piece.codes} has {codes.shape[1]} frames, its row says {piece.num_frames}"
            raise ContractError(f"{piece.id}: {told}; run {MADE_BY} --overwrite")
        yield codes


def _gather(
    outcomes: Iterable[stage.Outcome], todo: Mapping[str, Sequence[Slice]]
) -> Iterator[tuple[str, np.ndarray]]:
    """(key, statistics [N,D]) of each group, in the order of `todo`, whatever the order in which outcomes come.

    [0,0] for a group without slices.
    """
    place = {piece.id: (key, index) for key, slices in todo.items() for index, piece in enumerate(slices)}
    missing = {key: len(slices) for key, slices in todo.items()}
    arrays: dict[str, np.ndarray] = {}
    waiting = collections.deque(todo)
    nothing = stage.Outcome(item_id="")  # lets groups without slices go even if no outcome comes
    for outcome in itertools.chain([nothing], outcomes):
        for utterance_id, raw in outcome.rows:
            key, index = place[utterance_id]
            if key not in arrays:
                arrays[key] = np.empty((len(todo[key]), len(raw)), np.float32)
            arrays[key][index] = raw
            missing[key] -= 1
        while waiting and not missing[waiting[0]]:
            key = waiting.popleft()
            yield key, arrays.pop(key, np.empty((0, 0), np.float32))


# From features to lists


def _rows(slices: Sequence[Slice], features: np.ndarray, k: int) -> list[dict[str, Any]]:
    """`slices` sorted by id, as ties go to the lower index."""
    indices, scores = top_k(features, k, excluded=same_stretch(slices))
    return [
        {"id": piece.id, "similar": [[slices[n].id, score] for n, score in zip(best, values, strict=True) if n >= 0]}
        for piece, best, values in zip(slices, indices.tolist(), scores.tolist(), strict=True)
    ]


def _with_empty(slices: Sequence[Slice], rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for every slice, in their order: an empty list for those that have none."""
    found = {row["id"]: row for row in rows}
    return [found.get(piece.id, {"id": piece.id, "similar": []}) for piece in slices]


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
