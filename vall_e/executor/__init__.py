"""Where work runs: in this process, in processes on this machine, or on a Ray cluster. Knows no audio."""

from __future__ import annotations

import os

from vall_e.executor import devices
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
    "devices",
    "make_executor",
]

EXECUTORS = ("local", "ray", "serial")


def make_executor(kind: str = "local", workers: int = 1, device: str = devices.CPU) -> Executor:
    """The executor of that kind.

    Args:
        kind: `local` for processes on this machine, `ray`, or `serial` for this process.
        workers: 0 stands for one per core, or one per card.
        device: see `devices`; each worker is given one and sees only that.

    Raises:
        UsageError: an unknown kind or device, or a negative number. BackendError: Ray is not installed.
    """
    if kind not in EXECUTORS:
        raise UsageError(f"executor {kind!r} is not one of {', '.join(EXECUTORS)}")
    if workers < 0:
        raise UsageError(f"--workers {workers}: 0 (one per core) or more")
    is_cuda = devices.kind_of(device) == devices.CUDA
    if kind == "ray":  # whose nodes may have cards that this machine has not
        num_workers = workers or len(os.sched_getaffinity(0))
        return RayExecutor(num_workers, gpus_per_worker=1.0 if is_cuda else 0.0)
    cards = devices.cards(device)
    num_workers = workers or len(cards) or len(os.sched_getaffinity(0))
    return SerialExecutor() if kind == "serial" else ProcessExecutor(num_workers, cards)
