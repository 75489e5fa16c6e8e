"""Every codec against its own package: speed and exactness.

    python benchmarks/bench_codecs.py [--quick] [--speed] [--threads 2] [--codecs encodec,dac] [--markdown]

Random weights of the published sizes (codec_cases.py): speed does not depend on the numbers, and the share of codes
that differ is that of a hard case. Both sides run in this process on the same items, in turns: the package file by
file, ours one by one, ours as a list. What counts is the best of each over all turns.

Float64 is the whole network in float64. Beside what bfloat16 and float16 change stands what it costs at the least: the
package in float32 with weights and the output of every layer rounded.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import codec_cases
import numpy as np
import torch
from codec_cases import REPOSITORY, Case, Package
from codec_report import Found, line, machine, markdown
from torch import Tensor, nn

from vall_e import audio
from vall_e.emb.qnt import Codec

CLOCK: Callable[[], float] = time.perf_counter
LOW_PRECISION_S = 0.8  # a CPU takes a hundred times as long in float16


def speech(root: Path, seconds: float, rate_hz: int = 24_000) -> np.ndarray:
    """float32 [n] of one file after the other below root."""
    parts, have = [], 0
    for path in audio.find_files(root):
        samples, own_hz = audio.load(path)
        parts.append(audio.resample(samples, own_hz, rate_hz))
        have += len(parts[-1])
        if have >= seconds * rate_hz:
            break
    joined = np.concatenate(parts)
    return np.resize(joined, int(seconds * rate_hz))


def in_turns(works: Mapping[str, Callable[[], object]], turns: int) -> dict[str, list[float]]:
    """Seconds of each in each turn, after one that does not count: neighbours' noise then meets all of them alike."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(turns + 1):
        for name, work in works.items():
            start = CLOCK()
            work()
            if turn:
                times[name].append(CLOCK() - start)
    return times


def speed(works: Mapping[str, Callable[[], object]], turns: int, seconds: float) -> dict[str, float]:
    """`list`: the real-time factor. `package/…`: the package's time ÷ ours, best by best; `low`, `high`: by turn."""
    times = in_turns(works, turns)
    found = {"list": min(times["list"]) / seconds}
    if "package" in times:
        ratios = [theirs / ours for theirs, ours in zip(times["package"], times["list"], strict=True)]
        found |= {f"package/{name}": min(times["package"]) / min(times[name]) for name in ("list", "alone")}
        found |= {"low": min(ratios), "high": max(ratios)}
    return found


