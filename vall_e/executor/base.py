"""What runs work: the protocol, and what its implementations share.

Each worker builds its own model, once, by calling `make_worker`, and uses one thread: two threads inside an LSTM
collapse when another job wants the cores, so speed comes from workers.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
IN_FLIGHT_PER_WORKER = 2  # one running, one waiting: memory does not grow with the number of items


class Executor(Protocol):
    num_workers: int

    def map(
        self, make_worker: Callable[[], Callable[[Item], Result]], items: Iterable[Item]
    ) -> Iterator[Result]:
        """Results as they come. `make_worker` must be picklable.

        Raises:
            ContractError: a worker died. Whatever a worker raises is raised here.
        """
        ...
END: Any = object()


@contextlib.contextmanager
def one_thread_each() -> Iterator[None]:
    """Processes spawned inside see one thread; this process keeps its own settings."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
