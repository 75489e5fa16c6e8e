"""One stage: every item ends up in rows or rejects once, however often the run is cut and taken up."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stage_functions import Item, make_worker, work

from vall_e import storage
from vall_e.executor import Executor, make_executor
from vall_e.stage import Deaths, Results, StageReport, bunches, run_stage, sample
from vall_e.types import Reject, RejectReason

HERE = Path(__file__).parent


def results_in(folder: Path) -> Results:
    return Results(folder, "test", "rows.jsonl", key="id", done_name="done.jsonl")


def run(folder: Path, items: Sequence[Item], executor: Executor | None = None) -> StageReport:
    results = results_in(folder)
    todo = [item for item in items if not results.is_done(item.id)]
    report = StageReport(stage="test", num_items=len(items), num_resumed=len(items) - len(todo))
    return run_stage(results, todo, make_worker, executor or make_executor("serial"), report)


def ids(folder: Path) -> tuple[list[str], list[str]]:
    rows = [row["id"] for _, row in storage.read_json_lines(folder / "rows.jsonl")]
    return rows, [row["id"] for _, row in storage.read_json_lines(folder / "rejects.jsonl")]


def items_of(shapes: Sequence[tuple[int, int]]) -> list[Item]:
    return [Item(f"s/{n}.wav", rows, refused) for n, (rows, refused) in enumerate(shapes)]


def test_rows_rejects_and_counts(tmp_path: Path) -> None:
    report = run(tmp_path, items_of([(2, 1), (0, 1), (1, 0)]))
    rows, rejects = ids(tmp_path)
    assert rows == ["s/0.wav-00000", "s/0.wav-00001", "s/2.wav-00000"]
    assert rejects == ["s/0.wav-00002", "s/1.wav-00000"]
    assert (report.num_rows, report.num_rejects, report.num_items, report.num_resumed) == (3, 2, 3, 0)
    assert report.rejects == Counter({"too_short": 2})
    assert (report.audio_s, report.reject_ratio) == (3.0, 0.4)


def test_finished_items_are_not_worked_on_again(tmp_path: Path) -> None:
    items = items_of([(2, 1)] * 5)
    run(tmp_path, items)
    before = (tmp_path / "rows.jsonl").read_bytes()
    report = run(tmp_path, items)
    assert (report.num_resumed, report.audio_s, report.num_rows, report.num_rejects) == (5, 0.0, 10, 5)
    assert report.real_time_factor is None
    assert (tmp_path / "rows.jsonl").read_bytes() == before


shapes = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 2)).filter(lambda shape: sum(shape) > 0), min_size=1, max_size=4
)


def states(items: Sequence[Item]) -> list[tuple[bytes, bytes, bytes]]:
    """(rejects, rows, done) after each write of one run: the row that says an item is finished comes last."""
    rejects = rows = done = b""
    found = [(rejects, rows, done)]
    for item in items:
        outcome = work(item)
        for record in outcome.rejects:
            rejects += line(storage.to_row(record))
        found.append((rejects, rows, done))
        for record in outcome.rows:
            rows += line(storage.to_row(record))
        found.append((rejects, rows, done))
        done += line({"id": item.id, "fingerprint": "", "num_rows": item.num_rows, "num_rejects": item.num_rejects})
        found.append((rejects, rows, done))
    return found


def line(row: dict[str, Any]) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"


@settings(max_examples=80, deadline=None)
@given(shapes=shapes, data=st.data())
def test_a_run_cut_at_any_byte_is_resumed(
    tmp_path_factory: pytest.TempPathFactory, shapes: list[tuple[int, int]], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    items = items_of(shapes)
    written = states(items)
    step = data.draw(st.integers(1, len(written) - 1))
    old, new = written[step - 1], written[step]
    for name, before, after in zip(("rejects.jsonl", "rows.jsonl", "done.jsonl"), old, new, strict=True):
        (folder / name).write_bytes(after[: data.draw(st.integers(len(before), len(after)))])
    run(folder, items)
    rows, rejects = ids(folder)
    assert rows == [record.id for item in items for record in work(item).rows]
    assert rejects == [record.id for item in items for record in work(item).rejects]


@settings(max_examples=60, deadline=None)
@given(shapes=shapes, data=st.data())
def test_rows_that_a_power_failure_lost_are_made_again(
    tmp_path_factory: pytest.TempPathFactory, shapes: list[tuple[int, int]], data: st.DataObject
) -> None:
    """The three files reach the disk in any order: done.jsonl may know of rows that are gone."""
    folder = tmp_path_factory.mktemp("power")
    items = items_of(shapes)
    for name, content in zip(("rejects.jsonl", "rows.jsonl", "done.jsonl"), states(items)[-1], strict=True):
        (folder / name).write_bytes(content[: data.draw(st.integers(0, len(content)))])
    run(folder, items)
    rows, rejects = ids(folder)
    assert sorted(rows) == sorted(record.id for item in items for record in work(item).rows)
    assert sorted(rejects) == sorted(record.id for item in items for record in work(item).rejects)


def test_any_order_of_completion_gives_the_same_rows(tmp_path: Path) -> None:
    items = items_of([(1, 1)] * 6)
    run(tmp_path / "a", items)
    run(tmp_path / "b", items[::-1])
    assert [sorted(found) for found in ids(tmp_path / "a")] == [sorted(found) for found in ids(tmp_path / "b")]


def test_a_worker_that_fails_keeps_what_is_finished(tmp_path: Path) -> None:
    items = items_of([(1, 0)] * 4)
    broken = Item("s/x.wav", num_rows="two")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        run(tmp_path, [*items[:2], broken, *items[2:]])
    assert ids(tmp_path)[0] == ["s/0.wav-00000", "s/1.wav-00000"]
    run(tmp_path, items)
    assert ids(tmp_path)[0] == [f"s/{n}.wav-00000" for n in range(4)]


def test_clearing_keeps_the_rejects_of_other_stages(tmp_path: Path) -> None:
    other = Reject(id="s/0.wav", stage="other", reason=RejectReason.SILENT, detail="")
    with storage.JsonlWriter(tmp_path / "rejects.jsonl") as writer:
        writer.write([other])
    run(tmp_path, items_of([(1, 1)]))
    assert run(tmp_path, items_of([(1, 1)])).num_rejects == 1
    ours = results_in(tmp_path)
    ours.clear()
    assert not ours.is_done("s/0.wav")
    assert list(storage.read_rows(tmp_path / "rejects.jsonl", Reject)) == [other]
    assert not (tmp_path / "rows.jsonl").exists()
    assert run(tmp_path, items_of([(1, 0)])).num_rows == 1


def test_a_full_disk_while_clearing_keeps_the_rejects_of_other_stages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They used to be deleted first and written again after."""
    other = Reject(id="s/0.wav", stage="other", reason=RejectReason.SILENT, detail="")
    with storage.JsonlWriter(tmp_path / "rejects.jsonl") as writer:
        writer.write([other])
    run(tmp_path, items_of([(1, 1)]))

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        results_in(tmp_path).clear()
    assert other in list(storage.read_rows(tmp_path / "rejects.jsonl", Reject))


