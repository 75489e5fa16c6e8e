"""Where work runs: in this process, in a pool of processes, or on a Ray cluster. Knows no audio.

Each worker builds its own model, once, by calling `make_worker`, and uses one thread: two threads inside an LSTM
collapse when another job wants the cores, so speed comes from workers.
"""

from __future__ import annotations

import collections
import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from vall_e.types import BackendError, ContractError, UsageError

if TYPE_CHECKING:
    import concurrent.futures

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


class SerialExecutor:
    num_workers = 1

    def map(
        self, make_worker: Callable[[], Callable[[Item], Result]], items: Iterable[Item]
    ) -> Iterator[Result]:
        worker = make_worker()
        for item in items:
            yield worker(item)


class ProcessExecutor:
    """Spawned processes, as a forked one inherits locks and threads of libraries that do not expect it."""

    def __init__(self, num_workers: int) -> None:
        self.num_workers = num_workers

    def map(
        self, make_worker: Callable[[], Callable[[Item], Result]], items: Iterable[Item]
    ) -> Iterator[Result]:
        import multiprocessing
        from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
        from concurrent.futures.process import BrokenProcessPool

        context = multiprocessing.get_context("spawn")
        with _one_thread_each():
            pool = ProcessPoolExecutor(self.num_workers, context, _ProcessWorker.prepare, (make_worker,))
            pending: set[Future[Result]] = set()
            waiting, finished = iter(items), False
            try:
                while True:
                    while len(pending) < IN_FLIGHT_PER_WORKER * self.num_workers:
                        item = next(waiting, _END)
                        if item is _END:
                            break
                        pending.add(pool.submit(_ProcessWorker.run, item))
                    if not pending:
                        finished = True
                        return
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield future.result()
            except BrokenProcessPool:
                raise ContractError(
                    "a worker process died (out of memory?); what is done stays done: run again, with fewer --workers"
                ) from None
            finally:
                if not finished:  # Ctrl-C, an error, or nobody wants more: items may take hours, and only we write rows
                    _kill_workers(pool)
                pool.shutdown(wait=True, cancel_futures=True)


def _kill_workers(pool: concurrent.futures.ProcessPoolExecutor) -> None:
    """As `kill_workers` of Python 3.14, before which the pool gives no public way to its processes."""
    for process in list((pool._processes or {}).values()):
        process.kill()


_END: Any = object()


class _ProcessWorker:
    """The one worker of a pool process. It is built with its first item, as only an item carries an error home."""

    make_worker: Callable[[], Callable[[Any], Any]]
    worker: Callable[[Any], Any] | None = None

    @classmethod
    def prepare(cls, make_worker: Callable[[], Callable[[Any], Any]]) -> None:
        import signal
        import threading

        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
        threading.Thread(target=_end_with_parent, daemon=True).start()
        cls.make_worker = staticmethod(make_worker)

    @classmethod
    def run(cls, item: Any) -> Any:
        if cls.worker is None:
            cls.worker = staticmethod(cls.make_worker())
        return cls.worker(item)


def _end_with_parent() -> None:
    """Ends this process once its parent is gone: a killed run must not leave workers behind, each with a model."""
    import multiprocessing

    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


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
            item = next(items, _END)
            if item is _END:
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


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
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
