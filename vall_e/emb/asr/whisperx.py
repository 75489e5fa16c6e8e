"""WhisperX: Whisper by CTranslate2 over spans of speech, words timed by a Wav2Vec2 CTC model.

Bain et al., WhisperX: Time-Accurate Speech Transcription of Long-Form Audio, https://arxiv.org/abs/2303.00747. The
package's own transcription and alignment run; speech is found by the pip package silero_vad, as the two detectors that
whisperx brings load from a hub or by pickle.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from vall_e import audio
from vall_e.emb.asr import segmenting
from vall_e.emb.asr.registry import RecogniserOptions
from vall_e.emb.asr.speech import find_speech
from vall_e.emb.asr.wav2vec2 import (
    SHORTEST_S,
    WordAligner,
    looks_like_path,
    prepare_imports,
    quiet,
    require_files,
    timed,
)
from vall_e.executor import devices
from vall_e.types import BackendError, NoTranscript, RejectReason, Segment, Transcript

RATE_HZ = 16_000
PIECE_S, SEARCH_S = 600.0, 60.0  # Whisper takes 30 s at a time, so a cut in a pause loses nothing
CHUNK_S = 30.0  # what Whisper takes at a time
LONGEST_SPEECH_S = 29.0  # of one span; with the detector's padding still below CHUNK_S
MODEL_FILES = ("model.bin", "config.json", "tokenizer.json")
# what ctranslate2, torch and whisperx raise of a recording that they can't work with
LIBRARY_ERRORS = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, OSError, RuntimeError),
    *(TypeError, ValueError),
)
PACK_GAP_S = 1.6  # of silence between what shares a window
PACK_ROUNDS = 2
PACKED_S = 5.0  # of a window, for a short recording and the silence behind it
PACK_S = 27.0  # that are filled of a window: what ends just before its end is often left out
PACK_STRAY_S = 0.3  # by which a part may reach into another chunk's time: the marks are no better than that
ADVICE = "give a local folder as --model-name, or use --backend sidecar,pocketsphinx"


class Span(NamedTuple):
    """Speech, in seconds, as whisperx takes it from its detectors."""

    start: float
    end: float
    speaker: str = "UNKNOWN"


@dataclass
class Chunk:
    """Up to 30 s of a recording: what Whisper takes at a time.

    Attributes:
        owner: number of the recording.
        start_s: in the recording.
        samples: float32 [n].
        text: what was said; None until it is known.
        problem: why it could not be known.
    """

    owner: int
    start_s: float
    samples: np.ndarray
    language: str
    text: str | None = None
    problem: str = ""

    @property
    def duration_s(self) -> float:
        return len(self.samples) / RATE_HZ


@dataclass
class Draft:
    """What is known of a recording so far.

    Attributes:
        language: of all of it, or of most of it.
        changes: (seconds, language from there on) of a recording in several, in order.
    """

    language: str | None
    probability: float | None = None
    changes: list[tuple[float, str]] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    problem: NoTranscript | None = None

    def language_at(self, at_s: float) -> str | None:
        """What is spoken there."""
        return next((name for start_s, name in reversed(self.changes) if start_s <= at_s), self.language)


def load(options: RecogniserOptions) -> WhisperX:
    return WhisperX(
        model_name=options.model_name,
        align_model=options.align_model,
        batch_size=options.batch_size,
        device=devices.kind_of(options.device),
        compute_type=options.resolved_compute_type,
        languages=options.languages,
        pack=options.pack,
        initial_prompt=options.initial_prompt,
        hotwords=options.hotwords,
    )


class WhisperX:
    """Segments with word times and scores in any language that the model knows.

    Words are timed by `align_model`: a folder or hub name; `auto`, whisperx's choice for the language (where it has
    none, segments come without words, and standard error says so once); or `off`.

    Raises:
        BackendError: at construction, where a package, the model or the device is missing; later, where the alignment
            model of a language can't be loaded.
    """

    def __init__(
        self,
        *,
        model_name: str,
        align_model: str,
        batch_size: int,
        device: str,
        compute_type: str,
        languages: Sequence[str] = (),
        pack: bool = False,
        initial_prompt: str = "",
        hotwords: str = "",
    ) -> None:
        for package in ("whisperx", "silero_vad", "torchaudio"):
            if importlib.util.find_spec(package) is None:
                raise BackendError(f'whisperx: the package {package} is missing; pip install "vall-e[whisperx]"')
        self.name_and_version = f"whisperx {importlib.metadata.version('whisperx')}"
        self._model_folder = _find_model(model_name)
        self._aligner = WordAligner(align_model, device)
        _require_device(device, compute_type)
        self._batch_size, self._detectable = batch_size, languages
        self._device, self._compute_type = device, compute_type
        self._pack, self._initial_prompt, self._hotwords = pack, initial_prompt, hotwords

    @property
    def bunch_s(self) -> float:
        """A batch of full windows."""
        return self._batch_size * CHUNK_S

    @property
    def bunch_items(self) -> int:
        """A batch of short recordings; as many as share its windows where they are packed."""
        return self._batch_size * (round(PACK_S / PACKED_S) if self._pack else 1)

    def transcribe(self, sources: Sequence[audio.Source], language: str | None) -> list[Transcript | NoTranscript]:
        """One result per source, in order, each as if it were alone (with `pack`: nearly).

        Chunks of all sources share the model's batches. Without a `language`, the first 30 s of speech decide.
        """
        drafts = [Draft(language) for _ in sources]
        waiting: list[Chunk] = []
        for number, source in enumerate(sources):
            try:
                for chunk in self._chunks(number, source, drafts[number]):
                    waiting.append(chunk)
                    alike = [each for each in waiting if each.language == chunk.language]
                    if sum(each.duration_s for each in alike) >= self.bunch_s or (
                        not self._pack and len(alike) == self._batch_size
                    ):
                        self._recognise(alike, drafts)
                        waiting = [each for each in waiting if each.language != chunk.language]
            except audio.AudioError as error:
                drafts[number].problem = NoTranscript(reason=error.reason, detail=error.detail, final=True)
        for name in dict.fromkeys(chunk.language for chunk in waiting):
            self._recognise([chunk for chunk in waiting if chunk.language == name], drafts)
        return [self._transcript(source, draft) for source, draft in zip(sources, drafts, strict=True)]

    def _transcript(self, source: audio.Source, draft: Draft) -> Transcript | NoTranscript:
        if draft.problem is not None:
            return draft.problem
        if draft.language is None or not draft.segments:
            return NoTranscript(reason=RejectReason.NO_SPEECH, detail="whisperx found no word in it")
        found = sorted(draft.segments, key=lambda segment: segment.start_s)
        segments = segmenting.segments_in_order(found, source.recording.duration_s)
        return Transcript(
            recording_id=source.recording.id,
            language=draft.language,
            language_prob=draft.probability,
            text=("" if draft.language in ("ja", "zh") else " ").join(segment.text for segment in segments),
            segments=segments,
            backend=self.name_and_version,
        )

    def _chunks(self, number: int, source: audio.Source, draft: Draft) -> Iterator[Chunk]:
        """The speech of a recording, piece by piece; its language is set when the first speech is there."""
        if draft.language is None and (changes := _language_changes(source.recording.segments)):
            draft.language, draft.changes = source.recording.main_language, changes
        named = {draft.language, *(language for _, language in draft.changes)} - {None}
        unknown = sorted(str(language) for language in named - self._languages())
        if unknown:
            detail = f"this Whisper model does not know {', '.join(map(repr, unknown))}; put the text beside the audio"
            draft.problem = NoTranscript(reason=RejectReason.LANGUAGE_UNSUPPORTED, detail=detail)
            return
        for start, samples in segmenting.pieces(source, RATE_HZ, PIECE_S, SEARCH_S):
            speech = [Span(*found) for found in find_speech(samples, longest_s=LONGEST_SPEECH_S)]
            if not speech:
                continue
            if draft.language is None:
                try:
                    draft.language, draft.probability = self._detect(samples[round(speech[0].start * RATE_HZ) :])
                except LIBRARY_ERRORS as error:
                    draft.problem = NoTranscript(reason=RejectReason.RECOGNISER_FAILED, detail=_problem(error))
                    return
            changes_s = sorted({*source.changes_s, *(change_s for change_s, _ in draft.changes)})
            changes_s = [change_s - start / RATE_HZ for change_s in changes_s]
            for span in (span for group in _apart(speech, changes_s) for span in self._merge(group)):
                first, last = int(span["start"] * RATE_HZ), int(span["end"] * RATE_HZ)
                language = draft.language_at((start + (first + last) / 2) / RATE_HZ) or draft.language
                yield Chunk(number, (start + first) / RATE_HZ, samples[first:last], language)

    def _merge(self, speech: list[Span]) -> list[dict[str, Any]]:
        """Spans of speech in a row as chunks of up to 30 s, by whisperx' own rule."""
        prepare_imports()
        from whisperx.vads import Vad

        merged: list[dict[str, Any]] = Vad.merge_chunks(speech, round(CHUNK_S), 0.5, None)
        return merged

    def _recognise(self, chunks: list[Chunk], drafts: list[Draft]) -> None:
        """Fills in the texts of chunks of one language, and adds their segments to the drafts."""
        left = list(chunks)
        for _ in range(PACK_ROUNDS if self._pack else 0):  # beside other neighbours, most of those left are settled
            left = self._recognise_packed(left)
        for first in range(0, len(left), self._batch_size):
            self._recognise_batch(left[first : first + self._batch_size])
        for chunk in chunks:
            draft = drafts[chunk.owner]
            if not chunk.problem and chunk.text:
                try:
                    language = chunk.language if draft.changes else None
                    draft.segments += [
                        msgspec.structs.replace(segment, language=language) for segment in self._segments(chunk)
                    ]
                except LIBRARY_ERRORS as error:
                    chunk.problem = _problem(error)
            if chunk.problem:
                draft.problem = NoTranscript(reason=RejectReason.RECOGNISER_FAILED, detail=chunk.problem)

    def _recognise_batch(self, chunks: Sequence[Chunk]) -> None:
        """One call of the model; where the library fails, each chunk alone, so that only the one at fault is lost."""
        try:
            texts = self._texts(chunks)
        except LIBRARY_ERRORS as error:
            problem = _problem(error)
            if len(chunks) > 1:
                for chunk in chunks:
                    self._recognise_batch([chunk])
            else:
                chunks[0].problem = problem
            return
        for chunk, text in zip(chunks, texts, strict=True):
            chunk.text = segmenting.one_line(text)

    def _texts(self, chunks: Sequence[Chunk]) -> list[str]:
        """What is said in each chunk, by one call of whisperx over all of them, one behind the other."""
        edges = np.cumsum([0, *(len(chunk.samples) for chunk in chunks)])
        # whisperx cuts at int(seconds * rate): half a sample more keeps the right sample whatever the rounding
        spans = [(edge + 0.5) / RATE_HZ for edge in edges]
        self._pipeline.vad_model.chunks = [
            {"start": start, "end": end, "segments": [(start, end)]}
            for start, end in zip(spans, spans[1:], strict=False)
        ]
        with quiet():
            found = self._pipeline.transcribe(
                np.concatenate([chunk.samples for chunk in chunks]),
                batch_size=max(2, len(chunks)),  # of 1, whisperx takes the first letter of a text
                language=chunks[0].language,
                chunk_size=round(CHUNK_S),
            )["segments"]
        return [entry["text"] for entry in found]

    def _recognise_packed(self, chunks: Sequence[Chunk]) -> list[Chunk]:
        """Several short chunks in one window of 30 s, told apart by the model's time marks → those that are left."""
        windows: list[list[Chunk]] = []
        length_s = 0.0
        for chunk in chunks:
            if not windows or length_s + chunk.duration_s > PACK_S:
                windows.append([])
                length_s = 0.0
            windows[-1].append(chunk)
            length_s += chunk.duration_s + PACK_GAP_S
        packed = [window for window in windows if len(window) > 1]
        for first in range(0, len(packed), self._batch_size):
            batch = packed[first : first + self._batch_size]
            try:
                marked = self._marked_texts([_joined(window) for window in batch], batch[0][0].language)
            except LIBRARY_ERRORS as error:  # told of the chunk at fault when each is tried by itself
                _problem(error)
                continue
            for window, found in zip(batch, marked, strict=True):
                _share_out(window, found)
        return [chunk for chunk in chunks if chunk.text is None]

    def _marked_texts(self, windows: Sequence[np.ndarray], language: str) -> list[list[tuple[float, float, str]]]:
        """(start, end, text) of each part that the model sets time marks around, in windows of up to 30 s."""
        from faster_whisper.tokenizer import Tokenizer

        whisper, options = self._pipeline.model, self._pipeline.options
        tokenizer = Tokenizer(whisper.hf_tokenizer, whisper.model.is_multilingual, task="transcribe", language=language)
        before = tokenizer.encode(" " + options.initial_prompt.strip()) if options.initial_prompt else []
        prompt = whisper.get_prompt(tokenizer, before, without_timestamps=False, hotwords=options.hotwords)
        results = whisper.model.generate(
            whisper.encode(np.stack([self._mel(each) for each in windows])),
            [prompt] * len(windows),
            beam_size=options.beam_size,
            patience=options.patience,
            length_penalty=options.length_penalty,
            max_length=whisper.max_length,
            suppress_blank=options.suppress_blank,
            suppress_tokens=options.suppress_tokens,
            max_initial_timestamp_index=round(CHUNK_S / whisper.time_precision),
        )
        found = []
        for result in results:
            parts: list[tuple[float, float, str]] = []
            tokens: list[int] = []
            start_s = 0.0
            for token in result.sequences_ids[0]:
                if token < tokenizer.eot:
                    tokens.append(token)
                elif token >= tokenizer.timestamp_begin:
                    at_s = (token - tokenizer.timestamp_begin) * whisper.time_precision
                    if tokens:
                        parts.append((start_s, at_s, tokenizer.decode(tokens)))
                        tokens = []
                    start_s = at_s
            if tokens:
                parts.append((start_s, CHUNK_S, tokenizer.decode(tokens)))
            found.append(parts)
        return found

    @functools.cached_property
    def _pipeline(self) -> Any:
        prepare_imports()
        from whisperx.asr import load_model
        from whisperx.vads import Vad

        class Given(Vad):
            """A detector that finds what was found before, cut as it is."""

            def __init__(self) -> None:
                super().__init__(vad_onset=0.5)
                self.chunks: list[dict[str, Any]] = []

            @staticmethod
            def preprocess_audio(audio: np.ndarray) -> np.ndarray:
                return audio

            def __call__(self, *_: Any, **__: Any) -> list[dict[str, Any]]:
                return self.chunks

            @staticmethod
            def merge_chunks(segments: Any, *_: Any, **__: Any) -> Any:
                return segments

        with quiet():
            return load_model(
                str(self._model_folder),
                self._device,
                compute_type=self._compute_type,
                vad_model=Given(),
                asr_options={"initial_prompt": self._initial_prompt or None, "hotwords": self._hotwords or None},
                local_files_only=True,
                threads=1,
            )

    def _languages(self) -> frozenset[str]:
        if not self._pipeline.model.model.is_multilingual:
            return frozenset({"en"})
        from faster_whisper.tokenizer import _LANGUAGE_CODES

        return frozenset(_LANGUAGE_CODES)

    def _detect(self, samples: np.ndarray) -> tuple[str, float | None]:
        """(language, probability) of the first 30 s of float32 [n]."""
        shares = self._language_shares(samples)
        if shares is None:
            return "en", None
        if self._detectable:
            shares = {name: share for name, share in shares.items() if name in self._detectable} or shares
        language, share = next(iter(shares.items()))
        total = sum(shares.values()) if self._detectable else 1.0
        return language, round(min(1.0, share / total), 4)

    def _language_shares(self, samples: np.ndarray) -> dict[str, float] | None:
        """Language → probability by the first 30 s of float32 [n], the most probable first; None of a model of one."""
        whisper = self._pipeline.model
        if not whisper.model.is_multilingual:
            return None
        mel = self._mel(samples[: round(CHUNK_S * RATE_HZ)])
        return {token[2:-2]: share for token, share in whisper.model.detect_language(whisper.encode(mel))[0]}

    def _mel(self, samples: np.ndarray) -> Any:
        """What the model takes of up to 30 s, float32 [n]."""
        from whisperx.audio import N_SAMPLES, log_mel_spectrogram

        num_mels = self._pipeline.model.feat_kwargs.get("feature_size") or 80
        return log_mel_spectrogram(samples, n_mels=num_mels, padding=N_SAMPLES - len(samples))

    def probability_of(self, language: str, samples: np.ndarray) -> float | None:
        """How probable it is that float32 [n] at 16 kHz is in a language; None of a model that knows one only."""
        shares = self._language_shares(samples)
        return None if shares is None or language not in shares else round(shares[language], 4)

    def _segments(self, chunk: Chunk) -> list[Segment]:
        """The sentences of a chunk with word times, on the recording's clock."""
        assert chunk.text is not None, "only chunks with a text get here"
        with quiet():
            aligned = self._aligner.align(chunk.text, chunk.samples, chunk.language)
        if aligned is None:
            aligned = [{"text": chunk.text, "start": 0.0, "end": chunk.duration_s}]
        found = []
        for part in aligned:
            words = tuple(timed(part.get("words", ()), part["start"], part["end"], chunk.start_s))
            start_s, end_s = chunk.start_s + float(part["start"]), chunk.start_s + float(part["end"])
            text = segmenting.one_line(part["text"])
            found.append(Segment(text=text, start_s=round(start_s, 3), end_s=round(end_s, 3), words=words))
        return found


