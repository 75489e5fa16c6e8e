"""Train the tiny codec on synthetic speech, on one CPU thread, and measure it on voices and languages it never heard.

    python data/train_tiny.py --cache /tmp/tiny --minutes 50 --output vall_e/emb/codecs/tiny.safetensors
    python data/train_tiny.py --cache /tmp/tiny --eval-only

An interrupted run goes on from the state in the cache folder. docs/tiny.md tells how the shipped weights were made.
"""

import argparse
import dataclasses
import json
import math
import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soxr
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from synthesise import ARTICLE_1, Voice, english_words, random_english, random_text, speak
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # also runs from a checkout that isn't installed

from vall_e.emb.codecs.tiny import TinyConfig, TinyModel

DEFAULT_OUTPUT = Path(__file__).resolve().parent.parent / "vall_e" / "emb" / "codecs" / "tiny.safetensors"
RATE_HZ = 24_000
HELD_OUT_LANGUAGES = ("ja", "fi", "sw")
TRAINING_LANGUAGES = tuple(language for language in ARTICLE_1 if language not in HELD_OUT_LANGUAGES)
TRAINING_FLITE = ("slt", "awb", "kal16")
TRAINING_VARIANTS = (
    *("m1", "m2", "m3", "m4", "m5", "m6", "f1", "f2", "f3", "f4", "klatt", "klatt2", "klatt4"),
    *("adam", "linda", "michael", "steph", "belinda"),
)
CROP_FRAMES = 60
BATCH_SIZE = 24


# --- corpus -----------------------------------------------------------------------------------------------------------


def random_voice(rng: random.Random) -> Voice:
    """A voice of the training set: a third of them flite's, which were built from recordings of people."""
    if rng.random() < 1 / 3:
        return Voice("flite", rng.choice(TRAINING_FLITE))
    name = f"{rng.choice(TRAINING_LANGUAGES)}+{rng.choice(TRAINING_VARIANTS)}"
    return Voice("espeak-ng", name, pitch=rng.randint(15, 85), speed=rng.randint(120, 220))


def training_corpus(folder: Path, minutes: float, seed: int) -> np.ndarray:
    """All training speech in a row, int16 [n] at 24 kHz, memory-mapped; made once per seed and length."""
    path = folder / f"speech-{seed}-{minutes:g}.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        rng, words, parts, count = random.Random(seed), english_words(), [], 0
        while count < minutes * 60 * RATE_HZ:
            voice = random_voice(rng)
            text = random_english(words, rng) if voice.language == "en" else random_text(voice.language, rng)
            audio = at_codec_rate(*speak(text, voice))
            parts.append((audio * 32767).astype(np.int16))
            count += len(audio)
        temporary = path.with_suffix(".tmp.npy")
        np.save(temporary, np.concatenate(parts))
        os.replace(temporary, path)
        print(
            f"corpus: {len(parts)} utterances, {minutes:g} min, made in {time.monotonic() - started:.0f} s", flush=True
        )
    return np.load(path, mmap_mode="r", allow_pickle=False)


def at_codec_rate(audio: np.ndarray, rate_hz: int) -> np.ndarray:
    """float32 [n] at any rate -> float32 [m] at 24 kHz, within -1..1."""
    return np.clip(soxr.resample(audio, rate_hz, RATE_HZ), -1.0, 1.0)


def batches(corpus: np.ndarray, seed: int, hop_samples: int) -> Iterator[Tensor]:
    """Endless random crops, changed so that no two are alike: float32 [batch, frames * hop]."""
    rng = np.random.default_rng(seed)
    length = CROP_FRAMES * hop_samples
    while True:
        yield torch.from_numpy(np.stack([_crop(corpus, length, rng) for _ in range(BATCH_SIZE)]))