@settings(max_examples=100, deadline=None)
@given(lengths=st.lists(st.floats(0, 100), max_size=30), max_s=st.floats(1, 50), max_items=st.integers(1, 8))
def test_bunches_hold_every_item_once_in_order(lengths: list[float], max_s: float, max_items: int) -> None:
    items = [Item(str(n), duration_s=length) for n, length in enumerate(lengths)]
    found = list(bunches(items, max_s, max_items))
    assert [item for bunch in found for item in bunch.items] == items
    for bunch in found:
        assert 1 <= len(bunch.items) <= max_items
        assert len(bunch.items) == 1 or sum(item.duration_s for item in bunch.items) <= max_s


def test_an_item_that_kills_its_workers_is_rejected_and_costs_no_other(tmp_path: Path) -> None:
    """Such an item used to end every run of the corpus, without its name."""
    items = [Item(f"s/{n}.wav", kills=n == 2, duration_s=1.0) for n in range(6)]
    report = run(tmp_path, items, make_executor("local", 2))
    assert sorted(ids(tmp_path)[0]) == [f"s/{n}.wav-00000" for n in (0, 1, 3, 4, 5)]
    (reject,) = storage.read_rows(tmp_path / "rejects.jsonl", Reject)
    assert (reject.id, reject.reason) == ("s/2.wav", RejectReason.WORKER_DIED)
    assert report.num_rejects == 1 and run(tmp_path, items).num_resumed == 6


def test_deaths_are_counted_over_runs(tmp_path: Path) -> None:
    deaths = Deaths(tmp_path, "test")
    assert (deaths.add("a"), deaths.add("b"), deaths.add("a")) == (1, 1, 2)
    assert Deaths(tmp_path, "other").add("a") == 1
    assert Deaths(tmp_path, "test").add("a") == 3
    Deaths(tmp_path, "test").clear()
    assert (Deaths(tmp_path, "test").add("a"), Deaths(tmp_path, "other").add("a")) == (1, 2)


def test_a_worker_died_before_the_last_run_was_killed(tmp_path: Path) -> None:
    for _ in range(2):
        Deaths(tmp_path, "test").add("s/0.wav")
    run(tmp_path, [Item("s/0.wav", kills=True)], make_executor("local", 1))
    assert len(list(storage.read_json_lines(tmp_path / "deaths.jsonl"))) == 3


