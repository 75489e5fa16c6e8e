"""What runs work: the protocol, and what its implementations share.

Each worker builds its own model, once, by calling `make_worker`, and uses one thread: two threads inside an LSTM
collapse when another job wants the cores, so speed comes from workers.
"""

from __future__ import annotations

import collections
import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from vall_e.types import ContractError

Item = TypeVar("Item")
Result = TypeVar("Result")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
MAX_DEATHS = 3  # of workers by one item, where nobody else counts them


class Executor(Protocol):
    """Runs items on workers.

    Attributes:
        num_workers: how many items are worked on at a time.
    """

    num_workers: int

    def map(
        self,
        make_worker: Callable[[], Callable[[Item], Result]],
        items: Iterable[Item],
        *,
        split: Callable[[Item], Sequence[Item]] | None = None,
        on_death: Callable[[Item], Result | None] | None = None,
    ) -> Iterator[Result]:
        """Results as they come; `items` are drawn as workers become free.

        A worker that dies is replaced. The item that it was working on is tried again part by part where `split` gives
        several parts, which counts no death; else `on_death` decides.

        Args:
            make_worker: picklable; builds the worker inside its process.
            items: picklable each.
            split: the parts of an item.
            on_death: called with an item that killed its worker: None to try it again, or a result in its place. By
                default an item is tried three times.

        Raises:
            ContractError: an item killed three workers, or a worker died before its first item. Whatever a worker
                raises is raised here.
        """
        ...


class Queue:
    """The items that wait: those to be tried again come first, then new ones."""

    def __init__(
        self,
        items: Iterable[Any],
        split: Callable[[Any], Sequence[Any]] | None,
        on_death: Callable[[Any], Any] | None,
    ) -> None:
        self._new = iter(items)
        self._again: collections.deque[Any] = collections.deque()
        self._split, self._on_death = split, on_death
        self._deaths: collections.Counter[str] = collections.Counter()

    def take(self) -> tuple[Any, ...]:
        """The next item as a tuple of one, or of none."""
        if self._again:
            return (self._again.popleft(),)
        for item in self._new:
            return (item,)
        return ()

    def put_back(self, item: Any) -> None:
        """Makes `item` the next one."""
        self._again.appendleft(item)

    def died(self, item: Any) -> tuple[Any, ...]:
        """What is to be done after `item` killed its worker → a result in its place as a tuple of one, or of none."""
        parts = self._split(item) if self._split is not None else [item]
        if len(parts) > 1:
            self._again.extend(parts)
            return ()
        if self._on_death is None:
            self._count(item)
        elif (result := self._on_death(item)) is not None:
            return (result,)
        self._again.append(item)
        return ()

    def _count(self, item: Any) -> None:
        name = str(getattr(item, "id", item))
        self._deaths[name] += 1
        if self._deaths[name] == MAX_DEATHS:
            raise ContractError(f"{name}: {MAX_DEATHS} workers died while they worked on it (out of memory?)")


def died_at_start() -> ContractError:
    """The error of a worker that could not even be built."""
    return ContractError("a worker died while it loaded its model (out of memory?): run again, with fewer --workers")


@contextlib.contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Processes spawned inside see these variables; this process gets its own back."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
