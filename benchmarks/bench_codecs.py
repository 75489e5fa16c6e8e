"""Codecs against their own packages: speed, exactness, what the quantiser costs.

    python benchmarks/bench_codecs.py [--quick] [--threads 2] [--audio VOICES]

Random weights, codebooks drawn from what the encoder gives for the audio (codec_models.py of the tests): speed does not
depend on the numbers, and the share of codes that differ is that of a hard case. Both sides run in this process, the
same items, the package file by file; the best of several turns counts.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "tests"))

import codec_models  # type: ignore[import-not-found]  # noqa: E402  (beside the tests)

from vall_e import audio  # noqa: E402
from vall_e.emb.backends import _rvq  # noqa: E402
from vall_e.emb.backends.dac import DacCodec  # noqa: E402
from vall_e.emb.backends.encodec import EncodecCodec  # noqa: E402
from vall_e.emb.backends.encodec_48khz import Encodec48Codec  # noqa: E402
from vall_e.emb.qnt import Codec  # noqa: E402

CLOCK: Callable[[], float] = time.perf_counter
Encode = Callable[[np.ndarray], np.ndarray]


@dataclass
class Case:
    name: str
    make: Callable[..., Codec]  # (device=…, dtype=…)
    package: Callable[[], Encode]  # float32 [n] → codes [K,T], as the package gives them


def speech(root: Path, seconds: float, rate_hz: int = 24_000) -> np.ndarray:
    """float32 [n] of one file after the other below root."""
    parts, have = [], 0
    for _, path in audio.scan(root, "benchmark").found:
        samples, own_hz = audio.load(path)
        parts.append(audio.resample(samples, own_hz, rate_hz))
        have += len(parts[-1])
        if have >= seconds * rate_hz:
            break
    joined = np.concatenate(parts)
    return np.resize(joined, int(seconds * rate_hz))


def best(work: Callable[[], object], turns: int) -> float:
    work()
    times = []
    for _ in range(turns):
        start = CLOCK()
        work()
        times.append(CLOCK() - start)
    return min(times)


def encodec_case(folder: Path, sound: np.ndarray, kind: str) -> Case:
    path = codec_models.encodec(folder / f"encodec_{kind}.th", sound, kind=kind, seconds=min(6.0, len(sound) / 48_000))

    def package() -> Encode:
        from encodec.model import EncodecModel

        model = getattr(EncodecModel, f"encodec_model_{kind}")(pretrained=False)
        model.load_state_dict(torch.load(path, weights_only=True))
        model.set_target_bandwidth(6.0 if kind == "24khz" else 12.0)

        def encode(samples: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                x = torch.from_numpy(samples)[None, None].repeat(1, model.channels, 1)
                return torch.cat([codes[0] for codes, _ in model.encode(x)], 1).numpy()

        return encode

    cls = EncodecCodec if kind == "24khz" else Encodec48Codec
    name = "encodec" if kind == "24khz" else "encodec_48khz"
    return Case(name, lambda **place: cls(weights=path, **place), package)


def dac_case(folder: Path, sound: np.ndarray, name: str, rate_hz: int) -> Case:
    """The published size but for the number of levels, which are 9 everywhere."""
    path = folder / f"{name}.pth"
    config = {**codec_models.dac_config(rate_hz), "encoder_dim": 64, "decoder_dim": 1536}
    codec_models.dac(path, sound, config, seconds=1.0)

    def package() -> Encode:
        import dac

        content = torch.load(path, weights_only=True)
        model: Any = dac.model.DAC(**content["metadata"]["kwargs"]).eval()
        model.load_state_dict(content["state_dict"])

        def encode(samples: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                x = model.preprocess(torch.from_numpy(samples)[None, None], rate_hz)
                codes: np.ndarray = model.encode(x, 8)[1][0].numpy()
            return codes

        return encode

    return Case(name, lambda **place: DacCodec(name=name, weights=path, **place), package)


def quantiser_share(codec: Codec, items: Sequence[np.ndarray]) -> float:
    """Time inside the quantiser as a share of one `encode`."""
    owner: Any = codec._codebooks if isinstance(codec, DacCodec) else _rvq
    real, spent = owner.quantize, [0.0]

    def timed(*args: Any) -> Any:
        start = CLOCK()
        found = real(*args)
        spent[0] += CLOCK() - start
        return found

    owner.quantize = timed  # codecs look it up at each call
    start = CLOCK()
    codec.encode(items)
    total = CLOCK() - start
    owner.quantize = real
    return spent[0] / total


def differ(some: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> float:
    return sum(int((a != b).sum()) for a, b in zip(some, other, strict=True)) / sum(a.size for a in some)


def on_cpu(case: Case, items: list[np.ndarray], turns: int) -> None:
    codec, encode = case.make(), case.package()
    seconds = sum(map(len, items)) / codec.spec.sample_rate_hz
    with torch.inference_mode():
        theirs_s = best(lambda: [encode(item) for item in items], turns)
        alone_s = best(lambda: [codec.encode([item]) for item in items], turns)
        batch_s = best(lambda: codec.encode(items), turns)
        share = quantiser_share(codec, items)
    together, alone = codec.encode(items), [codec.encode([item])[0] for item in items]
    theirs = [encode(item) for item in items]
    print(
        f"{case.name:14} real time × {batch_s / seconds:5.3f}; package ÷ ours: list {theirs_s / batch_s:4.2f}, "
        f"one by one {theirs_s / alone_s:4.2f}; codes that differ: batch/alone {differ(together, alone):.4%}, "
        f"package {differ(together, theirs):.4%}; quantiser {share:.1%}",
        flush=True,
    )


def on_cuda(case: Case, items: list[np.ndarray], turns: int) -> None:
    reference = case.make().encode(items)
    for dtype in ("float32", "bfloat16"):
        codec = case.make(device="cuda", dtype=dtype)
        hours = sum(map(len, items)) / codec.spec.sample_rate_hz / 3600
        torch.cuda.reset_peak_memory_stats()
        batch_s = best(lambda: codec.encode(items), turns)  # noqa: B023  (called before the loop goes on)
        peak = torch.cuda.max_memory_allocated() / 2**30
        alone_s = best(lambda: [codec.encode([item]) for item in items], turns)  # noqa: B023
        together, alone = codec.encode(items), [codec.encode([item])[0] for item in items]
        print(
            f"{case.name:14} cuda {dtype:8} {60 * hours / batch_s:6.1f} h/min, {alone_s / batch_s:4.1f} × one by one, "
            f"{peak:.1f} GiB; codes that differ: batch/alone {differ(together, alone):.4%}, "
            f"CPU float32 {differ(together, reference):.3%}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="little audio, one turn")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--audio", type=Path, default=REPOSITORY / "data" / "demo" / "voices")
    parser.add_argument("--codecs", default="encodec,encodec_48khz,dac_16khz,dac_24khz,dac", help="some of them")
    parser.add_argument("--cpu-time", action="store_true", help="count the processor's time")
    args = parser.parse_args()
    if args.cpu_time:
        global CLOCK
        CLOCK = time.process_time
    turns, long = (1, 3.0) if args.quick else (3, 6.0)
    sound = speech(args.audio, 60.0)
    makers: dict[str, Callable[[Path], Case]] = {
        "encodec": lambda folder: encodec_case(folder, sound, "24khz"),
        "encodec_48khz": lambda folder: encodec_case(folder, sound, "48khz"),
        "dac_16khz": lambda folder: dac_case(folder, sound, "dac_16khz", 16_000),
        "dac_24khz": lambda folder: dac_case(folder, sound, "dac_24khz", 24_000),
        "dac": lambda folder: dac_case(folder, sound, "dac", 44_100),
    }
    cuda = torch.cuda.is_available()
    print(f"torch {torch.__version__}, {args.threads} threads, {torch.cuda.get_device_name() if cuda else 'no GPU'}")
    with tempfile.TemporaryDirectory() as temporary:
        for name in args.codecs.split(","):
            torch.set_num_threads(1)
            case = makers[name](Path(temporary))
            torch.set_num_threads(args.threads)
            rate_hz = case.make().spec.sample_rate_hz
            count = 2 if name.startswith("dac") else 8
            lengths = [int(rate_hz * long * share) for share in np.linspace(0.4, 1.0, count)]
            own = audio.resample(sound[: int(24_000 * 40)], 24_000, rate_hz)
            items = [own[index * rate_hz :][:length] for index, length in enumerate(lengths)]
            on_cpu(case, items, turns)
            if cuda:
                on_cuda(case, items * (4 if args.quick else 32), turns)


if __name__ == "__main__":
    main()
