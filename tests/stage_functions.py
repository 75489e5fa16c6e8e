"""The worker of a small stage, which other processes can import: see test_stage.py."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vall_e.stage import Bunch, Outcome
from vall_e.types import Reject, RejectReason, Utterance


@dataclass(frozen=True)
class Item:
    """An item that becomes `num_rows` rows and `num_rejects` rejects.

    Attributes:
        begun: a file to make when work on the item begins.
        kills: the process dies instead of working.
    """

    id: str
    num_rows: int = 1
    num_rejects: int = 0
    sleep_s: float = 0.0
    begun: Path | None = None
    kills: bool = False
    duration_s: float = 30.0  # so that each is a bunch of its own


def make_worker() -> Callable[[Bunch], list[Outcome]]:
    return lambda bunch: [work(item) for item in bunch.items]


def work(item: Item) -> Outcome:
    if item.begun is not None:
        item.begun.touch()
    if item.kills:
        os._exit(9)
    time.sleep(item.sleep_s)
    parts = [f"{item.id}-{index:05d}" for index in range(item.num_rows + item.num_rejects)]
    return Outcome(
        item_id=item.id,
        rows=tuple(row(item.id, part) for part in parts[: item.num_rows]),
        rejects=tuple(
            Reject(id=part, stage="test", reason=RejectReason.TOO_SHORT, detail="é") for part in parts[item.num_rows :]
        ),
        audio_s=1.0,
    )


def row(recording_id: str, name: str) -> Utterance:
    return Utterance(
        id=name,
        recording_id=recording_id,
        group="",
        speaker="s",
        sample_rate_hz=16_000,
        start_samples=0,
        num_samples=16_000,
        language="en",
        text="ü",
        phonemes="y",
        words=(),
        codec="test",
        num_frames=1,
        codes=f"{name}.npy",
    )
