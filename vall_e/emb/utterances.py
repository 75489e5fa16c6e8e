"""A recording and its transcript → utterances: slices, gates, phonemes, codes. What a worker of `process` does."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from vall_e import audio, config, stage, storage, update
from vall_e.emb.codecs.base import encode_prepared, prepare
from vall_e.emb.codecs.registry import CodecOptions, load_codec
from vall_e.emb.gates import base as gates_
from vall_e.emb.gates.registry import GateOptions, load_gates
from vall_e.emb.slicing import STAGE, Limits, Slice, plan_slices, trim
from vall_e.emb.text.lexicon import sha256_of
from vall_e.emb.text.phonemes import Reading, to_phonemes
from vall_e.emb.text.registry import (
    JAPANESE,
    JAPANESE_HELP,
    LEXICON,
    NORMALISE,
    PHONEMIZERS,
    G2pOptions,
    load_phonemizer,
    resolve_japanese,
)
from vall_e.executor import EXECUTORS
from vall_e.languages import parse_language
from vall_e.types import ContractError, Recording, Reject, RejectReason, Transcript, Utterance, safe_path

# options that don't change the result; weights: their hash is in the CodecSpec
FREE = frozenset({"device", "executor", "workers", "overwrite", "update", "weights"})


@dataclass(frozen=True, kw_only=True)
class ProcessOptions(CodecOptions, GateOptions):
    """Options of this stage: flags, and keys of the section `process` in a config file."""

    slice: str = config.option(
        "auto",
        "cut along the transcript's segments: true, false, or auto: where the recording is longer than "
        "--max-duration or has several segments",
        choices=("auto", "true", "false"),
    )
    trim: bool = config.option(True, "leave out silence around speech, but for 0.2 s", before=False)
    phonemizer: str = config.option("espeak", "what turns text into phonemes", choices=tuple(PHONEMIZERS))
    punctuation: bool = config.option(True, "keep punctuation among the phonemes")
    stress: bool = config.option(True, "mark stress")
    strip: bool = config.option(True, "no white space at the ends of phonemes")
    normalise: bool = config.option(True, NORMALISE, before=False)
    japanese: str = config.option("auto", JAPANESE_HELP, choices=("auto", *JAPANESE), before="pykakasi")
    lexicon: Path | None = config.option(None, LEXICON)
    executor: str = config.option("local", "where workers run", choices=EXECUTORS)
    workers: int = config.option(1, "processes, one thread each; 0 is one per core, or one per card")
    update: bool = config.option(False, "first drop utterances whose audio, text or speaker changed, then resume")
    overwrite: bool = config.option(False, "start from scratch: drop the utterances of an earlier run")

    def __post_init__(self) -> None:
        CodecOptions.__post_init__(self)
        GateOptions.__post_init__(self)

    @property
    def g2p(self) -> G2pOptions:
        return G2pOptions(
            backend=self.phonemizer,
            punctuation=self.punctuation,
            stress=self.stress,
            strip=self.strip,
            normalise=self.normalise,
            japanese=self.japanese,
            lexicon=self.lexicon,
        )

    @property
    def result_options(self) -> dict[str, Any]:
        """The options that change the result: what a resumed run must share with the one before."""
        values = {key: value for key, value in dataclasses.asdict(self).items() if key not in FREE}
        lexicon = sha256_of(self.lexicon) if self.lexicon else None
        return values | {"gates": list(self.gates), "japanese": resolve_japanese(self.japanese), "lexicon": lexicon}


@dataclass
class Draft:
    """A recording on its way to rows: its slices that wait for codes, and what became of the others."""

    recording: Recording
    language: str
    rows: list[Utterance] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)


@dataclass(frozen=True)
class Cut:
    """A slice with its sound, ready to be encoded."""

    draft: Draft
    slice: Slice
    reading: Reading
    samples: np.ndarray

    @property
    def language(self) -> str:
        return self.slice.language or self.draft.language

    @property
    def rate_hz(self) -> int:
        return self.draft.recording.sample_rate_hz


class Worker:
    """Turns recordings with their transcripts into arrays on disk and their rows.

    `speakers` are those of voices that were linked: recording id → voice → speaker.
    """

    def __init__(
        self, roots: audio.Roots, dataset: Path, options: ProcessOptions, speakers: Mapping[str, Mapping[str, str]]
    ) -> None:
        import torch

        torch.set_num_threads(1)
        self.roots, self.dataset, self.options, self.speakers = roots, dataset, options, speakers
        self.codec = load_codec(options)
        self.phonemizer = load_phonemizer(options.g2p)
        gates = load_gates(options)
        self.early_gates = [gate for gate in gates if gate.acts_early]
        self.gates = [gate for gate in gates if not gate.acts_early]

    def __call__(self, bunch: stage.Bunch) -> list[stage.Outcome]:
        """Recordings of a bunch share the codec's batches; each has an outcome of its own."""
        outcomes = []
        waiting: list[Cut] = []
        drafts: list[tuple[stage.Task, Draft]] = []
        for task in bunch.items:
            recording = task.places[0].read(Recording)
            transcript = _with_codes(task.places[1].read(Transcript))
            draft = Draft(recording, transcript.language)
            problem = self._prepare(draft, transcript, waiting)
            if problem is None:
                drafts.append((task, draft))
            else:
                outcomes.append(problem)
        self._encode(waiting)
        for task, draft in drafts:
            outcomes.append(
                stage.Outcome(
                    item_id=task.id,
                    rows=tuple(draft.rows),
                    rejects=tuple(draft.rejects),
                    audio_s=sum(row.duration_s for row in draft.rows),
                    fingerprint=update.fingerprint(task.places),
                )
            )
        return outcomes

    def _prepare(self, draft: Draft, transcript: Transcript, waiting: list[Cut]) -> stage.Outcome | None:
        """Adds the recording's slices to `waiting`, encoding whenever enough wait; an outcome if there can be none."""
        recording = draft.recording
        before = len(waiting)
        try:
            source = audio.locate(self.roots, recording)
            if source is None:
                return stage.Outcome(item_id=recording.id, finished=False)
            limits = Limits(mode=self.options.slice, max_duration_s=self.options.max_duration_s, check=self._check)
            speakers = self.speakers.get(recording.id, {})
            if any(voice.name not in speakers for voice in transcript.voices):
                raise ContractError(f"{recording.id}: its voices are not linked yet: run transcribe to its end first")
            slices, rejects = plan_slices(recording, transcript, limits, speakers)
            draft.rejects += rejects
            for cut in self._cuts(source, draft, slices):
                waiting.append(cut)
                if sum(each.slice.num_samples / each.rate_hz for each in waiting) >= stage.BUNCH_S:
                    self._encode(waiting)
                    before = 0
        except audio.AudioError as error:
            del waiting[before:]
            self._remove(draft)
            return _rejected(recording.id, error.reason, error.detail)
        return None

    def _check(self, utterance_id: str, duration_s: float, text: str) -> Reject | None:
        """The first reject of the gates that act early."""
        for gate in self.early_gates:
            seen = gates_.GateInput(duration_s=duration_s, sample_rate_hz=0, text=text)
            reject = gates_.check(gate, gate.score(seen), utterance_id, STAGE)
            if reject is not None:
                return reject
        return None

    def _cuts(self, source: audio.Source, draft: Draft, slices: Sequence[Slice]) -> Iterator[Cut]:
        """The slices that have phonemes and sound, in order; the audio is read in one pass."""
        spoken: list[tuple[Slice, Reading]] = []
        for cut in slices:
            language = cut.language or draft.language
            reading = to_phonemes(self.phonemizer, cut.text, language, item_id=cut.id, stage=STAGE)
            if isinstance(reading, Reject):
                draft.rejects.append(_located(reading, cut, draft.recording))
            else:
                spoken.append((cut, reading))
        spans = [(cut.start_samples, cut.num_samples) for cut, _ in spoken]
        pieces = source.slices(spans)
        for (cut, reading), samples in zip(spoken, pieces, strict=True):
            if audio.is_silent(samples):
                detail = "no sample above -80 dBFS"
                reject = Reject(id=cut.id, stage=STAGE, reason=RejectReason.SILENT, detail=detail)
                draft.rejects.append(_located(reject, cut, draft.recording))
                continue
            if self.options.trim:
                cut, samples = trim(cut, samples, draft.recording.sample_rate_hz)
                short = self._check(cut.id, cut.num_samples / draft.recording.sample_rate_hz, cut.text)
                if short is not None:
                    draft.rejects.append(_located(short, cut, draft.recording))
                    continue
            yield Cut(draft, cut, reading, samples)

    def _encode(self, waiting: list[Cut]) -> None:
        """Encodes all of `waiting` as one list, which is then empty; arrays are written, rows go to their drafts."""
        if not waiting:
            return
        try:
            ready = [prepare(self.codec.spec, cut.samples, cut.rate_hz) for cut in waiting]
            encoded = encode_prepared(self.codec, ready)
        except ContractError as error:
            raise ContractError(f"{', '.join(cut.slice.id for cut in waiting)}: {error}") from None
        for cut, codes in zip(waiting, encoded, strict=True):
            cut.draft.rows.append(self._write(cut, codes))
        waiting.clear()

    def _write(self, cut: Cut, codes: np.ndarray) -> Utterance:
        recording, relative = cut.draft.recording, cut.slice.id + ".npy"
        scores = self._scores(cut, codes)
        storage.write_array(safe_path(self.dataset, relative), codes, self.dataset)
        return Utterance(
            id=cut.slice.id,
            recording_id=recording.id,
            group=recording.group,
            speaker=cut.slice.speaker,
            sample_rate_hz=recording.sample_rate_hz,
            start_samples=cut.slice.start_samples,
            num_samples=cut.slice.num_samples,
            language=cut.language,
            text=cut.slice.text,
            spoken=cut.reading.spoken,
            phonemes=cut.reading.phonemes,
            words=cut.slice.words,
            codec=self.codec.spec.name,
            num_frames=codes.shape[1],
            codes=relative,
            split=recording.split,
            scores=recording.scores | scores,
        )

    def _scores(self, cut: Cut, codes: np.ndarray) -> dict[str, float | None]:
        seen = gates_.GateInput(
            duration_s=cut.slice.num_samples / cut.rate_hz,
            sample_rate_hz=cut.rate_hz,
            text=cut.slice.text,
            language=cut.language,
            words=cut.slice.words,
            phonemes=cut.reading.phonemes,
            samples=cut.samples,
            codes=codes,
        )
        return {gate.name: gate.score(seen) for gate in (*self.early_gates, *self.gates)}

    def _remove(self, draft: Draft) -> None:
        """Removes the arrays of a recording that turned out to be damaged behind its first slices."""
        for row in draft.rows:
            safe_path(self.dataset, row.codes).unlink(missing_ok=True)


def _with_codes(transcript: Transcript) -> Transcript:
    """With codes for languages that a person wrote by name, like English; a name that none has stays as it is."""

    def code(name: str) -> str:
        return parse_language(name) or name

    segments = tuple(
        segment if segment.language is None else msgspec.structs.replace(segment, language=code(segment.language))
        for segment in transcript.segments
    )
    return msgspec.structs.replace(transcript, language=code(transcript.language), segments=segments)


def _located(reject: Reject, cut: Slice, recording: Recording) -> Reject:
    """With the part of the recording that is lost."""
    rate_hz = recording.sample_rate_hz
    start_s, duration_s = round(cut.start_samples / rate_hz, 6), round(cut.num_samples / rate_hz, 6)
    return msgspec.structs.replace(reject, start_s=start_s, duration_s=duration_s)


def _rejected(item_id: str, reason: RejectReason, detail: str) -> stage.Outcome:
    return stage.Outcome(item_id=item_id, rejects=(Reject(id=item_id, stage=STAGE, reason=reason, detail=detail),))
