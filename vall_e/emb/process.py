"""Recordings and transcripts → utterances: slices, phonemes and codes, one array and one row each.

    python -m vall_e.emb.process --input-audio VOICES --input-metadata META --output-dataset DATA
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import functools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vall_e import audio, config, storage
from vall_e.emb import g2p, qnt
from vall_e.emb.slicing import STAGE, Limits, Slice, plan_slices
from vall_e.executor import EXECUTORS, make_executor
from vall_e.layout import is_reserved
from vall_e.stage import Ledger, Outcome, StageReport, Work, run_stage
from vall_e.types import (
    ContractError,
    Recording,
    Reject,
    RejectReason,
    Transcript,
    UsageError,
    Utterance,
    safe_path,
)

UTTERANCES = "utterances.jsonl"
DATASET = "dataset.json"
TOGETHER_S = 24.0  # of slices that are encoded in one call; bounds memory
FORGOTTEN = "utterances.old.jsonl"  # rows whose arrays are being removed
LIBRARIES = ("torch", "encodec", "vocos", "phonemizer", "espeakng-loader", "pykakasi", "soundfile", "soxr", "av")


@dataclass(frozen=True, kw_only=True)
class ProcessOptions(qnt.CodecOptions):
    slice: str = config.option(
        "auto",
        "cut along the transcript's segments: true, false, or auto: where the recording is longer than "
        "--max-duration or has several segments",
        choices=("auto", "true", "false"),
    )
    min_duration_s: float = config.option(0.5, "seconds; shorter utterances are rejected")
    max_duration_s: float = config.option(20.0, "seconds; longer segments are split between words, or rejected")
    phonemizer: str = config.option("espeak", "what turns text into phonemes", choices=tuple(g2p.REGISTRY))
    punctuation: bool = config.option(True, "keep punctuation among the phonemes")
    stress: bool = config.option(True, "mark stress")
    strip: bool = config.option(True, "no white space at the ends of phonemes")
    executor: str = config.option("local", "where workers run", choices=tuple(EXECUTORS))
    workers: int = config.option(1, "processes, one thread each; 0 is one per core")
    overwrite: bool = config.option(False, "forget what an earlier run did here")

    def __post_init__(self) -> None:
        if not 0 <= self.min_duration_s <= self.max_duration_s:
            raise ValueError(f"durations: 0 <= {self.min_duration_s} <= {self.max_duration_s} does not hold")

    @property
    def limits(self) -> Limits:
        return Limits(mode=self.slice, min_duration_s=self.min_duration_s, max_duration_s=self.max_duration_s)

    @property
    def g2p(self) -> g2p.G2pOptions:
        return g2p.G2pOptions(
            backend=self.phonemizer, punctuation=self.punctuation, stress=self.stress, strip=self.strip
        )

    @property
    def deciding(self) -> dict[str, Any]:
        """The options that change the result: what a run that goes on must share with the one before."""
        free = {"device", "executor", "workers", "overwrite", "weights"}  # weights: their hash is in the CodecSpec
        return {key: value for key, value in dataclasses.asdict(self).items() if key not in free}


@dataclass(frozen=True)
class Item:
    id: str
    transcript: storage.RowPlace


class Worker:
    """Turns one recording with its transcript into arrays on disk and their rows."""

    def __init__(self, input_audio: Path, dataset: Path, options: ProcessOptions) -> None:
        import torch

        torch.set_num_threads(1)
        self.input_audio, self.dataset, self.options = input_audio, dataset, options
        self.codec = qnt.load_codec(options)
        self.phonemizer = g2p.load_phonemizer(options.g2p)

    def __call__(self, item: Item) -> Outcome:
        transcript = item.transcript.read(Transcript)
        try:
            path = safe_path(self.input_audio, item.id)
        except ContractError as error:
            return _rejected(item.id, RejectReason.UNSAFE_PATH, str(error))
        if is_reserved(item.id):
            return _rejected(item.id, RejectReason.BAD_NAME, "a folder in its path has a name that datasets use")
        if not path.is_file():
            return Outcome(item_id=item.id)  # gone, or on a disk that is not mounted: the next run looks again
        if not audio.is_inside(self.input_audio, path):
            return _rejected(item.id, RejectReason.LINK_OUTSIDE, "leaves the input folder")
        try:
            recording = audio.probe(path, item.id)
            slices, rejects = plan_slices(recording, transcript, self.options.limits)
            rows: list[Utterance] = []
            for made in self._make(path, recording, slices, transcript.language):
                (rows if isinstance(made, Utterance) else rejects).append(made)  # type: ignore[arg-type]
        except audio.AudioError as error:
            return _rejected(item.id, error.reason, error.detail)
        audio_s = sum(row.duration_s for row in rows)
        return Outcome(item_id=item.id, rows=tuple(rows), rejects=tuple(rejects), audio_s=audio_s)

    def _make(
        self, path: Path, recording: Recording, slices: Sequence[Slice], language: str
    ) -> Iterator[Utterance | Reject]:
        """A row, its array on disk, or a reject for each slice; the audio is read in one pass."""
        speakable: list[tuple[Slice, str]] = []
        for piece in slices:
            phonemes = g2p.to_phonemes(self.phonemizer, piece.text, language, item_id=piece.id, stage=STAGE)
            if isinstance(phonemes, Reject):
                yield phonemes
            else:
                speakable.append((piece, phonemes))
        stretches = [(piece.start_samples, piece.num_samples) for piece, _ in speakable]
        waiting: list[tuple[Slice, str, np.ndarray]] = []
        for (piece, phonemes), samples in zip(speakable, audio.iter_slices(path, stretches), strict=True):
            if audio.is_silent(samples):
                yield Reject(id=piece.id, stage=STAGE, reason=RejectReason.SILENT, detail="no sample above -80 dBFS")
                continue
            waiting.append((piece, phonemes, samples))
            if sum(item.num_samples for item, _, _ in waiting) >= TOGETHER_S * recording.sample_rate_hz:
                yield from self._encode(recording, waiting, language)
                waiting = []
        yield from self._encode(recording, waiting, language)

    def _encode(
        self, recording: Recording, waiting: Sequence[tuple[Slice, str, np.ndarray]], language: str
    ) -> Iterator[Utterance]:
        """Slices of one recording together, as codecs are faster at it; which ones depends on nothing else."""
        try:
            coded = qnt.encode_all(self.codec, [samples for _, _, samples in waiting], recording.sample_rate_hz)
        except ContractError as error:
            raise ContractError(f"{', '.join(piece.id for piece, _, _ in waiting)}: {error}") from None
        for (piece, phonemes, _), codes in zip(waiting, coded, strict=True):
            yield self._write(recording, piece, phonemes, language, codes)

    def _write(
        self, recording: Recording, piece: Slice, phonemes: str, language: str, codes: np.ndarray
    ) -> Utterance:
        relative = piece.id + ".npy"
        storage.write_array(safe_path(self.dataset, relative), codes, self.dataset)
        return Utterance(
            id=piece.id,
            recording_id=recording.id,
            group=recording.group,
            speaker=piece.speaker,
            sample_rate_hz=recording.sample_rate_hz,
            start_samples=piece.start_samples,
            num_samples=piece.num_samples,
            language=language,
            text=piece.text,
            phonemes=phonemes,
            words=piece.words,
            codec=self.codec.spec.name,
            num_frames=codes.shape[1],
            codes=relative,
        )


def _rejected(item_id: str, reason: RejectReason, detail: str) -> Outcome:
    return Outcome(item_id=item_id, rejects=(Reject(id=item_id, stage=STAGE, reason=reason, detail=detail),))


def process(input_audio: Path, input_metadata: Path, output_dataset: Path, options: ProcessOptions) -> StageReport:
    """Runs the stage, or what is left of it.

    Raises:
        UsageError: no transcripts, or a dataset that was made with other options. BackendError: a codec or phonemizer
        can't start. ContractError: a manifest or a back end breaks its promise.
    """
    transcripts = storage.require_file(input_metadata / "transcripts.jsonl", "python -m vall_e.emb.transcribe")
    storage.require_voices(input_audio)
    items = [Item(recording_id, place) for recording_id, place in storage.index_rows(transcripts, "recording_id")]
    _check_unique(items, transcripts)
    with storage.folder_lock(output_dataset):
        if options.overwrite or (output_dataset / FORGOTTEN).exists():
            _forget(output_dataset)
        head = storage.read_json(output_dataset / DATASET)
        counts = (head or {}).get("counts")
        ledger = Ledger(output_dataset, UTTERANCES, STAGE, lambda *found: _counts(*found) == counts)
        if head is not None:
            _check_head(head, input_audio, options, transcripts, output_dataset)
        if head is None or options.weights or any(item.id not in ledger.done for item in items):
            head = _make_head(head, input_audio, transcripts, options, output_dataset)
            storage.write_json(output_dataset / DATASET, head, output_dataset)
        make_worker = functools.partial(Worker, input_audio, output_dataset, options)
        report = run_stage(ledger, Work(items=items), make_worker, make_executor(options.executor, options.workers))
        head["config"]["input_audio"] = storage.printable(input_audio.resolve())
        head["counts"] = _counts(report.num_rows, report.num_rejects)
        storage.write_json(output_dataset / DATASET, head, output_dataset)
    return report


def _counts(num_rows: int, num_rejects: int) -> dict[str, int]:
    return {"utterances": num_rows, "rejects": num_rejects}


def check(options: ProcessOptions) -> None:
    """Loads what the stage needs, to tell before hours of other work what is missing.

    Raises:
        BackendError, UsageError: as `process`.
    """
    g2p.load_phonemizer(options.g2p)
    qnt.load_codec(options)


def forget(output_dataset: Path) -> None:
    """Empties a dataset as `--overwrite` does; what else lies in the folder is not touched."""
    with storage.folder_lock(output_dataset):
        _forget(output_dataset)


def _check_unique(items: Sequence[Item], transcripts: Path) -> None:
    seen: set[str] = set()
    for item in items:
        if item.id in seen:
            raise ContractError(f"{transcripts}:{item.transcript.line}: {item.id} for the second time; keep one row")
        seen.add(item.id)


def _check_head(
    head: dict[str, Any], input_audio: Path, options: ProcessOptions, transcripts: Path, dataset: Path
) -> None:
    """Refuses to mix two folders of audio, two sets of options, or texts that were replaced, in one dataset."""
    advice = "pass --overwrite to make it anew, or choose another output folder"
    if storage.is_another_folder(head["config"].get("input_audio"), input_audio):
        raise UsageError(f"{dataset}: made from {head['config']['input_audio']}, now {input_audio}; {advice}")
    before = {key: head["config"].get(key) for key in options.deciding}
    for key, value in options.deciding.items():
        if before[key] != value:
            raise UsageError(f"{dataset}: made with {key} {before[key]!r}, now {value!r}; {advice}")
    seen = head["transcripts"]
    if storage.prefix_hash(transcripts, seen["bytes"]) != (seen["bytes"], seen["sha256"]):
        raise UsageError(f"{dataset}: {transcripts} was made anew since; {advice}")


def _make_head(
    head: dict[str, Any] | None, input_audio: Path, transcripts: Path, options: ProcessOptions, dataset: Path
) -> dict[str, Any]:
    """What dataset.json says; loads the codec once, so that a missing one is told before any work."""
    codec = storage.to_row(qnt.load_codec(options).spec)
    if head is not None and head["codec"] != codec:
        raise UsageError(
            f"{dataset}: made with codec {head['codec']['name']} of weights {head['codec']['weights_sha256'][:12]}, "
            f"now {codec['name']} {codec['weights_sha256'][:12]}; pass --overwrite, or choose another --output-dataset"
        )
    num_bytes, sha256 = storage.prefix_hash(transcripts)
    phonemizer = g2p.load_phonemizer(options.g2p).version
    return {
        "schema_version": storage.SCHEMA_VERSION,
        # tells a dataset from one that was made anew in its place with the same rows
        "made": (head or {}).get("made") or datetime.datetime.now(datetime.UTC).isoformat(),
        "codec": codec,
        "config": {"input_audio": storage.printable(input_audio.resolve()), **options.deciding},
        "transcripts": {"bytes": num_bytes, "sha256": sha256},
        "versions": storage.versions(LIBRARIES) | {"phonemizer": phonemizer},
        "counts": None,
    }


def _forget(dataset: Path) -> None:
    """Removes the rows, then the arrays they name; killed in between, the next run goes on from the old rows."""
    rows, forgotten = dataset / UTTERANCES, dataset / FORGOTTEN
    if rows.exists() and not forgotten.exists():
        os.replace(rows, forgotten)
    (dataset / DATASET).unlink(missing_ok=True)
    Ledger(dataset, UTTERANCES, STAGE, lambda *_: False).clear()
    for _, row in storage.read_json_lines(forgotten):
        safe_path(dataset, str(row.get("codes"))).unlink(missing_ok=True)
    forgotten.unlink(missing_ok=True)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m vall_e.emb.process", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--input-audio", type=Path, required=True, help="folder of recordings")
    parser.add_argument("--input-metadata", type=Path, required=True, help="folder with transcripts.jsonl")
    parser.add_argument("--output-dataset", type=Path, required=True, help="folder for utterances.jsonl and arrays")
    config.add_options(parser, ProcessOptions)
    config.add_max_reject_ratio(parser)
    args = parser.parse_args(argv)
    options = config.resolve(ProcessOptions, args, "process")
    report = process(args.input_audio, args.input_metadata, args.output_dataset, options)
    return report.finish(args.max_reject_ratio)


if __name__ == "__main__":
    config.run_main(main)
