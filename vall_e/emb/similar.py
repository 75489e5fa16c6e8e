"""Speaker-prompt lists: for each utterance the most similar other ones of its speaker, or of the whole dataset.

    python -m vall_e.emb.similar --input-dataset DATA [--input-audio VOICES]

Features (the codec's vectors of the codes, or others) → cosine by blocked matrix products → the best K.
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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from vall_e import audio, config, layout, progress, stage, storage
from vall_e.emb.features.base import FeatureExtractor
from vall_e.emb.features.registry import FEATURES, OF_MODEL, OF_VECTORS, FeatureOptions, load_features
from vall_e.emb.features.slices import (
    MADE_BY,
    RecordingSlices,
    Slice,
    group,
    items_of,
    load_slices,
    overlapping,
    same_takes,
)
from vall_e.emb.features.top_k import top_k
from vall_e.emb.slice_audio import Source, dataset_json, open_audio, read_slices
from vall_e.executor import EXECUTORS, make_executor
from vall_e.types import BackendError, CodecSpec, ContractError, UsageError, safe_path

STAGE = "similar"
VERSION = 1  # of the features and their order: rows of two versions do not mix
VERSION_OF_VECTORS = 2  # of the back ends that average vectors


@dataclass(frozen=True, kw_only=True)
class SimilarOptions(FeatureOptions):
    """Options of this stage: flags, and keys of the section `similar` in a config file."""

    weights: Path | None = config.option(None, "of the codec, where they are not its back end's own")
    top_k: int = config.option(8, "length of each list, at most")
    scope: str = config.option("speaker", "where to look for similar ones", choices=("speaker", "dataset"))
    workers: int = config.option(1, "processes that extract features; 0 for one per core")
    executor: str = config.option("local", "where they run", choices=EXECUTORS)
    overwrite: bool = config.option(False, "start from scratch: drop the lists of an earlier run")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.top_k < 1:
            raise ValueError(f"top_k: {self.top_k} is below 1")

    @property
    def result_options(self) -> dict[str, Any]:
        """The options that change the result: what a resumed run must share with the one before."""
        of_codes = ("code_levels",) if self.similarity_backend == "codes" else ()
        return {name: getattr(self, name) for name in ("similarity_backend", "top_k", "scope", *of_codes)}


def similar(
    input_dataset: Path,
    options: SimilarOptions,
    *,
    input_audio: Path | None = None,
    input_metadata: Path | None = None,
) -> stage.StageReport:
    """Brings DATA/similar.jsonl up to date; where it is, nothing is loaded and nothing written.

    Args:
        input_dataset: what `process` wrote.
        options: see SimilarOptions.
        input_audio: the corpus; None: where the dataset says it is.
        input_metadata: the folder of recordings.jsonl; None: where the dataset says it is.

    Raises:
        UsageError: no dataset, no audio folder or one without any of the recordings, or rows made with other options.
        BackendError: a package is missing.
        ContractError: codes or audio that do not fit the dataset's rows, by id.
    """
    started = time.monotonic()
    groups = group(load_slices(input_dataset), options.scope)
    options, notes = _resolved(input_dataset, options)
    extractor = load_features(options, _codec(input_dataset))
    with storage.folder_lock(input_dataset):
        needs_audio = extractor.needs_audio and bool(groups)
        source = Source(input_dataset, None, None)
        if needs_audio:
            source = open_audio(
                input_dataset, input_audio, input_metadata, executor=options.executor, workers=options.workers
            )
        settings = _settings(input_dataset, options)
        done = set() if options.overwrite else _done(source, groups, settings, options)
        todo = {key: groups[key] for key in sorted(groups.keys() - done)}
        report = stage.StageReport(stage=STAGE, num_rows=sum(map(len, groups.values())))
        report.num_items = report.num_rows
        report.num_resumed = sum(len(groups[key]) for key in done)
        if todo:
            extractor = _extractor(input_dataset, options)
            report.audio_s = _run(source, options, extractor, settings, groups, todo)
        else:
            _keep_only(input_dataset, settings, groups)
        report.notes += notes + _notes(input_dataset)
    report.wall_s = time.monotonic() - started
    return report


def _codec(input_dataset: Path) -> CodecSpec:
    path = input_dataset / layout.DATASET_JSON
    return storage.from_row(CodecSpec, dataset_json(input_dataset).get("codec"), f"{path}: codec")


def _resolved(dataset: Path, options: SimilarOptions) -> tuple[SimilarOptions, list[str]]:
    """The options with `auto` resolved, to that of existing lists if there are any, and notes for the report."""
    if options.similarity_backend != config.AUTO:
        return options, []
    written = storage.read_json(dataset / layout.SIMILAR_JSON) or {}
    if written.get("made", "") == dataset_json(dataset).get("made", "") and not options.overwrite:
        known = written.get("similarity_backend")
        if known in FEATURES:
            return replace(options, similarity_backend=str(known)), []
    try:
        if _codebooks(dataset, options) is not None:
            return replace(options, similarity_backend="codec"), []
        why = "it has no vectors"
    except (BackendError, UsageError) as error:
        why = str(error)
    return replace(options, similarity_backend="mfcc"), [f"by mfcc, as the codec can't be used: {why}"]


def _codebooks(dataset: Path, options: SimilarOptions) -> Any:
    """The codec's vectors; None where it has none."""
    from vall_e import trained
    from vall_e.emb.codecs.registry import load_same_codec

    process = dataset_json(dataset).get("config") or {}
    return trained.codebooks_of(load_same_codec(_codec(dataset), process, str(dataset), weights=options.weights))


