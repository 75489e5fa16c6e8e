"""The autoregressive model: level 0 of the codes, frame by frame (VALL-E, arXiv:2301.02111, section 4.2.1).

In its plain form (`alignment: none`) phonemes, prompt and codes are one sequence, and attention has to find out which
phoneme is spoken when. With `alignment: monotone` (as VALL-E R, arXiv:2406.07855) each frame is given the phoneme that
it belongs to, and a second output says whether the next frame stays with it, goes on, or goes on past a pause: text
can't be skipped, repeated or left unfinished, and far less speech teaches a model to speak.

Tasks beside speaking put the sound that they work on, the source, before the prompt; where frames are given their
phoneme they are also given the source's own frame, as the target is as long. One task says tokens of the text instead
of codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vall_e.models.sampling import Sampler
from vall_e.models.transformer import (
    Run,
    TextReader,
    Transformer,
    TransformerConfig,
    beside,
    head,
    hits,
    joined,
    last_of,
    right_aligned,
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
        dual_head: whether a code is predicted in two halves.
        num_tasks: as `Batch.tasks` counts them; 0: speaking alone, which has no source.
        text_task: the task whose target is the text; below 0: none.
    """

    num_tokens: int
    num_languages: int
    codebook_size: int
    alignment: str = "monotone"
    trunk: TransformerConfig = field(default_factory=TransformerConfig)
    text: TransformerConfig = field(default_factory=lambda: TransformerConfig(num_layers=2))
    dual_head: bool = False
    num_tasks: int = 0
    text_task: int = -1


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

    def __add__(self, other: Loss) -> Loss:
        return Loss(self.total + other.total, self.count + other.count, self.parts | other.parts)

    @classmethod
    def nothing(cls, model: nn.Module) -> Loss:
        """Of a batch that holds nothing for this model."""
        zero = torch.stack([weight.sum() for weight in model.parameters()]).sum() * 0
        return cls(zero, torch.zeros((), dtype=torch.int64, device=zero.device), {})


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
        self.to_code = head(width, config.codebook_size, dual=config.dual_head, has_edge=True)
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
        if config.num_tasks:
            self.of_source = nn.Embedding(config.num_tasks, width)
        if config.num_tasks and self.is_monotone:
            self.source_frame = nn.Embedding(config.codebook_size, width)
        if config.text_task >= 0:
            self.written = nn.Embedding(config.num_tokens, width)
            self.to_token = nn.Linear(width, config.num_tokens)
        self.apply(small_weights)

    def loss(self, batch: Batch) -> Loss:
        """How far off the model is about what each target holds: the codes of level 0 and its steps or its end, or,
        of the task that writes, the tokens.
        """
        spoken = self._monotone_loss if self.is_monotone else self._plain_loss
        is_text = batch.tasks == self.config.text_task
        if not bool(is_text.any()):
            return spoken(batch)
        written = self._text_loss(batch.rows(is_text.nonzero()[:, 0]))
        if bool(is_text.all()):
            return written
        return spoken(batch.rows((~is_text).nonzero()[:, 0])) + written

    @torch.inference_mode()
    def hits(self, batch: Batch) -> dict[str, Tensor]:
        """How many codes of level 0 are the best one, and among the ten best (`vall_e.models.transformer.hits`)."""
        if not self.is_monotone:
            return hits(*self._plain_scores(batch), 0)
        out, exists = self._monotone_frames(batch)
        return hits(self.to_code(out), batch.target[:, 0][exists], 0)

    # What stands before the codes: the source of a task, and the prompt

    def _context(self, batch: Batch, prompt: Tensor) -> tuple[Tensor, Tensor]:
        """The source of each item and its prompt [B,P,D], one behind the other: ([B,N,D], lengths)."""
        if not self.config.num_tasks:
            return prompt, batch.prompt_lengths
        return joined([self._source(batch), prompt], [batch.source_lengths, batch.prompt_lengths])

    def _source(self, batch: Batch) -> Tensor:
        """[B,S,D], with the task added."""
        source: Tensor = self.code(batch.source[:, 0]) + self.of_source(batch.tasks)[:, None]
        return source

    # A text as the target

    def _text_loss(self, batch: Batch) -> Loss:
        nothing = self.code(batch.prompt[:, 0, :0])
        source, lengths = self._context(batch, nothing)
        x, ends = joined([source, self.written(batch.text[:, :-1])], [lengths, batch.text_lengths - 1])
        out = self.to_token(last_of(self.trunk(x, causal=True), ends, batch.text_lengths - 1))
        exists = torch.arange(out.shape[1], device=out.device) < batch.text_lengths[:, None] - 1
        total = F.cross_entropy(out[exists], batch.text[:, 1 : out.shape[1] + 1][exists], reduction="sum")
        return Loss(total, exists.sum(), {"tokens": total.detach()})

    @torch.inference_mode()
    def write(self, batch: Batch, *, first: int, last: int, max_tokens: int) -> list[Tensor]:
        """The tokens of what each source says, the best one at each place, without the first and the last one.

        Args:
            batch: of sources (`vall_e.dataset.for_synthesis`).
            first, last: tokens that stand before and behind every text.
            max_tokens: where a text is cut off.
        """
        source, starts = right_aligned(*self._context(batch, self.code(batch.prompt[:, 0, :0])))
        run = Run(self.trunk, starts, use_cache=True)
        found: list[list[int]] = [[] for _ in range(len(batch))]
        active = list(range(len(batch)))
        x = torch.cat([source, self.written.weight[first].expand(len(batch), 1, -1)], dim=1)
        for _ in range(max_tokens):
            best = self.to_token(run(x)).argmax(dim=-1)
            rows = [row for row, token in enumerate(best.tolist()) if token != last]
            for row in rows:
                found[active[row]].append(int(best[row]))
            active = run.keep(active, rows)
            if not active:
                break
            x = self.written(best[rows])[:, None]
        return [torch.tensor(tokens, dtype=torch.int64) for tokens in found]

    # Phonemes, prompt and codes as one sequence

    def _plain_loss(self, batch: Batch) -> Loss:
        scores, targets = self._plain_scores(batch)
        total = F.cross_entropy(scores, targets, reduction="sum")
        return Loss(total, (batch.target_lengths + 1).sum(), {"codes": total.detach()})

    def _plain_scores(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Of all codes and ends of a batch: scores [N,C+1], and the right ones [N]."""
        inputs, targets = batch.ar()
        # the edge stands before the prompt: [edge, prompt, target] predicts [prompt, target, edge] one place on
        codes, lengths = joined([batch.prompt[:, 0], inputs[:, 1:]], [batch.prompt_lengths, batch.target_lengths])
        edge = torch.full_like(codes[:, :1], self.edge)
        before, before_lengths = self._text_and_source(batch)
        x, ends = joined([before, self.code(torch.cat([edge, codes], dim=1))], [before_lengths, lengths + 1])
        out = last_of(self.trunk(x, causal=True), ends, batch.target_lengths + 1)
        exists = torch.arange(out.shape[1], device=out.device) <= batch.target_lengths[:, None]
        return self.to_code(out[exists]), targets[:, : out.shape[1]][exists]

    def _text_and_source(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What the prompt says, what is to be said, then the source: ([B,N,D], lengths)."""
        tokens, lengths = joined([batch.prompt_text, batch.text], [batch.prompt_text_lengths, batch.text_lengths])
        said = self.token(tokens) + self.language(batch.languages)[:, None]
        if not self.config.num_tasks:
            return said, lengths
        return joined([said, self._source(batch)], [lengths, batch.source_lengths])

    # Each frame with its phoneme

    def _monotone_loss(self, batch: Batch) -> Loss:
        out, exists = self._monotone_frames(batch)
        codes = F.cross_entropy(self.to_code(out), batch.target[:, 0][exists], reduction="sum")
        steps = steps_of(batch.frame_units, batch.target_lengths, batch.unit_lengths)
        moves = F.cross_entropy(self.to_step(out), steps[exists], reduction="sum")
        parts = {"codes": codes.detach(), "steps": moves.detach()}
        return Loss(codes + moves, batch.target_lengths.sum(), parts)

    def _monotone_frames(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What the trunk gives at all frames of the targets, [N,D], and which they are, bool [B,T]."""
        read = self.text(batch.text, batch.text_lengths, batch.languages)
        target = batch.target[:, 0]
        before = torch.cat([torch.full_like(target[:, :1], self.edge), target[:, :-1]], dim=1)
        has_prompt = batch.prompt_lengths > 0
        if bool(has_prompt.any()):
            last = batch.prompt[:, 0].gather(1, (batch.prompt_lengths - 1).clamp(min=0)[:, None])[:, 0]
            before[:, 0] = torch.where(has_prompt, last, before[:, 0])
        given = self.from_text(units_read(read, batch.units, batch.frame_units))
        x = self.code(before) + given + self.elapsed(elapsed_of(batch.frame_units))
        if self.config.num_tasks:
            x = x + beside(self.source_frame(batch.source[:, 0]), batch.source_lengths, x.shape[1])
        context, lengths = self._context(batch, self._prompt(batch.prompt[:, 0]))
        x, lengths = joined([context, x], [lengths, batch.target_lengths])
        out = last_of(self.trunk(x, causal=True), lengths, batch.target_lengths)
        exists = torch.arange(out.shape[1], device=out.device) < batch.target_lengths[:, None]
        return out[exists], exists

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
    def speak(
        self,
        batch: Batch,
        samplers: Sequence[Sampler],
        *,
        max_frames: Sequence[int],
        powers: Sequence[Sequence[float]] | None = None,
        use_cache: bool = True,
    ) -> list[Spoken]:
        """The codes of each text, in the voice of its prompt.

        Args:
            batch: without targets (`vall_e.dataset.for_synthesis`).
            samplers: of each item, for its codes and steps.
            max_frames: of each item, where it is stopped if it has not stopped by itself.
            powers: of each item and unit, what its frames are drawn with (`probabilities`); None: as the sampler says.
                Monotone only.
            use_cache: keep what earlier places gave; without, everything is computed again for each frame.
        """
        items = [_Item(sampler, most) for sampler, most in zip(samplers, max_frames, strict=True)]
        if self.is_monotone:
            self._speak_monotone(batch, items, powers, use_cache)
        else:
            self._speak_plain(batch, items, use_cache)
        return [item.spoken(is_monotone=self.is_monotone) for item in items]

    def _speak_plain(self, batch: Batch, items: list[_Item], use_cache: bool) -> None:
        before, lengths = self._text_and_source(batch)
        edge = torch.full_like(batch.text[:, :1], self.edge)
        codes = self.code(torch.cat([edge, batch.prompt[:, 0]], dim=1))
        x, starts = right_aligned(*joined([before, codes], [lengths, batch.prompt_lengths + 1]))
        run = Run(self.trunk, starts, use_cache=use_cache)
        active = list(range(len(items)))
        while active:
            scores = self.to_code(run(x)).cpu()
            rows = []
            for row, number in enumerate(active):
                item = items[number]
                if not item.codes:
                    scores[row, self.edge] = -torch.inf  # not even one frame is no answer
                code = item.sampler.draw(scores[row], item.codes)
                item.stopped = code == self.edge
                if not item.stopped:
                    item.codes.append(code)
                if not item.stopped and len(item.codes) < item.max_frames:
                    rows.append(row)
            active = run.keep(active, rows)
            last = [items[number].codes[-1] for number in active]
            x = self.code(torch.tensor(last, dtype=torch.int64, device=x.device))[:, None]

    def _speak_monotone(
        self, batch: Batch, items: list[_Item], powers: Sequence[Sequence[float]] | None, use_cache: bool
    ) -> None:
        read = self.text(batch.text, batch.text_lengths, batch.languages)
        units = units_read(
            read, batch.units, torch.arange(batch.units.shape[1], device=read.device).expand_as(batch.units)
        )
        given = self.from_text(units)
        sources = None
        if self.config.num_tasks:
            most = max(item.max_frames for item in items)
            sources = beside(self.source_frame(batch.source[:, 0]), batch.source_lengths, most)
        optional = batch.unit_optional.tolist()
        num_units = batch.unit_lengths.tolist()
        context, lengths = self._context(batch, self._prompt(batch.prompt[:, 0]))
        before = [
            int(row[length - 1]) if length else self.edge
            for row, length in zip(batch.prompt[:, 0], batch.prompt_lengths, strict=True)
        ]
        x = self._places(given, sources, items, list(range(len(items))), before)
        x, starts = right_aligned(*joined([context, x], [lengths, torch.ones_like(lengths)]))
        run = Run(self.trunk, starts, use_cache=use_cache)
        active = list(range(len(items)))
        while active:
            out = run(x)
            scores, steps = self.to_code(out)[:, : self.edge].cpu(), self.to_step(out).cpu()
            rows = []
            for row, number in enumerate(active):
                item, unit = items[number], items[number].unit
                item.codes.append(
                    item.sampler.draw(scores[row], item.codes, power=powers[number][unit] if powers else None)
                )
                item.owners.append(unit)
                if item.elapsed + 1 >= LONGEST_UNIT_FRAMES:
                    steps[row, STAY] = -torch.inf
                if unit + 1 >= num_units[number] or not optional[number][unit + 1]:
                    steps[row, SKIP] = -torch.inf
                step = item.sampler.choose(steps[row])
                item.unit, item.elapsed = (unit, item.elapsed + 1) if step == STAY else (unit + step, 0)
                item.stopped = item.unit >= num_units[number]
                if not item.stopped and len(item.codes) < item.max_frames:
                    rows.append(row)
            active = run.keep(active, rows)
            x = self._places(given, sources, items, active, [items[number].codes[-1] for number in active])

    def _places(
        self, given: Tensor, sources: Tensor | None, items: list[_Item], active: list[int], before: list[int]
    ) -> Tensor:
        """[B,1,D]: what the trunk gets for the next frame of the active items, behind the codes `before`."""
        code = torch.tensor(before, dtype=torch.int64, device=given.device)
        lasted = [min(items[number].elapsed, MOST_ELAPSED) for number in active]
        elapsed = self.elapsed(torch.tensor(lasted, dtype=torch.int64, device=given.device))
        read = given[active, [items[number].unit for number in active]]
        x = self.code(code) + read + elapsed
        if sources is not None:
            x = x + sources[active, [len(items[number].codes) for number in active]]
        return x[:, None]


class _Item:
    """One text on its way to speech."""

    def __init__(self, sampler: Sampler, max_frames: int) -> None:
        self.sampler, self.max_frames = sampler, max_frames
        self.codes: list[int] = []
        self.owners: list[int] = []  # the unit of each frame
        self.unit = self.elapsed = 0
        self.stopped = False

    def spoken(self, *, is_monotone: bool) -> Spoken:
        return Spoken(torch.tensor(self.codes), torch.tensor(self.owners) if is_monotone else None, self.stopped)


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
