"""Actors on a Ray cluster (`RAY_ADDRESS`, else this machine). https://docs.ray.io"""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from vall_e.executor.base import THREAD_VARIABLES, Item, Queue, Result, died_at_start
from vall_e.types import BackendError

MAX_STARTS, RESTART_S = 60, 0.5  # how often an actor that does not come up is asked again, and after how long


class RayExecutor:
    """Paths must mean the same on every node.

    Ray restarts an actor that died but does not retry its call: the item is given out again here, where deaths are
    counted. With Ray's own retries one item would use up an actor's restarts and fail the innocent call behind it.

    Args:
        num_workers: actors, of one CPU each.
        gpus_per_worker: cards that Ray reserves for each; may be a fraction.
    """

    def __init__(self, num_workers: int, gpus_per_worker: float = 0.0) -> None:
        try:
            import ray  # noqa: F401
        except ImportError:
            raise BackendError('executor ray: the package is missing; pip install "vall-e[ray]"') from None
        self.num_workers, self.gpus_per_worker = num_workers, gpus_per_worker

    def map(
        self,
        make_worker: Callable[[], Callable[[Item], Result]],
        items: Iterable[Item],
        *,
        split: Callable[[Item], Sequence[Item]] | None = None,
        on_death: Callable[[Item], Result | None] | None = None,
    ) -> Iterator[Result]:
        """See Executor."""
        import ray

        started_here = not ray.is_initialized()
        if started_here:
            ray.init(log_to_driver=False, include_dashboard=False, logging_level="warning")
        actors: list[Any] = []
        try:
            remote = self._actor_class(make_worker)
            queue = Queue(items, split, on_death)
            while len(actors) < self.num_workers and (found := queue.take()):
                actors.append(remote.remote())
                queue.put_back(found[0])
            yield from _drain(actors, queue)
        finally:
            for actor in actors:  # those of a run that ended early would finish their items first
                ray.kill(actor)
            if started_here:
                ray.shutdown()

    def _actor_class(self, make_worker: Callable[[], Callable[[Any], Any]]) -> Any:
        import ray

        class Actor:
            worker: Callable[[Any], Any] | None = None

            def build(self) -> None:  # not in __init__, whose errors Ray reports as a dead actor
                self.worker = make_worker()

            def run(self, item: Any) -> Any:
                assert self.worker is not None, "built before it is given an item"
                return self.worker(item)

        return ray.remote(Actor).options(
            num_cpus=1,
            num_gpus=self.gpus_per_worker,
            max_restarts=-1,
            max_task_retries=0,
            runtime_env={"env_vars": dict.fromkeys(THREAD_VARIABLES, "1")},
        )


def _drain(actors: list[Any], queue: Queue) -> Iterator[Any]:
    """Keeps one item at each actor and yields results as they come."""
    import ray

    running: dict[Any, tuple[Any, tuple[Any, ...]]] = {actor.build.remote(): (actor, ()) for actor in actors}
    tries: collections.Counter[Any] = collections.Counter()
    while running:
        (done,), _ = ray.wait(list(running), num_returns=1)
        actor, item = running.pop(done)
        results: tuple[Any, ...] = ()
        try:
            result = ray.get(done)
            tries.pop(actor, None)
            results = (result,) if item else ()
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayActorError:
            if item:
                yield from queue.died(item[0])
            tries[actor] += 1
            if tries[actor] > MAX_STARTS:
                raise died_at_start() from None
            time.sleep(RESTART_S)
            running[actor.build.remote()] = (actor, ())  # no item before it is up again: a call to it would fail
            continue
        found = queue.take()
        if found:
            running[actor.run.remote(found[0])] = (actor, found)
        yield from results  # last, so that the actor is busy while its result is looked at
