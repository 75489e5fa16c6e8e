"""One suite over every executor: the same results, and no way to fail in silence or to hang."""

from __future__ import annotations

import functools
import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from vall_e.executor import EXECUTORS, Executor, SerialExecutor, make_executor
from vall_e.types import BackendError, ContractError, UsageError

HERE = Path(__file__).parent.parent
KINDS = [("serial", 1), ("local", 1), ("local", 2), ("ray", 2)]
PROCESSES = KINDS[1:]
every_executor = pytest.mark.parametrize("executor", KINDS, indirect=True, ids=lambda kind: f"{kind[0]}-{kind[1]}")


@pytest.fixture(scope="module")
def workers() -> Iterator[ModuleType]:
    """Functions in a module that worker processes can import as well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HERE)
        patch.setenv("PYTHONPATH", str(HERE), prepend=os.pathsep)
        yield importlib.import_module("worker_functions")


@pytest.fixture(scope="module")
def cluster(workers: ModuleType) -> Iterator[None]:
    """One Ray for the module: starting it costs seconds."""
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, log_to_driver=False, include_dashboard=False, logging_level="warning")
    yield
    ray.shutdown()


@pytest.fixture
def executor(request: pytest.FixtureRequest, workers: ModuleType) -> Executor:
    kind, num_workers = request.param
    if kind == "ray":
        request.getfixturevalue("cluster")
    made = make_executor(kind, num_workers)
    assert made.num_workers == num_workers
    return made


def test_every_kind_is_in_this_suite() -> None:
    assert {kind for kind, _ in KINDS} == set(EXECUTORS)


@every_executor
def test_the_same_results(executor: Executor, workers: ModuleType) -> None:
    assert sorted(executor.map(workers.make_square, range(25))) == [number**2 for number in range(25)]
    assert list(executor.map(workers.make_square, [])) == []


@every_executor
def test_each_item_is_worked_once_and_a_worker_is_built_once(executor: Executor, workers: ModuleType) -> None:
    found = list(executor.map(workers.make_counter, range(20)))
    per_process: dict[int, list[int]] = {}
    for pid, count, _ in found:
        per_process.setdefault(pid, []).append(count)
    assert len(found) == 20
    assert 1 <= len(per_process) <= executor.num_workers
    for counts in per_process.values():
        assert sorted(counts) == list(range(1, len(counts) + 1))
    if not isinstance(executor, SerialExecutor):
        assert {threads for _, _, threads in found} == {"1"}
        assert os.getpid() not in per_process


@every_executor
def test_items_are_taken_as_they_are_needed(executor: Executor, workers: ModuleType) -> None:
    """Memory does not grow with the number of items: an endless stream is fine."""
    taken = 0

    def endless() -> Iterator[int]:
        nonlocal taken
        while True:
            taken += 1
            yield taken

    results = executor.map(workers.make_square, endless())
    for _ in range(10):
        next(results)
    results.close()  # type: ignore[attr-defined]
    assert taken <= 10 + 2 * 2 * executor.num_workers


@pytest.mark.parametrize("executor", PROCESSES[1:], indirect=True)
def test_results_come_as_they_are_ready(executor: Executor, workers: ModuleType, tmp_path: Path) -> None:
    found = list(executor.map(functools.partial(workers.make_waiting, tmp_path / "marker"), range(8)))
    assert sorted(found) == list(range(8))
    assert found[0] != 0


@pytest.mark.parametrize("executor", PROCESSES, indirect=True)
def test_an_item_that_kills_three_workers_ends_a_run_that_does_not_ask_for_more(
    executor: Executor, workers: ModuleType
) -> None:
    with pytest.raises(ContractError, match="3: 3 workers died"):
        list(executor.map(workers.make_dying, range(20)))


@pytest.mark.parametrize("executor", PROCESSES, indirect=True)
def test_a_death_costs_its_item_at_most(executor: Executor, workers: ModuleType) -> None:
    """Every item that was queued behind it, and all that came after, used to be lost with it."""
    deaths: list[int] = []

    def on_death(item: int) -> int | None:
        deaths.append(item)
        return -item if len(deaths) == 2 else None

    assert sorted(executor.map(workers.make_dying, range(20), on_death=on_death)) == sorted({*range(20)} - {3} | {-3})
    assert deaths == [3, 3]


@pytest.mark.parametrize("executor", PROCESSES, indirect=True)
def test_a_dead_bunch_is_tried_part_by_part(executor: Executor, workers: ModuleType) -> None:
    """Only the part that kills counts a death; its neighbours in the bunch are innocent."""
    deaths: list[tuple[int, ...]] = []

    def on_death(bunch: tuple[int, ...]) -> list[int] | None:
        deaths.append(bunch)
        return [-bunch[0]] if len(deaths) == 3 else None

    bunches = [(0, 1, 2, 3, 4), (5, 6), (7,)]
    found = executor.map(
        workers.make_dying_of_bunches, bunches, split=lambda bunch: [(item,) for item in bunch], on_death=on_death
    )
    assert sorted(item for part in found for item in part) == [-3, 0, 1, 2, 4, 5, 6, 7]
    assert deaths == [(3,)] * 3


@pytest.mark.parametrize("executor", PROCESSES[:2], indirect=True)
def test_a_worker_that_dies_while_it_is_built_ends_the_run(executor: Executor, workers: ModuleType) -> None:
    with pytest.raises(ContractError, match="died while it loaded"):
        list(executor.map(workers.make_dead, range(3)))


@every_executor
@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        ("make_failing", ContractError, "item 3 is broken"),
        ("make_with_bug", ZeroDivisionError, "division by zero"),
        ("make_without_package", BackendError, "package nothing is missing"),
        ("make_with_bug_in_building", KeyError, "a bug"),
    ],
)
def test_what_a_worker_raises_is_raised_here(
    executor: Executor, workers: ModuleType, make: str, error: type[Exception], message: str
) -> None:
    """An error while building used to come out of Ray, and a bug also out of the pool, as the death of a worker."""
    with pytest.raises(error, match=message):
        list(executor.map(getattr(workers, make), range(20)))


def test_the_settings_of_this_process_are_put_back(workers: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    assert len(list(make_executor("local", 2).map(workers.make_square, range(3)))) == 3
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


def test_a_killed_run_leaves_no_workers_behind(tmp_path: Path) -> None:
    """They used to wait for items for ever, each with its model in memory."""
    script = tmp_path / "run.py"
    script.write_text(
        "from vall_e.executor import make_executor\n"
        "import worker_functions\n"
        "if __name__ == '__main__':\n"
        "    for pid, *_ in make_executor('local', 2).map(worker_functions.make_counter, iter(int, 1)):\n"
        "        print(pid, flush=True)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)])}
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment) as run:
        assert run.stdout is not None
        pids = {int(run.stdout.readline()) for _ in range(200)}
        run.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 60
    while any(is_alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in pids if is_alive(pid)]


@pytest.mark.parametrize("executor", PROCESSES[1:], indirect=True)
def test_a_run_that_ends_early_does_not_wait_for_what_runs(
    executor: Executor, workers: ModuleType, tmp_path: Path
) -> None:
    """Items in work, and those that waited for a worker, used to be finished first."""
    results = executor.map(functools.partial(workers.make_endless, tmp_path), range(20))
    assert next(results) == 0
    deadline = time.monotonic() + 60
    while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    results.close()  # type: ignore[attr-defined]
    pids = [int(path.name) for path in tmp_path.iterdir()]
    while any(is_alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert pids and not [pid for pid in pids if is_alive(pid)]


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@pytest.mark.parametrize(("kind", "num", "message"), [("slurm", 1, "local, ray"), ("local", -1, "--workers -1")])
def test_usage(kind: str, num: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_executor(kind, num)


def test_no_workers_stands_for_one_per_core() -> None:
    assert make_executor("local", 0).num_workers == len(os.sched_getaffinity(0))


def test_a_missing_ray_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BackendError, match=r'pip install "vall-e\[ray\]"'):
        make_executor("ray", 2)


def test_the_parent_loads_nothing_heavy() -> None:
    code = "import sys; from vall_e.executor import *; make_executor('local', 2); assert not {'ray'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
