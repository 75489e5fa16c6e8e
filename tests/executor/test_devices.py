"""Devices without a card: which one each worker is given is a matter of names."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from vall_e.executor import devices, make_executor
from vall_e.types import UsageError

HERE = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def workers() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HERE)
        patch.setenv("PYTHONPATH", str(HERE), prepend=os.pathsep)
        yield importlib.import_module("worker_functions")


@pytest.mark.parametrize(
    ("visible", "device", "found"),
    [
        ("0,1,2", "cuda", ["0", "1", "2"]),
        ("0,1,2", "auto", ["0", "1", "2"]),
        ("4,7", "cuda:1", ["7"]),
        ("GPU-aa, GPU-bb", "cuda:0,1", ["GPU-aa", "GPU-bb"]),
        ("", "auto", []),
        ("-1", "auto", []),
        ("0,1", "cpu", []),
    ],
)
def test_cards_are_those_that_this_process_may_use(
    monkeypatch: pytest.MonkeyPatch, visible: str, device: str, found: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert devices.cards(device) == found
    assert devices.kind_of(device) == ("cuda" if found else "cpu")


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "cuda:1,", "CUDA", "cuda:-1", ""])
def test_a_device_that_is_none_of_these(device: str) -> None:
    with pytest.raises(UsageError, match="is not one of cpu, cuda, cuda:1"):
        make_executor("local", 1, device)


def test_a_card_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(UsageError, match="cuda:2: 2 CUDA cards are visible"):
        make_executor("local", 1, "cuda:2")


def test_each_worker_sees_one_card_and_keeps_it(workers: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    found = set(make_executor("local", 3, "cuda").map(workers.make_seeing, range(12)))
    assert sorted(card for _, card in found if card) == ["3", "3", "5"]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3,5"


def test_no_number_of_workers_stands_for_one_per_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3,4")
    assert make_executor("local", 0, "cuda").num_workers == 5
    assert make_executor("local", 0, "cuda:1").num_workers == 1


def test_ray_is_asked_for_cards(workers: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """An actor that asks for none is shown none."""
    ray = pytest.importorskip("ray")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    ray.init(num_cpus=2, num_gpus=2, log_to_driver=False, include_dashboard=False, logging_level="warning")
    try:
        found = set(make_executor("ray", 2, "cuda:0").map(workers.make_seeing, range(8)))
        assert sorted(card for _, card in found if card is not None) == ["0", "1"]
    finally:
        ray.shutdown()
