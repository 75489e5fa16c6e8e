"""The swap test: the loss with another utterance's text, and with another speaker's prompt.

A model whose loss they leave as it is does not listen to them, however low it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from vall_e.dataset import Batch

# how a figure with something wrong is called → what is wrong, and by how many nats a frame the loss of a model that
# listens to it is higher, at least
SWAPS = {"_swapped_text": ("text", 0.1), "_swapped_voice": ("prompt", 0.05)}


def swap_test(row: Mapping[str, Any]) -> dict[str, Any]:
    """By how much the wrong text and the wrong voice make a model's loss worse, from a row of metrics.jsonl."""
    found: dict[str, Any] = {"swap": {}, "warnings": []}
    for name, value in row.items():
        for suffix, (what, least) in SWAPS.items():
            if name.endswith(suffix):
                worse = value - row[name.removesuffix(suffix)]
                found["swap"][name.removeprefix("validation_")] = round(worse, 4)
                if name.startswith("validation_ar_codes") and worse < least:
                    why = f"with another {what} its loss is {worse:.3f} nats higher only"
                    found["warnings"].append(f"the AR model does not listen to the {what}: {why}; see docs/training.md")
    return found


def other_texts(batch: Batch) -> Batch:
    """With the text of the next utterance, dealt out to as many frames as the own one had."""
    import torch

    order = torch.arange(len(batch)).roll(-1).to(batch.text.device)
    dealt = _dealt(batch, order, ("text", "text_lengths", "units", "unit_optional", "unit_lengths"))
    own, units = batch.unit_lengths[:, None].clamp(min=1), dealt.unit_lengths[:, None]
    return dataclasses.replace(dealt, frame_units=(batch.frame_units * units // own).clamp(min=-1))


def other_prompts(batch: Batch) -> Batch:
    """With the prompt of an utterance of another speaker, as far as there is one."""
    import torch

    speakers = batch.speakers.tolist()
    order = [
        next((n for n in _after(row, len(speakers)) if speakers[n] != speakers[row]), row)
        for row in range(len(speakers))
    ]
    chosen = torch.tensor(order, device=batch.text.device)
    return _dealt(batch, chosen, ("prompt", "prompt_lengths", "prompt_text", "prompt_text_lengths"))


def _dealt(batch: Batch, order: torch.Tensor, names: Sequence[str]) -> Batch:
    """With these parts of other items, int64 [B]."""
    parts: dict[str, Any] = {name: getattr(batch, name)[order] for name in names}
    return dataclasses.replace(batch, **parts)


def _after(row: int, count: int) -> Iterator[int]:
    return ((row + step) % count for step in range(1, count))
