"""Memory and time to code hours with one command, and what coding piece by piece changes.

    python benchmarks/bench_long.py [--hours 3] [--minutes 10] [--codecs encodec,tiny] [--full] [--threads 2]

A stereo recording at 44.1 kHz, the demo voices in a seeded order, goes through `python -m vall_e.emb.qnt --input …`.
Own memory is the peak of what a process has to itself (RssAnon, looked at 50 times a second); the resident peak (VmHWM)
also counts pages of the samples' file, which the kernel takes back when it needs them. (ru_maxrss would not do: a new
process starts with its parent's.) Weights are random (codec_models.py of the tests), small where the codec allows, with
--full of the published size. As much of the short recording as --whole-minutes says is coded once more at once, for the
share of codes that differ.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "tests"))

import codec_models  # noqa: E402  (beside the tests)
import funcodec_models  # noqa: E402

from vall_e import audio  # noqa: E402
from vall_e.emb import qnt  # noqa: E402

warnings.filterwarnings("ignore", r".*torch\.nn\.utils\.weight_norm.* is deprecated", FutureWarning)

RATE_HZ = 44_100
ENDLESS_S = 1e6
NAMES = ("encodec", "encodec_48khz", "vocos", "dac_16khz", "funcodec", "tiny")


@dataclass(frozen=True)
class Run:
    """Of one command: peaks in MB, and its wall-clock time over that of the sound."""

    own_mb: float
    resident_mb: float
    real_time_factor: float


def voices(root: Path) -> list[np.ndarray]:
    """float32 [n] at RATE_HZ of each recording."""
    loaded = (audio.load(path) for path in audio.find_files(root))
    return [audio.resample(samples, rate_hz, RATE_HZ) for samples, rate_hz in loaded]


def write_speech(path: Path, parts: Sequence[np.ndarray], seconds: float) -> None:
    """One voice on the left, another on the right, anew every 10 s."""
    rng, size = np.random.default_rng(0), 10 * RATE_HZ
    left = round(seconds * RATE_HZ)
    with soundfile.SoundFile(path, "w", RATE_HZ, 2, subtype="PCM_16") as file:
        while left > 0:
            sides = [np.resize(parts[int(rng.integers(len(parts)))], size) for _ in range(2)]
            file.write(np.stack(sides, axis=1)[:left])
            left -= size


def weights(name: str, folder: Path, sound: np.ndarray, *, full: bool) -> Path | None:
    """A file or folder of random weights, made from `sound`, float32 [n] at 24 kHz; None for those that are shipped."""
    if name == "tiny":
        return None
    if name == "funcodec":
        at_rate = audio.resample(sound[: 24_000 * 6], 24_000, 16_000)
        made: Path = funcodec_models.save(folder / name, "time_ds640", at_rate, full_size=full)
    elif name == "dac_16khz":
        config = codec_models.dac_config(16_000) | ({"encoder_dim": 64, "decoder_dim": 1536} if full else {})
        made = codec_models.dac(folder / "dac.pth", sound, config, seconds=2.0)
    else:
        kind = "48khz" if name == "encodec_48khz" else "24khz"
        made = codec_models.encodec(folder / f"{kind}.th", sound, kind=kind, seconds=6.0)
        if name == "vocos":
            made = codec_models.vocos(folder / "vocos", made)
    return made


def at_once(name: str, options: qnt.CodecOptions) -> Callable[[np.ndarray], np.ndarray] | None:
    """Codes of a whole recording by one pass over all of it; None where there is no such thing."""
    if name == "encodec":
        from vall_e.emb.codecs.encodec import EncodecCodec

        encodec = EncodecCodec(weights=options.weights, piece_s=ENDLESS_S)
        return lambda samples: encodec.encode([samples])[0]
    if name == "dac_16khz":
        from vall_e.emb.codecs.dac import DacCodec

        dac = DacCodec(name=name, weights=options.weights, window_s=ENDLESS_S)
        return lambda samples: dac.encode([samples])[0]
    if name == "tiny":
        from vall_e.emb.codecs.tiny import TinyCodec

        tiny = TinyCodec(window_s=ENDLESS_S)
        return lambda samples: tiny.encode([samples])[0]
    if name == "funcodec":
        from vall_e.emb.codecs.funcodec import FuncodecCodec

        funcodec = FuncodecCodec(weights=options.weights, num_levels=options.levels, at_once_s=ENDLESS_S)
        return lambda samples: funcodec.encode([samples])[0]
    return None  # vocos is encodec to encode, encodec_48khz codes each second on its own


def run(arguments: Sequence[str], threads: int, seconds: float) -> Run:
    """The command from start to end, in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    start, peaks_kb = time.perf_counter(), {"RssAnon": 0, "VmHWM": 0}
    command = [sys.executable, "-m", "vall_e.emb.qnt", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    while True:
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():  # no such lines once it has ended
            key, _, value = line.partition(":")
            if key in peaks_kb:
                peaks_kb[key] = max(peaks_kb[key], int(value.split()[0]))
        if process.poll() is not None:
            break
        time.sleep(0.02)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed with {process.returncode}")
    factor = (time.perf_counter() - start) / seconds
    return Run(peaks_kb["RssAnon"] / 1024, peaks_kb["VmHWM"] / 1024, factor)


def measure(name: str, folder: Path, sources: dict[float, Path], sound: np.ndarray, args: argparse.Namespace) -> None:
    torch.set_num_threads(args.threads)
    path = weights(name, folder, sound, full=args.full)
    torch.set_num_threads(args.threads)  # the models' makers set it to one
    place = ["--audio-backend", name, *(["--weights", str(path)] if path else [])]
    runs = {}
    for seconds, source in sources.items():
        codes = folder / f"{seconds:g}.npy"
        found = runs[seconds] = run(["--input", str(source), "--output", str(codes), *place], args.threads, seconds)
        print(
            f"{name:14} {seconds / 60:6.1f} min: own memory {found.own_mb:6.0f} MB, resident with the samples' file "
            f"{found.resident_mb:6.0f} MB, real time × {found.real_time_factor:.4f}",
            flush=True,
        )
    short, long = min(sources), max(sources)
    if short < long:
        growth = (runs[long].own_mb - runs[short].own_mb) / (long - short) * 3600
        print(f"{name:14} own memory grows by {growth:.0f} MB per hour", flush=True)
    whole = at_once(name, qnt.CodecOptions(audio_backend=name, weights=path))
    if whole is not None and args.whole_minutes:
        rate_hz = qnt.load_codec(qnt.CodecOptions(audio_backend=name, weights=path)).spec.sample_rate_hz
        with audio.mapped(sources[short], rate_hz, folder) as samples:
            some = samples[: round(args.whole_minutes * 60 * rate_hz)]
            pieces = np.load(folder / f"{short:g}.npy") if len(some) == len(samples) else in_pieces(name, path, some)
            share = float((whole(some) != pieces).mean())
        print(f"{name:14} pieces against {len(some) / rate_hz / 60:.1f} min at once: {share:.4%} of codes differ")


def in_pieces(name: str, path: Path | None, samples: np.ndarray) -> np.ndarray:
    return qnt.load_codec(qnt.CodecOptions(audio_backend=name, weights=path)).encode([samples])[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=3.0, help="length of the long recording")
    parser.add_argument("--minutes", type=float, default=10.0, help="length of the short recording")
    parser.add_argument("--whole-minutes", type=float, default=10.0, help="how much is coded at once; 0 is nothing")
    parser.add_argument("--codecs", default=",".join(NAMES), help="some of them")
    parser.add_argument("--full", action="store_true", help="published sizes; encodec's and encodec_48khz's always are")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--audio", type=Path, default=REPOSITORY / "data" / "demo" / "voices")
    parser.add_argument("--scratch", type=Path, help="folder on a disk with 4 GB free for each 3 hours")
    args = parser.parse_args()
    parts = voices(args.audio)
    sound = audio.resample(np.concatenate([part[: 4 * RATE_HZ] for part in parts[:10]]), RATE_HZ, 24_000)
    print(f"torch {torch.__version__}, {args.threads} threads", flush=True)
    with tempfile.TemporaryDirectory(dir=args.scratch) as temporary:
        sources = {}
        for seconds in sorted({args.minutes * 60, args.hours * 3600}):
            sources[seconds] = Path(temporary) / f"{seconds:g}.wav"
            write_speech(sources[seconds], parts, seconds)
        for name in args.codecs.split(","):
            folder = Path(temporary) / name
            folder.mkdir()
            measure(name, folder, sources, sound, args)


if __name__ == "__main__":
    main()
