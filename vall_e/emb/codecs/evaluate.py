"""How good codecs are on a person's own audio: a table per codec and number of levels, and spectrograms side by side.

python -m vall_e.emb.qnt report --input-audio DIR --audio-backend tiny,encodec [--output DIR]
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vall_e import audio as audio_files
from vall_e import config, storage
from vall_e.emb.codecs.base import Codec, mono
from vall_e.emb.codecs.registry import CodecOptions, load_codec
from vall_e.executor import devices
from vall_e.pictures import find_pyplot
from vall_e.types import BackendError, CodecSpec, UsageError

PESQ_RATE_HZ = 16_000  # wide-band PESQ (ITU-T P.862.2) is defined at this rate alone
MIN_CLIP_S = 1.0  # STOI looks at 0.4 s of speech at a time
DYNAMIC_RANGE_DB = 60.0  # below a clip's loudest bin is inaudible


@dataclass(frozen=True, kw_only=True)
class QualityOptions:
    audio_backend: tuple[str, ...] = config.option(("tiny",), "codecs to compare, a comma list")
    weights: Path | None = config.option(None, "file of weights, where one codec is asked about")
    device: str = config.option("cpu", devices.HELP)
    max_clips: int = config.option(20, "files to take, evenly from the folder")
    max_clip_s: float = config.option(10.0, "seconds to take from each file")


@dataclass(frozen=True, kw_only=True)
class Score:
    """Means over clips for the first `num_levels` levels; `used` and `entropy_bits` are of the last of them alone."""

    codec: str
    num_levels: int
    bits_per_s: float
    frames_per_s: float
    stoi: float
    log_spectral_distance_db: float
    si_sdr_db: float
    pesq: float | None
    used: float
    entropy_bits: float
    encode_rtf: float
    decode_rtf: float


def stoi(reference: np.ndarray, other: np.ndarray, sample_rate_hz: int) -> float:
    """Short-time objective intelligibility, 0..1 (Taal et al. 2011, doi:10.1109/TASL.2011.2114881), by pystoi.

    Both are mono float [n].
    """
    import pystoi

    return float(pystoi.stoi(reference, other, sample_rate_hz))


def pesq(reference: np.ndarray, other: np.ndarray, sample_rate_hz: int) -> float | None:
    """Wide-band PESQ, 1..4.6 (ITU-T P.862.2); None where its package is not installed or finds no speech."""
    if importlib.util.find_spec("pesq") is None:
        return None
    import pesq as package

    pair = (audio_files.resample(x, sample_rate_hz, PESQ_RATE_HZ) for x in (reference, other))
    try:
        return float(package.pesq(PESQ_RATE_HZ, *pair, "wb"))
    except package.PesqError:
        return None


def log_spectral_distance_db(reference: np.ndarray, other: np.ndarray) -> float:
    """Root mean square over frequency, then mean over time, of the difference of power spectra in dB.

    Both are mono float [n]. Power is floored 60 dB below the reference's loudest bin.
    """
    powers = [_power(x) for x in (reference, other)]
    floor = max(float(powers[0].max()) * 10 ** (-DYNAMIC_RANGE_DB / 10), float(np.finfo(np.float32).tiny))
    one, two = (10 * np.log10(power.clip(min=floor)) for power in powers)
    return float(np.sqrt(np.square(one - two).mean(axis=1)).mean())


def _power(samples: np.ndarray, size: int = 1024, hop: int = 256) -> np.ndarray:
    """[n] → power spectrum [frames, size / 2 + 1]; short audio is padded to one frame."""
    padded = np.pad(samples, (0, max(0, size - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop] * np.hanning(size)
    power: np.ndarray = np.square(np.abs(np.fft.rfft(frames)))
    return power


def si_sdr_db(reference: np.ndarray, other: np.ndarray) -> float:
    """Scale-invariant signal-to-distortion ratio (Le Roux et al. 2019, arXiv:1811.02508). Both mono float [n].

    A codec that synthesises phases of its own scores low here however good it sounds.
    """
    x, y = reference.astype(np.float64), other.astype(np.float64)
    x, y = x - x.mean(), y - y.mean()
    tiny = np.finfo(np.float64).tiny
    target = (x @ y) / max(x @ x, tiny) * x
    noise = y - target
    return float(10 * (np.log10(max(target @ target, tiny)) - np.log10(max(noise @ noise, tiny))))


def entropy_bits(codes: np.ndarray, codebook_size: int) -> float:
    """Entropy of the distribution of codes [n], in bits; at most log2 of the codebook's size, or of n."""
    shares = np.bincount(codes.ravel(), minlength=codebook_size) / max(1, codes.size)
    present = shares[shares > 0]
    return float(-(present * np.log2(present)).sum())


