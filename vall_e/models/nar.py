"""The non-autoregressive model: the levels above the first, all frames at once (arXiv:2301.02111, section 4.2.2).

In its plain form (`target: codes`) it predicts the codes of one level from all levels below it, told which level by the
norms. With `target: latent` it predicts, from level 0 alone, the vector that all levels together stand for, and the
codec's own quantiser turns it into codes: one pass for all levels, and near misses cost little.
"""

from __future__ import annotations

import functools
import operator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vall_e.models.ar import Loss
from vall_e.models.transformer import (
    TextReader,
    Transformer,
    TransformerConfig,
    beside,
    head,
    hits,
    joined,
    last_of,
    small_weights,
    units_read,
)

if TYPE_CHECKING:
    from vall_e.dataset import Batch


@dataclass(frozen=True)
class NARConfig:
    """Shape of the non-autoregressive model.

    Attributes:
        num_tokens, num_languages: of the vocabulary.
        codebook_size, num_levels: of the codec.
        latent_size: D of the codec's vectors, where the target is latent.
        alignment: none (phonemes before the prompt) or monotone (each frame is given its phoneme).
        target: codes or latent.
        trunk: of the frames.
        text: of the phonemes, where the alignment is monotone.
        dual_head: whether a code is predicted in two halves, where the target is codes.
        num_tasks, text_task: as of ARConfig; of a text there is nothing to fill in.
    """

    num_tokens: int
    num_languages: int
    codebook_size: int
    num_levels: int
    latent_size: int = 0
    alignment: str = "monotone"
    target: str = "latent"
    trunk: TransformerConfig = field(default_factory=TransformerConfig)
    text: TransformerConfig = field(default_factory=lambda: TransformerConfig(num_layers=2))
    dual_head: bool = False
    num_tasks: int = 0
    text_task: int = -1


