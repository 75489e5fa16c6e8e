"""Workers that other processes can import: see executor/test_executor.py."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from vall_e.types import BackendError, ContractError


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


def make_dying_of_bunches() -> Callable[[tuple[int, ...]], list[int]]:
    one = make_dying()
    return lambda bunch: [one(number) for number in bunch]


def make_dead() -> Callable[[int], int]:
    os._exit(9)


def make_seeing() -> Callable[[int], tuple[int, str | None]]:
    """(process, the cards that it sees)."""

    def work(_: int) -> tuple[int, str | None]:
        time.sleep(0.2)  # so that each worker gets some
        return os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES")

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