def load_clips(folder: Path, options: QualityOptions) -> list[tuple[np.ndarray, int]]:
    """(mono float32 [n], rate in Hz) of up to `max_clips` files, spread evenly over the folder.

    Raises:
        UsageError: no file there can be read as audio with sound in it.
    """
    found = [(path.name, path) for path in audio_files.find_files(folder)]
    clips: list[tuple[np.ndarray, int]] = []
    number = min(len(found), options.max_clips)
    for index in np.linspace(0, len(found) - 1, number).round().astype(int) if number else ():
        recording_id, path = found[index]
        try:
            recording = audio_files.probe(path, recording_id)
            rate_hz = recording.sample_rate_hz
            num_samples = min(recording.num_samples, round(options.max_clip_s * rate_hz))
            (clip,) = audio_files.iter_slices(path, [(0, num_samples)])
        except audio_files.AudioError:
            continue  # the report is of codecs, not of files; transcribe says what is wrong with each
        if num_samples >= MIN_CLIP_S * rate_hz and not audio_files.is_silent(clip):
            clips.append((clip, rate_hz))
    if not clips:
        raise UsageError(f"{folder}: no readable audio with sound in it")
    return clips


def measure(codec: Codec, clips: Sequence[tuple[np.ndarray, int]]) -> list[Score]:
    """A row for each number of levels worth a look: powers of two, and all."""
    spec = codec.spec
    references = [audio_files.resample(clip, rate_hz, spec.sample_rate_hz) for clip, rate_hz in clips]
    audio_s = sum(map(len, references)) / spec.sample_rate_hz
    started = time.perf_counter()
    coded = [codec.encode([clip])[0] for clip in references]
    encode_rtf = (time.perf_counter() - started) / audio_s
    scales = codec.scales(references)
    counts = sorted({2**n for n in range(spec.num_levels.bit_length()) if 2**n <= spec.num_levels} | {spec.num_levels})
    scores = []
    for num_levels in counts:
        started = time.perf_counter()
        decoded = [codec.decode([codes[:num_levels]], [scale])[0] for codes, scale in zip(coded, scales, strict=True)]
        decode_rtf = (time.perf_counter() - started) / audio_s
        scores.append(_score(spec, num_levels, references, decoded, coded, (encode_rtf, decode_rtf)))
    return scores


def _score(
    spec: CodecSpec,
    num_levels: int,
    references: Sequence[np.ndarray],
    decoded: Sequence[np.ndarray],
    coded: Sequence[np.ndarray],
    rtf: tuple[float, float],
) -> Score:
    pairs = [(one, mono(two)[: len(one)]) for one, two in zip(references, decoded, strict=True)]
    last = np.concatenate([codes[num_levels - 1] for codes in coded])
    opinions = [value for one, two in pairs if (value := pesq(one, two, spec.sample_rate_hz)) is not None]
    return Score(
        codec=spec.name,
        num_levels=num_levels,
        bits_per_s=float(num_levels * math.log2(spec.codebook_size) * spec.frame_rate_hz),
        frames_per_s=float(spec.frame_rate_hz),
        stoi=float(np.mean([stoi(one, two, spec.sample_rate_hz) for one, two in pairs])),
        log_spectral_distance_db=float(np.mean([log_spectral_distance_db(one, two) for one, two in pairs])),
        si_sdr_db=float(np.mean([si_sdr_db(one, two) for one, two in pairs])),
        pesq=float(np.mean(opinions)) if opinions else None,
        used=len(np.unique(last)) / spec.codebook_size,
        entropy_bits=entropy_bits(last, spec.codebook_size),
        encode_rtf=rtf[0],
        decode_rtf=rtf[1],
    )


