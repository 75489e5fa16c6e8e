"""The one progress display: a bar on a terminal, a line every 10 seconds elsewhere, both with the time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")
LINES_S = 10.0  # between two lines where the output is no terminal


@dataclass
class Progress:
    """How far a stage is.

    Attributes:
        total_items, total_audio_s: None or 0 where unknown.
    """

    name: str
    total_items: int | None = None
    total_audio_s: float | None = None
    num_items: int = 0
    audio_s: float = 0.0
    started: float = field(default_factory=time.monotonic)

    def add(self, num_items: int, audio_s: float) -> None:
        self.num_items += num_items
        self.audio_s += audio_s

    @property
    def speed(self) -> str:
        """`3.1 items/s, 0.02 h of audio/s`."""
        wall_s = max(time.monotonic() - self.started, 1e-9)
        items = f"{self.num_items / wall_s:,.1f} items/s"
        return f"{items}, {self.audio_s / 3600 / wall_s:.4f} h of audio/s" if self.audio_s else items

    @property
    def left(self) -> str:
        """Time left, from the audio that is done where its total is known, else from the items; empty if unknown."""
        share = 0.0
        if self.total_audio_s:
            share = self.audio_s / self.total_audio_s
        elif self.total_items:
            share = self.num_items / self.total_items
        if not 0 < share <= 1:
            return ""
        left_s = round((time.monotonic() - self.started) * (1 / share - 1))
        return f"{left_s // 3600}:{left_s // 60 % 60:02d}:{left_s % 60:02d} left"

    @property
    def text(self) -> str:
        of = f"/{self.total_items}" if self.total_items else ""
        parts = [f"{self.num_items}{of}", self.speed, self.left]
        return f"{self.name}: {', '.join(part for part in parts if part)}"


def track(
    results: Iterable[T],
    name: str,
    total_items: int | None = None,
    total_audio_s: float | None = None,
    *,
    audio_s: Callable[[T], float] = lambda result: 0.0,
    num_items: Callable[[T], int] = lambda result: 1,
) -> Iterator[T]:
    """Yields `results` as they come while showing how far they are, on standard error.

    Args:
        results: of a stage.
        name: of the stage.
        total_items: how many there will be, if known.
        total_audio_s: how much audio they will hold, if known; then the time left follows the audio.
        audio_s: how much audio a result holds.
        num_items: how many items a result stands for.
    """
    progress = Progress(name, total_items, total_audio_s)
    shown = _show_bar(results, progress) if sys.stderr.isatty() else _show_lines(results, progress)
    for result in shown:
        progress.add(num_items(result), audio_s(result))
        yield result


def _show_bar(results: Iterable[T], progress: Progress) -> Iterator[T]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns: tuple[Any, ...] = (
        TextColumn("{task.description:>10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeElapsedColumn(),  # it moves while a long recording is worked on
        TextColumn("{task.fields[left]}"),
    )
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(progress.name, total=progress.total_items, speed="", left="")
        for result in results:
            yield result
            bar.update(task, completed=progress.num_items, speed=progress.speed, left=progress.left)


def _show_lines(results: Iterable[T], progress: Progress) -> Iterator[T]:
    shown = time.monotonic()
    for result in results:
        yield result
        now = time.monotonic()
        if now - shown >= LINES_S:
            shown = now
            print(progress.text, file=sys.stderr, flush=True)
    if progress.num_items:
        print(progress.text, file=sys.stderr, flush=True)