def differ(some: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> float:
    return sum(int((a != b).sum()) for a, b in zip(some, other, strict=True)) / sum(a.size for a in some)


def off_peak(some: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> float:
    """Largest difference of audio as a share of the peak; the shorter one's length counts."""
    worst = 0.0
    for a, b in zip(some, other, strict=True):
        n = min(a.shape[-1], b.shape[-1])
        worst = max(worst, float(np.abs(a[..., :n] - b[..., :n]).max() / np.abs(b).max()))
    return worst


def off_rms(some: np.ndarray, other: np.ndarray) -> float:
    """Root mean square of the difference as a share of the other's."""
    n = min(some.shape[-1], other.shape[-1])
    return float(np.linalg.norm(some[..., :n] - other[..., :n]) / np.linalg.norm(other[..., :n]))


@contextlib.contextmanager
def rounded(package: Package, dtype: torch.dtype) -> Iterator[None]:
    """Weights of the networks, and all that a layer gives, rounded to dtype; sums in float32. What dtype must cost."""
    layers = [layer for network in package.networks for layer in network.modules() if not list(layer.children())]
    parameters = {p: p.detach().clone() for network in package.networks for p in network.parameters()}

    def narrow(layer: nn.Module, inputs: Any, output: Any) -> Any:
        if isinstance(output, Tensor):
            return output.to(dtype).to(output.dtype) if output.is_floating_point() else output
        return type(output)(narrow(layer, inputs, part) for part in output)

    hooks = [layer.register_forward_hook(narrow) for layer in layers]
    with torch.no_grad():
        for parameter in parameters:
            parameter.copy_(parameter.to(dtype))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        with torch.no_grad():
            for parameter, value in parameters.items():
                parameter.copy_(value)


def low_precision(case: Case, codec: Codec, package: Package | None, item: np.ndarray) -> dict[str, dict[str, float]]:
    """Of each lower dtype: codes that differ from float32's at level 1 and in all, audio's error, time in float32's.

    And the same of the package in float32 with everything rounded: what comes out should be as far off, not farther.
    """
    (codes,) = codec.encode([item])
    (sound,) = codec.decode([codes])
    found: dict[str, dict[str, float]] = {}
    for dtype in case.dtypes[1:]:
        rough = case.make(dtype=dtype)
        figures: dict[str, float] = {}
        if case.encodes:
            made: list[np.ndarray] = []
            encodes = {"exact": lambda: codec.encode([item]), "rough": lambda: made.extend(rough.encode([item]))}  # noqa: B023
            times = in_turns(encodes, 1)  # no more, as float16 is so slow
            figures["time"] = min(times["rough"]) / min(times["exact"])
            near = made[-1]
            figures |= {"level 1": differ([near[:1]], [codes[:1]]), "all": differ([near], [codes])}
        figures["audio"] = off_rms(rough.decode([codes])[0], sound)
        if package is not None:
            with rounded(package, getattr(torch, dtype)), torch.no_grad():
                if package.encode is not None:
                    near = package.encode(item)
                    figures |= {"level 1 rounded": differ([near[:1]], [codes[:1]]), "rounded": differ([near], [codes])}
                figures["audio rounded"] = off_rms(package.decode(codes), sound)
        found[dtype] = figures
    return found


def in_float64(case: Case, codec: Codec, package: Package | None, item: np.ndarray) -> np.ndarray | None:
    """Codes [K,T] of the whole network in float64, or None where nothing computes them."""
    with torch.no_grad():
        if package is None or package.encode is None:
            encode = case.reference(codec)
            return None if encode is None else encode(item)
        package.model.double()
        try:
            return package.encode(item)
        finally:
            package.model.float()


def exactness(case: Case, codec: Codec, package: Package | None, items: list[np.ndarray], found: Found) -> None:
    """Everything about the codes but what concerns lower precision."""
    together, alone = codec.encode(items), [codec.encode([item])[0] for item in items]
    found.batch = differ(together, alone)
    found.entries = len(np.unique(np.concatenate([codes[0] for codes in alone])))
    if package is not None and package.encode is not None:
        with torch.no_grad():
            theirs = [package.encode(item) for item in items]
        found.package = differ(alone, theirs)
    exact = in_float64(case, codec, package, items[-2])
    if exact is not None:
        found.exact = differ(alone[-2:-1], [exact])
        if package is not None:
            found.package_exact = differ(theirs[-2:-1], [exact])


def on_cpu(case: Case, codec: Codec, items: list[np.ndarray], turns: int, piece_s: float, speed_only: bool) -> Found:
    package, found = case.package(), Found(case.name)
    rate_hz = codec.spec.sample_rate_hz
    seconds = sum(map(len, items)) / rate_hz
    codes = codec.encode(items)
    with torch.inference_mode():
        works: dict[str, Callable[[], object]] = {}
        if package is not None and package.encode is not None:
            encode = package.encode
            works["package"] = lambda: [encode(item) for item in items]
        works |= {"alone": lambda: [codec.encode([item]) for item in items], "list": lambda: codec.encode(items)}
        if case.encodes:
            found.encode = speed(works, turns, seconds)
        works = {"package": lambda: [package.decode(item) for item in codes]} if package is not None else {}
        works |= {"alone": lambda: [codec.decode([item]) for item in codes], "list": lambda: codec.decode(codes)}
        found.decode = speed(works, turns, seconds)
    if speed_only:
        return found
    if package is not None:
        with torch.inference_mode():
            found.sound = off_peak(codec.decode(codes), [package.decode(item) for item in codes])
    if case.encodes:
        long = np.resize(np.concatenate(items), int(piece_s * rate_hz))
        exactness(case, codec, package, [*items, long], found)
        if case.pieces is not None:
            pieced, whole = (make().encode([long]) for make in case.pieces)
            found.pieces = differ(pieced, whole)
    found.low = low_precision(case, codec, package, items[0][: int(LOW_PRECISION_S * rate_hz)])
    return found


def on_cuda(case: Case, on_cpu: Codec, items: list[np.ndarray], turns: int) -> None:
    reference = on_cpu.encode(items)
    for dtype in case.dtypes[:2]:
        codec = case.make(device="cuda", **({} if dtype == "float32" else {"dtype": dtype}))
        hours = sum(map(len, items)) / codec.spec.sample_rate_hz / 3600
        torch.cuda.reset_peak_memory_stats()
        together, alone = codec.encode(items), [codec.encode([item])[0] for item in items]
        peak = torch.cuda.max_memory_allocated() / 2**30
        works: dict[str, Callable[[], object]] = {
            "alone": lambda: [codec.encode([item]) for item in items],  # noqa: B023  (called before the loop goes on)
            "list": lambda: codec.encode(items),  # noqa: B023
        }
        times = {name: min(of_turns) for name, of_turns in in_turns(works, turns).items()}
        print(
            f"  cuda {dtype:8} {60 * hours / times['list']:6.1f} h/min, "
            f"{times['alone'] / times['list']:4.1f} × one by one, {peak:.1f} GiB; "
            f"codes that differ: batch/alone {differ(together, alone):.4%}, "
            f"CPU float32 {differ(together, reference):.3%}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="little audio, one turn")
    parser.add_argument("--speed", action="store_true", help="leave out what is not about time")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--audio", type=Path, default=REPOSITORY / "data" / "demo" / "voices")
    parser.add_argument("--codecs", default=",".join(codec_cases.NAMES), help="some of them")
    parser.add_argument("--markdown", action="store_true", help="end with the tables of docs/codecs.md")
    parser.add_argument("--cpu-time", action="store_true", help="count the processor's time")
    args = parser.parse_args()
    unknown = sorted(set(args.codecs.split(",")) - set(codec_cases.NAMES))
    if unknown:
        parser.error(f"--codecs {','.join(unknown)}: known are {', '.join(codec_cases.NAMES)}")
    if args.cpu_time:
        global CLOCK
        CLOCK = time.process_time
    turns, long_s = (1, 0.8) if args.quick else (4, 4.0)
    sound, all_found = speech(args.audio, 60.0), []
    print(f"{machine(args.threads)}; best of {turns} turns", flush=True)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name in args.codecs.split(","):
            torch.set_num_threads(1)
            for case in codec_cases.cases(name, folder, sound, stack):
                torch.set_num_threads(args.threads)
                codec = case.make()
                rate_hz = codec.spec.sample_rate_hz
                is_dac = name.startswith("dac")  # it is slow, and runs each item alone: their number is nothing to it
                count, item_s, piece_s = (2, long_s, 2 * long_s) if is_dac else (8, long_s, 8 * long_s)
                lengths = [int(rate_hz * item_s * part) for part in np.linspace(0.4, 1.0, count)]
                own = audio.resample(sound[: int(24_000 * 40)], 24_000, rate_hz)
                items = [own[index * rate_hz :][:length] for index, length in enumerate(lengths)]
                all_found.append(on_cpu(case, codec, items, turns, piece_s, args.speed))
                print(line(all_found[-1]), flush=True)
                if torch.cuda.is_available():
                    on_cuda(case, codec, items * (4 if args.quick else 32), turns)
    if args.markdown:
        print(f"\n{machine(args.threads)}:\n\n{markdown(all_found, speed_only=args.speed)}")


if __name__ == "__main__":
    main()
