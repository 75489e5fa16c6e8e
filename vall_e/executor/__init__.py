"""Where work runs: in this process, in a pool of processes, or on a Ray cluster. Knows no audio."""

from __future__ import annotations

import os
from collections.abc import Callable

from vall_e.executor.base import THREAD_VARIABLES, Executor
from vall_e.executor.local import ProcessExecutor, SerialExecutor
from vall_e.executor.ray import RayExecutor
from vall_e.types import UsageError

__all__ = [
    "EXECUTORS",
    "THREAD_VARIABLES",
    "Executor",
    "ProcessExecutor",
    "RayExecutor",
    "SerialExecutor",
    "make_executor",
]

EXECUTORS: dict[str, Callable[[int], Executor]] = {
    "local": lambda workers: SerialExecutor() if workers == 1 else ProcessExecutor(workers),
    "ray": RayExecutor,
}


def make_executor(kind: str = "local", workers: int = 1) -> Executor:
    """`kind` is a key of EXECUTORS; `workers` 0 stands for one per core.

    Raises:
        UsageError: an unknown kind or a negative number. BackendError: Ray is not installed.
    """
    if kind not in EXECUTORS:
        raise UsageError(f"executor {kind!r} is not one of {', '.join(EXECUTORS)}")
    if workers < 0:
        raise UsageError(f"--workers {workers}: 0 (one per core) or more")
    return EXECUTORS[kind](workers or len(os.sched_getaffinity(0)))