class NAR(nn.Module):
    """See the module. With a latent target, `codebooks` [K,C,D] are the codec's, and not among the weights."""

    codebooks: Tensor

    def __init__(self, config: NARConfig, codebooks: Tensor | None = None) -> None:
        super().__init__()
        self.config = config
        width = config.trunk.width
        self.is_monotone, self.is_latent = config.alignment == "monotone", config.target == "latent"
        self.trunk = Transformer(config.trunk, conditioned=not self.is_latent)
        self.of_prompt = nn.Parameter(torch.zeros(width))
        if self.is_monotone:
            self.text = TextReader(config.text, num_tokens=config.num_tokens, num_languages=config.num_languages)
            self.from_text = nn.Linear(config.text.width, width)
        else:
            self.token = nn.Embedding(config.num_tokens, width)
            self.language = nn.Embedding(config.num_languages, width)
        if self.is_latent:
            if codebooks is None:
                codebooks = torch.zeros(config.num_levels, config.codebook_size, config.latent_size)
            self.register_buffer("codebooks", codebooks.float(), persistent=False)
            self.from_first = nn.Embedding(config.codebook_size, width)
            self.from_latent = nn.Linear(config.latent_size, width)
            self.to_latent = nn.Linear(width, config.latent_size)
        else:
            self.code = nn.ModuleList(nn.Embedding(config.codebook_size, width) for _ in range(config.num_levels))
            self.level = nn.Embedding(config.num_levels, width)
            size, dual = config.codebook_size, config.dual_head
            heads = (head(width, size, dual=dual, has_edge=False) for _ in range(config.num_levels - 1))
            self.to_code = nn.ModuleList(heads)
        if config.num_tasks:
            self.of_source = nn.Embedding(config.num_tasks, width)
        self.apply(small_weights)

    def loss(self, batch: Batch, level: int | None = None) -> Loss:
        """How far off the model is about the levels above the first of each target.

        Args:
            batch: of the codec's levels.
            level: the one to predict, where the target is codes; None: all, one behind the other.
        """
        is_sound = batch.tasks != self.config.text_task
        if not bool(is_sound.all()):
            batch = batch.rows(is_sound.nonzero()[:, 0])
        if not len(batch):
            return Loss.nothing(self)
        if self.is_latent:
            return self._latent_loss(batch)
        levels = range(1, batch.num_levels) if level is None else (level,)
        losses = [self._level_loss(batch, each) for each in levels]
        return functools.reduce(operator.add, losses)

    def _run(self, batch: Batch, source: Tensor, prompt: Tensor, frames: Tensor, condition: Tensor | None) -> Tensor:
        """[B,T,D] behind the trunk, of the target's frames [B,T,D] with the source's [B,S,D] and the prompt's [B,P,D]
        before them.
        """
        prompt, lengths = prompt + self.of_prompt, batch.prompt_lengths
        if self.config.num_tasks:
            if self.is_monotone:
                frames = frames + beside(source, batch.source_lengths, frames.shape[1])
            source = source + self.of_source(batch.tasks)[:, None]
            prompt, lengths = joined([source, prompt], [batch.source_lengths, lengths])
        if self.is_monotone:
            read = self.text(batch.text, batch.text_lengths, batch.languages)
            frames = frames + self.from_text(units_read(read, batch.units, batch.frame_units))
            x, ends = joined([prompt, frames], [lengths, batch.target_lengths])
        else:
            text, text_lengths = joined(
                [batch.prompt_text, batch.text], [batch.prompt_text_lengths, batch.text_lengths]
            )
            said = self.token(text) + self.language(batch.languages)[:, None]
            x, ends = joined([said, prompt, frames], [text_lengths, lengths, batch.target_lengths])
        out = self.trunk(x, lengths=ends, condition=condition)
        return last_of(out, ends, batch.target_lengths)

    # The vector that all levels stand for

    def vectors(self, codes: Tensor) -> Tensor:
        """[B,T,D]: the codec's vectors of int64 [B,K,T], summed over the levels that are there."""
        found = [self.codebooks[level][codes[:, level]] for level in range(codes.shape[1])]
        return torch.stack(found).sum(dim=0)

    def latents(self, batch: Batch, first: Tensor) -> Tensor:
        """[B,T,D]: what all levels together would be, from level 0 int64 [B,T]."""
        source, prompt = (self.from_latent(self.vectors(codes)) for codes in (batch.source, batch.prompt))
        change = self.to_latent(self._run(batch, source, prompt, self.from_first(first), None))
        return self.vectors(first[:, None]) + change

    def _latent_loss(self, batch: Batch) -> Loss:
        exists = torch.arange(batch.target.shape[2], device=batch.target.device) < batch.target_lengths[:, None]
        wanted = self.vectors(batch.target)
        off = self.latents(batch, batch.target[:, 0]) - wanted
        spread = (self.vectors(batch.target[:, :1]) - wanted)[exists].square().mean().clamp(min=1e-9)
        total = off[exists].square().mean(dim=-1).sum() / spread  # 1 a frame: no better than level 0 alone
        return Loss(total, exists.sum(), {"latent": total.detach()})

    # One level after the other

    def _scores(self, batch: Batch, below: Tensor, level: int) -> Tensor:
        """[B,T,C] of one level, from int64 [B,level,T]."""
        source, prompt = (
            torch.stack([table(codes[:, n]) for n, table in enumerate(self.code)]).sum(dim=0)
            for codes in (batch.source, batch.prompt)
        )
        frames = torch.stack([self.code[n](below[:, n]) for n in range(level)]).sum(dim=0)
        condition = self.level.weight[level].expand(len(batch), -1)
        out: Tensor = self.to_code[level - 1](self._run(batch, source, prompt, frames, condition))
        return out

    def _level_loss(self, batch: Batch, level: int) -> Loss:
        below, targets = batch.nar(level)
        scores = self._scores(batch, below, level)
        total = F.cross_entropy(scores.flatten(0, 1), targets.flatten(), reduction="sum")
        return Loss(total, batch.target_lengths.sum(), {f"level_{level}": total.detach()})

    @torch.inference_mode()
    def hits(self, batch: Batch) -> dict[str, Tensor]:
        """As of the AR, of each level above the first, where those below it are right.

        A vector's best code is the nearest one to what the levels below leave of it.
        """
        exists = torch.arange(batch.target.shape[2], device=batch.target.device) < batch.target_lengths[:, None]
        found: dict[str, Tensor] = {}
        rest = self.latents(batch, batch.target[:, 0])[exists] if self.is_latent else None
        for level in range(1, batch.num_levels):
            right = batch.target[:, level][exists]
            if rest is None:
                scores = self._scores(batch, batch.target[:, :level], level)[exists]
            else:
                rest = rest - self.codebooks[level - 1][batch.target[:, level - 1][exists]]
                scores = -torch.cdist(rest, self.codebooks[level])
            found |= hits(scores, right, level)
        return found

    @torch.inference_mode()
    def fill(self, batch: Batch, first: Tensor) -> Tensor:
        """All levels, where the target is codes: int64 [B,K,T] from level 0 [B,T], the best code of each."""
        codes = first[:, None]
        for level in range(1, self.config.num_levels):
            best = self._scores(batch, codes, level).argmax(dim=-1)
            codes = torch.cat([codes, best[:, None]], dim=1)
        return codes
