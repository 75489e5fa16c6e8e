"""Batches for training, read by worker processes, that can be saved and restored in the middle of an epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from vall_e.dataset.examples import Dataset
from vall_e.dataset.sampler import FrameBudgetSampler
from vall_e.types import UsageError

if TYPE_CHECKING:
    from vall_e.dataset.batch import Batch

STATE_VERSION = 2  # of what goes into a budget


class Loader:
    """Iterates over the batches of one epoch of one rank; `make_loader` makes it.

    Which batch comes when is decided here, in the trainer's process, and each batch is read by one worker: ranks and
    workers are disjoint, and the batches are the same for any number of workers. `len(loader)` is the number of
    batches of an epoch, the same on every rank.

        loader.load_state_dict(state)                  # if there is one
        for epoch in range(loader.epoch, epochs):
            loader.set_epoch(epoch)
            for batch in loader:
                ...                                    # loader.state_dict() continues after this batch
    """

    def __init__(
        self,
        dataset: Dataset,
        sampler: FrameBudgetSampler,
        identity: dict[str, Any],
        *,
        num_workers: int,
        pin_memory: bool,
        start_method: str | None,
        prefetch: int,
    ) -> None:
        self.dataset = dataset
        self.sampler = sampler
        self.epoch = 0
        self._identity = identity
        self._num_workers = num_workers
        self._pin_memory = pin_memory
        self._start_method = start_method
        self._prefetch = prefetch
        self._consumed = 0
        self._resume_at = 0

    def __len__(self) -> int:
        return len(self.sampler)

    def set_epoch(self, epoch: int) -> None:
        """Another epoch starts at its beginning; the present one stays where `load_state_dict` put it."""
        if epoch != self.epoch:
            self.epoch = epoch
            self._consumed = self._resume_at = 0
        self.dataset.set_epoch(epoch)

    def __iter__(self) -> Iterator[Batch]:
        """From the beginning of the epoch, or once from where `load_state_dict` says."""
        import torch
        from torch.utils.data import DataLoader

        start, self._resume_at = self._resume_at, 0
        self._consumed = start
        epoch = self.epoch
        keys = [(epoch, places) for places in self.sampler.batches(epoch)[start:]]
        parallel: dict[str, Any] = {}
        if self._num_workers:
            parallel = {"multiprocessing_context": self._start_method, "prefetch_factor": self._prefetch}
        # batch_size None: a key stands for a whole batch; the places lie in the keys, so workers hold no state
        batches: DataLoader[Any] = DataLoader(
            _Batches(self.dataset),  # type: ignore[arg-type]  # map-style without torch's base class
            batch_size=None,
            sampler=keys,
            num_workers=self._num_workers,
            collate_fn=_same,
            pin_memory=self._pin_memory,
            generator=torch.Generator(),  # its own, so that reading doesn't draw from the model's
            **parallel,
        )
        for batch in batches:
            self._consumed += 1  # what workers have read ahead is not counted
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Where the trainer is: after the batch that it was given last. JSON values only; the same on every rank."""
        return self._identity | {"version": STATE_VERSION, "epoch": self.epoch, "batch": self._consumed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The next iteration continues after the batch at which `state` was taken, with exactly the batches it would
        have had.

        Raises:
            UsageError: the state is of another dataset, seed, budget or number of ranks; names what differs.
        """
        for key, value in (self._identity | {"version": STATE_VERSION}).items():
            if state.get(key) != value:
                raise UsageError(f"can't resume: {key} was {state.get(key)!r}, now it is {value!r}")
        epoch, batch = state.get("epoch"), state.get("batch")
        if type(epoch) is not int or type(batch) is not int or not 0 <= batch <= len(self):
            raise UsageError(f"can't resume at batch {batch!r} of epoch {epoch!r}")
        self.epoch = epoch
        self.dataset.set_epoch(epoch)
        self._consumed = self._resume_at = batch


class _Batches:
    """Map-style view of whole batches; the key is (epoch, places of the targets)."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __getitem__(self, key: tuple[int, np.ndarray]) -> Batch:
        epoch, places = key
        examples = [self.dataset.example(int(place), epoch) for place in places]
        return self.dataset.collate(examples)


def _same(batch: Any) -> Any:
    return batch


def make_loader(
    dataset: Dataset,
    *,
    max_frames: int,
    max_batch_size: int | None = None,
    num_workers: int = 0,
    rank: int = 0,
    num_replicas: int = 1,
    seed: int = 0,
    shuffle: bool = True,
    pin_memory: bool = False,
    start_method: str | None = None,
    prefetch: int = 4,
) -> Loader:
    """Batches of `dataset` for one rank.

    Args:
        max_frames: budget of a batch: B × the places of the longest, padding included (`dataset.num_places`).
        max_batch_size: the most targets in a batch.
        num_workers: processes that read; 0 reads in this one.
        seed: of the order of batches; the prompts have the dataset's.
        pin_memory: batches in page-locked memory, for `batch.to("cuda", non_blocking=True)`.
        start_method: `fork` or `spawn` for the workers; None is the system's own.
        prefetch: batches that each worker reads ahead.

    Raises:
        UsageError: the budget can't hold the longest item, or the targets can't be dealt evenly to the ranks.
    """
    sampler = FrameBudgetSampler(
        dataset.num_places,
        max_frames=max_frames,
        max_batch_size=max_batch_size,
        rank=rank,
        num_replicas=num_replicas,
        seed=seed,
        shuffle=shuffle,
    )
    identity = {
        **dataset.identity,
        "seed": seed,
        "shuffle": shuffle,
        "max_frames": max_frames,
        "max_batch_size": max_batch_size,
        "num_replicas": num_replicas,
    }
    return Loader(
        dataset,
        sampler,
        identity,
        num_workers=num_workers,
        pin_memory=pin_memory,
        start_method=start_method,
        prefetch=prefetch,
    )
