"""WhisperX: Whisper by CTranslate2 over spans of speech, words timed by a Wav2Vec2 CTC model.

Bain et al., WhisperX: Time-Accurate Speech Transcription of Long-Form Audio, https://arxiv.org/abs/2303.00747. The
package's own transcription and alignment run; speech is found by the pip package silero_vad, as the two detectors that
whisperx brings load from a hub or by pickle.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import importlib.util
import io
import math
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vall_e import audio
from vall_e.emb.asr import segmenting
from vall_e.emb.asr.registry import RecogniserOptions
from vall_e.emb.asr.speech import find_speech
from vall_e.executor import devices
from vall_e.types import BackendError, NoTranscript, RejectReason, Segment, Transcript, Word

RATE_HZ = 16_000
PIECE_S, SEARCH_S = 600.0, 60.0  # Whisper takes 30 s at a time, so a cut in a pause loses nothing
CHUNK_S = 30.0  # what Whisper takes at a time
LONGEST_SPEECH_S = 29.0  # of one span; with the detector's padding still below CHUNK_S
SHORTEST_ALIGNED_S = 0.1  # alignment divides by the number of its 20 ms frames less one
MODEL_FILES = ("model.bin", "config.json", "tokenizer.json")
ALIGN_AUTO, ALIGN_OFF = "auto", "off"
ADVICE = "give a local folder as --model-name, or use --backend sidecar,pocketsphinx"


class Span(NamedTuple):
    """Speech, in seconds, as whisperx takes it from its detectors."""

    start: float
    end: float
    speaker: str = "UNKNOWN"


def load(options: RecogniserOptions) -> WhisperX:
    return WhisperX(
        model_name=options.model_name,
        align_model=options.align_model,
        batch_size=options.batch_size,
        device=devices.kind_of(options.device),
        compute_type=options.resolved_compute_type,
        languages=options.languages,
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
    ) -> None:
        for package in ("whisperx", "silero_vad", "torchaudio"):
            if importlib.util.find_spec(package) is None:
                raise BackendError(f'whisperx: the package {package} is missing; pip install "vall-e[whisperx]"')
        self.name_and_version = f"whisperx {importlib.metadata.version('whisperx')}"
        self._model_folder = _find_model(model_name)
        if align_model not in (ALIGN_AUTO, ALIGN_OFF) and _looks_like_path(align_model):
            _require_files(Path(align_model), ("config.json", "vocab.json"), "Wav2Vec2 CTC", "align-model")
        _require_device(device, compute_type)
        self._align_model, self._batch_size, self._detectable = align_model, batch_size, languages
        self._device, self._compute_type = device, compute_type
        self._aligners: dict[str, tuple[Any, dict[str, Any]] | None] = {}

    def transcribe(self, sources: Sequence[audio.Source], language: str | None) -> list[Transcript | NoTranscript]:
        """One result per source, in order. Without a `language`, the first 30 s of speech decide."""
        return segmenting.each(sources, functools.partial(self._transcribe_one, language=language))

    def _transcribe_one(self, source: audio.Source, *, language: str | None) -> Transcript | NoTranscript:
        if language is not None and language not in self._languages():
            detail = f"this Whisper model does not know {language!r}; put the text beside the audio"
            return NoTranscript(reason=RejectReason.LANGUAGE_UNSUPPORTED, detail=detail)
        probability: float | None = None
        found: list[Segment] = []
        for start, samples in segmenting.pieces(source, RATE_HZ, PIECE_S, SEARCH_S):
            speech = [Span(*found) for found in find_speech(samples, longest_s=LONGEST_SPEECH_S)]
            if not speech:
                continue
            if language is None:
                language, probability = self._detect(samples[round(speech[0].start * RATE_HZ) :])
            found += self._transcribe_piece(samples, speech, language, start / RATE_HZ)
        if language is None or not found:
            return NoTranscript(reason=RejectReason.NO_SPEECH, detail="whisperx found no word in it")
        segments = segmenting.segments_in_order(found, source.recording.duration_s)
        return Transcript(
            recording_id=source.recording.id,
            language=language,
            language_prob=probability,
            text=("" if language in ("ja", "zh") else " ").join(segment.text for segment in segments),
            segments=segments,
            backend=self.name_and_version,
        )

    @functools.cached_property
    def _pipeline(self) -> Any:
        _prepare_imports()
        from whisperx.asr import load_model
        from whisperx.vads import Vad

        class Given(Vad):
            """A detector that finds what was found before."""

            def __init__(self) -> None:
                super().__init__(vad_onset=0.5)
                self.speech: list[Span] = []

            @staticmethod
            def preprocess_audio(audio: np.ndarray) -> np.ndarray:
                return audio

            def __call__(self, *_: Any, **__: Any) -> list[Span]:
                return self.speech

        with _quiet():
            return load_model(
                str(self._model_folder),
                self._device,
                compute_type=self._compute_type,
                vad_model=Given(),
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
        from whisperx.audio import log_mel_spectrogram

        whisper = self._pipeline.model
        if not whisper.model.is_multilingual:
            return "en", None
        samples = samples[: round(CHUNK_S * RATE_HZ)]
        num_mels = whisper.feat_kwargs.get("feature_size") or 80
        mel = log_mel_spectrogram(samples, n_mels=num_mels, padding=round(CHUNK_S * RATE_HZ) - len(samples))
        found = whisper.model.detect_language(whisper.encode(mel))[0]  # the most probable first
        shares = [(token[2:-2], share) for token, share in found]
        if self._detectable:
            shares = [pair for pair in shares if pair[0] in self._detectable] or shares
        language, share = shares[0]
        total = sum(each for _, each in shares) if self._detectable else 1.0
        return language, round(min(1.0, share / total), 4)

    def _transcribe_piece(
        self, samples: np.ndarray, speech: list[Span], language: str, offset_s: float
    ) -> Iterator[Segment]:
        """Segments of float32 [n], their times counted from `offset_s` before it."""
        self._pipeline.vad_model.speech = speech
        with _quiet():
            spoken = self._pipeline.transcribe(
                samples, batch_size=self._batch_size, language=language, chunk_size=round(CHUNK_S)
            )["segments"]
            texts = [entry | {"text": text} for entry in spoken if (text := segmenting.one_line(entry["text"]))]
            aligned = [part for entry in texts for part in self._align(entry, samples, language)]
        for entry in aligned:
            words = tuple(_timed(entry.get("words", ()), entry["start"], entry["end"], offset_s))
            text = segmenting.one_line(entry["text"])
            start_s, end_s = offset_s + float(entry["start"]), offset_s + float(entry["end"])
            yield Segment(text=text, start_s=round(start_s, 3), end_s=round(end_s, 3), words=words)

    def _align(self, entry: dict[str, Any], samples: np.ndarray, language: str) -> list[dict[str, Any]]:
        """The sentences of a segment with word times; the segment as it is where they can't be had."""
        aligner = self._aligner(language)
        if aligner is None or entry["end"] - entry["start"] < SHORTEST_ALIGNED_S:
            return [entry]
        from whisperx.alignment import align

        model, metadata = aligner
        sentences: list[dict[str, Any]] = align([entry], model, metadata, samples, self._device)["segments"]
        return sentences

    def _aligner(self, language: str) -> tuple[Any, dict[str, Any]] | None:
        """(model, what it is about) for `language`; None where there is none."""
        if self._align_model == ALIGN_OFF:
            return None
        if language not in self._aligners:
            self._aligners[language] = self._load_aligner(language)
        return self._aligners[language]

    def _load_aligner(self, language: str) -> tuple[Any, dict[str, Any]] | None:
        from whisperx import alignment

        name = None if self._align_model == ALIGN_AUTO else self._align_model
        defaults = {**alignment.DEFAULT_ALIGN_MODELS_TORCH, **alignment.DEFAULT_ALIGN_MODELS_HF}
        if name is None and language not in defaults:
            print(f"transcribe: whisperx has no alignment model for {language!r}: no word times", file=sys.stderr)
            return None
        try:
            model, metadata = alignment.load_align_model(language, self._device, model_name=name)
        except (OSError, ValueError) as error:
            name, reason = name or defaults[language], " ".join(str(error).split())[:200]
            raise BackendError(
                f"whisperx: the alignment model of {language!r}, {name}, can't be loaded ({reason}); "
                "give a local folder as --align-model, or --align-model off"
            ) from None
        return model.eval(), metadata


