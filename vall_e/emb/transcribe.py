"""Recordings → text, segments, word times and language: one line each in transcripts.jsonl.

python -m vall_e.emb.transcribe --input-audio VOICES --output-metadata META
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from vall_e import audio, config, layout, stage, storage
from vall_e.corpora.importing import corpus_root, import_corpus, options_of, roots_of
from vall_e.emb import voice
from vall_e.emb.asr import detection
from vall_e.emb.asr.align import align
from vall_e.emb.asr.base import Recogniser
from vall_e.emb.asr.detection import Detected
from vall_e.emb.asr.diarize import Found, tell_apart
from vall_e.emb.asr.given import GivenText
from vall_e.emb.asr.link import link, voices_of
from vall_e.emb.asr.registry import AUTO, RecogniserOptions, load_aligner, load_diarizer, load_recognisers
from vall_e.executor import EXECUTORS, make_executor
from vall_e.languages import is_known
from vall_e.types import Note, NoTranscript, Recording, Reject, RejectReason, Transcript, Voice

STAGE = "transcribe"
LIBRARIES = (
    *("pocketsphinx", "langdetect", "whisperx", "faster-whisper", "ctranslate2", "silero-vad", "transformers", "torch"),
    *("resemblyzer", "scikit-learn", "pyannote-audio"),
    *("soundfile", "soxr", "av"),
)


@dataclass(frozen=True, kw_only=True)
class TranscribeOptions(RecogniserOptions):
    """Options of this stage: flags, and keys of the section `transcribe` in a config file."""

    executor: str = config.option("local", "where workers run", choices=EXECUTORS)
    workers: int = config.option(1, "processes, one thread each; 0 is one per core, or one per card")
    update: bool = config.option(False, "first drop what changed or went away since an earlier run, then resume")
    overwrite: bool = config.option(False, "start from scratch: drop the transcripts of an earlier run")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.language != AUTO and not is_known(self.language):
            raise ValueError(f"language: {self.language!r} is not a code of ISO 639-1 like 'en', nor 'auto'")


class Worker:
    """Turns recordings into transcripts or rejects."""

    def __init__(self, roots: audio.Roots, options: TranscribeOptions, of_speakers: Mapping[str, Detected]) -> None:
        self.roots, self.options = roots, options
        self.recognisers = load_recognisers(options)
        self.aligner = load_aligner(options, say)
        self.diarizer = load_diarizer(options)
        for recogniser in self.recognisers:
            if isinstance(recogniser, GivenText):
                recogniser.of_speakers = of_speakers

    def __call__(self, bunch: stage.Bunch) -> list[stage.Outcome]:
        """Short recordings of a bunch share the recogniser's batches; each has an outcome of its own."""
        outcomes: list[stage.Outcome] = []
        sources: list[audio.Source] = []
        for task in bunch.items:
            found = self._open(task.places[0].read(Recording))
            if isinstance(found, audio.Source):
                sources.append(found)
            else:
                outcomes.append(found)
        turns = {source.recording.id: self.diarizer.find(source) for source in sources} if self.diarizer else {}
        sources = [
            dataclasses.replace(source, changes_s=turns[source.recording.id].changes_s) if turns else source
            for source in sources
        ]
        for source, result in zip(sources, self._ask(sources), strict=True):
            recording = source.recording
            if isinstance(result, NoTranscript):
                outcomes.append(_rejected(recording.id, result.reason, result.detail, recording.duration_s))
            else:
                outcomes.append(self._finish(source, result, turns.get(recording.id)))
        return outcomes

    def _open(self, recording: Recording) -> audio.Source | stage.Outcome:
        """A recording with sound, or why it is none."""
        try:
            source = audio.locate(self.roots, recording)
            if source is None:
                return stage.Outcome(item_id=recording.id, finished=False)
            source.require_sound()
        except audio.AudioError as error:
            return _rejected(recording.id, error.reason, error.detail, recording.duration_s)
        return source

    def _finish(self, source: audio.Source, transcript: Transcript, found: Found | None) -> stage.Outcome:
        """Puts times and speakers on a transcript."""
        recording = source.recording
        rejects: tuple[Reject, ...] = ()
        notes: tuple[Note, ...] = ()
        if self.aligner is not None and _needs_times(recording, transcript):
            if self.aligner.supports(transcript.language):
                aligned = align(self.aligner, source, transcript)
                if isinstance(aligned, NoTranscript):
                    return _rejected(recording.id, aligned.reason, aligned.detail, recording.duration_s)
                transcript, rejects = aligned.transcript, aligned.rejects
            else:
                detail = f"{self.options.align} aligns no texts in {transcript.language!r}: it has no word times"
                notes = (Note(id=recording.id, stage=STAGE, note="not_aligned", detail=detail),)
        if self.diarizer is not None and found is not None:
            transcript, more = tell_apart(recording, transcript, found, len(rejects))
            rejects += more
            voices: tuple[Voice, ...] = ()
            names = {segment.speaker for segment in transcript.segments}
            if self.options.link_speakers:
                voices = voices_of(source, found, names)
            backend = f"{transcript.backend}, {self.diarizer.name_and_version}"
            transcript = msgspec.structs.replace(transcript, voices=voices, backend=backend)
        if not transcript.segments:
            detail = f"nothing of it is left, like {rejects[0].detail}" if rejects else "it has no segments"
            reason = rejects[0].reason if rejects else RejectReason.NO_TEXT
            return _rejected(recording.id, reason, detail, recording.duration_s)
        return stage.Outcome(
            item_id=recording.id, rows=(transcript,), rejects=rejects, notes=notes, audio_s=recording.duration_s
        )

    def _ask(self, sources: Sequence[audio.Source]) -> list[Transcript | NoTranscript]:
        """Of each source the first transcript that a recogniser returns; else the last reason, with all details."""
        found: dict[int, Transcript | NoTranscript] = {}
        failures: dict[int, list[NoTranscript]] = {number: [] for number in range(len(sources))}
        languages: dict[int, str | None] = {}
        for number, source in enumerate(sources):
            problem = source.recording.language_problem
            if self.options.language != AUTO:
                languages[number] = self.options.language
            elif problem is not None:
                found[number] = NoTranscript(reason=problem.reason, detail=problem.detail)
            else:
                languages[number] = source.recording.language
        for recogniser in self.recognisers:
            left = [number for number in languages if number not in found]
            for language in dict.fromkeys(languages[number] for number in left):
                numbers = [number for number in left if languages[number] == language]
                results = recogniser.transcribe([sources[number] for number in numbers], language)
                for number, result in zip(numbers, results, strict=True):
                    if isinstance(result, Transcript):
                        found[number] = result
                        continue
                    failures[number].append(result)
                    if result.final:
                        found[number] = _refused(failures[number])
        return [found.get(number) or _refused(failures[number]) for number in range(len(sources))]


