"""Recordings and transcripts → utterances: slices, phonemes and codes, one array and one row each.

    python -m vall_e.emb.process --input-audio VOICES --input-metadata META --output-dataset DATA
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vall_e import audio, config, manifest
from vall_e.emb import g2p, qnt
from vall_e.emb.slicing import STAGE, Limits, Slice, plan_slices
from vall_e.executor import EXECUTORS, make_executor
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
    transcript: manifest.RowPlace


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
        if not path.is_file():
            return _rejected(item.id, RejectReason.UNREADABLE, "the transcript's recording is not there any more")
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
        for (piece, phonemes), samples in zip(speakable, audio.iter_slices(path, stretches), strict=True):
            if audio.is_silent(samples):
                yield Reject(id=piece.id, stage=STAGE, reason=RejectReason.SILENT, detail="no sample above -80 dBFS")
            else:
                yield self._write(recording, piece, phonemes, language, samples)

    def _write(
        self, recording: Recording, piece: Slice, phonemes: str, language: str, samples: np.ndarray
    ) -> Utterance:
        try:
            codes = qnt.encode(self.codec, samples, recording.sample_rate_hz)
        except ContractError as error:
            raise ContractError(f"{piece.id}: {error}") from None
        relative = piece.id + ".npy"
        manifest.write_array(safe_path(self.dataset, relative), codes, self.dataset)
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
    transcripts = manifest.require_file(input_metadata / "transcripts.jsonl", "python -m vall_e.emb.transcribe")
    items = [Item(recording_id, place) for recording_id, place in manifest.index_rows(transcripts, "recording_id")]
    with manifest.folder_lock(output_dataset):
        head = manifest.read_json(output_dataset / DATASET)
        counts = (head or {}).get("counts")
        ledger = Ledger(output_dataset, UTTERANCES, STAGE, lambda *found: _counts(*found) == counts)
        if options.overwrite:
            _remove_arrays(output_dataset)
            ledger.clear()
            head = None
        if head is not None:
            _check_head(head, options, transcripts, output_dataset)
        if head is None or any(item.id not in ledger.done for item in items):
            head = _make_head(head, input_audio, transcripts, options, output_dataset)
            manifest.write_json(output_dataset / DATASET, head, output_dataset)
        make_worker = functools.partial(Worker, input_audio, output_dataset, options)
        report = run_stage(ledger, Work(items=items), make_worker, make_executor(options.executor, options.workers))
        head["counts"] = _counts(report.num_rows, report.num_rejects)
        manifest.write_json(output_dataset / DATASET, head, output_dataset)
    return report


def _counts(num_rows: int, num_rejects: int) -> dict[str, int]:
    return {"utterances": num_rows, "rejects": num_rejects}


def _check_head(head: dict[str, Any], options: ProcessOptions, transcripts: Path, dataset: Path) -> None:
    """Refuses to mix two sets of options, or texts that were replaced, in one dataset."""
    advice = "pass --overwrite to make it anew, or choose another --output-dataset"
    before = {key: head["config"].get(key) for key in options.deciding}
    for key, value in options.deciding.items():
        if before[key] != value:
            raise UsageError(f"{dataset}: made with {key} {before[key]!r}, now {value!r}; {advice}")
    seen = head["transcripts"]
    if manifest.prefix_hash(transcripts, seen["bytes"]) != (seen["bytes"], seen["sha256"]):
        raise UsageError(f"{dataset}: {transcripts} was made anew since; {advice}")


def _make_head(
    head: dict[str, Any] | None, input_audio: Path, transcripts: Path, options: ProcessOptions, dataset: Path
) -> dict[str, Any]:
    """What dataset.json says; loads the codec once, so that a missing one is told before any work."""
    codec = dataclasses.asdict(qnt.load_codec(options).spec)
    if head is not None and head["codec"] != codec:
        raise UsageError(
            f"{dataset}: made with codec {head['codec']['name']} of weights {head['codec']['weights_sha256'][:12]}, "
            f"now {codec['name']} {codec['weights_sha256'][:12]}; pass --overwrite, or choose another --output-dataset"
        )
    num_bytes, sha256 = manifest.prefix_hash(transcripts)
    return {
        "schema_version": manifest.SCHEMA_VERSION,
        "codec": codec,
        "config": {"input_audio": str(input_audio), **options.deciding},
        "transcripts": {"bytes": num_bytes, "sha256": sha256},
        "versions": manifest.versions(LIBRARIES),
        "counts": None,
    }


def _remove_arrays(dataset: Path) -> None:
    """The arrays of a dataset that is made anew; whatever else lies in the folder is not touched."""
    for _, row in manifest.read_json_lines(dataset / UTTERANCES):
        safe_path(dataset, str(row.get("codes"))).unlink(missing_ok=True)


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