def started(folder: Path, items: str) -> subprocess.Popen[str]:
    """A program in a session of its own that runs the stage over `items`, source of a generator, with two workers."""
    script = folder / "run.py"
    script.write_text(
        "import sys; from pathlib import Path\n"
        "from vall_e import config; from vall_e.executor import make_executor\n"
        "from vall_e.stage import Results, StageReport, run_stage\n"
        "from stage_functions import Item, make_worker\n"
        "def main(argv):\n"
        "    results = Results(Path(sys.argv[1]), 'test', 'rows.jsonl', key='id', done_name='done.jsonl')\n"
        f"    items = [{items}]\n"
        "    run_stage(results, items, make_worker, make_executor('local', 2), StageReport(stage='test'))\n"
        "    return 0\n"
        "if __name__ == '__main__':\n"
        "    config.run_main(main)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)])}
    command = [sys.executable, str(script), str(folder)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True)


def test_ctrl_c_leaves_what_can_be_resumed(tmp_path: Path) -> None:
    with started(tmp_path, "Item(f's/{n}.wav', 2, 1, 0.02) for n in range(400)") as process:
        deadline = time.monotonic() + 60
        while len(ids(tmp_path)[0]) < 10 and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the workers get it too
        assert process.stderr is not None
        shown = process.stderr.read()
    assert process.returncode == 130
    assert shown.splitlines()[-1].startswith("error: interrupted; finished items are kept")
    assert "Traceback" not in shown
    num_done = len(ids(tmp_path)[0])
    assert 10 <= num_done < 800
    items = [Item(f"s/{n}.wav", 2, 1) for n in range(400)]
    report = run(tmp_path, items)
    assert report.num_resumed >= num_done // 2 - 1
    rows, rejects = ids(tmp_path)
    assert sorted(rows) == sorted(f"s/{n}.wav-0000{part}" for n in range(400) for part in range(2))
    assert sorted(rejects) == sorted(f"s/{n}.wav-00002" for n in range(400))


def test_ctrl_c_does_not_wait_for_long_items(tmp_path: Path) -> None:
    """Hours of recordings in work, and as many that waited, used to be finished first."""
    begun = "Path(sys.argv[1], f'{n}.begun')"
    items = f"Item(f's/{{n}}.wav', 1, 0, 0.0 if n == 0 else 3600.0, {begun}) for n in range(40)"
    with started(tmp_path, items) as process:
        try:
            deadline = time.monotonic() + 60
            while len(list(tmp_path.glob("*.begun"))) < 3 and time.monotonic() < deadline:
                time.sleep(0.05)
            os.killpg(process.pid, signal.SIGINT)
            _, shown = process.communicate(timeout=60)
            assert process.returncode == 130
            assert shown.splitlines()[-1].startswith("error: interrupted; finished items are kept")
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


@pytest.mark.parametrize(("limit", "status"), [(None, 0), (0.5, 0), (0.49, 1)])
def test_too_many_rejects_fail_a_run_that_sets_a_limit(
    limit: float | None, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    rejects: Counter[str] = Counter({RejectReason.SILENT: 2})
    report = StageReport(stage="test", num_rows=2, rejects=rejects, num_items=4, num_resumed=1)
    assert report.finish(limit) == status
    shown = capsys.readouterr()
    assert "2 rows, 2 rejects (2 silent)" in shown.out
    assert ("50.0% rejected" in shown.err) is bool(status)


def test_ctrl_c_while_a_model_loads_drops_nothing(tmp_path: Path) -> None:
    """After --overwrite old rows stand until the first new one, so the advice is to repeat the command as it was."""
    run(tmp_path, items_of([(1, 0)]))
    before = ids(tmp_path)
    results = results_in(tmp_path)

    def make_interrupted() -> Any:
        raise KeyboardInterrupt

    def interrupted() -> str:
        report = StageReport(stage="test")
        executor = make_executor("serial")
        with pytest.raises(KeyboardInterrupt) as caught:
            run_stage(
                results, items_of([(1, 0)]), make_interrupted, executor, report, start=results.clear, overwrite=True
            )
        return str(caught.value)

    assert interrupted() == "run the same command again to resume"
    assert ids(tmp_path) == before


@given(names=st.lists(st.text(max_size=4), unique=True, max_size=12), seed=st.randoms())
def test_a_sample_is_the_same_in_any_order_and_a_larger_one_holds_it(names: list[str], seed: Any) -> None:
    shuffled = names.copy()
    seed.shuffle(shuffled)
    before: set[str] = set()
    for number in range(1, len(names) + 1):
        chosen = {names[place] for place in sample(names, number, "a test")}
        assert len(chosen) == number and before < chosen
        assert chosen == {shuffled[place] for place in sample(shuffled, number, "a test")}
        before = chosen
    assert sample(names, 0, "a test") == list(range(len(names))) == sample(names, len(names) + 5, "a test")
