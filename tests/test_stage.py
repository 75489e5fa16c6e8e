"""One stage: every item ends up in rows or rejects once, however often the run is cut and taken up."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vall_e import storage
from vall_e.executor import make_executor
from vall_e.stage import Ledger, Outcome, StageReport, Work, run_stage, track
from vall_e.types import Reject, RejectReason

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def workers() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HERE)
        return importlib.import_module("worker_functions")


def ledger(folder: Path, *, is_whole: bool = False) -> Ledger:
    return Ledger(folder, "rows.jsonl", "test", lambda *_: is_whole)


def run(folder: Path, workers: ModuleType, items: Sequence[Any], **more: Any) -> StageReport:
    work = Work(items=items, **more)
    return run_stage(ledger(folder), work, workers.make_stage_worker, make_executor())


def ids(folder: Path) -> tuple[list[str], list[str]]:
    rows = [row["recording_id"] for _, row in storage.read_json_lines(folder / "rows.jsonl")]
    return rows, [row["id"] for _, row in storage.read_json_lines(folder / "rejects.jsonl")]


def items_of(workers: ModuleType, shapes: Sequence[tuple[int, int]]) -> list[Any]:
    return [workers.Item(f"s/{n}.wav", rows, refused) for n, (rows, refused) in enumerate(shapes)]


def test_rows_rejects_and_counts(tmp_path: Path, workers: ModuleType) -> None:
    early = [Reject(id="s/bad.wav", stage="test", reason=RejectReason.UNREADABLE, detail="x")]
    report = run(tmp_path, workers, items_of(workers, [(2, 1), (0, 1), (1, 0)]), rejects=early, num_ignored=4)
    rows, rejects = ids(tmp_path)
    assert rows == ["s/0.wav-00000", "s/0.wav-00001", "s/2.wav-00000"]
    assert rejects == ["s/bad.wav", "s/0.wav-00002", "s/1.wav-00000"]
    assert (report.num_rows, report.num_rejects, report.num_items, report.num_resumed) == (3, 3, 3, 0)
    assert report.rejects == Counter({RejectReason.TOO_SHORT: 2, RejectReason.UNREADABLE: 1})
    assert (report.num_ignored, report.audio_s, report.reject_ratio) == (4, 3.0, 0.5)
    assert report.real_time_factor == report.wall_s / 3.0


def test_what_is_done_is_not_done_again(tmp_path: Path, workers: ModuleType) -> None:
    items = items_of(workers, [(2, 1)] * 5)
    run(tmp_path, workers, items)
    before = (tmp_path / "rows.jsonl").read_bytes()
    report = run(tmp_path, workers, items)
    # the last one is taken up again, as a kill may have cut it; its rows stand already
    assert (report.num_resumed, report.audio_s, report.num_rows, report.num_rejects) == (4, 1.0, 10, 5)
    assert (tmp_path / "rows.jsonl").read_bytes() == before
    knows_better = run_stage(
        ledger(tmp_path, is_whole=True), Work(items=items), workers.make_stage_worker, make_executor()
    )
    assert (knows_better.num_resumed, knows_better.audio_s, knows_better.real_time_factor) == (5, 0.0, None)


shapes = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 2)).filter(lambda shape: sum(shape) > 0), min_size=1, max_size=4
)


def states(workers: ModuleType, items: Sequence[Any]) -> list[tuple[bytes, bytes]]:
    """(rows, rejects) as they are after each write of one run: the rejects of an item come before its rows."""
    found, rows, rejects = [(b"", b"")], b"", b""
    for item in items:
        outcome = workers.stage_work(item)
        for record in outcome.rejects:
            rejects += line(record)
        found.append((rows, rejects))
        for record in outcome.rows:
            rows += line(record)
        found.append((rows, rejects))
    return found


def line(record: Any) -> bytes:
    return json.dumps(storage.to_row(record), ensure_ascii=False).encode() + b"\n"


@settings(max_examples=80, deadline=None)
@given(shapes=shapes, data=st.data())
def test_a_run_cut_at_any_byte_is_taken_up(
    tmp_path_factory: pytest.TempPathFactory, workers: ModuleType, shapes: list[tuple[int, int]], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    items = items_of(workers, shapes)
    written = states(workers, items)
    step = data.draw(st.integers(1, len(written) - 1))
    old, new = written[step - 1], written[step]
    for name, before, after in zip(("rows.jsonl", "rejects.jsonl"), old, new, strict=True):
        (folder / name).write_bytes(after[: data.draw(st.integers(len(before), len(after)))])
    run(folder, workers, items)
    rows, rejects = ids(folder)
    assert rows == [record.recording_id for item in items for record in workers.stage_work(item).rows]
    assert rejects == [record.id for item in items for record in workers.stage_work(item).rejects]


def test_any_order_of_completion_gives_the_same_rows(tmp_path: Path, workers: ModuleType) -> None:
    items = items_of(workers, [(1, 1)] * 6)
    run(tmp_path / "a", workers, items)
    run(tmp_path / "b", workers, items[::-1])
    assert [sorted(found) for found in ids(tmp_path / "a")] == [sorted(found) for found in ids(tmp_path / "b")]


def test_a_worker_that_fails_leaves_what_is_done(tmp_path: Path, workers: ModuleType) -> None:
    items = items_of(workers, [(1, 0)] * 4)
    with pytest.raises(AttributeError):
        run(tmp_path, workers, [*items[:2], type("Broken", (), {"id": "s/x.wav"})(), *items[2:]])
    assert ids(tmp_path)[0] == ["s/0.wav-00000", "s/1.wav-00000"]
    run(tmp_path, workers, items)
    assert ids(tmp_path)[0] == [f"s/{n}.wav-00000" for n in range(4)]


def test_clearing_keeps_the_rejects_of_other_stages(tmp_path: Path, workers: ModuleType) -> None:
    other = Reject(id="s/0.wav", stage="other", reason=RejectReason.SILENT, detail="")
    with storage.JsonlWriter(tmp_path / "rejects.jsonl") as writer:
        writer.write([other])
    run(tmp_path, workers, items_of(workers, [(1, 1)]))
    report = run(tmp_path, workers, items_of(workers, [(1, 1)]))
    assert report.num_rejects == 1
    ours = ledger(tmp_path)
    ours.clear()
    assert ours.done == set()
    assert list(storage.read_rows(tmp_path / "rejects.jsonl", Reject)) == [other]
    assert not (tmp_path / "rows.jsonl").exists()
    assert run(tmp_path, workers, items_of(workers, [(1, 0)])).num_rows == 1


def test_a_kill_while_clearing_keeps_the_rejects_of_other_stages(
    tmp_path: Path, workers: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They used to be deleted first and written again after."""
    other = Reject(id="s/0.wav", stage="other", reason=RejectReason.SILENT, detail="")
    with storage.JsonlWriter(tmp_path / "rejects.jsonl") as writer:
        writer.write([other])
    run(tmp_path, workers, items_of(workers, [(1, 1)]))

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        ledger(tmp_path).clear()
    assert other in list(storage.read_rows(tmp_path / "rejects.jsonl", Reject))


