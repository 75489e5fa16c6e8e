"""Recordings → text, segments, word times and language: one line each in transcripts.jsonl.

    python -m vall_e.emb.transcribe --input-audio VOICES --output-metadata META
"""

from __future__ import annotations

import argparse
import functools
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from vall_e import audio, config, storage
from vall_e.corpora.stamps import STAMPS, what_changed
from vall_e.executor import EXECUTORS, make_executor
from vall_e.layout import is_reserved
from vall_e.stage import Ledger, Outcome, StageReport, Work, run_stage
from vall_e.types import LANGUAGE_FILE, Reject, RejectReason, Transcript, Unheard, UsageError

STAGE = "transcribe"
TRANSCRIPTS = "transcripts.jsonl"
METADATA = "metadata.json"
AUTO = "auto"
LIBRARIES = (
    *("pocketsphinx", "langdetect", "whisperx", "faster-whisper", "ctranslate2", "silero-vad", "transformers", "torch"),
    *("soundfile", "soxr", "av"),
)


class Transcriber(Protocol):
    """A back end. Building one is cheap and tells what is missing; its model is loaded when first used."""

    @property
    def name_and_version(self) -> str: ...

    def transcribe(self, sources: Sequence[audio.Source], language: str | None) -> list[Transcript | Unheard]:
        """One result per source, in order, each as if it were alone. `language` None: unknown."""
        ...


def _whisperx(options: TranscribeOptions) -> Transcriber:
    from vall_e.emb.asr.whisperx import WhisperX

    return WhisperX(
        model_name=options.model_name,
        align_model=options.align_model,
        batch_size=options.batch_size,
        device=options.device,
        compute_type=whisper_compute_type(options),
    )


def _pocketsphinx(options: TranscribeOptions) -> Transcriber:
    from vall_e.emb.asr.pocketsphinx import PocketSphinx

    return PocketSphinx()


def _sidecar(options: TranscribeOptions) -> Transcriber:
    from vall_e.emb.asr.given import Sidecar

    return Sidecar(language_is_known=options.language != AUTO)


REGISTRY: dict[str, Callable[[TranscribeOptions], Transcriber]] = {
    "whisperx": _whisperx,
    "pocketsphinx": _pocketsphinx,
    "sidecar": _sidecar,
}


@dataclass(frozen=True, kw_only=True)
class TranscribeOptions:
    backend: tuple[str, ...] = config.option(
        ("whisperx",), "what gives the text: a comma list is tried in order", choices=tuple(REGISTRY)
    )
    model_name: str = config.option("large-v3", "whisperx: a Whisper model's name, or a folder in CTranslate2's format")
    align_model: str = config.option(
        AUTO, "whisperx: a Wav2Vec2 CTC folder or name for word times; auto: by language; off: no word times"
    )
    language: str = config.option(AUTO, "ISO 639-1 code of all recordings; auto: language.txt files, else detected")
    batch_size: int = config.option(16, "whisperx: stretches of one recording heard at a time")
    compute_type: str = config.option(
        AUTO, "whisperx: CTranslate2's number format, like float16 or int8; auto: float16 on cuda, int8 on cpu"
    )
    device: str = config.option("cpu", "where whisperx runs", choices=("cpu", "cuda"))
    executor: str = config.option("local", "where workers run", choices=tuple(EXECUTORS))
    workers: int = config.option(1, "processes, one thread each; 0 is one per core")
    overwrite: bool = config.option(False, "forget what an earlier run did here")

    def __post_init__(self) -> None:
        if self.language != AUTO and language_code(self.language) != self.language:
            raise ValueError(f"language: {self.language!r} is not a code of ISO 639-1 like 'en', nor 'auto'")
        if self.batch_size < 1:
            raise ValueError(f"batch_size: {self.batch_size} is not 1 or more")
        if not self.backend or len(set(self.backend)) != len(self.backend):
            raise ValueError(f"backend: {','.join(self.backend)!r} is not a list of different back ends")

    @property
    def deciding(self) -> dict[str, Any]:
        """The options that change the result: what a run that goes on must share with the one before."""
        values: dict[str, Any] = {"backend": list(self.backend), "language": self.language}
        if "whisperx" in self.backend:
            values |= {"model_name": self.model_name, "align_model": self.align_model}
            values["compute_type"] = whisper_compute_type(self)
        return values