def _extractor(dataset: Path, options: SimilarOptions) -> FeatureExtractor:
    """The chosen extractor, with the vectors that it wants."""
    spec = _codec(dataset)
    extractor = load_features(options, spec)
    wanted = getattr(extractor, "vectors_of", None)
    if wanted is None:
        return extractor
    from vall_e import trained
    from vall_e.emb.features.vectors import Tables

    if wanted == "codec":
        codebooks = _codebooks(dataset, options)
        if codebooks is None:
            raise UsageError(f"similarity backend codec: the codec {spec.name} offers no vectors; choose codes")
        extractor.vectors = Tables(codebooks.numpy())  # type: ignore[attr-defined]
        return extractor
    model = trained.load(options.model)
    if model.codec.spec != spec:
        raise UsageError(f"{options.model}: of the codec {model.codec.spec.name}, the dataset is of {spec.name}")
    extractor.vectors = Tables(model.response_tables()) if wanted == "model" else model.hidden()  # type: ignore[attr-defined]
    return extractor


def _missing(source: Source, todo: Mapping[str, Sequence[Slice]], groups: Mapping[str, Sequence[Slice]]) -> set[str]:
    """Recordings of `todo` that are not in the folder any more.

    Raises:
        UsageError: nothing that the dataset was made of is there, so it is another folder.
    """
    wanted = {piece.recording_id for slices in todo.values() for piece in slices}
    missing = {name for name in wanted if not source.is_there(name)}
    others = (piece.recording_id for slices in groups.values() for piece in slices)
    if missing and missing == wanted and not any(source.is_there(name) for name in others):
        what = f"holds none of the recordings, like {min(wanted)}"
        assert source.roots is not None, "where no audio is read, everything is there"
        raise UsageError(f"{source.roots.corpus}: {what}; give the right --input-audio")
    return missing


# What is done, and what is kept of it


def _settings(input_dataset: Path, options: SimilarOptions) -> dict[str, Any]:
    """What the lists are made with, apart from the utterances; `made` stands for what their audio and codes hold."""
    version = VERSION_OF_VECTORS if options.similarity_backend in OF_VECTORS else VERSION
    settings: dict[str, Any] = {"version": version, "made": dataset_json(input_dataset).get("made", "")}
    settings |= options.result_options
    if options.similarity_backend in ("codes", "codec"):
        spec = _codec(input_dataset)
        settings |= {"codec": spec.name, "weights_sha256": spec.weights_sha256}
    if options.similarity_backend in OF_MODEL:
        from vall_e import trained

        settings["model_sha256"] = trained.fingerprint(options.model)
    return settings


