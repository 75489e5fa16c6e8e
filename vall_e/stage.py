"""How every stage runs: items become rows or rejects, with counts, progress, resume, and deaths of workers survived."""

from __future__ import annotations

import collections
import contextlib
import hashlib
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from vall_e import config, layout, progress, storage
from vall_e.executor import Executor
from vall_e.types import Note, Reject, RejectReason, UsageError, recording_id_of

BUNCH_S = 24.0  # of audio that a worker takes at a time: codecs are faster with several items, and memory is bounded
BUNCH_ITEMS = 64
MAX_DEATHS = 3  # workers that an item may kill before it is rejected
OVERWRITE_ADVICE = "pass --overwrite to start from scratch, or choose another output folder"


class Item(Protocol):
    """One recording on its way through a stage; small, as it travels to a worker. `duration_s` 0: unknown."""

    @property
    def id(self) -> str: ...

    @property
    def duration_s(self) -> float: ...


@dataclass(frozen=True)
class Task:
    """A recording to work on: where the rows that it is made from start."""

    id: str
    duration_s: float
    places: tuple[storage.RowPlace, ...]


@dataclass(frozen=True)
class Bunch:
    """Items that a worker takes at a time. Which ones depends on the order of the items alone."""

    items: tuple[Any, ...]

    @property
    def id(self) -> str:
        return str(self.items[0].id)

    def split(self) -> list[Bunch]:
        return [Bunch((item,)) for item in self.items]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one item. Arrays that the rows refer to are already on disk.

    Attributes:
        finished: False where the item is not there now; the next run tries it again.
        fingerprint: of what the rows were made from.
    """

    item_id: str
    rows: tuple[Any, ...] = ()
    rejects: tuple[Reject, ...] = ()
    notes: tuple[Note, ...] = ()
    audio_s: float = 0.0
    finished: bool = True
    fingerprint: str = ""


Worker = Callable[[Bunch], list[Outcome]]


@dataclass(kw_only=True)
class StageReport:
    """Counts of one run of a stage; `rejects` and `num_rows` include the results of earlier runs."""

    stage: str
    num_rows: int = 0
    rejects: collections.Counter[str] = field(default_factory=collections.Counter)
    num_items: int = 0
    num_resumed: int = 0  # items that an earlier run had finished
    num_ignored: int = 0
    audio_s: float = 0.0  # read in this run
    wall_s: float = 0.0
    notes: list[str] = field(default_factory=list)  # what a person should know, though nothing failed

    @property
    def num_rejects(self) -> int:
        return sum(self.rejects.values())

    @property
    def real_time_factor(self) -> float | None:
        """RTF: processing time / audio duration; None where this run read no audio."""
        return self.wall_s / self.audio_s if self.audio_s else None

    @property
    def reject_ratio(self) -> float:
        return self.num_rejects / max(1, self.num_rows + self.num_rejects)

    @property
    def warnings(self) -> tuple[str, ...]:
        nothing = () if self.num_rows else (f"{self.stage}: not one row; the rejects say why",)
        return (*nothing, *(f"{self.stage}: {note}" for note in self.notes))

    def finish(self, max_reject_ratio: float | None) -> int:
        """Prints the counts and returns the exit status: 1 when more than `max_reject_ratio` were rejected."""
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(self.rejects.items()))
        resumed = f"; {self.num_resumed} of {self.num_items} items were done before" if self.num_resumed else ""
        ignored = f", {plural(self.num_ignored, 'file')} ignored" if self.num_ignored else ""
        rows, rejects = plural(self.num_rows, "row"), plural(self.num_rejects, "reject")
        print(f"{self.stage}: {rows}, {rejects} ({reasons or 'none'}){ignored}{resumed}")
        for warning in self.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        return config.reject_status(self.reject_ratio, max_reject_ratio)


class Results:
    """The rows and rejects of one stage in one folder: which items are finished, and where more is appended.

    An item is finished once its row stands in `done_name`; without one, once it has a row or a reject, which are then
    one per item. What a kill left of an unfinished item is kept and not written twice.
    """

    def __init__(self, folder: Path, stage: str, rows_name: str, *, key: str, done_name: str | None = None) -> None:
        self.folder, self.stage, self.key = folder, stage, key
        self.rows_path, self.rejects_path = folder / rows_name, folder / layout.REJECTS
        self.done_path = folder / done_name if done_name else None
        self.load()

    def load(self) -> None:
        """Reads what is on disk: a digest of each finished item, and counts."""
        self.num_rows, self.rejects = 0, collections.Counter[str]()
        self._partial: set[str] = set()
        if self.done_path is None:
            self._done: storage.IdSet = storage.IdSet(self._ids())
            return
        self._done = storage.RowIndex(self.done_path, "id", value=_num_written)
        self._partial = {name for name in self._ids() if not self._is_finished_part(name)}
        if self._done.values.sum() != self.num_rows + self.rejects.total() - len(self._partial):
            self._reopen_incomplete()

    def _reopen_incomplete(self) -> None:
        """Takes items as unfinished whose rows were lost after they were finished, as a power failure can do."""
        assert self.done_path is not None
        self.num_rows, self.rejects = 0, collections.Counter[str]()
        found = collections.Counter(self._owner(name) for name in self._ids())
        done = [row for _, row in storage.read_json_lines(self.done_path)]
        whole = [row for row in done if _num_written(row) == found[row["id"]]]
        storage.write_json_lines(self.done_path, whole, self.folder)
        if len(whole) < len(done):
            self.load()

    def _owner(self, name: str) -> str:
        """The finished item that a row or reject belongs to."""
        return name if name in self._done else recording_id_of(name)

    def _ids(self) -> Iterator[str]:
        """Ids of all rows and of this stage's rejects, which are counted on the way."""
        for _, row in storage.read_json_lines(self.rows_path):
            self.num_rows += 1
            yield str(row.get(self.key))
        for _, row in storage.read_json_lines(self.rejects_path):
            if row.get("stage") == self.stage:
                self.rejects[str(row.get("reason"))] += 1
                yield str(row.get("id"))

    def _is_finished_part(self, name: str) -> bool:
        return name in self._done or recording_id_of(name) in self._done

    def _is_written(self, name: str) -> bool:
        """Whether a kill left the row of an item that it did not finish."""
        return name in self._partial or (self.done_path is None and name in self._done)

    def is_done(self, item_id: str) -> bool:
        return item_id in self._done

    def fingerprint(self, item_id: str) -> str:
        """What a finished item was made from; empty where that was not recorded."""
        assert isinstance(self._done, storage.RowIndex), "only stages with a file of finished items have fingerprints"
        place = self._done.get(item_id)
        return "" if place is None else str(place.read(dict).get("fingerprint", ""))

    def clear(self) -> None:
        """Drops this stage's rows and rejects; those of other stages in the same folder stay."""
        for path in (self.done_path, self.rows_path):
            if path is not None:
                path.unlink(missing_ok=True)
        drop_rejects(self.folder, lambda reject: reject["stage"] == self.stage)
        Deaths(self.folder, self.stage).clear()
        self.load()

    def _write_notes(self, notes: Sequence[Note]) -> None:
        """Rare: the file is opened for each."""
        with storage.JsonlWriter(self.folder / layout.NOTES) as writer:
            writer.write(notes)

    def append(self, outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
        """Writes each outcome, then yields it. The row that says an item is finished comes last."""
        with (
            storage.JsonlWriter(self.rejects_path) as rejects,
            storage.JsonlWriter(self.rows_path) as rows,
            _writer(self.done_path) as done,
        ):
            for outcome in outcomes:
                if outcome.finished:
                    new_rejects = [reject for reject in outcome.rejects if reject.id not in self._partial]
                    new_rows = [row for row in outcome.rows if not self._is_written(getattr(row, self.key))]
                    rejects.write(new_rejects)
                    if outcome.notes:
                        self._write_notes(outcome.notes)
                    rows.write(new_rows)
                    if done is not None:
                        done.write([_done_row(outcome)])
                    self.num_rows += len(new_rows)
                    self.rejects.update(str(reject.reason) for reject in new_rejects)
                yield outcome


def num_notes(folder: Path) -> collections.Counter[str]:
    """How many items of a folder have each note."""
    path = folder / layout.NOTES
    found = {(row["id"], row["note"]) for _, row in storage.read_json_lines(path)} if path.exists() else set()
    return collections.Counter(note for _, note in found)


def _done_row(outcome: Outcome) -> dict[str, Any]:
    counts = {"num_rows": len(outcome.rows), "num_rejects": len(outcome.rejects)}
    return {"id": outcome.item_id, "fingerprint": outcome.fingerprint, **counts}


def _num_written(done: Mapping[str, Any]) -> float:
    return float(done["num_rows"] + done["num_rejects"])


def _writer(path: Path | None) -> Any:
    return contextlib.nullcontext() if path is None else storage.JsonlWriter(path)


def drop_rejects(folder: Path, is_dropped: Callable[[Mapping[str, Any]], bool]) -> None:
    """Rewrites a folder's rejects without some: whole or not at all, so that a kill costs no stage its rejects."""
    path = folder / layout.REJECTS
    kept = (row for _, row in storage.read_json_lines(path) if not is_dropped(row))
    if path.exists():
        storage.write_json_lines(path, kept, folder)


class Deaths:
    """How many workers each item killed, written down so that a resumed run counts on."""

    def __init__(self, folder: Path, stage: str) -> None:
        self.folder, self.stage, self.path = folder, stage, folder / layout.DEATHS
        rows = (row for _, row in storage.read_json_lines(self.path) if row.get("stage") == stage)
        self._counts = collections.Counter(str(row.get("id")) for row in rows)

    def add(self, item_id: str) -> int:
        """Counts one more → how many it is now."""
        with storage.JsonlWriter(self.path) as writer:
            writer.write([{"id": item_id, "stage": self.stage}])
        self._counts[item_id] += 1
        return self._counts[item_id]

    def clear(self) -> None:
        """Drops the counts of this stage."""
        if self.path.exists():
            others = (row for _, row in storage.read_json_lines(self.path) if row.get("stage") != self.stage)
            storage.write_json_lines(self.path, others, self.folder)


def duration_of(recording: Mapping[str, Any]) -> float:
    """Seconds of audio of a row of recordings.jsonl."""
    return float(recording["num_samples"] / recording["sample_rate_hz"])


def left(recordings: storage.RowIndex, is_done: Callable[[str], bool]) -> np.ndarray:
    """Numbers of the recordings that are not done, int64 [n]."""
    names = enumerate(recordings.ids())
    return np.fromiter((number for number, name in names if not is_done(name)), np.int64)


def tasks(recordings: storage.RowIndex, numbers: np.ndarray, *others: storage.RowIndex) -> Iterator[Task]:
    """A Task for each of these recordings, with the rows of the same id in `others`, which must be there."""
    for number in numbers.tolist():
        place = recordings.place(number)
        name = str(place.read(dict)[recordings.key])
        more = [other.get(name) for other in others]
        yield Task(name, float(recordings.values[number]), (place, *(each for each in more if each is not None)))


def bunches(items: Iterable[Item], max_s: float = BUNCH_S, max_items: int = BUNCH_ITEMS) -> Iterator[Bunch]:
    """Consecutive items together, up to `max_s` of audio; a longer one alone."""
    gathered: list[Item] = []
    total_s = 0.0
    for item in items:
        if gathered and (total_s + item.duration_s > max_s or len(gathered) == max_items):
            yield Bunch(tuple(gathered))
            gathered, total_s = [], 0.0
        gathered.append(item)
        total_s += item.duration_s
    if gathered:
        yield Bunch(tuple(gathered))


def run_stage(
    results: Results,
    items: Iterable[Item],
    make_worker: Callable[[], Worker],
    executor: Executor,
    report: StageReport,
    *,
    total_items: int | None = None,
    total_audio_s: float | None = None,
    start: Callable[[], None] = lambda: None,
    overwrite: bool = False,
    bunch_s: float = BUNCH_S,
    bunch_items: int = BUNCH_ITEMS,
) -> StageReport:
    """Runs the items that are left and appends what they become.

    Args:
        results: where rows and rejects go.
        items: those that are not finished, in a fixed order; drawn from as workers become free.
        make_worker: builds the worker inside its process.
        executor: where workers run.
        report: counts and notes are added to it.
        total_items: how many `items` are, if known; for the progress display.
        total_audio_s: how many seconds of audio they hold, if known.
        start: called once, when the first worker has answered and nothing has been written yet.
        bunch_s, bunch_items: how much audio, and how many items, a worker takes at a time; 0 s for one item.
        overwrite: whether the run was started with --overwrite; for the advice after an interruption.

    Raises:
        whatever a worker raises: a broken contract ends the run, and finished items are kept.
    """
    deaths = Deaths(results.folder, results.stage)

    def on_death(bunch: Bunch) -> list[Outcome] | None:
        """A reject for an item that killed too many workers; None to try it again."""
        if deaths.add(bunch.id) < MAX_DEATHS:
            return None
        detail = f"{MAX_DEATHS} workers died while they worked on it (out of memory?); --update tries it again"
        reject = Reject(id=bunch.id, stage=results.stage, reason=RejectReason.WORKER_DIED, detail=detail)
        return [Outcome(item_id=bunch.id, rejects=(reject,))]

    found = executor.map(make_worker, bunches(items, bunch_s, bunch_items), split=Bunch.split, on_death=on_death)
    outcomes = (outcome for part in found for outcome in part)
    begun = False
    try:
        first = next(outcomes, None)
        if first is not None:
            start()
            begun = True
            written = results.append(itertools.chain([first], outcomes))
            _count(progress.track(written, results.stage, total_items, total_audio_s, audio_s=_audio_s), report)
    except KeyboardInterrupt:
        without = ", without --overwrite," if begun and overwrite else ""
        raise KeyboardInterrupt(f"run the same command again{without} to resume") from None
    report.num_rows, report.rejects = results.num_rows, results.rejects
    return report


def _count(outcomes: Iterable[Outcome], report: StageReport) -> None:
    absent: list[str] = []
    for outcome in outcomes:
        report.audio_s += outcome.audio_s
        if not outcome.finished:
            absent.append(outcome.item_id)
    if absent:
        verb = "is" if len(absent) == 1 else "are"
        report.notes.append(f"{plural(absent, 'recording')} {verb} not there any more, like {absent[0]}")


def _audio_s(outcome: Outcome) -> float:
    return outcome.audio_s


def sample(names: Sequence[str], number: int, salt: str) -> list[int]:
    """Places of `number` of the names, chosen by a hash, in their order; 0: all. Of more, the same and further ones.

    Example:
        >>> set(sample(["a", "b", "c", "d"], 2, "x")) < set(sample(["a", "b", "c", "d"], 3, "x"))
        True
    """
    order = sorted(range(len(names)), key=lambda place: hashlib.sha256(f"{salt} {names[place]}".encode()).digest())
    return sorted(order[: number or len(order)])


def plural(things: Sized | int, noun: str) -> str:
    """A number and a noun.

    Example:
        >>> plural(1, "recording"), plural(["a", "b"], "recording")
        ('1 recording', '2 recordings')
    """
    number = things if isinstance(things, int) else len(things)
    return f"1 {noun}" if number == 1 else f"{number:,} {noun}s"


def check_same(folder: Path, recorded: Mapping[str, Any], options: Any) -> None:
    """Refuses to mix rows that were made with other options.

    Args:
        folder: named in the error.
        recorded: the options under which the rows were made; a missing one counts as its `before` value.
        options: an options dataclass with a property `result_options`.

    Raises:
        UsageError: names the option and both values.
    """
    for key, old, new in config.changed(recorded, options):
        raise UsageError(f"{folder}: made with {key} {old!r}, now {new!r}; {OVERWRITE_ADVICE}")


def check_folder(folder: Path, recorded: str | None, now: Path) -> None:
    """Refuses to mix recordings of two folders; one that is gone from where it was has been moved.

    Raises:
        UsageError: names both folders.
    """
    if storage.is_another_folder(recorded, now):
        raise UsageError(f"{folder}: made from {recorded}, now {storage.printable(now)}; {OVERWRITE_ADVICE}")