def _timed(words: Sequence[dict[str, Any]], start_s: float, end_s: float, offset_s: float) -> Iterator[Word]:
    """Words with times; one that alignment left without gets what lies between its neighbours."""
    floor = float(start_s)
    for number, word in enumerate(words):
        later = (entry["start"] for entry in words[number + 1 :] if "start" in entry)
        begin = float(word.get("start", floor))
        end = float(word["end"]) if "end" in word else max(begin, float(next(later, end_s)))
        score = word.get("score")
        known = score is not None and math.isfinite(score)
        yield Word(
            text=word["word"],
            start_s=round(offset_s + begin, 3),
            end_s=round(offset_s + end, 3),
            score=min(1.0, max(0.0, float(score))) if known else None,  # type: ignore[arg-type]
        )
        floor = max(floor, end)


def _looks_like_path(name: str) -> bool:
    """Whether a folder is meant and no hub name: it is there, or is written as only paths are."""
    return Path(name).exists() or name.startswith((".", "/", "~")) or name.count("/") > 1


def _find_model(name: str) -> Path:
    """The folder of a model by path or name; a name is looked up in the hub's cache, then fetched from the hub."""
    if _looks_like_path(name):
        return _require_files(Path(name), MODEL_FILES, "CTranslate2 Whisper", "model-name")
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


def _require_files(folder: Path, names: Sequence[str], kind: str, flag: str) -> Path:
    for name in names:
        if not (folder / name).is_file():
            raise BackendError(f"whisperx: --{flag} {folder}: no {name} in it; it takes a {kind} folder")
    return folder


def _require_device(device: str, compute_type: str) -> None:
    import ctranslate2

    if device == "cuda" and ctranslate2.get_cuda_device_count() == 0:
        raise BackendError("whisperx: no CUDA device here; use --device cpu")
    supported = ctranslate2.get_supported_compute_types(device)
    if compute_type not in supported:
        raise BackendError(
            f"whisperx: compute_type {compute_type!r} is not among those of {device}: {', '.join(sorted(supported))}"
        )


@functools.cache
def _prepare_imports() -> None:
    """Makes whisperx importable beside a CPU-only torch, and keeps torch to one thread."""
    import torch

    from vall_e.compat import import_pyannote

    torch.set_num_threads(1)
    import_pyannote()
    import transformers

    transformers.logging.disable_progress_bar()
    with warnings.catch_warnings(), _quiet():
        warnings.simplefilter("ignore")
        import whisperx.alignment
        import whisperx.asr  # noqa: F401


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps what whisperx prints off standard output, which belongs to the command."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