def whisper_compute_type(options: TranscribeOptions) -> str:
    by_device = {"cpu": "int8", "cuda": "float16"}
    return by_device[options.device] if options.compute_type == AUTO else options.compute_type


def load_chain(options: TranscribeOptions) -> list[Transcriber]:
    """The back ends in the order in which they are asked.

    Raises:
        BackendError: a package or model file is missing; says which, and what fixes it.
    """
    return [REGISTRY[name](options) for name in options.backend]


def language_code(text: str) -> str | None:
    """The ISO 639 code in `en`, `EN` or `en-GB`; None where the text is something else."""
    match = re.fullmatch("([a-z]{2,3})([-_][a-z0-9]{2,8})*", text.strip().lower())
    return match[1] if match else None


def folder_language(root: Path, path: Path) -> str | None | Unheard:
    """The code in the nearest `language.txt` from the recording's folder up to `root`; None where there is none."""
    for folder in path.parents:
        file = folder / LANGUAGE_FILE
        if os.path.lexists(file) and not os.path.isdir(file):
            break
        if folder == root:
            return None
    else:
        return None
    if not audio.is_inside(root, file):
        return Unheard(reason=RejectReason.LINK_OUTSIDE, detail=f"{file}: a link that leaves the input folder")
    if not file.is_file():  # opening a pipe would wait for ever
        return Unheard(reason=RejectReason.LANGUAGE_UNSUPPORTED, detail=f"{file}: not a file, or a broken link")
    try:
        with file.open("rb") as opened:
            content = opened.read(100).decode("utf-8-sig", errors="replace")
    except OSError as error:
        return Unheard(reason=RejectReason.LANGUAGE_UNSUPPORTED, detail=f"{file}: {error.strerror}")
    code = language_code(content)
    if code is None:
        detail = f"{file}: {content.strip()[:20]!r} is not a code of ISO 639-1, like en"
        return Unheard(reason=RejectReason.LANGUAGE_UNSUPPORTED, detail=detail)
    return code


@dataclass(frozen=True)
class Item:
    id: str
    path: Path


class Worker:
    """Turns one recording into a transcript or a reject."""

    def __init__(self, root: Path, options: TranscribeOptions) -> None:
        self.root, self.options = root, options
        self.chain = load_chain(options)

    def __call__(self, item: Item) -> Outcome:
        if not item.path.is_file():
            return _rejected(item.id, RejectReason.UNREADABLE, "is not there any more")
        try:
            recording = audio.probe(item.path, item.id)
            check_sound(item.path)
        except audio.AudioError as error:
            return _rejected(item.id, error.reason, error.detail)
        heard = self._ask(audio.Source(recording, item.path, self.root))
        if isinstance(heard, Unheard):
            return _rejected(item.id, heard.reason, heard.detail, recording.duration_s)
        return Outcome(item_id=item.id, rows=(heard,), audio_s=recording.duration_s)

    def _ask(self, source: audio.Source) -> Transcript | Unheard:
        """What the first back end that hears something hears; else why the last one did not, with what all said."""
        language: str | None | Unheard = self.options.language
        if language == AUTO:
            language = folder_language(self.root, source.path)
        if isinstance(language, Unheard):
            return language
        unheard: list[Unheard] = []
        for transcriber in self.chain:
            (heard,) = transcriber.transcribe([source], language)
            if isinstance(heard, Transcript):
                return heard
            unheard.append(heard)
            if heard.final:
                break
        return Unheard(reason=unheard[-1].reason, detail="; ".join(each.detail for each in unheard))


def check_sound(path: Path) -> None:
    """Reads the file once, in pieces.

    Raises:
        AudioError: SILENT, or as `audio.blocks`.
    """
    silent = True
    for block in audio.blocks(path):
        silent = silent and audio.is_silent(block)
    if silent:
        raise audio.AudioError(RejectReason.SILENT, "no sample above -80 dBFS")