def _refused(failures: Sequence[NoTranscript]) -> NoTranscript:
    """What all recognisers said that were asked."""
    return NoTranscript(reason=failures[-1].reason, detail="; ".join(each.detail for each in failures))


def say(word: str, language: str) -> str:
    """A word of a text as it is said; as it is written where nothing sure can be said."""
    from vall_e.emb.text.base import Unspoken
    from vall_e.emb.text.normalise import normalise
    from vall_e.emb.text.spoken import to_spoken

    try:
        return to_spoken(normalise(word, keep_signs=True), language)
    except Unspoken:
        return word


def _needs_times(recording: Recording, transcript: Transcript) -> bool:
    """Whether a text was given without any times."""
    return not recording.segments and not any(segment.words for segment in transcript.segments)


def _rejected(item_id: str, reason: str, detail: str, audio_s: float = 0.0) -> stage.Outcome:
    known = {"start_s": 0.0, "duration_s": round(audio_s, 6)} if audio_s else {}
    reject = Reject(id=item_id, stage=STAGE, reason=reason, detail=detail, **known)
    return stage.Outcome(item_id=item_id, rejects=(reject,), audio_s=audio_s)


def transcribe(
    input_audio: Path | None,
    output_metadata: Path,
    options: TranscribeOptions,
    *,
    start: Callable[[], None] = lambda: None,
) -> stage.StageReport:
    """Imports what is new in the corpus, then transcribes what is not transcribed yet.

    Args:
        input_audio: the corpus; None: where an earlier import says it is.
        output_metadata: the folder for recordings.jsonl and transcripts.jsonl.
        options: see TranscribeOptions.
        start: called once, right before `overwrite` drops earlier transcripts or the first new one is written.

    Returns:
        The counts of both; rejects of the import are among its rejects.

    Raises:
        UsageError: no such folder, or transcripts that were made with other options. BackendError: a package or model
        is missing. ContractError: a manifest is broken.
    """
    started = time.monotonic()
    executor = make_executor(options.executor, options.workers, options.device)
    corpus_root(input_audio, output_metadata)
    recorded = (storage.read_json(output_metadata / layout.METADATA_JSON) or {}).get(STAGE)
    notes: list[str] = []
    if recorded is not None and not options.overwrite:
        options, notes = config.adopt(recorded, options)
    recognisers = load_recognisers(options)  # reports what is missing before anything is written
    load_aligner(options, say)
    load_diarizer(options)
    if options.link_speakers:
        voice.require("link-speakers")
    if recorded is not None and not options.overwrite:
        stage.check_same(output_metadata, recorded, options)
    roots, imported = _import(input_audio, output_metadata, options)
    with storage.folder_lock(output_metadata):
        results = stage.Results(output_metadata, STAGE, layout.TRANSCRIPTS, key="recording_id")
        recordings = storage.RowIndex(output_metadata / layout.RECORDINGS, "id", value=stage.duration_of)
        todo = stage.left(recordings, lambda name: not options.overwrite and results.is_done(name))
        report = stage.StageReport(stage=STAGE, num_items=len(recordings), num_ignored=imported.num_ignored)
        report.num_resumed = len(recordings) - len(todo)
        report.notes += notes

        of_speakers: dict[str, Detected] = {}
        if (
            len(todo)
            and "sidecar" in options.backend
            and (options.language, options.language_from) == (AUTO, "speaker")
        ):
            if options.overwrite:
                (output_metadata / layout.LANGUAGES).unlink(missing_ok=True)
            everything = storage.read_rows(output_metadata / layout.RECORDINGS, Recording)
            of_speakers = detection.of_speakers(everything, output_metadata, options.languages)

        def begin() -> None:
            start()
            if options.overwrite:
                results.clear()
                (output_metadata / layout.SPEAKERS).unlink(missing_ok=True)
            _write_head(output_metadata, options, recognisers)

        stage.run_stage(
            results,
            stage.tasks(recordings, todo),
            functools.partial(Worker, roots, options, of_speakers),
            executor,
            report,
            total_items=len(todo),
            total_audio_s=float(recordings.values[todo].sum()),
            start=begin,
            overwrite=options.overwrite,
            bunch_s=max(getattr(recogniser, "bunch_s", 0.0) for recogniser in recognisers),
            bunch_items=max(getattr(recogniser, "bunch_items", 1) for recogniser in recognisers),
        )
        if options.link_speakers:
            _link(output_metadata, options, report)
        if not results.rows_path.exists():
            storage.write_json_lines(results.rows_path, (), output_metadata)  # later stages look for the file
    report.rejects = report.rejects + imported.rejects
    report.notes = imported.notes + report.notes
    report.wall_s = time.monotonic() - started
    return report