def _language_changes(segments: Sequence[Segment]) -> list[tuple[float, str]]:
    """(seconds, language from there on), of segments in several languages."""
    changes: list[tuple[float, str]] = []
    for segment in segments:
        if segment.language is not None and (not changes or changes[-1][1] != segment.language):
            changes.append((segment.start_s, segment.language))
    return changes


def _apart(speech: Sequence[Span], changes_s: Sequence[float]) -> list[list[Span]]:
    """Spans of speech cut at each change of speaker, those between two changes together."""
    groups: list[list[Span]] = [[]]
    left = list(changes_s)
    for span in speech:
        start_s = span.start
        while left and left[0] < span.end:
            change_s = left.pop(0)
            if change_s - start_s > SHORTEST_S and span.end - change_s > SHORTEST_S:
                groups[-1].append(Span(start_s, change_s))
                start_s = change_s
            groups.append([])
        groups[-1].append(Span(start_s, span.end))
    return [group for group in groups if group]


def _joined(window: Sequence[Chunk]) -> np.ndarray:
    """Chunks one behind the other, with silence between them."""
    gap = np.zeros(round(PACK_GAP_S * RATE_HZ), np.float32)
    return np.concatenate([part for chunk in window for part in (chunk.samples, gap)])[: -len(gap)]


