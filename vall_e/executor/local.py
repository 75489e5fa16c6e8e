"""Work in this process, or in processes on this machine."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

from vall_e.executor import devices
from vall_e.executor.base import THREAD_VARIABLES, Item, Queue, Result, died_at_start, environment


class SerialExecutor:
    """Work in this process, for tests and for looking at it with a debugger; a death ends the run."""

    num_workers = 1

    def map(
        self,
        make_worker: Callable[[], Callable[[Item], Result]],
        items: Iterable[Item],
        *,
        split: Callable[[Item], Sequence[Item]] | None = None,
        on_death: Callable[[Item], Result | None] | None = None,
    ) -> Iterator[Result]:
        """See Executor."""
        worker = None
        for item in items:
            worker = worker or make_worker()
            yield worker(item)


class ProcessExecutor:
    """Spawned processes, as a forked one inherits locks and threads of libraries that do not expect it.

    Args:
        num_workers: how many.
        cards: CUDA cards, dealt out to the workers in turn; none: the workers see what this process sees.
    """

    def __init__(self, num_workers: int, cards: Sequence[str] = ()) -> None:
        self.num_workers, self.cards = num_workers, list(cards)

    def map(
        self,
        make_worker: Callable[[], Callable[[Item], Result]],
        items: Iterable[Item],
        *,
        split: Callable[[Item], Sequence[Item]] | None = None,
        on_death: Callable[[Item], Result | None] | None = None,
    ) -> Iterator[Result]:
        """See Executor."""
        queue = Queue(items, split, on_death)
        busy: dict[Connection, _Process] = {}
        free = list(range(self.num_workers))
        try:
            while True:
                while free and (found := queue.take()):
                    slot = free.pop(0)
                    process = _Process(make_worker, slot, devices.variables(self.cards, slot))
                    process.start_on(found[0])
                    busy[process.connection] = process
                if not busy:
                    return
                for connection in wait(list(busy)):
                    process = busy[connection]  # type: ignore[index]
                    results = list(process.receive(queue))
                    if process.has_ended or not process.take_next(queue):
                        del busy[process.connection]
                        process.kill()
                        free.append(process.slot)
                    yield from results  # last, so that the worker is busy while its result is looked at
        finally:  # Ctrl-C, an error, or nobody wants more: items may take hours, and only we write rows
            for process in busy.values():
                process.kill()


class _Process:
    """A worker process, seen from its parent. It has one item at a time: a pipe of more could fill up both ways."""

    def __init__(self, make_worker: Any, slot: int, variables: dict[str, str]) -> None:
        context = multiprocessing.get_context("spawn")
        self.slot, self.item, self.is_ready, self.has_ended = slot, None, False, False
        self.connection, theirs = context.Pipe()
        with environment(dict.fromkeys(THREAD_VARIABLES, "1") | variables):
            self._process = context.Process(target=_work, args=(theirs, make_worker), daemon=True)
            self._process.start()
        theirs.close()  # so that the pipe ends with the process

    def start_on(self, item: Any) -> None:
        self.item = item
        try:
            self.connection.send(item)
        except (BrokenPipeError, ConnectionResetError):
            self.has_ended = True  # its end is then received

    def take_next(self, queue: Queue) -> bool:
        """Whether there was another item to start on; True while the first one has not been answered."""
        if self.item is not None:
            return True
        found = queue.take()
        if found:
            self.start_on(found[0])
        return bool(found)

    def receive(self, queue: Queue) -> Iterator[Any]:
        """The result that has come, or what stands in its place after a death.

        Raises:
            whatever the worker raised. ContractError: it died before it was ready.
        """
        try:
            kind, value = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self.has_ended = True
            if not self.is_ready:
                raise died_at_start() from None
            yield from queue.died(self.item)
            return
        if kind == "ready":
            self.is_ready = True
        elif kind == "error":
            raise value
        else:
            self.item = None
            yield value

    def kill(self) -> None:
        self._process.kill()
        self._process.join()
        self.connection.close()


def _work(connection: Connection, make_worker: Callable[[], Callable[[Any], Any]]) -> None:
    """The life of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        worker = make_worker()
        connection.send(("ready", None))
        while True:
            try:
                item = connection.recv()
            except EOFError:
                return
            connection.send(("result", worker(item)))
    except Exception as error:
        connection.send(("error", _portable(error)))
        raise SystemExit(0) from None


def _portable(error: BaseException) -> BaseException:
    """The error, if it can be sent to another process, with its traceback as a note."""
    error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.dumps(error)
        copy.copy(error)  # as the other side makes it, from its class and arguments
    except (TypeError, AttributeError, pickle.PicklingError):
        return RuntimeError("".join(traceback.format_exception(error)))
    return error


def _end_with_parent() -> None:
    """Ends this process once its parent is gone: a killed run must not leave workers behind, each with a model."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
