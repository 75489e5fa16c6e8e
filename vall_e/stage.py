"""Runs one stage: items → rows | rejects, with counts, progress and resume."""

from __future__ import annotations

import collections
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vall_e import config, storage
from vall_e.executor import Executor
from vall_e.types import Reject, RejectReason, recording_id_of

REJECTS = "rejects.jsonl"
PLAIN_PROGRESS_S = 10.0  # seconds between lines where the output is no terminal


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one item came to. Arrays that the rows refer to are already on disk."""

    item_id: str
    rows: tuple[Any, ...] = ()
    rejects: tuple[Reject, ...] = ()
    audio_s: float = 0.0


@dataclass(kw_only=True)
class StageReport:
    """Counts of one run of a stage; `rejects` and `num_rows` hold what earlier runs left as well."""

    stage: str
    num_rows: int = 0
    rejects: collections.Counter[RejectReason] = field(default_factory=collections.Counter)
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
        """Wall time over audio time; None where this run read no audio."""
        return self.wall_s / self.audio_s if self.audio_s else None

    @property
    def reject_ratio(self) -> float:
        return self.num_rejects / max(1, self.num_rows + self.num_rejects)

    @property
    def warnings(self) -> tuple[str, ...]:
        nothing = () if self.num_rows else (f"{self.stage}: not one row; the rejects say why",)
        return (*nothing, *(f"{self.stage}: {note}" for note in self.notes))

    def finish(self, max_reject_ratio: float | None) -> int:
        """Prints the counts and gives the exit status: 1 when more than `max_reject_ratio` were rejected."""
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(self.rejects.items()))
        resumed = f"; {self.num_resumed} of {self.num_items} items were done before" if self.num_resumed else ""
        ignored = f", {self.num_ignored} files ignored" if self.num_ignored else ""
        print(f"{self.stage}: {self.num_rows} rows, {self.num_rejects} rejects ({reasons or 'none'}){ignored}{resumed}")
        for warning in self.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        return config.reject_status(self.reject_ratio, max_reject_ratio)


class Ledger:
    """The rows and rejects of one stage in one folder: what is done, and where more is appended.

    Items are recordings; one may give several rows. As a kill can fall between them, the item that was written last is
    taken up again at resume, unless `is_whole(number of rows, number of rejects)` knows better, and rows that stand
    already are left out.
    """

    def __init__(self, folder: Path, rows_name: str, stage: str, is_whole: Callable[[int, int], bool]) -> None:
        self.folder, self.stage = folder, stage
        self.rows_path, self.rejects_path = folder / rows_name, folder / REJECTS
        self._row_ids: set[str] = set()
        self._reject_reasons: dict[str, RejectReason] = {}
        last: set[str] = set()
        for path in (self.rows_path, self.rejects_path):
            item = None
            for number, row in storage.read_json_lines(path):
                if path == self.rows_path:
                    item = str(row.get("id") or row.get("recording_id"))
                    self._row_ids.add(item)
                elif row.get("stage") == stage:
                    reject = storage.from_row(Reject, row, f"{path}:{number}")
                    item, self._reject_reasons[reject.id] = reject.id, reject.reason
            last |= {recording_id_of(item)} if item else set()
        self.done = {recording_id_of(item) for item in self._row_ids | self._reject_reasons.keys()}
        if not is_whole(len(self._row_ids), len(self._reject_reasons)):
            self.done -= last

    def clear(self) -> None:
        """Forgets this stage's rows and rejects; those of other stages in the same folder stay."""
        self.rows_path.unlink(missing_ok=True)
        others = [row for _, row in storage.read_json_lines(self.rejects_path) if row.get("stage") != self.stage]
        # whole or not at all: a kill here must not cost the other stages their rejects
        storage.write_json_lines(self.rejects_path, others, self.folder)
        self._row_ids, self._reject_reasons, self.done = set(), {}, set()

    def append(self, outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
        """Writes each outcome, then hands it on. Rejects come first: whichever file a kill cuts, its item is last."""
        with storage.JsonlWriter(self.rejects_path) as rejects, storage.JsonlWriter(self.rows_path) as rows:
            for outcome in outcomes:
                new_rejects = [reject for reject in outcome.rejects if reject.id not in self._reject_reasons]
                rejects.write(new_rejects)
                self._reject_reasons |= {reject.id: reject.reason for reject in new_rejects}
                new_rows = [row for row in outcome.rows if _row_id(row) not in self._row_ids]
                rows.write(new_rows)
                self._row_ids |= {_row_id(row) for row in new_rows}
                yield outcome

    def count(self, report: StageReport) -> None:
        report.num_rows = len(self._row_ids)
        report.rejects = collections.Counter(self._reject_reasons.values())


def _row_id(row: Any) -> str:
    found = getattr(row, "id", None) or row.recording_id
    return str(found)


@dataclass(frozen=True, kw_only=True)
class Work:
    """The items of a stage (anything with an `id`), those rejected before work began, and how many files were none."""

    items: Sequence[Any]
    rejects: Sequence[Reject] = ()
    num_ignored: int = 0


def run_stage(
    ledger: Ledger, work: Work, make_worker: Callable[[], Callable[[Any], Outcome]], executor: Executor
) -> StageReport:
    """Runs what is not done yet and appends it.

    Raises:
        whatever a worker raises: a broken promise ends the run, and what was appended stays.
    """
    todo = [item for item in work.items if item.id not in ledger.done]
    report = StageReport(stage=ledger.stage, num_items=len(work.items), num_ignored=work.num_ignored)
    report.num_resumed = len(work.items) - len(todo)
    early = (Outcome(item_id=reject.id, rejects=(reject,)) for reject in work.rejects if reject.id not in ledger.done)
    for _ in ledger.append(early):
        pass
    missing: list[str] = []
    started = time.monotonic()
    if todo:
        outcomes = ledger.append(executor.map(make_worker, todo))
        for outcome in track(outcomes, ledger.stage, len(todo)):
            report.audio_s += outcome.audio_s
            if not outcome.rows and not outcome.rejects:
                missing.append(outcome.item_id)
    if missing:  # neither done nor rejected: the next run looks again
        report.notes.append(f"{len(missing)} recordings are not there any more, like {missing[0]}")
    report.wall_s = time.monotonic() - started
    ledger.count(report)
    return report


def track(outcomes: Iterable[Outcome], stage: str, total: int) -> Iterator[Outcome]:
    """Hands outcomes on while showing items/s and hours of audio per second: a bar on a terminal, lines elsewhere."""
    return _track_bar(outcomes, stage, total) if sys.stderr.isatty() else _track_lines(outcomes, stage, total)


def _speed(done: int, audio_s: float, wall_s: float) -> str:
    wall_s = max(wall_s, 1e-9)
    return f"{done / wall_s:.1f} items/s, {audio_s / 3600 / wall_s:.4f} h of audio/s"


def _track_bar(outcomes: Iterable[Outcome], stage: str, total: int) -> Iterator[Outcome]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description:>10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeElapsedColumn(),  # it moves while a long recording is worked on; what is left can't be told from items
    )
    started, audio_s = time.monotonic(), 0.0
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(stage, total=total, speed="")
        for done, outcome in enumerate(outcomes, start=1):
            audio_s += outcome.audio_s
            progress.update(task, advance=1, speed=_speed(done, audio_s, time.monotonic() - started))
            yield outcome


def _track_lines(outcomes: Iterable[Outcome], stage: str, total: int) -> Iterator[Outcome]:
    started = shown = time.monotonic()
    audio_s = 0.0
    for done, outcome in enumerate(outcomes, start=1):
        audio_s += outcome.audio_s
        now = time.monotonic()
        if done == total or now - shown >= PLAIN_PROGRESS_S:
            shown = now
            print(f"{stage}: {done}/{total}, {_speed(done, audio_s, now - started)}", file=sys.stderr, flush=True)
        yield outcome
