"""The autoregressive model: level 0 of the codes, frame by frame (VALL-E, arXiv:2301.02111, section 4.2.1).

In its plain form (`alignment: none`) phonemes, prompt and codes are one sequence, and attention has to find out which
phoneme is spoken when. With `alignment: monotone` (as VALL-E R, arXiv:2406.07855) each frame is given the phoneme that
it belongs to, and a second output says whether the next frame stays with it, goes on, or goes on past a pause: text
can't be skipped, repeated or left unfinished, and far less speech teaches a model to speak.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vall_e.models.sampling import Sampler
from vall_e.models.transformer import (
    Cache,
    TextReader,
    Transformer,
    TransformerConfig,
    joined,
    last_of,
    small_weights,
    units_read,
)

if TYPE_CHECKING:
    from vall_e.dataset import Batch

STAY, NEXT, SKIP = range(3)  # with the unit, to the next one, or past it
MOST_ELAPSED = 63  # frames that a unit has lasted are told apart up to here
LONGEST_UNIT_FRAMES = 75  # in synthesis: one second at the usual 75 frames a second


@dataclass(frozen=True)
class ARConfig:
    """Shape of the autoregressive model.

    Attributes:
        num_tokens, num_languages: of the vocabulary.
        codebook_size: of level 0.
        alignment: none or monotone.
        trunk: of the codes.
        text: of the phonemes, where the alignment is monotone.
    """

    num_tokens: int
    num_languages: int
    codebook_size: int
    alignment: str = "monotone"
    trunk: TransformerConfig = field(default_factory=TransformerConfig)
    text: TransformerConfig = field(default_factory=lambda: TransformerConfig(num_layers=2))


@dataclass(frozen=True)
class Loss:
    """Sums over what was predicted, so that parts of a batch can be added; in nats.

    Attributes:
        total: to be learnt from, before it is divided by `count`.
        count: predictions.
        parts: sums by name, for a person.
    """

    total: Tensor
    count: Tensor
    parts: dict[str, Tensor]


@dataclass(frozen=True)
class Spoken:
    """What the model says: codes int64 [T] of level 0, frame_units int64 [T] (monotone only), whether it stopped by
    itself."""

    codes: Tensor
    frame_units: Tensor | None
    stopped: bool


class AR(nn.Module):
    """See the module."""

    def __init__(self, config: ARConfig) -> None:
        super().__init__()
        self.config = config
        width = config.trunk.width
        self.edge = config.codebook_size  # before the first code and, in the plain form, behind the last
        self.code = nn.Embedding(config.codebook_size + 1, width)
        self.trunk = Transformer(config.trunk)
        self.to_code = nn.Linear(width, config.codebook_size + 1)
        self.is_monotone = config.alignment == "monotone"
        if self.is_monotone:
            self.text = TextReader(config.text, num_tokens=config.num_tokens, num_languages=config.num_languages)
            self.from_text = nn.Linear(config.text.width, width)
            self.elapsed = nn.Embedding(MOST_ELAPSED + 1, width)
            self.of_prompt = nn.Parameter(torch.zeros(width))
            self.to_step = nn.Linear(width, 3)
        else:
            self.token = nn.Embedding(config.num_tokens, width)
            self.language = nn.Embedding(config.num_languages, width)
        self.apply(small_weights)

    def loss(self, batch: Batch) -> Loss:
        """How far off the model is about the codes of level 0 of each target, and about its steps or its end."""
        return self._monotone_loss(batch) if self.is_monotone else self._plain_loss(batch)

    # Phonemes, prompt and codes as one sequence

    def _plain_loss(self, batch: Batch) -> Loss:
        inputs, targets = batch.ar()
        # the edge stands before the prompt: [edge, prompt, target] predicts [prompt, target, edge] one place on
        codes, lengths = joined([batch.prompt[:, 0], inputs[:, 1:]], [batch.prompt_lengths, batch.target_lengths])
        edge = torch.full_like(codes[:, :1], self.edge)
        text, text_lengths = self._text_of(batch)
        x, ends = joined([text, self.code(torch.cat([edge, codes], dim=1))], [text_lengths, lengths + 1])
        out = last_of(self.trunk(x, causal=True), ends, batch.target_lengths + 1)
        scores = self.to_code(out)
        total = F.cross_entropy(scores.flatten(0, 1), targets[:, : out.shape[1]].flatten(), reduction="sum")
        return Loss(total, (batch.target_lengths + 1).sum(), {"codes": total.detach()})

    def _text_of(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What the prompt says, then what is to be said: ([B,N,D], lengths)."""
        tokens, lengths = joined([batch.prompt_text, batch.text], [batch.prompt_text_lengths, batch.text_lengths])
        return self.token(tokens) + self.language(batch.languages)[:, None], lengths

    # Each frame with its phoneme

    def _monotone_loss(self, batch: Batch) -> Loss:
        read = self.text(batch.text, batch.text_lengths, batch.languages)
        target = batch.target[:, 0]
        before = torch.cat([torch.full_like(target[:, :1], self.edge), target[:, :-1]], dim=1)
        has_prompt = batch.prompt_lengths > 0
        if bool(has_prompt.any()):
            last = batch.prompt[:, 0].gather(1, (batch.prompt_lengths - 1).clamp(min=0)[:, None])[:, 0]
            before[:, 0] = torch.where(has_prompt, last, before[:, 0])
        given = self.from_text(units_read(read, batch.units, batch.frame_units))
        x = self.code(before) + given + self.elapsed(elapsed_of(batch.frame_units))
        x, lengths = joined([self._prompt(batch.prompt[:, 0]), x], [batch.prompt_lengths, batch.target_lengths])
        out = last_of(self.trunk(x, causal=True), lengths, batch.target_lengths)
        exists = torch.arange(out.shape[1], device=out.device) < batch.target_lengths[:, None]
        codes = F.cross_entropy(self.to_code(out)[exists], target[exists], reduction="sum")
        steps = steps_of(batch.frame_units, batch.target_lengths, batch.unit_lengths)
        moves = F.cross_entropy(self.to_step(out)[exists], steps[exists], reduction="sum")
        parts = {"codes": codes.detach(), "steps": moves.detach()}
        return Loss(codes + moves, batch.target_lengths.sum(), parts)

    def _prompt(self, codes: Tensor) -> Tensor:
        """[B,P,D] of the places that predict the prompt [B,P] itself, which nothing is learnt from."""
        edge = torch.full_like(codes[:, :1], self.edge)
        return self.code(torch.cat([edge, codes], dim=1)[:, : codes.shape[1]]) + self.of_prompt

    def states(self, codes: Tensor) -> Tensor:
        """[B,T,D]: what the trunk makes of level 0 int64 [B,T] alone, as of a prompt without its text."""
        if self.is_monotone:
            return self.trunk(self._prompt(torch.cat([codes, codes[:, -1:]], dim=1)), causal=True)[:, 1:]
        edge = torch.full_like(codes[:, :1], self.edge)
        return self.trunk(self.code(torch.cat([edge, codes], dim=1)), causal=True)[:, 1:]

    # Speaking

    @torch.inference_mode()
    def speak(self, batch: Batch, sampler: Sampler, *, max_frames: int, use_cache: bool = True) -> Spoken:
        """The codes of one text in the voice of its prompt.

        Args:
            batch: of one item, without a target (`vall_e.dataset.for_synthesis`).
            sampler: draws codes and steps.
            max_frames: where it is stopped if it has not stopped by itself.
            use_cache: keep what earlier places gave; without, everything is computed again for each frame.
        """
        if self.is_monotone:
            return self._speak_monotone(batch, sampler, max_frames, use_cache)
        return self._speak_plain(batch, sampler, max_frames, use_cache)

    def _speak_plain(self, batch: Batch, sampler: Sampler, max_frames: int, use_cache: bool) -> Spoken:
        prompt = batch.prompt[:, 0]
        edge = torch.full_like(batch.text[:, :1], self.edge)
        text, _ = self._text_of(batch)
        run = _Run(self.trunk, use_cache)
        out = run(torch.cat([text, self.code(torch.cat([edge, prompt], dim=1))], dim=1))
        codes: list[int] = []
        while len(codes) < max_frames:
            scores = self.to_code(out)[0]
            if not codes:
                scores[self.edge] = -torch.inf  # not even one frame is no answer
            code = sampler.draw(scores, codes)
            if code == self.edge:
                return Spoken(torch.tensor(codes), None, True)
            codes.append(code)
            out = run(self.code(torch.tensor([[code]], device=prompt.device)))
        return Spoken(torch.tensor(codes), None, False)

    def _speak_monotone(self, batch: Batch, sampler: Sampler, max_frames: int, use_cache: bool) -> Spoken:
        prompt, optional = batch.prompt[:, 0], batch.unit_optional[0].tolist()
        read = self.text(batch.text, batch.text_lengths, batch.languages)
        given = self.from_text(read[0, batch.units[0]])
        run = _Run(self.trunk, use_cache)
        before = int(prompt[0, -1]) if prompt.shape[1] else self.edge
        ahead = [self._prompt(prompt)] if prompt.shape[1] else []
        codes: list[int] = []
        owners: list[int] = []
        unit = elapsed = 0
        while unit < len(optional) and len(codes) < max_frames:
            place = torch.tensor([[before]], device=prompt.device)
            lasted = torch.tensor([[min(elapsed, MOST_ELAPSED)]], device=prompt.device)
            out = run(torch.cat([*ahead, self.code(place) + given[unit] + self.elapsed(lasted)], dim=1))
            ahead = []
            before = sampler.draw(self.to_code(out)[0, : self.edge], codes)
            codes.append(before)
            owners.append(unit)
            steps = self.to_step(out)[0].clone()
            if elapsed + 1 >= LONGEST_UNIT_FRAMES:
                steps[STAY] = -torch.inf
            if unit + 1 >= len(optional) or not optional[unit + 1]:
                steps[SKIP] = -torch.inf
            step = sampler.choose(steps)
            unit, elapsed = (unit, elapsed + 1) if step == STAY else (unit + step, 0)
        return Spoken(torch.tensor(codes), torch.tensor(owners), unit >= len(optional))


