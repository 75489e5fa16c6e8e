"""A trained model that speaks: the library behind `python -m vall_e.synthesize`."""

from __future__ import annotations

import copy
import dataclasses
import functools
import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vall_e import audio, config, trained
from vall_e.dataset.tasks import STT, TASKS, TTS, shares_of
from vall_e.dataset.vocab import BOS, EOS
from vall_e.emb.asr.listen import RATE_HZ, Listener, knows
from vall_e.languages import parse_language
from vall_e.types import UsageError
from vall_e.units import is_voiced, units_of

if TYPE_CHECKING:
    import torch

    from vall_e.models.sampling import Sampling

LEAST_PROMPT_S = 0.5
FRAMES_PER_PHONE = 40  # of a text, where it is stopped: half a second at 75 frames a second
EXTRA_S = 2.0


@dataclass(frozen=True, kw_only=True)
class SynthesizeOptions:
    """Options of this command: flags, and keys of the section `synthesize` in a config file."""

    model: str = config.option("tiny", "a folder that training made, or tiny: the one that ships")
    temperature: float = config.option(0.8, "of the draws of codes; 0 always takes the best one")
    top_k: int = config.option(0, "draw among so many best codes; 0: all")
    top_p: float = config.option(0.9, "draw among the best codes that together have this probability")
    repetition_window: int = config.option(0, "codes that are looked back on for repetition; 0: none")
    repetition_ratio: float = config.option(0.3, "share of them above which a code is drawn again from all")
    power: float = config.option(1.0, "probabilities to this power, normalised")
    voiced_power: float = config.option(0.0, "the power where the voice sounds; 0: the same (aligned models only)")
    floor: float = config.option(0.0, "taken off the probabilities, then normalised")
    best_of: int = config.option(1, "speak so many times, and keep the one that a recogniser reads best")
    backend: str = config.option("pocketsphinx", "best-of: the recogniser that listens")
    model_name: str = config.option("large-v3", "best-of, whisperx: a Whisper model's name or folder")
    seed: int = config.option(0, "of the draws")
    batch_size: int = config.option(8, "texts spoken at a time; does not change the result")
    vocos: bool = config.option(False, "decode EnCodec's codes by Vocos")
    weights: Path | None = config.option(None, "of the codec, where they are not its back end's own")
    device: str = config.option("cpu", "where the model runs")

    def __post_init__(self) -> None:
        if self.best_of < 1 or self.batch_size < 1:
            raise ValueError("best_of and batch_size are at least 1")
        if self.seed < 0 or self.voiced_power < 0:
            raise ValueError("seed and voiced_power are not negative")
        self.sampling  # noqa: B018  (its checks)

    @property
    def sampling(self) -> Sampling:
        from vall_e.models.sampling import Sampling

        names = (field.name for field in dataclasses.fields(Sampling))
        return Sampling(**{name: getattr(self, name) for name in names})