def _share_out(window: Sequence[Chunk], found: Sequence[tuple[float, float, str]]) -> None:
    """Gives each chunk of a window its text; none to those that have no part, or share one with another chunk."""
    texts: list[list[str]] = [[] for _ in window]
    start_s, spans = 0.0, []
    for chunk in window:
        spans.append((start_s, start_s + chunk.duration_s))
        start_s += chunk.duration_s + PACK_GAP_S
    unsure: set[int] = set()
    for begin_s, end_s, text in found:
        shared_s = [max(0.0, min(end_s, last) - max(begin_s, first)) for first, last in spans]
        inside = [number for number, each_s in enumerate(shared_s) if each_s > PACK_STRAY_S]
        if len(inside) != 1:
            unsure.update(number for number, each_s in enumerate(shared_s) if each_s > 0)
        else:
            texts[inside[0]].append(text)
    for number, (chunk, parts) in enumerate(zip(window, texts, strict=True)):
        if parts and number not in unsure:
            chunk.text = segmenting.one_line(" ".join(parts))


def _problem(error: Exception) -> str:
    """What went wrong inside the library, for a reject.

    Raises:
        BackendError: the memory is short, which is no fault of the recording.
    """
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    if isinstance(error, MemoryError) or "out of memory" in reason.lower():
        raise BackendError(f"whisperx: {reason}; lower --batch-size") from None
    return f"whisperx failed on it: {reason}"


