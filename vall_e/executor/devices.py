"""Which device each worker is given: cpu, or one CUDA card, which is then the only one that it sees."""

from __future__ import annotations

import os
import re

from vall_e.types import UsageError

VISIBLE = "CUDA_VISIBLE_DEVICES"
AUTO, CPU, CUDA = "auto", "cpu", "cuda"
HELP = "where models run: cpu; cuda, all visible cards; cuda:1; cuda:0,1; auto, the cards if there are any, else cpu"


def check(device: str) -> str:
    """`device`, if it is one of `cpu`, `cuda`, `cuda:1`, `cuda:0,1`, `auto`.

    Raises:
        UsageError: it is something else.
    """
    if device not in (AUTO, CPU, CUDA) and not re.fullmatch("cuda:[0-9]+(,[0-9]+)*", device):
        raise UsageError(f"device {device!r} is not one of cpu, cuda, cuda:1, cuda:0,1, auto")
    return device


def resolve(device: str) -> str:
    """What `auto` stands for on this machine; anything else as it is."""
    if check(device) != AUTO:
        return device
    return CUDA if visible_cards() else CPU


def kind_of(device: str) -> str:
    """`cpu` or `cuda`: what a worker calls its device."""
    return resolve(device).partition(":")[0]


def cards(device: str) -> list[str]:
    """The cards that `device` names, by the names CUDA_VISIBLE_DEVICES takes; none for a cpu.

    Raises:
        UsageError: a card that is not there.
    """
    device = resolve(device)
    if device == CPU:
        return []
    visible = visible_cards()
    if device == CUDA:
        return visible
    numbers = [int(number) for number in device.partition(":")[2].split(",")]
    if max(numbers) >= len(visible):
        raise UsageError(f"device {device}: {len(visible)} CUDA cards are visible, counted from 0")
    return [visible[number] for number in numbers]


def visible_cards() -> list[str]:
    """The cards that this process may use, in CUDA's order."""
    if os.environ.get(VISIBLE) is not None:
        return [name.strip() for name in os.environ[VISIBLE].split(",") if name.strip() not in ("", "-1")]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def variables(names: list[str], slot: int) -> dict[str, str]:
    """The variables of worker number `slot`: cards go round."""
    return {VISIBLE: names[slot % len(names)]} if names else {}