class _Run:
    """A causal trunk fed piece by piece → what it gives at the last place, [1,D]."""

    def __init__(self, trunk: Transformer, use_cache: bool) -> None:
        self.trunk, self.cache = trunk, Cache() if use_cache else None
        self.seen: list[Tensor] = []

    def __call__(self, x: Tensor) -> Tensor:
        if self.cache is None:
            self.seen.append(x)
            x = torch.cat(self.seen, dim=1)
        out: Tensor = self.trunk(x, causal=True, cache=self.cache)[:, -1]
        return out


def elapsed_of(frame_units: Tensor) -> Tensor:
    """int64 [B,T]: how many frames the unit of each frame has lasted before it, up to MOST_ELAPSED."""
    place = torch.arange(frame_units.shape[1], device=frame_units.device).expand_as(frame_units)
    changed = F.pad(frame_units[:, 1:] != frame_units[:, :-1], (1, 0), value=True)
    start = torch.where(changed, place, 0).cummax(dim=1).values
    return (place - start).clamp(max=MOST_ELAPSED)


def steps_of(frame_units: Tensor, lengths: Tensor, unit_lengths: Tensor) -> Tensor:
    """int64 [B,T]: STAY, NEXT or SKIP behind each frame; behind the last one it goes past the last unit.

    Args:
        frame_units: int64 [B,T].
        lengths: frames of each row [B].
        unit_lengths: units of each row [B].
    """
    following = F.pad(frame_units[:, 1:], (0, 1), value=-1)
    place = torch.arange(frame_units.shape[1], device=frame_units.device)
    following = torch.where(place == lengths[:, None] - 1, unit_lengths[:, None], following)
    return (following - frame_units).clamp(STAY, SKIP)
