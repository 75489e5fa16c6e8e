"""Which code comes next, drawn from the scores that a model gives all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """How a code is drawn; each step works on what the one before left.

    Attributes:
        temperature: divides the scores; 0 takes the best code always.
        top_k: only so many best codes; 0: all.
        top_p: only the best codes that together have this probability (Holtzman et al., arXiv:1904.09751).
        repetition_window, repetition_ratio: where the drawn code makes up more than this share of the last codes, it is
            drawn again from all of them (VALL-E 2, arXiv:2406.05370, section 3.3); a window of 0: never.
        power, floor: probabilities to this power, normalised, less the floor, normalised (LPCNet, arXiv:1810.11846,
            section 3.4: the power is larger where a frame is voiced).
        seed: of the draws.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_window: int = 0
    repetition_ratio: float = 0.3
    power: float = 1.0
    floor: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.temperature < 0 or self.top_k < 0 or not 0 < self.top_p <= 1:
            raise ValueError("temperature and top_k are not negative, and top_p is in 0..1")
        if self.power <= 0 or not 0 <= self.floor < 1 or self.repetition_window < 0:
            raise ValueError("power is above 0, floor in 0..1, and repetition_window is not negative")


def probabilities(scores: Tensor, sampling: Sampling, *, power: float | None = None) -> Tensor:
    """float64 [C]: what codes are drawn with, from scores (logits) [C]. `power` goes before that of `sampling`."""
    scores = scores.double()
    if sampling.temperature == 0:
        return torch.nn.functional.one_hot(scores.argmax(), len(scores)).double()
    scores = scores / sampling.temperature
    if 0 < sampling.top_k < len(scores):
        scores = scores.masked_fill(scores < scores.topk(sampling.top_k).values[-1], -torch.inf)
    share = scores.softmax(dim=0)
    if sampling.top_p < 1:
        ordered, order = share.sort(descending=True, stable=True)
        kept = ordered.cumsum(dim=0) - ordered < sampling.top_p  # the first that passes the limit is kept
        share = torch.zeros_like(share).scatter(0, order[kept], ordered[kept])
        share = share / share.sum()
    power = sampling.power if power is None else power
    if power != 1:
        share = (share.log() * power).softmax(dim=0)  # by logarithms: a power of all of them may underflow to zero
    if sampling.floor:
        cut = (share - sampling.floor).clamp(min=0)
        if cut.sum() == 0:  # all were below the floor
            cut = torch.nn.functional.one_hot(share.argmax(), len(share)).double()
        share = cut / cut.sum()
    return share


class Sampler:
    """Draws codes one after the other; the same seed draws the same from the same scores."""

    def __init__(self, sampling: Sampling) -> None:
        self.sampling = sampling
        self._generator = torch.Generator().manual_seed(sampling.seed)

    def draw(self, scores: Tensor, before: Sequence[int] = (), *, power: float | None = None) -> int:
        """A code from scores [C].

        Args:
            scores: logits.
            before: the codes drawn so far.
            power: see `probabilities`.
        """
        sampling = self.sampling
        share = probabilities(scores.cpu(), sampling, power=power)
        code = int(torch.multinomial(share, 1, generator=self._generator))
        recent = before[-sampling.repetition_window :] if sampling.repetition_window else ()
        if len(recent) and list(recent).count(code) > sampling.repetition_ratio * len(recent):
            code = int(torch.multinomial(scores.cpu().double().softmax(dim=0), 1, generator=self._generator))
        return code

    def choose(self, scores: Tensor) -> int:
        """One of a few things, by their own probabilities from scores [N]: the best one would stay for ever."""
        share = scores.double().cpu().softmax(dim=0)
        return int(torch.multinomial(share, 1, generator=self._generator))