def started(folder: Path, items: str) -> subprocess.Popen[str]:
    """A program in a session of its own that runs the stage over `items`, source of a generator, with two workers."""
    script = folder / "run.py"
    script.write_text(
        "import sys; from pathlib import Path\n"
        "from vall_e import config; from vall_e.executor import make_executor\n"
        "from vall_e.stage import Ledger, Work, run_stage\n"
        "from worker_functions import Item, make_stage_worker\n"
        "def main(argv):\n"
        "    ledger = Ledger(Path(sys.argv[1]), 'rows.jsonl', 'test', lambda *_: False)\n"
        f"    items = [{items}]\n"
        "    run_stage(ledger, Work(items=items), make_stage_worker, make_executor('local', 2))\n"
        "    return 0\n"
        "if __name__ == '__main__':\n"
        "    config.run_main(main)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)])}
    command = [sys.executable, str(script), str(folder)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True)


def test_ctrl_c_leaves_what_can_be_taken_up(tmp_path: Path, workers: ModuleType) -> None:
    with started(tmp_path, "Item(f's/{n}.wav', 2, 1, 0.02) for n in range(400)") as process:
        deadline = time.monotonic() + 60
        while len(ids(tmp_path)[0]) < 10 and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the workers hear it too
        assert process.stderr is not None
        told = process.stderr.read()
    assert process.returncode == 130
    assert told.splitlines()[-1].startswith("error: interrupted; what is done stays done")
    assert "Traceback" not in told
    num_done = len(ids(tmp_path)[0])
    assert 10 <= num_done < 800
    items = [workers.Item(f"s/{n}.wav", 2, 1) for n in range(400)]
    report = run(tmp_path, workers, items)
    assert report.num_resumed >= num_done // 2 - 1
    rows, rejects = ids(tmp_path)
    assert sorted(rows) == sorted(f"s/{n}.wav-0000{part}" for n in range(400) for part in range(2))
    assert sorted(rejects) == sorted(f"s/{n}.wav-00002" for n in range(400))


def test_ctrl_c_does_not_wait_for_long_items(tmp_path: Path) -> None:
    """Hours of recordings in work, and as many that waited, used to be heard to their end first."""
    begun = "Path(sys.argv[1], f'{n}.begun')"
    items = f"Item(f's/{{n}}.wav', 1, 0, 0.0 if n == 0 else 3600.0, {begun}) for n in range(40)"
    with started(tmp_path, items) as process:
        try:
            deadline = time.monotonic() + 60
            while len(list(tmp_path.glob("*.begun"))) < 3 and time.monotonic() < deadline:
                time.sleep(0.05)
            os.killpg(process.pid, signal.SIGINT)
            _, told = process.communicate(timeout=60)
            assert process.returncode == 130
            assert told.splitlines()[-1].startswith("error: interrupted; what is done stays done")
            assert ids(tmp_path)[0] == ["s/0.wav-00000"]
            while running_in(process.pid) and time.monotonic() < deadline + 60:
                time.sleep(0.05)
            assert running_in(process.pid) == []
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def running_in(group: int) -> list[str]:
    """The command lines of a process group, without zombies: /proc/<pid>/stat is `pid (name) state parent group …`."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            state, _, its_group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state != "Z":
                found.append((folder / "cmdline").read_text())
    return found


def test_progress_ends_with_the_total_and_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = [Outcome(item_id=str(n), audio_s=3600.0) for n in range(5)]
    assert list(track(iter(outcomes), "test", 5)) == outcomes
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith("test: 5/5, ")
    assert "h of audio/s" in told


def test_the_bar_of_a_terminal_hands_everything_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    outcomes = [Outcome(item_id=str(n), audio_s=1.0) for n in range(3)]
    assert list(track(iter(outcomes), "test", 3)) == outcomes
    assert "3/3" in capsys.readouterr().err


@pytest.mark.parametrize(("limit", "status"), [(None, 0), (0.5, 0), (0.49, 1)])
def test_too_many_rejects_fail_a_run_that_sets_a_limit(
    limit: float | None, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    rejects = Counter({RejectReason.SILENT: 2})
    report = StageReport(stage="test", num_rows=2, rejects=rejects, num_items=4, num_resumed=1)
    assert report.finish(limit) == status
    told = capsys.readouterr()
    assert "2 rows, 2 rejects (2 silent)" in told.out
    assert ("50.0% rejected" in told.err) is bool(status)
