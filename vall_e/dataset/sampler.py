"""Batches of items of like length under a budget of places, dealt to ranks without loss or doubling."""

from __future__ import annotations

import numpy as np

from vall_e.types import UsageError

BUCKET_GROWTH = 8  # a bucket's longest is an eighth longer than its shortest: padding stays below that


class FrameBudgetSampler:
    """Which items make up which batch, in each epoch, for one of `num_replicas` ranks.

    The cost of a batch is what it takes in memory: B × the places of its longest item, never above `max_frames`.
    Items are shuffled within buckets of like length; where the batches are cut depends on the lengths alone, so
    every epoch has equally many. Every rank gets equally many batches and every item is in exactly one batch of one
    rank: where the batches don't come out even, the largest are halved until they do. Nothing is dropped or repeated.

    The order depends on `seed` and the epoch; numpy promises Philox's raw stream to stay the same in every version.

    Args:
        lengths: int [n], places that each item takes: `Dataset.num_places`.
        max_batch_size: no batch has more items.

    Raises:
        UsageError: the longest item does not fit the budget, or the items can't be dealt evenly: there are fewer
            than ranks, or nothing but batches of one, whose number the ranks don't divide.
    """

    def __init__(
        self,
        lengths: np.ndarray,
        *,
        max_frames: int,
        max_batch_size: int | None = None,
        rank: int = 0,
        num_replicas: int = 1,
        seed: int = 0,
        shuffle: bool = True,
    ) -> None:
        if num_replicas < 1 or not 0 <= rank < num_replicas:
            raise UsageError(f"rank {rank} is not one of {num_replicas} ranks")
        if max_batch_size is not None and max_batch_size < 1:
            raise UsageError(f"max_batch_size {max_batch_size} is not positive")
        if seed < 0:
            raise UsageError(f"seed {seed} is negative")
        if len(lengths) and int(lengths.max()) > max_frames:
            what = f"the longest target with its text and prompt: {int(lengths.max())} places"
            raise UsageError(f"max_frames {max_frames} can't hold {what}")
        self.seed, self.rank, self.num_replicas, self.shuffle = seed, rank, num_replicas, shuffle
        self._buckets, longest = length_buckets(lengths)
        bounds = cut_batches(self._buckets, longest, max_frames, max_batch_size)
        self._bounds = halve_until_even(bounds, num_replicas)

    def __len__(self) -> int:
        """Batches of this rank in an epoch; the same for every rank and epoch."""
        return (len(self._bounds) - 1) // self.num_replicas

    def batches(self, epoch: int) -> list[np.ndarray]:
        """int64 numbers of the items of each batch of this rank."""
        count = len(self._buckets)
        number_of_batches = len(self._bounds) - 1
        raw = np.random.Philox(np.random.SeedSequence([self.seed, epoch])).random_raw(count + number_of_batches)
        if not self.shuffle:
            raw = np.arange(count + number_of_batches, dtype=np.uint64)
        # longest buckets first, random within a bucket: one sort on the bucket above 48 random bits
        keys = ((1 << 16) - 1 - self._buckets).astype(np.uint64) << np.uint64(48)
        keys |= raw[:count] >> np.uint64(16) if self.shuffle else raw[:count]
        order = np.argsort(keys, kind="stable")
        mine = np.argsort(raw[count:], kind="stable")[self.rank :: self.num_replicas]
        return [order[self._bounds[number] : self._bounds[number + 1]] for number in mine]


def length_buckets(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(bucket of each item [n], longest of each bucket). Edges are whole numbers, so no rounding moves them."""
    edges = [1]
    longest = int(lengths.max()) if len(lengths) else 0
    while edges[-1] <= longest:
        edges.append(edges[-1] + max(1, edges[-1] // BUCKET_GROWTH))
    buckets = np.searchsorted(np.array(edges), lengths, side="right") - 1
    most = np.zeros(len(edges), np.int64)
    np.maximum.at(most, buckets, lengths)
    return buckets, most


def cut_batches(buckets: np.ndarray, cost: np.ndarray, max_frames: int, max_batch_size: int | None) -> np.ndarray:
    """Bounds [M+1] of the batches, over items in order of falling bucket; `cost` is of the longest in each bucket.

    A batch is as large as its first, longest bucket allows, and may reach into shorter ones.
    """
    ordered = np.sort(buckets)[::-1]
    bounds = [0]
    while bounds[-1] < len(ordered):
        size = max_frames // int(cost[ordered[bounds[-1]]])
        size = size if max_batch_size is None else min(size, max_batch_size)
        bounds.append(min(bounds[-1] + size, len(ordered)))
    return np.array(bounds, np.int64)


def halve_until_even(bounds: np.ndarray, num_replicas: int) -> np.ndarray:
    """Bounds of a number of batches that `num_replicas` divides, made by halving the largest.

    Raises:
        UsageError: there is nothing left to halve.
    """
    missing = -(len(bounds) - 1) % num_replicas
    for _ in range(missing):
        sizes = np.diff(bounds)
        largest = int(np.argmax(sizes))
        if sizes[largest] < 2:
            raise UsageError(f"{len(sizes)} batches of one item can't be dealt evenly to {num_replicas} ranks")
        bounds = np.insert(bounds, largest + 1, bounds[largest] + sizes[largest] // 2)
    return bounds
