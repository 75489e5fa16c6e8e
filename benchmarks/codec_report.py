"""What bench_codecs.py found, as lines to read and as the tables of docs/codecs.md."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch


@dataclass
class Found:
    """All figures of a codec; NaN where there is none."""

    name: str
    encode: dict[str, float] = field(default_factory=dict)  # see `speed`
    decode: dict[str, float] = field(default_factory=dict)
    entries: float = np.nan  # in use at the first level
    batch: float = np.nan  # these are shares of codes that differ
    pieces: float = np.nan
    package: float = np.nan
    exact: float = np.nan  # ours from those of the network in float64
    package_exact: float = np.nan
    sound: float = np.nan  # audio against the package's, as a share of its peak
    low: dict[str, dict[str, float]] = field(default_factory=dict)


def line(found: Found) -> str:
    parts = []
    for way, figures in (("encode", found.encode), ("decode", found.decode)):
        if figures:
            parts.append(f"{way}: real time × {figures['list']:.3f}")
        if "package/list" in figures:
            parts[-1] += (
                f", package ÷ ours: list {figures['package/list']:.2f} "
                f"(by turn {figures['low']:.2f}–{figures['high']:.2f}), one by one {figures['package/alone']:.2f}"
            )
    if found.encode:
        shares = {"batch/alone": found.batch, "pieces/whole": found.pieces, "package": found.package}
        shares |= {"float64": found.exact, "package/float64": found.package_exact}
        known = [f"{name} {value:.4%}" for name, value in shares.items() if not np.isnan(value)]
        if known:
            parts.append(f"codes that differ: {', '.join(known)}; entries in use at level 1: {found.entries:.0f}")
    if not np.isnan(found.sound):
        parts.append(f"decoded audio off the package's by {found.sound:.1e} of its peak")
    for dtype, figures in found.low.items():
        known = [f"{name} {value:.2%}" for name, value in figures.items() if name != "time"]
        known += [f"in {figures['time']:.2f} × its time"] if "time" in figures else []
        parts.append(f"{dtype} off float32: {', '.join(known)}")
    return f"{found.name}\n  " + "\n  ".join(parts)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def share(value: float) -> str:
    return "–" if np.isnan(value) else "0" if value == 0 else f"{100 * value:.2g} %"


def ratio(figures: Mapping[str, float], key: str) -> str:
    return f"{figures[key]:.2f}" if key in figures else "–"


def markdown(all_found: Sequence[Found], *, speed_only: bool) -> str:
    """The tables of docs/codecs.md, or the first of them."""
    head = ["codec", "encode: real time ×", "÷ package", "one by one"]
    fast = table(
        [*head, "decode: real time ×", "÷ package", "one by one"],
        [
            [
                f"`{found.name}`",
                f"{found.encode['list']:.3f}" if found.encode else "–",
                *(ratio(found.encode, f"package/{way}") for way in ("list", "alone")),
                f"{found.decode['list']:.3f}",
                *(ratio(found.decode, f"package/{way}") for way in ("list", "alone")),
            ]
            for found in all_found
        ],
    )
    if speed_only:
        return fast
    lows = [[f"{share(f.low[d]['level 1'])} / {share(f.low[d]['all'])}" if "all" in f.low.get(d, {}) else "–"
             for d in ("bfloat16", "float16")] for f in all_found]  # fmt: skip
    head = ["codec", "batch / alone", "pieces / whole", "package", "float64: ours", "package"]
    exact = table(
        [*head, "bfloat16: level 1 / all", "float16", "decoded"],
        [
            [
                f"`{found.name}`",
                *(share(value) for value in (found.batch, found.pieces, found.package)),
                *(share(value) for value in (found.exact, found.package_exact)),
                *low,
                "–" if np.isnan(found.sound) else f"{found.sound:.0e}" if found.sound else "0",
            ]
            for found, low in zip(all_found, lows, strict=True)
        ],
    )
    return f"{fast}\n\n{exact}"


def machine(threads: int) -> str:
    models = [text.partition(":")[2].strip() for text in _cpuinfo() if text.startswith("model name")]
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    name = models[0] if models else platform.processor() or platform.machine()
    kernels = torch.backends.cpu.get_cpu_capability()
    return f"{name} ({kernels}), {threads} thread{'s' * (threads > 1)}, torch {torch.__version__}, {gpu}"


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.is_file() else []
