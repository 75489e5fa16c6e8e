"""Measure the tiny codec's stored weights on voices and languages it never heard: a row per number of levels."""

import dataclasses
import random
from pathlib import Path

import numpy as np
import soxr
import torch
from pystoi import stoi
from synthesise import Voice, random_text, speak
from torch import Tensor

from vall_e.emb.codecs.rvq import dequantize, quantize
from vall_e.emb.codecs.tiny import TinyModel, load_model

RATE_HZ = 24_000
SENTENCES = (
    "The old man walked slowly down the road to the village.",
    "She opened the window because the room was too warm.",
    "We will meet at the station at half past seven tomorrow morning.",
    "Please leave your name and your number after the tone.",
    "The children were playing in the garden behind the house.",
    "He could not remember where he had left the keys to his car.",
    "The weather this week has been much better than we expected.",
    "There are many good reasons to read a book before you go to sleep.",
    "The company said that it would open three new offices next year.",
    "I would like a cup of coffee with milk and no sugar.",
    "The train from the north was late again because of the snow.",
    "Nobody knows what will happen when the government changes.",
)


@dataclasses.dataclass(frozen=True)
class Clip:
    """Held-out speech, float32 [n] at 24 kHz; `text` is given where a recogniser can be asked about it."""

    group: str
    audio: np.ndarray
    text: str = ""


@dataclasses.dataclass(frozen=True)
class Scores:
    """Means over clips with the first `levels` levels; `stoi` by group; `used` is of level number `levels` alone."""

    levels: int
    stoi: dict[str, float]
    distance_db: float
    used: float

    @property
    def mean_stoi(self) -> float:
        return sum(self.stoi.values()) / len(self.stoi)


def held_out_clips(count: int, seed: int) -> list[Clip]:
    """`count` clips for each of: flite's rms, espeak-ng variants and the languages that training leaves out."""
    rng = random.Random(f"held out {seed}")
    clips = []
    for number in range(count):
        text = SENTENCES[number % len(SENTENCES)]
        clips.append(Clip("en rms", _speak(text, Voice("flite", "rms")), text))
        variant = rng.choice(["m7", "f5", "klatt3", "andy", "annie"])
        name = f"{rng.choice(['en', 'de', 'es', 'ru', 'cmn'])}+{variant}"
        text = random_text(name.split("+")[0], rng)
        clips.append(
            Clip("variants", _speak(text, Voice("espeak-ng", name, rng.randint(20, 80), rng.randint(140, 200))))
        )
        for language in ("ja", "fi", "sw"):
            voice = Voice("espeak-ng", f"{language}+{rng.choice(['m7', 'f5', 'm3', 'f2'])}", rng.randint(20, 80), 165)
            clips.append(Clip(language, _speak(random_text(language, rng), voice)))
    return clips


def _speak(text: str, voice: Voice) -> np.ndarray:
    audio, rate_hz = speak(text, voice)
    return np.clip(soxr.resample(audio, rate_hz, RATE_HZ), -1.0, 1.0)


def evaluate(weights: Path, clips_per_group: int, seed: int) -> list[Scores]:
    """Print the table of docs/tiny.md and return its rows."""
    model = load_model(weights)
    clips = held_out_clips(clips_per_group, seed)
    seconds = sum(len(clip.audio) for clip in clips) / RATE_HZ
    coded = [encode(model, clip.audio) for clip in clips]
    rows = [_score(model, clips, coded, levels + 1) for levels in range(model.config.num_levels)]
    groups = list(rows[0].stoi)
    print(f"{weights}: {len(clips)} held-out clips, {seconds:.0f} s")
    print("| levels | STOI | " + " | ".join(groups) + " | log-spectral distance, dB | codes in use at this level |")
    print("|" + "---|" * (len(groups) + 4))
    for row in rows:
        by_group = " | ".join(f"{row.stoi[group]:.3f}" for group in groups)
        print(f"| {row.levels} | {row.mean_stoi:.3f} | {by_group} | {row.distance_db:.2f} | {row.used:.0%} |")
    spoken = [(clip, decode(model, codes)) for clip, codes in zip(clips, coded, strict=True) if clip.text]
    before = word_error_rate([(clip.text, clip.audio) for clip, _ in spoken])
    after = word_error_rate([(clip.text, audio) for clip, audio in spoken])
    print(f"pocketsphinx word errors on rms: {before:.1%} original, {after:.1%} decoded", flush=True)
    return rows


@torch.inference_mode()
def encode(model: TinyModel, audio: np.ndarray) -> Tensor:
    """float32 [n] -> int64 [K, T]."""
    hop = model.config.hop_samples
    padded = np.pad(audio, (0, -len(audio) % hop))
    return quantize(model.latents(torch.from_numpy(padded)[None])[0], model.codebooks)


@torch.inference_mode()
def decode(model: TinyModel, codes: Tensor) -> np.ndarray:
    """int64 [K', T] -> float32 [T * hop]."""
    return model.synthesise(dequantize(codes, model.codebooks)[None])[0].numpy()


def _score(model: TinyModel, clips: list[Clip], coded: list[Tensor], levels: int) -> Scores:
    by_group: dict[str, list[float]] = {}
    distances = []
    for clip, codes in zip(clips, coded, strict=True):
        audio = decode(model, codes[:levels])[: len(clip.audio)]
        by_group.setdefault(clip.group, []).append(float(stoi(clip.audio, audio, RATE_HZ)))
        distances.append(log_spectral_distance(clip.audio, audio))
    used = len(torch.cat([codes[levels - 1] for codes in coded]).unique()) / model.config.codebook_size
    means = {group: sum(values) / len(values) for group, values in by_group.items()}
    return Scores(levels, means, sum(distances) / len(distances), used)


def log_spectral_distance(reference: np.ndarray, other: np.ndarray) -> float:
    """Root mean square over frequency, then the mean over frames, of the difference of power spectra in dB.

    Both are float32 [n] at 24 kHz. Power is floored 60 dB below the reference's loudest bin, as nobody hears the rest.
    """
    window = torch.hann_window(1024)
    a, b = (
        torch.stft(torch.from_numpy(x), 1024, 256, window=window, return_complex=True).abs().square()
        for x in (reference, other)
    )
    floor = a.max() * 1e-6
    difference = 10 * (torch.log10(a.clamp(min=floor)) - torch.log10(b.clamp(min=floor)))
    return float(difference.square().mean(0).sqrt().mean())


def word_error_rate(spoken: list[tuple[str, np.ndarray]]) -> float:
    """Word errors of pocketsphinx over (text, float32 [n] at 24 kHz) pairs, as a share of the words of the texts."""
    from pocketsphinx import Decoder

    decoder = Decoder(samprate=16_000, loglevel="FATAL")
    errors = words = 0
    for text, audio in spoken:
        narrow = soxr.resample(audio, RATE_HZ, 16_000)
        decoder.start_utt()
        decoder.process_raw((np.clip(narrow, -1, 1) * 32767).astype(np.int16).tobytes(), full_utt=True)
        decoder.end_utt()
        hypothesis = decoder.hyp()
        expected = text.lower().replace(".", "").replace(",", "").split()
        errors += _edits(expected, hypothesis.hypstr.split() if hypothesis else [])
        words += len(expected)
    return errors / words


def _edits(a: list[str], b: list[str]) -> int:
    """Least number of insertions, deletions and substitutions between two word lists."""
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, right in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (left != right))
    return row[-1]
