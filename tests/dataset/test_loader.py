"""Batches from worker processes: the same for any number of them, and restored in the middle of an epoch."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from vall_e.dataset import Dataset, make_loader
from vall_e.types import UsageError

TENSORS = ("text", "prompt", "target", "text_lengths", "prompt_lengths", "target_lengths", "languages", "tasks")


def loader(built: Path, *, split: str = "train", dataset_seed: int = 5, max_frames: int = 150, **options: Any) -> Any:
    dataset = Dataset(built, split, seed=dataset_seed, prompt_frames=15)
    return make_loader(dataset, max_frames=max_frames, seed=2, **options)


def same(a: Any, b: Any) -> Any:
    return a.ids == b.ids and all(torch.equal(getattr(a, name), getattr(b, name)) for name in TENSORS)


def all_same(first: Any, second: Any) -> Any:
    return all(same(a, b) for a, b in zip(first, second, strict=True))


def test_a_batch_holds_its_examples_padded(built: Path) -> None:
    dataset = Dataset(built, seed=5, prompt_frames=15)
    place = {example.id: number for number, example in enumerate(dataset)}
    made = loader(built)
    made.set_epoch(3)
    batches = list(made)
    assert sorted(name for batch in batches for name in batch.ids) == sorted(place)
    for batch in batches:
        assert all(getattr(batch, name).dtype == torch.int64 for name in TENSORS)
        assert len(batch) * (batch.target.shape[2] + batch.prompt.shape[2]) <= 150
        assert batch.tasks.tolist() == [0] * len(batch)
        for row, name in enumerate(batch.ids):
            example = dataset.example(place[name], 3)
            for field in ("text", "prompt", "target"):
                array, length = getattr(example, field), int(getattr(batch, f"{field}_lengths")[row])
                got = getattr(batch, field)[row]
                assert length == array.shape[-1]
                assert torch.equal(got[..., :length], torch.from_numpy(array.astype("int64")))
                assert not got[..., length:].any(), "padding is 0"
            assert batch.languages[row] == example.language


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_workers_change_nothing(built: Path, start_method: str) -> None:
    assert all_same(loader(built), loader(built, num_workers=2, start_method=start_method))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_restored_loader_goes_on_exactly(built: Path, num_workers: int) -> None:
    whole = loader(built)
    whole.set_epoch(1)
    expected = list(whole)
    assert len(expected) == len(whole) > 6
    first = loader(built, num_workers=num_workers)
    first.set_epoch(1)
    taken = list(islice(iter(first), 3))
    state = json.loads(json.dumps(first.state_dict()))
    assert (state["epoch"], state["batch"]) == (1, 3), "what workers read ahead is not counted"
    second = loader(built, num_workers=num_workers)
    second.load_state_dict(state)
    second.set_epoch(1)
    assert second.state_dict() == state
    rest = list(second)
    assert all_same([*taken, *rest], expected)
    assert second.state_dict()["batch"] == len(expected)
    assert all_same(second, expected), "the iteration after that is a whole epoch again"


def test_a_state_at_the_end_of_an_epoch_goes_on_with_the_next(built: Path) -> None:
    first = loader(built)
    list(first)
    second = loader(built)
    second.load_state_dict(first.state_dict())
    assert list(second) == []
    second.set_epoch(1)
    first.set_epoch(1)
    assert all_same(first, second)


def test_ranks_share_the_epoch_without_overlap(built: Path) -> None:
    ranks = [loader(built, rank=rank, num_replicas=2, num_workers=rank) for rank in range(2)]
    dealt = [[name for batch in made for name in batch.ids] for made in ranks]
    assert len(ranks[0]) == len(ranks[1])
    assert sorted(dealt[0] + dealt[1]) == sorted(example.id for example in Dataset(built))
    assert ranks[0].state_dict() == ranks[1].state_dict()


def test_a_state_of_something_else_is_refused(built: Path) -> None:
    state = loader(built).state_dict()
    for options, key in (
        ({"max_frames": 200}, "max_frames"),
        ({"split": "validation"}, "split"),
        ({"num_replicas": 2}, "num_replicas"),
        ({"dataset_seed": 6}, "dataset_seed"),
    ):
        with pytest.raises(UsageError, match=key):
            loader(built, **options).load_state_dict(state)
    with pytest.raises(UsageError, match="batch 99"):
        loader(built).load_state_dict(state | {"batch": 99})


def test_an_empty_split_gives_no_batches(make: Callable[..., Path], tools: SimpleNamespace) -> None:
    from vall_e.dataset.build import BuildOptions, build

    folder = make(tools.corpus(speakers=1))
    output = build(folder, folder / "built", BuildOptions(validation_fraction=0)).output
    made = loader(output, split="validation")
    assert len(made) == 0 and list(made) == []


def test_reading_draws_nothing_from_the_shared_chance(built: Path) -> None:
    before = torch.get_rng_state()
    list(loader(built))
    assert torch.equal(torch.get_rng_state(), before)