def _find_model(name: str) -> Path:
    """The folder of a model by path or name; a name is looked up in the hub's cache, then fetched from the hub."""
    if looks_like_path(name):
        return require_files(Path(name), MODEL_FILES, "CTranslate2 Whisper", "model-name")
    import huggingface_hub.errors
    from faster_whisper.utils import download_model

    missing = (OSError, huggingface_hub.errors.HfHubHTTPError, huggingface_hub.errors.OfflineModeIsEnabled)
    try:
        return Path(download_model(name, local_files_only=True))
    except huggingface_hub.errors.HFValidationError as error:
        raise BackendError(f"whisperx: {error}; {ADVICE}") from None
    except missing:
        pass  # not fetched yet
    except ValueError as error:
        raise BackendError(f"whisperx: {error}") from None
    try:
        return Path(download_model(name))
    except (*missing, RuntimeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise BackendError(
            f"whisperx: model {name!r} is neither in the cache nor can it be fetched ({reason}); {ADVICE}"
        ) from None


def _require_device(device: str, compute_type: str) -> None:
    import ctranslate2

    if device == "cuda" and ctranslate2.get_cuda_device_count() == 0:
        raise BackendError("whisperx: no CUDA device here; use --device cpu")
    supported = ctranslate2.get_supported_compute_types(device)
    if compute_type not in supported:
        raise BackendError(
            f"whisperx: compute_type {compute_type!r} is not among those of {device}: {', '.join(sorted(supported))}"
        )