def _link(metadata: Path, options: TranscribeOptions, report: stage.StageReport) -> None:
    """Gives the voices of all recordings their speakers; the doubtful ones are noted."""
    if not (metadata / layout.TRANSCRIPTS).exists():
        return
    notes = link(
        storage.read_rows(metadata / layout.RECORDINGS, Recording),
        storage.read_rows(metadata / layout.TRANSCRIPTS, Transcript),
        metadata,
        options.link_similarity,
    )
    if notes:
        with storage.JsonlWriter(metadata / layout.NOTES) as writer:
            writer.write(notes)
        report.notes.append(f"{stage.plural(notes, 'voice')} may be of another speaker: see {layout.NOTES}")


def _import(
    input_audio: Path | None, metadata: Path, options: TranscribeOptions
) -> tuple[audio.Roots, stage.StageReport]:
    """Brings recordings.jsonl up to date → (where its paths lie, the import's counts)."""
    head = storage.read_json(metadata / layout.METADATA_JSON) or {}
    root = corpus_root(input_audio, metadata)
    is_another = options.overwrite and storage.is_another_folder(head.get("input_audio"), root)
    report = import_corpus(
        root,
        metadata,
        options_of(
            {} if is_another else head,
            executor=options.executor,
            workers=options.workers,
            update=options.update or options.overwrite,
            overwrite=is_another,
        ),
    )
    return roots_of(metadata, root), report


def _write_head(folder: Path, options: TranscribeOptions, recognisers: Sequence[Recogniser]) -> None:
    path = folder / layout.METADATA_JSON
    head = storage.read_json(path) or {}
    head |= {
        "schema_version": storage.SCHEMA_VERSION,
        STAGE: options.result_options,
        "backends": [recogniser.name_and_version for recogniser in recognisers],
        "versions": storage.versions(LIBRARIES),
    }
    if storage.read_json(path) != head:
        storage.write_json(path, head, folder)


def main(argv: Sequence[str] | None = None, *, prog: str = "python -m vall_e.emb.transcribe") -> int:
    parser = argparse.ArgumentParser(prog=prog, description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--input-audio", type=Path, help="the corpus, a folder of recordings (default: as imported)")
    parser.add_argument("--output-metadata", type=Path, required=True, help="folder for transcripts.jsonl")
    config.add_options(parser, TranscribeOptions)
    config.add_max_reject_ratio(parser)
    args = parser.parse_args(argv)
    options = config.resolve(TranscribeOptions, args, STAGE)
    report = transcribe(args.input_audio, args.output_metadata, options)
    return report.finish(args.max_reject_ratio)


if __name__ == "__main__":
    config.run_main(main)
