"""The swap test: the loss with another utterance's text, and with another speaker's prompt.

A model whose loss they leave as it is does not listen to them, however low it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vall_e.dataset import Batch


LEAST_TEXT, LEAST_VOICE = 0.1, 0.05  # nats a frame by which the loss of a model that listens is higher, at least


def swap_test(row: Mapping[str, Any]) -> dict[str, Any]:
    """By how much the wrong text and the wrong voice make a model's loss worse, from a row of metrics.jsonl."""
    found: dict[str, Any] = {"swap": {}, "warnings": []}
    least = {"_swapped_text": ("text", LEAST_TEXT), "_swapped_voice": ("prompt", LEAST_VOICE)}
    for name, value in row.items():
        for suffix in ("_swapped_text", "_swapped_voice"):
            if name.endswith(suffix):
                worse = value - row[name.removesuffix(suffix)]
                found["swap"][name.removeprefix("validation_")] = round(worse, 4)
                what, limit = least[suffix]
                if name.startswith("validation_ar_codes") and worse < limit:
                    why = f"with another {what} its loss is {worse:.3f} nats higher only"
                    found["warnings"].append(f"the AR model does not listen to the {what}: {why}; see docs/training.md")
    return found


def other_texts(batch: Batch) -> Batch:
    """With the text of the next utterance, dealt out to as many frames as the own one had."""
    import torch

    order = torch.arange(len(batch)).roll(-1).to(batch.text.device)
    units = batch.unit_lengths[order]
    scaled = (batch.frame_units * units[:, None] // batch.unit_lengths[:, None].clamp(min=1)).clamp(min=-1)
    return dataclasses.replace(
        batch,
        text=batch.text[order],
        text_lengths=batch.text_lengths[order],
        units=batch.units[order],
        unit_optional=batch.unit_optional[order],
        unit_lengths=units,
        frame_units=scaled,
    )


def other_prompts(batch: Batch) -> Batch:
    """With the prompt of an utterance of another speaker, as far as there is one."""
    import torch

    speakers = batch.speakers.tolist()
    order = [
        next((n for n in _after(row, len(speakers)) if speakers[n] != speakers[row]), row)
        for row in range(len(speakers))
    ]
    chosen = torch.tensor(order, device=batch.text.device)
    return dataclasses.replace(
        batch,
        prompt=batch.prompt[chosen],
        prompt_lengths=batch.prompt_lengths[chosen],
        prompt_text=batch.prompt_text[chosen],
        prompt_text_lengths=batch.prompt_text_lengths[chosen],
    )


def _after(row: int, count: int) -> Iterator[int]:
    return ((row + step) % count for step in range(1, count))
