"""Workers that other processes can import: see test_executor.py and test_stage.py."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vall_e.stage import Outcome
from vall_e.types import BackendError, ContractError, Reject, RejectReason, Transcript


def make_square() -> Callable[[int], int]:
    return lambda number: number * number


def make_waiting(marker: Path) -> Callable[[int], int]:
    """Item 0 ends only after item 3 has begun, which takes a second worker."""

    def work(number: int) -> int:
        if number == 3:
            marker.touch()
        deadline = time.monotonic() + 60
        while number == 0 and not marker.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.3 if number == 0 else 0.0)
        return number

    return work


def make_endless(folder: Path) -> Callable[[int], int]:
    """All items but the first take an hour; a file in `folder` is named by the process."""

    def work(number: int) -> int:
        if number > 0:
            (folder / str(os.getpid())).touch()
            time.sleep(3600)
        return number

    return work


def make_counter() -> Callable[[int], tuple[int, int, str]]:
    """(process, how many items this worker has had, threads it may use)."""
    seen = 0

    def work(_: int) -> tuple[int, int, str]:
        nonlocal seen
        seen += 1
        return os.getpid(), seen, os.environ["OMP_NUM_THREADS"]

    return work


def make_dying() -> Callable[[int], int]:
    def work(number: int) -> int:
        if number == 3:
            os._exit(9)
        return number

    return work


def make_failing() -> Callable[[int], int]:
    def work(number: int) -> int:
        if number == 3:
            raise ContractError("item 3 is broken")
        return number

    return work


def make_with_bug() -> Callable[[int], float]:
    return lambda number: 1 / (number - 3)


def make_without_package() -> Callable[[int], int]:
    raise BackendError("package nothing is missing")


def make_with_bug_in_building() -> Callable[[int], int]:
    raise KeyError("a bug")


@dataclass(frozen=True)
class Item:
    """An item of a stage: gives `num_rows` rows and `num_rejects` rejects."""

    id: str
    num_rows: int = 1
    num_rejects: int = 0
    sleep_s: float = 0.0
    begun: Path | None = None  # a file to make when work on it begins


def make_stage_worker() -> Callable[[Item], Outcome]:
    return stage_work


def stage_work(item: Item) -> Outcome:
    if item.begun is not None:
        item.begun.touch()
    time.sleep(item.sleep_s)
    return Outcome(
        item_id=item.id,
        rows=tuple(row(f"{item.id}-{index:05d}") for index in range(item.num_rows)),
        rejects=tuple(
            Reject(id=f"{item.id}-{index:05d}", stage="test", reason=RejectReason.TOO_SHORT, detail="é")
            for index in range(item.num_rows, item.num_rows + item.num_rejects)
        ),
        audio_s=1.0,
    )


def row(name: str) -> Transcript:
    return Transcript(recording_id=name, language="en", language_prob=None, text="ü", segments=(), backend="test")
