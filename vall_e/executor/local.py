"""Work in this process, or in a pool of processes on this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from vall_e.executor.base import END, IN_FLIGHT_PER_WORKER, Item, Result, one_thread_each
from vall_e.types import ContractError

if TYPE_CHECKING:
    import concurrent.futures



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
        with one_thread_each():
            pool = ProcessPoolExecutor(self.num_workers, context, _ProcessWorker.prepare, (make_worker,))
            pending: set[Future[Result]] = set()
            waiting, finished = iter(items), False
            try:
                while True:
                    while len(pending) < IN_FLIGHT_PER_WORKER * self.num_workers:
                        item = next(waiting, END)
                        if item is END:
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