def show(scores: Sequence[Score]) -> None:
    """Prints what it sounds like, and what it costs; two tables, as one would not fit a terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    def number(form: str) -> Callable[[Any], str]:
        return lambda value: "–" if value is None else form.format(value)

    tables = {
        "Quality": {
            "STOI": ("stoi", "{:.3f}"),
            "LSD dB": ("log_spectral_distance_db", "{:.2f}"),
            "SI-SDR dB": ("si_sdr_db", "{:.1f}"),
            "PESQ": ("pesq", "{:.2f}"),
        },
        "Cost": {
            "frames/s": ("frames_per_s", "{:g}"),
            "codes used": ("used", "{:.0%}"),
            "entropy": ("entropy_bits", "{:.2f}"),
            "encode × RT": ("encode_rtf", "{:.4f}"),
            "decode × RT": ("decode_rtf", "{:.4f}"),
        },
    }
    for title, columns in tables.items():
        table = Table("codec", title=title, title_justify="left", box=box.SIMPLE_HEAD)
        for name in ("levels", "bits/s", *columns):
            table.add_column(name, justify="right")
        for score in scores:
            cells = [number(form)(getattr(score, field)) for field, form in columns.values()]
            table.add_row(score.codec, str(score.num_levels), f"{score.bits_per_s:,.0f}", *cells)
        Console().print(table)


def draw(codecs: Sequence[Codec], clip: np.ndarray, sample_rate_hz: int, path: Path) -> None:
    """Writes a picture: the clip on top, below it a row per codec with one level, some levels, and all."""
    pyplot = find_pyplot()
    assert pyplot is not None, "the command asked for it before it began"
    figure, axes = pyplot.subplots(len(codecs) + 1, 3, figsize=(13, 2.6 * (len(codecs) + 1)), squeeze=False)
    for blank in axes[0, 1:]:
        blank.axis("off")
    draw_spectrogram(axes[0, 0], clip, sample_rate_hz, "original")
    for row, codec in zip(axes[1:], codecs, strict=True):
        spec = codec.spec
        reference = audio_files.resample(clip, sample_rate_hz, spec.sample_rate_hz)
        (codes,), scales = codec.encode([reference]), codec.scales([reference])
        for axis, num_levels in zip(row, (1, max(1, spec.num_levels // 2), spec.num_levels), strict=True):
            decoded = mono(codec.decode([codes[:num_levels]], scales)[0])[: len(reference)]
            draw_spectrogram(
                axis, decoded, spec.sample_rate_hz, f"{spec.name}, {num_levels} of {spec.num_levels} levels"
            )
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    pyplot.close(figure)


def draw_spectrogram(
    axis: Any, samples: np.ndarray, sample_rate_hz: int, title: str, *, loudest: np.ndarray | None = None
) -> None:
    """80 dB of a sound's spectrogram on an axis of matplotlib; the brightest is its own loudest, or that of `loudest`.

    Args:
        axis: where to draw.
        samples, loudest: float32 [n].
        sample_rate_hz: of both.
        title: above it.
    """
    level_db = 10 * np.log10(np.maximum(_power(samples), np.finfo(np.float32).tiny)).T
    top = level_db.max() if loudest is None else 10 * np.log10(_power(loudest).max())
    extent = (0, len(samples) / sample_rate_hz, 0, sample_rate_hz / 2000)
    axis.imshow(level_db, origin="lower", aspect="auto", extent=extent, vmin=top - 80, vmax=top, cmap="magma")
    axis.set_ylim(0, min(8.0, sample_rate_hz / 2000))
    axis.set_title(title, fontsize=9)
    axis.set_xlabel("s", fontsize=8)
    axis.set_ylabel("kHz", fontsize=8)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m vall_e.emb.qnt report", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--input-audio", type=Path, required=True, help="folder of recordings")
    parser.add_argument("--output", type=Path, help="folder for report.json and spectrograms.png")
    config.add_options(parser, QualityOptions)
    args = parser.parse_args(argv)
    options = config.resolve(QualityOptions, args, "report")
    if importlib.util.find_spec("pystoi") is None or (args.output and importlib.util.find_spec("matplotlib") is None):
        raise BackendError('report: a package is missing; pip install "vall-e[report]"')
    if not args.input_audio.is_dir():
        raise UsageError(f"{args.input_audio}: no such folder of recordings")
    if options.weights and len(options.audio_backend) > 1:
        raise UsageError("--weights goes with one codec: a file holds the weights of one")
    clips = load_clips(args.input_audio, options)
    codecs = [_load(name, options) for name in options.audio_backend]
    scores = [score for codec in codecs for score in measure(codec, clips)]
    show(scores)
    if args.output:
        args.output.mkdir(parents=True, exist_ok=True)
        rows = {"schema_version": storage.SCHEMA_VERSION, "scores": [dataclasses.asdict(score) for score in scores]}
        (args.output / "report.json").write_text(json.dumps(rows, indent=2) + "\n")
        draw(codecs, *clips[0], args.output / "spectrograms.png")
        print(f"{args.output / 'report.json'}\n{args.output / 'spectrograms.png'}")
    return 0


def _load(name: str, options: QualityOptions) -> Codec:
    return load_codec(CodecOptions(audio_backend=name, weights=options.weights, device=options.device))


if __name__ == "__main__":
    config.run_main(main)