def _rejected(item_id: str, reason: RejectReason, detail: str, audio_s: float = 0.0) -> Outcome:
    reject = Reject(id=item_id, stage=STAGE, reason=reason, detail=detail)
    return Outcome(item_id=item_id, rejects=(reject,), audio_s=audio_s)


def transcribe(input_audio: Path, output_metadata: Path, options: TranscribeOptions) -> StageReport:
    """Runs the stage, or what is left of it. Every file of `input_audio` ends in rows, rejects or the ignored.

    Raises:
        UsageError: no such folder, or transcripts that were made with other options. BackendError: a package or model
        is missing. ContractError: a manifest is broken, or a worker died.
    """
    root = Path(os.path.abspath(storage.require_voices(input_audio)))
    executor = make_executor(options.executor, options.workers)
    chain = load_chain(options)  # tells what is missing before anything is touched
    with storage.folder_lock(output_metadata):
        ledger = Ledger(output_metadata, TRANSCRIPTS, STAGE, lambda *_: True)
        if options.overwrite:
            ledger.clear()
            (output_metadata / STAMPS).unlink(missing_ok=True)
        else:
            _check_same(output_metadata, root, options)
        work = find_work(root)
        _write_metadata(output_metadata, root, options, chain)
        found = [(item.id, item.path) for item in work.items]
        notes = what_changed(output_metadata, found, ledger.done, {reject.id for reject in work.rejects})
        report = run_stage(ledger, work, functools.partial(Worker, root, options), executor)
        report.notes += notes
        return report


def find_work(root: Path) -> Work:
    """The recordings below `root`, and what is rejected before it is opened.

    Raises:
        UsageError: nothing there has an audio file's name.
    """
    found = audio.scan(root, STAGE)
    if not found.found and not found.rejects:
        raise UsageError(f"{storage.printable(root)}: none of its {found.num_ignored} files is audio by its extension")
    detail = "a folder in its path has a name that datasets use; rename it"
    items, reserved = [], []
    for recording_id, path in found.found:
        if is_reserved(recording_id):
            reserved.append(Reject(id=recording_id, stage=STAGE, reason=RejectReason.BAD_NAME, detail=detail))
        else:
            items.append(Item(recording_id, path))
    return Work(items=items, rejects=[*found.rejects, *reserved], num_ignored=found.num_ignored)


def _check_same(folder: Path, root: Path, options: TranscribeOptions) -> None:
    """Refuses to go on with another folder or other options than those of the rows that stand."""
    head = storage.read_json(folder / METADATA)
    if head is None:
        return
    advice = "pass --overwrite to make it anew, or choose another output folder"
    if storage.is_another_folder(head.get("input_audio"), root):
        raise UsageError(f"{folder}: made from {head['input_audio']}, now {storage.printable(root)}; {advice}")
    before = head.get(STAGE) or {}
    for key in sorted({*before, *options.deciding}):
        if before.get(key) != options.deciding.get(key):
            raise UsageError(
                f"{folder}: made with {key} {before.get(key)!r}, now {options.deciding.get(key)!r}; {advice}"
            )


def _write_metadata(folder: Path, root: Path, options: TranscribeOptions, chain: Sequence[Transcriber]) -> None:
    head = {
        "schema_version": storage.SCHEMA_VERSION,
        "input_audio": storage.printable(root.resolve()),
        STAGE: options.deciding,
        "backends": [transcriber.name_and_version for transcriber in chain],
        "versions": storage.versions(LIBRARIES),
    }
    storage.write_json(folder / METADATA, head, folder)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m vall_e.emb.transcribe", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--input-audio", type=Path, required=True, help="folder of recordings")
    parser.add_argument("--output-metadata", type=Path, required=True, help="folder for transcripts.jsonl")
    config.add_options(parser, TranscribeOptions)
    config.add_max_reject_ratio(parser)
    args = parser.parse_args(argv)
    options = config.resolve(TranscribeOptions, args, "transcribe")
    report = transcribe(args.input_audio, args.output_metadata, options)
    return report.finish(args.max_reject_ratio)


if __name__ == "__main__":
    config.run_main(main)