def _done(
    source: Source, groups: Mapping[str, Sequence[Slice]], settings: Mapping[str, Any], options: SimilarOptions
) -> set[str]:
    """Groups whose utterances all have rows and are the same as when those were written. No lost recording came back.

    Raises:
        UsageError: the rows come from other settings.
    """
    have = {row.get("id") for _, row in storage.read_json_lines(source.dataset / layout.SIMILAR)}
    if not have:
        return set()
    written = storage.read_json(source.dataset / layout.SIMILAR_JSON) or {}
    if written.get("made", "") != settings["made"]:
        return set()  # of a dataset that is no more, whatever the options were
    path = source.dataset / layout.SIMILAR
    stage.check_same(path, written, options)
    for name in ("version", "codec", "weights_sha256", "model_sha256"):
        if written.get(name) != settings.get(name):
            changed = f"{name} {written.get(name)!r}, now {settings.get(name)!r}"
            raise UsageError(f"{path}: made with {changed}; {stage.OVERWRITE_ADVICE}")
    marks = {row.get("id"): row for _, row in storage.read_json_lines(source.dataset / layout.SIMILAR_GROUPS)}
    back = {key for key, mark in marks.items() if any(source.is_there(name) for name in mark.get("missing", ()))}
    return {
        key
        for key, slices in groups.items()
        if key in marks.keys() - back
        and marks[key].get("sha256") == _fingerprint(slices)
        and all(piece.id in have for piece in slices)
    }


def _notes(input_dataset: Path) -> list[str]:
    marks = (mark for _, mark in storage.read_json_lines(input_dataset / layout.SIMILAR_GROUPS))
    missing = sorted({name for mark in marks for name in mark.get("missing", ())})
    if not missing:
        return []
    found, whose = ("1 recording is", "its") if len(missing) == 1 else (f"{len(missing)} recordings are", "their")
    what = f"{found} not in the folder of audio any more, like {missing[0]}: {whose} utterances have no similar ones"
    return [f"{what}; --update of all stages leaves them out"]


def _fingerprint(slices: Sequence[Slice]) -> str:
    digest = hashlib.sha256()
    for piece in slices:
        digest.update(json.dumps(list(msgspec.structs.astuple(piece))).encode() + b"\n")
    return digest.hexdigest()


def _keep_only(input_dataset: Path, settings: Mapping[str, Any], kept: Mapping[str, Sequence[Slice]]) -> None:
    """Drops the rows of all other groups. Does not touch a file that holds no others."""
    ids = {piece.id for slices in kept.values() for piece in slices}
    # marks go first: a kill between the two leaves rows that count as not done
    for name, wanted in ((layout.SIMILAR_GROUPS, kept.keys()), (layout.SIMILAR, ids)):
        path = input_dataset / name
        rows = {row.get("id"): row for _, row in storage.read_json_lines(path)}
        if not path.exists() or not rows.keys() <= wanted:
            storage.write_json_lines(path, (row for key, row in rows.items() if key in wanted), input_dataset)
    path = input_dataset / layout.SIMILAR_JSON
    if storage.read_json(path) != settings:
        storage.write_json(path, settings, input_dataset)


# From files to features


def _run(
    source: Source,
    options: SimilarOptions,
    extractor: FeatureExtractor,
    settings: Mapping[str, Any],
    groups: Mapping[str, Sequence[Slice]],
    todo: Mapping[str, Sequence[Slice]],
) -> float:
    """Appends the rows of `todo`, one group after the other; returns the seconds of audio that were read."""
    dataset = source.dataset
    missing = _missing(source, todo, groups)
    here = {key: [piece for piece in slices if piece.recording_id not in missing] for key, slices in todo.items()}
    executor = make_executor(options.executor, options.workers)
    _keep_only(dataset, settings, {key: slices for key, slices in groups.items() if key not in todo})
    items = items_of(here, source.place_of)
    audio_s = 0.0

    def counted(outcomes: Iterable[stage.Outcome]) -> Iterator[stage.Outcome]:
        nonlocal audio_s
        total_s = sum(item.duration_s for item in items)
        for outcome in progress.track(outcomes, STAGE, len(items), total_s, audio_s=lambda found: found.audio_s):
            audio_s += outcome.audio_s
            yield outcome

    make_worker = functools.partial(_make_worker, dataset, source.roots, options)
    found = executor.map(make_worker, stage.bunches(items), split=stage.Bunch.split)
    outcomes = (outcome for part in found for outcome in part)
    rows_path, groups_path = dataset / layout.SIMILAR, dataset / layout.SIMILAR_GROUPS
    with storage.JsonlWriter(rows_path) as rows, storage.JsonlWriter(groups_path) as marks:
        for key, raw in _gather(counted(outcomes), here):
            lists = _rows(here[key], extractor.normalise(raw), options.top_k) if here[key] else []
            rows.write(_with_empty(todo[key], lists))
            marks.write([_mark(key, todo[key], missing)])
    return audio_s


