"""What a person sees of a training: a line now and then, figures, and their curves."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from vall_e import storage
from vall_e.pictures import find_pyplot

METRICS, CURVES = "metrics.jsonl", "curves.png"
VALIDATION = "validation_"  # how the names of its losses begin
RIGHT = "best code is right, share"
STYLES = {"": ("-", ""), "_swapped_text": ("--", "another text"), "_swapped_voice": (":", "another voice")}


class Run(Protocol):
    """A training on its way: `tokens` are the frames of targets and sources so far, `step` the steps."""

    step: int
    tokens: int

    def share_done(self) -> float: ...


class Progress:
    """A line every ten seconds: steps, frames a second, losses, time left."""

    EVERY_S = 10.0

    def __init__(self, trainer: Run, *, shown: bool) -> None:
        self.trainer, self.is_shown = trainer, shown
        self.started = self.shown = time.monotonic()
        self.frames, self.share = trainer.tokens, trainer.share_done()

    def show(self, values: Mapping[str, float]) -> None:
        now = time.monotonic()
        if now - self.shown < self.EVERY_S or not self.is_shown:
            return
        self.shown = now
        spent = now - self.started
        speed = (self.trainer.tokens - self.frames) / spent
        done = self.trainer.share_done() - self.share
        left_s = round(spent * (1 - self.trainer.share_done()) / done) if done > 0 else 0
        losses = ", ".join(f"{name} {value:.3f}" for name, value in values.items())
        left = f"{left_s // 3600}:{left_s // 60 % 60:02d}:{left_s % 60:02d} left"
        print(
            f"train: {self.trainer.step:,} steps, {speed:,.0f} frames/s, {losses}, {left}", file=sys.stderr, flush=True
        )


def draw_curves(folder: Path) -> None:
    """curves.png from metrics.jsonl: validation losses by step, with the wrong text or voice, and of further tasks."""
    pyplot = find_pyplot()
    if pyplot is None:
        return  # the figures are in metrics.jsonl all the same
    rows = [row for _, row in storage.read_json_lines(folder / METRICS)]
    panels = _panels([name.removeprefix(VALIDATION) for name in rows[-1] if name.startswith(VALIDATION)])
    figure, axes = pyplot.subplots(1, len(panels), figsize=(4.5 * len(panels), 3.6), squeeze=False)
    for axis, (title, names) in zip(axes[0], panels.items(), strict=True):
        for name in names:
            points = [(row["step"], row[VALIDATION + name]) for row in rows if VALIDATION + name in row]
            suffix = name.removeprefix(title)
            style, label = STYLES.get(suffix, ("-", suffix.removesuffix("_top1").strip("_")))
            axis.plot(*zip(*points, strict=True), style, marker=".", label=label or title)
        axis.set_xlabel("step")
        axis.set_ylabel(title if title == RIGHT else f"a {'token' if 'tokens' in title else 'frame'}, validation")
        axis.legend(fontsize=8)
    figure.tight_layout()
    storage.write_whole(folder / CURVES, lambda file: figure.savefig(file, format="png", dpi=110), folder)
    pyplot.close(figure)


def _panels(names: Sequence[str]) -> dict[str, list[str]]:
    """The figures that are drawn together: those whose names begin with that of another one, which comes first; and
    the shares of right codes of all levels.
    """
    losses = [name for name in names if not name.endswith(("_top1", "_top10"))]
    firsts = [name for name in losses if not any(name.startswith(f"{other}_") for other in losses)]
    panels = {first: [name for name in losses if name == first or name.startswith(f"{first}_")] for first in firsts}
    right = [name for name in names if name.endswith("_top1")]
    return panels | ({RIGHT: right} if right else {})


def tensorboard(folder: Path, row: Mapping[str, Any]) -> None:
    """The same figures for TensorBoard, where it is installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError:
        return
    with SummaryWriter(str(folder / "tensorboard")) as writer:
        for name, value in row.items():
            if isinstance(value, int | float):
                writer.add_scalar(name, value, row["step"])
