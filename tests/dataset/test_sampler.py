"""Every target once per epoch over all ranks, under the budget, equally many batches everywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vall_e.dataset import FrameBudgetSampler
from vall_e.types import UsageError

numbers = st.lists(st.integers(1, 1125), min_size=0, max_size=150)
lengths_of_items = numbers.map(lambda values: np.array(values, np.int32))


@settings(max_examples=150, deadline=None)
@given(
    lengths=lengths_of_items,
    budget=st.integers(1125, 6000),
    most=st.one_of(st.none(), st.integers(2, 9)),
    num_replicas=st.integers(1, 5),
    epoch=st.integers(0, 3),
    shuffle=st.booleans(),
)
def test_each_target_is_in_one_batch_of_one_rank(
    lengths: np.ndarray, budget: int, most: int, num_replicas: int, epoch: int, shuffle: bool
) -> None:
    def sampler(rank: Any) -> Any:
        return FrameBudgetSampler(
            lengths,
            max_frames=budget,
            max_batch_size=most,
            rank=rank,
            num_replicas=num_replicas,
            seed=7,
            shuffle=shuffle,
        )

    try:
        ranks = [sampler(rank) for rank in range(num_replicas)]
    except UsageError:
        # the one way to fail here: too few targets, or nothing but batches of one
        assert num_replicas > 1 and (len(lengths) < num_replicas or lengths.max() > budget // 2)
        assume(False)
    dealt = [rank.batches(epoch) for rank in ranks]
    assert {len(batches) for batches in dealt} == {len(ranks[0])}
    flat = [batch for batches in dealt for batch in batches]
    assert sorted(int(place) for batch in flat for place in batch) == list(range(len(lengths)))
    for batch in flat:
        assert len(batch) > 0
        assert len(batch) * lengths[batch].max() <= budget
        assert most is None or len(batch) <= most


def frames(count: int = 400, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(50, 900, count).astype(np.int32)


def test_epochs_and_seeds_differ_and_repeat() -> None:
    def epoch(number: Any, seed: int = 0, **options: Any) -> Any:
        sampler = FrameBudgetSampler(frames(), max_frames=6000, seed=seed, **options)
        return [batch.tolist() for batch in sampler.batches(number)]

    assert epoch(0) == epoch(0)
    assert epoch(0) != epoch(1)
    assert epoch(0) != epoch(0, seed=1)
    assert {tuple(sorted(batch)) for batch in epoch(0)} != {tuple(sorted(batch)) for batch in epoch(1)}, "other company"
    assert len(epoch(0)) == len(epoch(1))
    assert epoch(0, shuffle=False) == epoch(1, shuffle=False)


def test_padding_stays_below_a_fifth() -> None:
    num_frames = frames(20_000)
    batches = FrameBudgetSampler(num_frames, max_frames=12_000).batches(0)
    padded = sum(len(batch) * int(num_frames[batch].max()) for batch in batches)
    assert padded < 1.2 * num_frames.sum()
    assert 12_000 * len(batches) < 1.35 * num_frames.sum(), "and the budget is used"


def test_a_target_that_does_not_fit_is_told_with_what_would_do() -> None:
    with pytest.raises(UsageError, match="725 places"):
        FrameBudgetSampler(np.array([10, 725]), max_frames=700)


def test_what_can_not_be_dealt_evenly_is_told() -> None:
    with pytest.raises(UsageError, match="3 ranks"):
        FrameBudgetSampler(np.array([10, 10]), max_frames=700, num_replicas=3)
    with pytest.raises(UsageError, match="evenly to 2 ranks"):
        FrameBudgetSampler(np.array([10, 10, 10]), max_frames=700, num_replicas=2, max_batch_size=1)
    wrong: list[dict[str, int]] = [{"rank": 2, "num_replicas": 2}, {"max_batch_size": 0}, {"seed": -1}]
    for options in wrong:
        with pytest.raises(UsageError):
            FrameBudgetSampler(np.array([10]), max_frames=700, **options)  # type: ignore[arg-type]