def _mark(key: str, slices: Sequence[Slice], missing: set[str]) -> dict[str, Any]:
    mark = {"id": key, "num_utterances": len(slices), "sha256": _fingerprint(slices)}
    gone = sorted(missing & {piece.recording_id for piece in slices})
    return mark | ({"missing": gone} if gone else {})


def _make_worker(dataset: Path, roots: audio.Roots | None, options: SimilarOptions) -> stage.Worker:
    extractor = _extractor(dataset, options)

    def extract(bunch: stage.Bunch) -> list[stage.Outcome]:
        return [_extract(extractor, dataset, roots, item) for item in bunch.items]

    return extract


def _extract(
    extractor: FeatureExtractor, dataset: Path, roots: audio.Roots | None, item: RecordingSlices
) -> stage.Outcome:
    """An outcome whose rows are (utterance id, statistics [D])."""
    inputs = _read_codes(dataset, item) if roots is None else read_slices(roots, item)
    rows = []
    for piece, value in zip(item.slices, inputs, strict=True):
        try:
            raw = extractor.extract([value])[0]
        except ContractError as error:
            raise ContractError(f"{piece.id}: {error}; run {MADE_BY} --overwrite") from None
        rows.append((piece.id, raw))
    return stage.Outcome(item_id=item.id, rows=tuple(rows), audio_s=item.duration_s)


def _read_codes(input_dataset: Path, item: RecordingSlices) -> Iterator[np.ndarray]:
    for piece in item.slices:
        codes = storage.read_array(safe_path(input_dataset, piece.codes))
        if codes.shape[1] != piece.num_frames:
            what = f"{piece.codes} has {codes.shape[1]} frames, its row says {piece.num_frames}"
            raise ContractError(f"{piece.id}: {what}; run {MADE_BY} --overwrite")
        yield codes


def _gather(outcomes: Iterable[stage.Outcome], todo: Mapping[str, Sequence[Slice]]) -> Iterator[tuple[str, np.ndarray]]:
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
    pairs = zip(overlapping(slices), same_takes(slices), strict=True)
    indices, scores = top_k(features, k, excluded=[np.union1d(*pair) for pair in pairs])
    return [
        {"id": piece.id, "similar": [[slices[n].id, score] for n, score in zip(best, values, strict=True) if n >= 0]}
        for piece, best, values in zip(slices, indices.tolist(), scores.tolist(), strict=True)
    ]


def _with_empty(slices: Sequence[Slice], rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for every slice, in their order: an empty list for those that have none."""
    found = {row["id"]: row for row in rows}
    return [found.get(piece.id, {"id": piece.id, "similar": []}) for piece in slices]


def main(argv: Sequence[str] | None = None, *, prog: str = "python -m vall_e.emb.similar") -> int:
    parser = argparse.ArgumentParser(prog=prog, description="Speaker-prompt lists.")
    parser.add_argument("--input-dataset", type=Path, required=True, metavar="DATA", help=f"what {MADE_BY} wrote")
    parser.add_argument("--input-audio", type=Path, metavar="VOICES", help="the corpus (default: as the dataset says)")
    parser.add_argument("--input-metadata", type=Path, metavar="META", help="its recordings (default: likewise)")
    config.add_options(parser, SimilarOptions)
    args = parser.parse_args(argv)
    options = config.resolve(SimilarOptions, args, STAGE)
    report = similar(args.input_dataset, options, input_audio=args.input_audio, input_metadata=args.input_metadata)
    return report.finish(None)


if __name__ == "__main__":
    config.run_main(main)
