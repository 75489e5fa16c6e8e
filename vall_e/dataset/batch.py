"""A batch, and what each of the two language models learns from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vall_e.dataset.vocab import PAD
from vall_e.types import UsageError

if TYPE_CHECKING:
    import torch

    from vall_e.dataset.examples import Example

TASK_TTS = 0
CODE_PAD = 0  # a valid code, so that an embedding needs no row for it; the lengths tell what is padding
IGNORE = -100  # the `ignore_index` of torch's cross entropy


class View(NamedTuple):
    """What a model reads and what it should say. `targets` is -100 wherever there is nothing to learn."""

    inputs: torch.Tensor
    targets: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class Batch:
    """B examples, padded on the right to the longest: int64 tensors, text with <pad> = 0, codes with 0.

    text [B,S] with <bos> and <eos>; prompt [B,K,P] (P may be 0); target [B,K,T]; their lengths [B]; languages [B] (ids
    of the vocabulary); tasks [B] (0 = text to speech); ids of the targets. Codes lie in 0..codebook_size-1.
    """

    ids: tuple[str, ...]
    text: torch.Tensor
    prompt: torch.Tensor
    target: torch.Tensor
    text_lengths: torch.Tensor
    prompt_lengths: torch.Tensor
    target_lengths: torch.Tensor
    languages: torch.Tensor
    tasks: torch.Tensor
    codebook_size: int

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        return dataclasses.replace(
            self, **{name: tensor.to(device, non_blocking=non_blocking) for name, tensor in self._tensors().items()}
        )

    def pin_memory(self) -> Batch:
        """In page-locked memory; torch's DataLoader calls it."""
        return dataclasses.replace(self, **{name: tensor.pin_memory() for name, tensor in self._tensors().items()})

    def _tensors(self) -> dict[str, Any]:
        fields = (field.name for field in dataclasses.fields(self) if field.name not in ("ids", "codebook_size"))
        return {name: getattr(self, name) for name in fields}

    def ar(self) -> View:
        """For the autoregressive model: level 0 and its end.

        inputs [B,T+1]: the boundary id `codebook_size`, then the codes of level 0; targets [B,T+1]: the codes of level
        0, then the boundary id. Position t of `inputs` and what is before it predict position t of `targets`, so the
        model shifts nothing; its embedding and its output have codebook_size + 1 rows. Beyond a target's length + 1
        `inputs` is 0 and `targets` -100.
        """
        import torch

        codes, lengths = self.target[:, 0], self.target_lengths[:, None]
        place = torch.arange(codes.shape[1] + 1, device=codes.device)
        edge = torch.full_like(codes[:, :1], self.codebook_size)
        inputs = torch.cat([edge, codes], dim=1)
        targets = torch.cat([codes, torch.zeros_like(edge)], dim=1)
        targets = targets.masked_fill(place == lengths, self.codebook_size).masked_fill(place > lengths, IGNORE)
        return View(inputs, targets)

    def nar(self, level: int) -> View:
        """For the non-autoregressive model: one level from all levels below it, every frame at once.

        inputs [B,level,T]: levels 0..level-1 of the target; targets [B,T]: the codes of `level`, -100 beyond a
        target's length. Of the prompt the model reads all levels.

        Raises:
            UsageError: a level outside 1..K-1.
        """
        import torch

        if not 1 <= level < self.target.shape[1]:
            raise UsageError(f"level {level} is outside 1..{self.target.shape[1] - 1}")
        place = torch.arange(self.target.shape[2], device=self.target.device)
        targets = self.target[:, level].masked_fill(place >= self.target_lengths[:, None], IGNORE)
        return View(self.target[:, :level], targets)


def collate(examples: Sequence[Example], *, codebook_size: int) -> Batch:
    """One batch of the examples, in their order."""
    import torch

    def padded(arrays: list[np.ndarray], fill: int) -> tuple[torch.Tensor, torch.Tensor]:
        lengths = [array.shape[-1] for array in arrays]
        out = np.full((len(arrays), *arrays[0].shape[:-1], max(lengths)), fill, np.int64)
        for row, array in zip(out, arrays, strict=True):
            row[..., : array.shape[-1]] = array
        return torch.from_numpy(out), torch.tensor(lengths)

    text, text_lengths = padded([example.text for example in examples], PAD)
    prompt, prompt_lengths = padded([example.prompt for example in examples], CODE_PAD)
    target, target_lengths = padded([example.target for example in examples], CODE_PAD)
    return Batch(
        ids=tuple(example.id for example in examples),
        text=text,
        prompt=prompt,
        target=target,
        text_lengths=text_lengths,
        prompt_lengths=prompt_lengths,
        target_lengths=target_lengths,
        languages=torch.tensor([example.language for example in examples]),
        tasks=torch.full((len(examples),), TASK_TTS),
        codebook_size=codebook_size,
    )
