"""Speech from a text, in the voice of a prompt, by a trained model.

    python -m vall_e.synthesize "the text" --language en --prompt a.wav --model RUN --output out.wav

Without --model, the small one that ships speaks: it is for demos and tests. From Python:

    from vall_e.synthesize import Synthesizer

    speaker = Synthesizer.load("tiny")
    spoken = speaker.speak("three one four", language="en", prompt=speaker.prompt("a.wav"))
    spoken.write("out.wav")
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vall_e import audio, config, progress, trained
from vall_e.languages import parse_language
from vall_e.types import UsageError

if TYPE_CHECKING:
    import torch

    from vall_e.models.sampling import Sampling

STAGE = "synthesize"
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
    floor: float = config.option(0.0, "taken off the probabilities, then normalised")
    best_of: int = config.option(1, "speak so many times, and keep the one that a recogniser reads best")
    backend: str = config.option("pocketsphinx", "best-of: the recogniser that listens")
    model_name: str = config.option("large-v3", "best-of, whisperx: a Whisper model's name or folder")
    seed: int = config.option(0, "of the draws")
    vocos: bool = config.option(False, "decode EnCodec's codes by Vocos")
    weights: Path | None = config.option(None, "of the codec, where they are not its back end's own")
    device: str = config.option("cpu", "where the model runs")

    def __post_init__(self) -> None:
        if self.best_of < 1:
            raise ValueError(f"best_of: {self.best_of} is below 1")
        if self.seed < 0:
            raise ValueError(f"seed: {self.seed} is negative")
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


class Synthesizer:
    """A trained model that speaks. The same text, prompt and seed give the same codes, whatever else is spoken."""

    def __init__(self, model: trained.Trained, options: SynthesizeOptions) -> None:
        if model.ar is None or (model.nar is None and model.codec.spec.num_levels > 1):
            raise UsageError(f"{model.folder}: speaking takes both models, and it holds one; train with --model both")
        self.model, self.options = model, options
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
        from vall_e.emb.codecs.base import encode

        try:
            samples, rate_hz = audio.load(Path(path))
        except audio.AudioError as error:
            raise UsageError(f"{path}: {error.detail}") from None
        if audio.is_silent(samples):
            raise UsageError(f"{path}: silent; give a prompt with speech")
        if len(samples) < LEAST_PROMPT_S * rate_hz:
            raise UsageError(f"{path}: {len(samples) / rate_hz:.2f} s; a prompt takes {LEAST_PROMPT_S} s and more")
        longest_s = float(self.model.description.trained.get("prompt_s", 3.0))
        if len(samples) > longest_s * rate_hz:
            samples = samples[: round(longest_s * rate_hz)]
        return encode(self.model.codec, samples, rate_hz)

    def speak(
        self, text: str, *, language: str, prompt: np.ndarray | None = None, prompt_text: str | None = None
    ) -> Spoken:
        """One text; with `best_of`, the attempt that is read best.

        Args:
            text: what to say.
            language: its code or name.
            prompt: codes uint16 [K,P] of the voice; None: whatever voice comes.
            prompt_text: what the prompt says; models without alignment speak better with it.

        Raises:
            UsageError: an empty text, or a language or phone that the model does not know.
        """
        language = parse_language(language) or language
        said = self._tokens(prompt_text, language)
        tokens, number = self.model.tokens(text, language), self.model.description.vocabulary.language_ids[language]
        tries = [self.speak_tokens(tokens, number, prompt, said, attempt=n) for n in range(self.options.best_of)]
        if len(tries) == 1:
            return tries[0]
        errors = self._errors(tries, text, language)
        return tries[errors.index(min(errors))]

    def _tokens(self, prompt_text: str | None, language: str) -> np.ndarray:
        """What a prompt says, without <bos> and <eos>."""
        return self.model.tokens(prompt_text, language)[1:-1] if prompt_text else np.zeros(0, np.int32)

    def _errors(self, tries: Sequence[Spoken], text: str, language: str) -> list[float]:
        """The character error rate of what a recogniser reads in each."""
        from vall_e.emb.asr.listen import RATE_HZ, Listener
        from vall_e.emb.codecs.base import mono
        from vall_e.emb.text.written import character_error_rate

        listener = Listener(self.options.backend, model_name=self.options.model_name, device=self.options.device)
        sounds = [audio.resample(mono(each.audio), each.rate_hz, RATE_HZ) for each in tries]
        return [character_error_rate(text, heard) for heard in listener.texts(sounds, [language] * len(tries))]

    def speak_tokens(
        self,
        tokens: np.ndarray,
        language: int,
        prompt: np.ndarray | None = None,
        prompt_tokens: np.ndarray | None = None,
        *,
        attempt: int = 0,
    ) -> Spoken:
        """As `speak`, of tokens int32 [S] with <bos> and <eos>, and a language by its id; attempts differ by chance."""
        from vall_e.models.sampling import Sampler

        model, spec = self.model, self.model.codec.spec
        batch = self._batch(tokens, language, prompt, prompt_tokens)
        sampling = dataclasses.replace(self.options.sampling, seed=_seed(self.options.seed, attempt, tokens, language))
        most = len(tokens) * FRAMES_PER_PHONE + round(EXTRA_S * float(spec.frame_rate_hz))
        assert model.ar is not None
        first = model.ar.speak(batch, Sampler(sampling), max_frames=most)
        codes = self._levels(batch, first.codes.to(model.device), first.frame_units)
        sound = self.decoder.decode([codes])[0]
        units = None if first.frame_units is None else first.frame_units.numpy()
        return Spoken(sound, spec.sample_rate_hz, codes, first.stopped, units)

    def _batch(
        self, tokens: np.ndarray, language: int, prompt: np.ndarray | None, prompt_tokens: np.ndarray | None
    ) -> Any:
        """A batch of one, of what is to be said."""
        from vall_e.dataset import for_synthesis

        model, spec = self.model, self.model.codec.spec
        batch = for_synthesis(
            [tokens],
            [np.zeros((spec.num_levels, 0), np.uint16) if prompt is None else prompt],
            [language],
            model.description.vocabulary,
            codebook_size=spec.codebook_size,
            prompt_texts=None if prompt_tokens is None else [prompt_tokens],
        )
        return batch.to(model.device)

    def fill(
        self, text: str, *, language: str, first: np.ndarray, durations: np.ndarray, prompt: np.ndarray | None = None
    ) -> np.ndarray:
        """All levels uint16 [K,T], from level 0 [T] and the frames of each token [S]: what the NAR model does alone."""
        import torch

        from vall_e.units import units_of

        vocabulary, tokens = self.model.description.vocabulary, self.model.tokens(text, language)
        batch = self._batch(tokens, vocabulary.language_ids[language], prompt, None)
        places = units_of(vocabulary.kinds[tokens]).places
        units = torch.from_numpy(np.repeat(np.arange(len(places)), durations[places]))
        return self._levels(batch, torch.from_numpy(first.astype(np.int64)).to(self.model.device), units)

    def _levels(self, batch: Any, first: torch.Tensor, frame_units: torch.Tensor | None) -> np.ndarray:
        """All levels, uint16 [K,T], of level 0 int64 [T]."""
        import torch

        model = self.model
        below = first.cpu().numpy().astype(np.uint16)[None]
        if model.nar is None:
            return below
        units = torch.full_like(first, -1) if frame_units is None else frame_units.to(model.device)
        length = torch.tensor([len(first)], device=first.device)
        target = first.expand(1, model.codec.spec.num_levels, -1)
        batch = dataclasses.replace(batch, target=target, target_lengths=length, frame_units=units[None])
        if not model.nar.is_latent:
            return model.nar.fill(batch, first).cpu().numpy().astype(np.uint16)
        with torch.inference_mode():
            change = model.nar.latents(batch, first[None])[0] - model.nar.vectors(first[None, None])[0]
        above: np.ndarray = model.codec.quantize(change.cpu().float().numpy(), 1)  # type: ignore[attr-defined]
        return np.concatenate([below, above])


def _seed(seed: int, attempt: int, tokens: np.ndarray, language: int) -> int:
    """Of one attempt at one text, so that what else is spoken changes nothing."""
    content = f"{seed}\0{attempt}\0{language}\0".encode() + tokens.astype("<i4").tobytes()
    return int.from_bytes(hashlib.sha256(content).digest()[:7], "little")


def main(argv: Sequence[str] | None = None, *, prog: str = "python -m vall_e.synthesize") -> int:
    parser = argparse.ArgumentParser(prog=prog, description=(__doc__ or "").split("\n")[0])
    parser.add_argument("text", nargs="?", help="what to say")
    parser.add_argument("--lines", type=Path, metavar="FILE", help="texts instead, one a line; --output is a folder")
    parser.add_argument("--language", default="en", help="ISO 639-1 code of the text (default: en)")
    parser.add_argument("--prompt", type=Path, metavar="AUDIO", help="a voice to speak in (default: whatever comes)")
    parser.add_argument("--prompt-text", metavar="TEXT", help="what the prompt says")
    parser.add_argument("--output", type=Path, required=True, help="the audio file, or the folder for --lines")
    config.add_options(parser, SynthesizeOptions)
    args = parser.parse_args(argv)
    options = config.resolve(SynthesizeOptions, args, STAGE)
    if (args.text is None) == (args.lines is None):
        raise UsageError("give a text, or --lines FILE")
    if args.lines is None:
        audio.require_writable(args.output)
    texts = [args.text] if args.lines is None else _read_lines(args.lines)
    speaker = Synthesizer(trained.load(options.model, device=options.device, weights=options.weights), options)
    prompt = None if args.prompt is None else speaker.prompt(args.prompt)
    if options.model == "tiny":
        print("the model tiny is for demos and tests: train one on your own data", file=sys.stderr)
    if args.lines is not None:
        args.output.mkdir(parents=True, exist_ok=True)
    numbered = enumerate(texts, start=1)
    for number, text in progress.track(numbered, STAGE, len(texts)) if args.lines is not None else numbered:
        spoken = speaker.speak(text, language=args.language, prompt=prompt, prompt_text=args.prompt_text)
        path = args.output if args.lines is None else args.output / f"{number:04d}.wav"
        spoken.write(path)
        if not spoken.stopped:
            print(f"warning: {path}: it did not stop by itself", file=sys.stderr)
    for mark, known in sorted(speaker.model.replaced.items()):
        print(f"note: the model was never trained with {mark!r}; it is read as {known!r}", file=sys.stderr)
    print(f"{args.output}: {len(texts)} spoken")
    return 0


def _read_lines(path: Path) -> list[str]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: can't be read as UTF-8 text: {error}") from None
    found = [line for line in lines if line]
    if not found:
        raise UsageError(f"{path}: no line with a text")
    return found


if __name__ == "__main__":
    config.run_main(main)
