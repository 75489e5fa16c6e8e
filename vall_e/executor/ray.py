"""Actors on a Ray cluster."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from vall_e.executor.base import END, IN_FLIGHT_PER_WORKER, THREAD_VARIABLES, Item, Result
from vall_e.types import BackendError, ContractError


class RayExecutor:
    """Actors on a Ray cluster (`RAY_ADDRESS`, else this machine). Paths must mean the same on every node."""

    def __init__(self, num_workers: int) -> None:
        try:
            import ray  # noqa: F401
        except ImportError:
            raise BackendError('executor ray: the package is missing; pip install "vall-e[ray]"') from None
        self.num_workers = num_workers

    def map(
        self, make_worker: Callable[[], Callable[[Item], Result]], items: Iterable[Item]
    ) -> Iterator[Result]:
        import ray

        started_here = not ray.is_initialized()
        if started_here:
            ray.init(log_to_driver=False, include_dashboard=False, logging_level="warning")

        class Actor:
            worker: Callable[[Item], Result] | None = None

            def run(self, item: Item) -> Result:
                if self.worker is None:  # not in __init__, whose errors Ray tells as a dead actor
                    self.worker = make_worker()
                return self.worker(item)

        actors: list[Any] = []
        try:
            one_thread = {"env_vars": dict.fromkeys(THREAD_VARIABLES, "1")}
            remote = ray.remote(Actor).options(num_cpus=1, runtime_env=one_thread)
            actors += [remote.remote() for _ in range(self.num_workers)]
            yield from _drain_actors(actors, iter(items))
        finally:
            for actor in actors:  # those of a run that ended early would finish their items first
                ray.kill(actor)
            if started_here:
                ray.shutdown()


def _drain_actors(actors: list[Any], items: Iterator[Any]) -> Iterator[Any]:
    """Keeps `IN_FLIGHT_PER_WORKER` items at each actor and yields results as they come."""
    import ray

    free = collections.deque(actors * IN_FLIGHT_PER_WORKER)
    running: dict[Any, Any] = {}
    while True:
        while free:
            item = next(items, END)
            if item is END:
                break
            actor = free.popleft()
            running[actor.run.remote(item)] = actor
        if not running:
            return
        (done,), _ = ray.wait(list(running), num_returns=1)
        free.append(running.pop(done))
        try:
            yield ray.get(done)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayActorError as error:
            raise ContractError(f"a Ray worker died: {' '.join(str(error).split())[:200]}") from None