def _crop(corpus: np.ndarray, length: int, rng: np.random.Generator) -> np.ndarray:
    speed = rng.uniform(0.85, 1.2)  # resampling moves pitch, formants and tempo together: other speakers, cheaply
    source_length = min(int(length * speed) + 64, len(corpus))
    start = rng.integers(0, len(corpus) - source_length + 1)
    audio = corpus[start : start + source_length].astype(np.float32) / 32768
    audio = soxr.resample(audio, round(RATE_HZ * speed), RATE_HZ, quality="MQ")[:length]
    audio = np.pad(audio, (0, length - len(audio)))
    spectrum = np.fft.rfft(audio)
    octaves = np.log2(np.maximum(np.linspace(0, RATE_HZ / 2, len(spectrum)), 100.0) / 1000.0)
    audio = np.fft.irfft(spectrum * 10 ** (rng.uniform(-3, 3) * octaves / 20), n=length)
    if rng.random() < 0.3:
        level = np.sqrt(np.mean(audio**2)) * 10 ** (-rng.uniform(15, 45) / 20)
        audio = audio + level * rng.standard_normal(length)
    peak = 10 ** (rng.uniform(-22, -0.5) / 20)
    return (audio * peak / max(float(np.abs(audio).max()), 0.02)).astype(np.float32)


# --- training ---------------------------------------------------------------------------------------------------------


