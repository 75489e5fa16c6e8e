"""Processes that train together, and what each of them holds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Ranks:
    """The processes that train together (torchrun), and this one's number."""

    rank: int = 0
    count: int = 1

    @classmethod
    def start(cls, device: str) -> Ranks:
        """Joins the others, where torchrun started this process."""
        import torch
        import torch.distributed as dist

        count = int(os.environ.get("WORLD_SIZE", "1"))
        if device.startswith("cuda"):
            torch.cuda.set_device(device)
        if count > 1 and not dist.is_initialized():
            dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
        return cls(int(os.environ.get("RANK", "0")), count)

    def end(self) -> None:
        """Leaves the others."""
        import torch.distributed as dist

        if self.count > 1:
            dist.destroy_process_group()

    def add(self, values: Sequence[torch.Tensor]) -> None:
        """Each value summed over all ranks, in place."""
        import torch.distributed as dist
        from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors

        if self.count == 1 or not values:
            return
        flat = _flatten_dense_tensors(list(values))
        dist.all_reduce(flat)
        for value, found in zip(values, _unflatten_dense_tensors(flat, list(values)), strict=True):
            value.copy_(found)

    def first(self, value: float, device: str) -> float:
        """What the first process has in place of `value`: clocks differ, and all must stop at the same step."""
        import torch
        import torch.distributed as dist

        if self.count == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=device)
        dist.broadcast(shared, src=0)
        return float(shared)


def device_of(name: str) -> str:
    """`auto`: this process's card, where there is one, else the CPU."""
    import torch

    if name == "auto":
        local = os.environ.get("LOCAL_RANK", "0")
        return f"cuda:{local}" if torch.cuda.is_available() else "cpu"
    return name


def shard(model: torch.nn.Module) -> None:
    """Deals the weights of each block, and of the rest, out to all processes; gradients are added over them.

    Zhao et al., "PyTorch FSDP" (arXiv:2304.11277).
    """
    from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method

    from vall_e.models.transformer import Block

    for module in (*(each for each in model.modules() if isinstance(each, Block)), model):
        fully_shard(module)
        assert isinstance(module, FSDPModule), "fully_shard makes it one"
        module.set_gradient_divide_factor(1.0)
        module.set_force_sum_reduction_for_comms(True)  # gloo knows no other sums
    register_fsdp_forward_method(model, "loss")


def whole_state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The weights, gathered from all processes where they are dealt out."""
    from torch.distributed.tensor import DTensor

    state = model.state_dict()
    return {name: value.full_tensor() if isinstance(value, DTensor) else value for name, value in state.items()}