@dataclass(frozen=True)
class Spoken:
    """What was said.

    Attributes:
        audio: float32 [n], of a stereo codec [2,n].
        rate_hz: of the audio.
        codes: uint16 [K,T].
        stopped: whether the model stopped by itself.
        frame_units: int64 [T], the unit of the text that each frame belongs to; None of a model without alignment.
    """

    audio: np.ndarray
    rate_hz: int
    codes: np.ndarray
    stopped: bool
    frame_units: np.ndarray | None

    def write(self, path: Path | str) -> None:
        """Raises UsageError, OSError: as `audio.write`."""
        audio.write(Path(path), self.audio, self.rate_hz)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be said.

    Attributes:
        tokens: int32 [S] with <bos> and <eos>.
        language: id in the model's vocabulary.
        prompt: codes uint16 [K,P] of the voice; None: whatever voice comes.
        prompt_tokens: int32, what the prompt says, without <bos> and <eos>; none where that is not known.
        source: codes uint16 [K,S] that a task beside text to speech works on.
        task: its name.
        attempt: attempts differ by chance.
    """

    tokens: np.ndarray
    language: int
    prompt: np.ndarray | None = None
    prompt_tokens: np.ndarray | None = None
    source: np.ndarray | None = None
    task: str = TTS
    attempt: int = 0


class Synthesizer:
    """A trained model that speaks. The same text, prompt and seed give the same codes, whatever else is spoken.

    It computes in float64: how a sum is rounded depends on how many texts are spoken at once, and in float32 that
    would decide now and then which code is drawn.
    """

    def __init__(self, model: trained.Trained, options: SynthesizeOptions) -> None:
        if model.ar is None:
            raise UsageError(f"{model.folder}: holds no AR model, which speaking takes; train with --model both")
        if options.voiced_power and not model.ar.is_monotone:
            raise UsageError(f"{model.folder}: without alignment nobody knows the phone of a frame; no --voiced-power")
        self.model, self.options = model, options
        self.ar, self.nar = copy.deepcopy(model.ar), copy.deepcopy(model.nar)
        if not model.device.startswith("mps"):  # Apple's cards have no float64
            for each in (self.ar, self.nar):
                if each is not None:
                    each.double()
        self.decoder: Any = model.codec
        if options.vocos:
            from vall_e.emb.codecs.registry import CodecOptions, load_codec

            if not model.codec.spec.name.startswith("encodec"):
                raise UsageError(f"--vocos decodes the codes of encodec, these are of {model.codec.spec.name}")
            levels = model.codec.spec.num_levels
            self.decoder = load_codec(CodecOptions(audio_backend="vocos", levels=levels, device=options.device))

    @classmethod
    def load(cls, model: Path | str = "tiny", **options: Any) -> Synthesizer:
        """A model's folder, or `tiny`; further arguments are those of SynthesizeOptions."""
        chosen = SynthesizeOptions(model=str(model), **options)
        return cls(trained.load(chosen.model, device=chosen.device, weights=chosen.weights), chosen)

    def prompt(self, path: Path | str) -> np.ndarray:
        """Codes uint16 [K,P] of a voice: the first seconds of an audio file, as long as prompts were in training.

        Raises:
            UsageError: no audio, silent, or too short.
        """
        return self._codes(Path(path), float(self.model.description.trained.get("prompt_s", 3.0)))

    def source(self, path: Path | str) -> np.ndarray:
        """Codes uint16 [K,S] of all of an audio file, for a task; raises as `prompt`."""
        return self._codes(Path(path), float("inf"))

    def _codes(self, path: Path, longest_s: float) -> np.ndarray:
        from vall_e.emb.codecs.base import encode

        try:
            samples, rate_hz = audio.load(path)
        except audio.AudioError as error:
            raise UsageError(f"{path}: {error.detail}") from None
        if audio.is_silent(samples):
            raise UsageError(f"{path}: silent; give audio with speech")
        if len(samples) < LEAST_PROMPT_S * rate_hz:
            raise UsageError(f"{path}: {len(samples) / rate_hz:.2f} s; it takes {LEAST_PROMPT_S} s and more")
        if len(samples) > longest_s * rate_hz:
            samples = samples[: round(longest_s * rate_hz)]
        return encode(self.model.codec, samples, rate_hz)

    def speak(
        self,
        text: str,
        *,
        language: str,
        prompt: np.ndarray | None = None,
        prompt_text: str | None = None,
        task: str = TTS,
        source: np.ndarray | None = None,
    ) -> Spoken:
        """One text; with `best_of`, the attempt that is read best.

        Args:
            text: what to say.
            language: its code or name.
            prompt: codes uint16 [K,P] of the voice; None: whatever voice comes.
            prompt_text: what the prompt says; models without alignment speak better with it.
            task: one that the model was trained with.
            source: codes uint16 [K,S] of the sound that the task works on.

        Raises:
            UsageError: an empty text, a language or phone that the model does not know, or a task without its source.
        """
        given: dict[str, Any] = {"prompt": prompt, "prompt_text": prompt_text, "task": task, "source": source}
        return next(self.speak_all([text], language=language, **given))

    def speak_all(
        self,
        texts: Sequence[str],
        *,
        language: str,
        prompt: np.ndarray | None = None,
        prompt_text: str | None = None,
        task: str = TTS,
        source: np.ndarray | None = None,
    ) -> Iterator[Spoken]:
        """Several texts, in their order, `batch_size` at once; as `speak`."""
        self._check_task(task, source)
        language = parse_language(language) or language
        if self.options.best_of > 1 and not knows(self.options.backend, language):
            what = f"--best-of: {self.options.backend} does not know the language {language!r}"
            raise UsageError(f"{what}; choose --backend whisperx")
        said = self.model.tokens(prompt_text, language)[1:-1] if prompt_text else None
        of_all = [self.model.tokens(text, language) for text in texts]
        number, tries = self.model.description.vocabulary.language_ids[language], self.options.best_of
        shared: dict[str, Any] = {"language": number, "prompt": prompt, "prompt_tokens": said}
        requests = (
            Request(tokens=tokens, attempt=attempt, task=task, source=source, **shared)
            for tokens in of_all
            for attempt in range(tries)
        )
        spoken = self.speak_requests(requests)
        for text in texts:
            found = [next(spoken) for _ in range(tries)]
            errors = self._errors(found, text, language) if tries > 1 else [0.0]
            yield found[errors.index(min(errors))]

    def _check_task(self, task: str, source: np.ndarray | None) -> None:
        known = shares_of(self.model.description.trained.get("tasks", ())) or {TTS: 1.0}
        if task not in known:
            found = ", ".join(known)
            raise UsageError(f"{self.model.folder}: trained with {found}, not with {task}; train with --tasks")
        if (task == TTS) != (source is None):
            raise UsageError(f"task {task}: it {'takes no' if task == TTS else 'needs a'} source")

    def _errors(self, tries: Sequence[Spoken], text: str, language: str) -> list[float]:
        """The character error rate of what a recogniser reads in each."""
        from vall_e.emb.codecs.base import mono
        from vall_e.emb.text.written import character_error_rate

        sounds = [audio.resample(mono(each.audio), each.rate_hz, RATE_HZ) for each in tries]
        read = self._listener.texts(sounds, [language] * len(tries))
        return [character_error_rate(text, each) for each in read]

    @functools.cached_property
    def _listener(self) -> Listener:
        """The recogniser of `best_of`."""
        options = self.options
        return Listener(options.backend, model_name=options.model_name, device=options.device)

    def speak_requests(self, requests: Iterator[Request] | Sequence[Request]) -> Iterator[Spoken]:
        """What each request asks for, in their order, `batch_size` at once."""
        rest = iter(requests)
        while group := list(itertools.islice(rest, self.options.batch_size)):
            yield from self._speak(group)

    def _speak(self, requests: Sequence[Request]) -> list[Spoken]:
        from vall_e.models.sampling import Sampler

        model, spec, options = self.model, self.model.codec.spec, self.options
        if model.nar is None and spec.num_levels > 1:
            raise UsageError(f"{model.folder}: holds no NAR model, which speaking takes; train with --model both")
        batch = self._batch(requests)
        seeds = [_seed(options.seed, each.attempt, each.tokens, each.language) for each in requests]
        samplers = [Sampler(dataclasses.replace(options.sampling, seed=seed)) for seed in seeds]
        extra = round(EXTRA_S * float(spec.frame_rate_hz))
        most = [
            len(each.tokens) * FRAMES_PER_PHONE + extra if each.source is None else each.source.shape[1]
            for each in requests
        ]
        powers = [self._powers(each.tokens) for each in requests] if options.voiced_power else None
        firsts = self.ar.speak(batch, samplers, max_frames=most, powers=powers)
        units = [each.frame_units for each in firsts]
        of_all = self._levels(batch, [each.codes for each in firsts], units)
        found = []
        for request, first, codes, own in zip(requests, firsts, of_all, units, strict=True):
            sound = self.decoder.decode([codes])[0]
            stopped = first.stopped or request.source is not None  # that is where its sound ends
            frame_units = None if own is None else own.numpy()
            found.append(Spoken(sound, model.codec.spec.sample_rate_hz, codes, stopped, frame_units))
        return found

    def _powers(self, tokens: np.ndarray) -> list[float]:
        """What the frames of each unit are drawn with."""
        vocabulary, options = self.model.description.vocabulary, self.options
        voiced = [is_voiced(vocabulary.decode([token]) or " ") for token in tokens.tolist()]
        places = units_of(vocabulary.kinds[tokens]).places
        return [options.voiced_power if voiced[place] else options.power for place in places]

    def _batch(self, requests: Sequence[Request]) -> Any:
        from vall_e.dataset import for_synthesis

        model, spec, nothing = self.model, self.model.codec.spec, np.zeros(0, np.int32)
        no_codes = np.zeros((spec.num_levels, 0), np.uint16)
        batch = for_synthesis(
            [each.tokens for each in requests],
            [no_codes if each.prompt is None else each.prompt for each in requests],
            [each.language for each in requests],
            model.description.vocabulary,
            codebook_size=spec.codebook_size,
            prompt_texts=[nothing if each.prompt_tokens is None else each.prompt_tokens for each in requests],
            sources=[no_codes if each.source is None else each.source for each in requests],
            tasks=[TASKS[each.task].number for each in requests],
        )
        return batch.to(model.device)

    def fill(
        self, text: str, *, language: str, first: np.ndarray, durations: np.ndarray, prompt: np.ndarray | None = None
    ) -> np.ndarray:
        """All levels uint16 [K,T], from level 0 [T] and the frames of each token [S]: what the NAR model does alone."""
        import torch

        vocabulary, tokens = self.model.description.vocabulary, self.model.tokens(text, language)
        batch = self._batch([Request(tokens=tokens, language=vocabulary.language_ids[language], prompt=prompt)])
        places = units_of(vocabulary.kinds[tokens]).places
        units = torch.from_numpy(np.repeat(np.arange(len(places)), durations[places]))
        return self._levels(batch, [torch.from_numpy(first.astype(np.int64))], [units])[0]

    def _levels(
        self, batch: Any, firsts: Sequence[torch.Tensor], frame_units: Sequence[torch.Tensor | None]
    ) -> list[np.ndarray]:
        """All levels, uint16 [K,T] each, of level 0 int64 [T] each."""
        import torch
        from torch.nn.utils.rnn import pad_sequence

        model, levels = self.model, self.model.codec.spec.num_levels
        below = [first.numpy().astype(np.uint16)[None] for first in firsts]
        if self.nar is None:
            return below
        own = [
            torch.full_like(first, -1) if each is None else each
            for first, each in zip(firsts, frame_units, strict=True)
        ]
        first = pad_sequence(list(firsts), batch_first=True).to(model.device)
        lengths = torch.tensor([len(each) for each in firsts], device=model.device)
        batch = dataclasses.replace(
            batch,
            target=first[:, None].expand(-1, levels, -1),
            target_lengths=lengths,
            frame_units=pad_sequence(own, batch_first=True, padding_value=-1).to(model.device),
        )
        if not self.nar.is_latent:
            filled = self.nar.fill(batch, first).cpu().numpy().astype(np.uint16)
            return [codes[:, : each.shape[1]] for codes, each in zip(filled, below, strict=True)]
        with torch.inference_mode():
            changes = (self.nar.latents(batch, first) - self.nar.vectors(first[:, None])).cpu().float().numpy()
        quantize = model.codec.quantize  # type: ignore[attr-defined]
        return [
            np.concatenate([each, quantize(change[: each.shape[1]], 1)])
            for each, change in zip(below, changes, strict=True)
        ]

    def phonemes_of(self, sources: Sequence[np.ndarray]) -> list[str]:
        """What is spoken in each source, codes uint16 [K,S]: the task `stt`.

        Raises:
            UsageError: the model was not trained with it.
        """
        vocabulary = self.model.description.vocabulary
        empty = np.array([BOS, EOS], np.int32)
        found = []
        for source in sources:
            self._check_task(STT, source)
            batch = self._batch([Request(tokens=empty, language=0, source=source, task=STT)])
            (tokens,) = self.ar.write(batch, first=BOS, last=EOS, max_tokens=source.shape[1])
            found.append(vocabulary.decode(tokens.tolist()))
        return found


def _seed(seed: int, attempt: int, tokens: np.ndarray, language: int) -> int:
    """Of one attempt at one text, so that what else is spoken changes nothing."""
    content = f"{seed}\0{attempt}\0{language}\0".encode() + tokens.astype("<i4").tobytes()
    return int.from_bytes(hashlib.sha256(content).digest()[:7], "little")