class LearningQuantiser(nn.Module):
    """Residual quantiser whose entries follow the mean of the frames they code, with a decaying memory.

    `encodec.quantization` replaces an unused entry and, in the same step, overwrites it from the old running mean, so
    dead entries stay dead; here the running mean is replaced too.
    """

    DECAY = 0.99
    DEAD_BELOW = 0.12  # frames per step; the mean is 1.4

    sizes: Tensor
    sums: Tensor

    def __init__(self, codebooks: Tensor) -> None:
        super().__init__()
        self.codebooks = codebooks  # [K, C, D], the model's own buffer, changed in place
        self.register_buffer("sizes", torch.zeros(codebooks.shape[:2]))
        self.register_buffer("sums", torch.zeros(codebooks.shape))

    def start(self, frames: Tensor, iterations: int = 12) -> None:
        """k-means per level on float32 [N, D]."""
        residual = frames
        for level, codebook in enumerate(self.codebooks):
            codebook.copy_(residual[torch.randint(len(residual), (len(codebook),))])
            codebook.add_(1e-4 * residual.std() * torch.randn_like(codebook))
            for _ in range(iterations):
                sizes, sums = self._assign(residual, nearest(residual, codebook))
                codebook.copy_(torch.where(sizes[:, None] > 0, sums / sizes.clamp(min=1)[:, None], codebook))
            indices = nearest(residual, codebook)
            sizes, _ = self._assign(residual, indices)
            self.sizes[level] = sizes * (BATCH_SIZE * CROP_FRAMES / len(residual))
            self.sums[level] = codebook * self.sizes[level][:, None]
            residual = residual - codebook[indices]

    def forward(self, latents: Tensor, revive: bool) -> tuple[Tensor, Tensor]:
        """[B, T, D] -> quantised [B, T, D] with the gradient passed straight through, and the commitment loss."""
        flat = latents.flatten(0, 1)
        keep = self._kept_levels(latents)
        residual, total = flat.detach(), torch.zeros_like(flat)
        commitment = flat.new_zeros(())
        scale = flat.detach().var().clamp(min=1e-8)
        for level, codebook in enumerate(self.codebooks):
            indices = nearest(residual, codebook)
            entries = codebook[indices]
            commitment = commitment + (flat - (flat.detach() - residual) - entries).square().mean() / scale
            total = total + entries * (keep > level)
            self._follow(level, residual, indices, revive)
            residual = residual - entries
        quantised = flat + (total - flat).detach()
        return quantised.view_as(latents), commitment / len(self.codebooks)

    def _kept_levels(self, latents: Tensor) -> Tensor:
        """How many levels each frame's item keeps, [B * T, 1]: half of the items keep all."""
        batch, frames = latents.shape[:2]
        levels = len(self.codebooks)
        some = torch.randint(1, levels + 1, (batch,))
        keep = torch.where(torch.rand(batch) < 0.5, some, torch.full((batch,), levels))
        return keep.repeat_interleave(frames)[:, None]

    @torch.no_grad()
    def _follow(self, level: int, residual: Tensor, indices: Tensor, revive: bool) -> None:
        sizes, sums = self._assign(residual, indices)
        self.sizes[level].mul_(self.DECAY).add_(sizes, alpha=1 - self.DECAY)
        self.sums[level].mul_(self.DECAY).add_(sums, alpha=1 - self.DECAY)
        if revive:
            dead = self.sizes[level] < self.DEAD_BELOW
            chosen = residual[torch.randint(len(residual), (int(dead.sum()),))]
            self.sizes[level][dead] = 1.0
            self.sums[level][dead] = chosen
        self.codebooks[level] = self.sums[level] / self.sizes[level].clamp(min=1e-3)[:, None]

    def _assign(self, frames: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Number [C] and sum [C, D] of the frames [N, D] that each entry codes."""
        count = self.codebooks.shape[1]
        sums = frames.new_zeros(count, frames.shape[1]).index_add_(0, indices, frames)
        return torch.bincount(indices, minlength=count).float(), sums


def nearest(frames: Tensor, codebook: Tensor) -> Tensor:
    """Approximate (float32) nearest entry, fast: [N, D], [C, D] -> int64 [N]."""
    return (codebook.square().sum(1) - 2 * frames @ codebook.T).argmin(1)


def spectral_loss(model: TinyModel, output: Tensor, target: Tensor) -> Tensor:
    """Mean over resolutions of how far magnitudes are apart, linearly and in logs; and the same of the log-mel."""
    loss = 2.0 * (model.log_mel(output) - model.log_mel(target)).abs().mean()
    for size in (320, 768, 2048):
        window = torch.hann_window(size)
        a, b = (torch.stft(x, size, size // 4, size, window, return_complex=True).abs() for x in (output, target))
        convergence = (a - b).norm(dim=(1, 2)) / b.norm(dim=(1, 2)).clamp(min=1e-2)
        loss = loss + (convergence.mean() + (torch.log(a + 1e-3) - torch.log(b + 1e-3)).abs().mean()) / 3
    return loss


class Trainer:
    """Model, quantiser, optimiser and schedule; progress runs from 0 to 1 by steps or by time, whichever ends first."""

    PEAK_RATE = 1.5e-3

    def __init__(self, config: TinyConfig, seed: int) -> None:
        torch.manual_seed(seed)
        self.model = TinyModel(config)
        self.quantiser = LearningQuantiser(self.model.codebooks)
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=self.PEAK_RATE, betas=(0.8, 0.99))
        self.step = 0
        self.seconds = 0.0

    def run(self, stream: Iterator[Tensor], steps: int, minutes: float, state: Path, output: Path) -> None:
        """Train to the end of the budget; every two minutes, write the state and the weights so far."""
        uncoded_steps = max(2, min(250, steps // 10))
        free_frames: list[Tensor] = []  # latents of these steps, to start the codebooks from
        before, saved = time.monotonic(), time.monotonic()
        while self.step < steps and self.seconds < minutes * 60:
            progress = max(self.step / steps, self.seconds / (minutes * 60))
            self._set_rate(progress)
            losses = self._train_step(next(stream), self.step >= uncoded_steps, progress < 0.9, free_frames)
            self.step += 1
            if self.step == uncoded_steps:
                self.quantiser.start(torch.cat(free_frames))
            now = time.monotonic()
            self.seconds, before = self.seconds + now - before, now
            if self.step % 50 == 0 or self.step == steps:
                used = (self.quantiser.sizes > self.quantiser.DEAD_BELOW).float().mean()
                print(
                    f"step {self.step} {progress:.1%} {self.seconds:.0f} s: spectra {losses[0]:.3f} "
                    f"commitment {losses[1]:.3f} codes used {used:.0%}",
                    flush=True,
                )
            if now - saved > 120:
                self.save(state)
                save_model(self.model, output)
                saved = time.monotonic()
        self.save(state)
        save_model(self.model, output)

    def _set_rate(self, progress: float) -> None:
        decay = 0.5 + 0.5 * math.cos(math.pi * min(progress, 1.0))
        rate = self.PEAK_RATE * min(1.0, (self.step + 1) / 100) * decay
        for group in self.optimiser.param_groups:
            group["lr"] = rate

    def _train_step(self, audio: Tensor, coded: bool, revive: bool, free: list[Tensor]) -> tuple[float, float]:
        latents = self.model.latents(audio)
        if coded:
            quantised, commitment = self.quantiser(latents, revive and self.step % 10 == 0)
        else:
            quantised, commitment = latents, latents.new_zeros(())
            free.append(latents.detach().flatten(0, 1))
            del free[:-10]
        spectra = spectral_loss(self.model, self.model.synthesise(quantised), audio)
        self.optimiser.zero_grad()
        (spectra + 0.5 * commitment).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        return spectra.item(), commitment.item()

    def save(self, path: Path) -> None:
        """Everything that resuming needs, in float32."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"quantiser.{name}": value for name, value in self.quantiser.state_dict().items()}
        for number, slots in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{number}.{name}": value for name, value in slots.items()}
        write_atomically(tensors, path, {"step": str(self.step), "seconds": repr(self.seconds)})

    def resume(self, path: Path) -> None:
        """Take up the state that `save` wrote."""
        groups: dict[str, dict[str, Tensor]] = {"model": {}, "quantiser": {}, "optimiser": {}}
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118  (not a dict)
                group, rest = name.split(".", 1)
                groups[group][rest] = file.get_tensor(name)
            metadata = file.metadata()
        self.model.load_state_dict(groups["model"])
        self.quantiser.load_state_dict(groups["quantiser"])
        slots: dict[int, dict[str, Tensor]] = {}
        for name, value in groups["optimiser"].items():
            number, slot = name.split(".")
            slots.setdefault(int(number), {})[slot] = value
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": slots})
        self.step, self.seconds = int(metadata["step"]), float(metadata["seconds"])


def save_model(model: TinyModel, path: Path) -> None:
    """The weights that ship: float16, with the configuration in the metadata."""
    tensors = {name: value.half() for name, value in model.state_dict().items()}
    write_atomically(tensors, path, {"config": json.dumps(dataclasses.asdict(model.config))})


def write_atomically(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    save_file({name: value.contiguous() for name, value in tensors.items()}, temporary, metadata)
    os.replace(temporary, path)


# --- command line -----------------------------------------------------------------------------------------------------


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--steps", type=int, default=100_000, help="stop after this many steps (default: the time decides)"
    )
    parser.add_argument("--minutes", type=float, default=50.0, help="stop after this much training time")
    parser.add_argument("--corpus-minutes", type=float, default=120.0, help="speech to synthesise for training")
    parser.add_argument("--held-out-clips", type=int, default=12, help="clips to measure on, per held-out group")
    parser.add_argument("--cache", type=Path, required=True, help="folder for the corpus and the training state")
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT, help="weights to write (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--eval-only", action="store_true", help="measure --output, train nothing")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    from evaluate_tiny import evaluate  # after parsing, so that --help needs no pystoi

    options = parse_arguments(arguments)
    torch.set_num_threads(1)
    if not options.eval_only:
        trainer = Trainer(TinyConfig(), options.seed)
        state = options.cache / "state.safetensors"
        if state.exists():
            trainer.resume(state)
            print(f"resumed after step {trainer.step}", flush=True)
        corpus = training_corpus(options.cache, options.corpus_minutes, options.seed)
        stream = batches(corpus, options.seed + trainer.step, TinyConfig().hop_samples)
        trainer.run(stream, options.steps, options.minutes, state, options.output)
        print(f"trained {trainer.step} steps in {trainer.seconds / 60:.1f} min", flush=True)
    evaluate(options.output, options.held_out_clips, options.seed)


if __name__ == "__main__":
    main()
