"""A batch, and what each of the two language models learns from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vall_e.dataset.vocab import PAD
from vall_e.types import UsageError
from vall_e.units import units_of

if TYPE_CHECKING:
    import torch

    from vall_e.dataset.examples import Example
    from vall_e.dataset.vocab import Vocabulary

CODE_PAD = 0  # a valid code, so that an embedding needs no row for it; the lengths tell what is padding
IGNORE = -100  # the `ignore_index` of torch's cross entropy


class View(NamedTuple):
    """What a model reads and what it should say. `targets` is -100 wherever there is nothing to learn."""

    inputs: torch.Tensor
    targets: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class Batch:
    """B examples, padded on the right to the longest: int64 tensors, text with <pad> = 0, codes with 0.

    text [B,S] with <bos> and <eos>; prompt [B,K,P] (P may be 0); target [B,K,T]; source [B,K,S'], what a task beside
    text to speech works on; prompt_text [B,S"], what the prompt speaks, where that is known; their lengths [B];
    languages [B] (ids of the vocabulary); speakers [B] (of the dataset); tasks [B] (0 = text to speech, see
    `vall_e.dataset.tasks`); ids of the targets. Codes lie in 0..codebook_size-1, tokens in 0..vocabulary_size-1.

    The tokens that take time are the text's units: units [B,U] are their places in `text`, unit_optional [B,U] those
    that may be left out (pauses), unit_lengths [B] their number. frame_units [B,T] is the unit of each frame of the
    target, -1 beyond its length, and everywhere where the dataset has no durations.
    """

    ids: tuple[str, ...]
    text: torch.Tensor
    prompt: torch.Tensor
    target: torch.Tensor
    source: torch.Tensor
    text_lengths: torch.Tensor
    prompt_lengths: torch.Tensor
    target_lengths: torch.Tensor
    source_lengths: torch.Tensor
    prompt_text: torch.Tensor
    prompt_text_lengths: torch.Tensor
    units: torch.Tensor
    unit_optional: torch.Tensor
    unit_lengths: torch.Tensor
    frame_units: torch.Tensor
    languages: torch.Tensor
    speakers: torch.Tensor
    tasks: torch.Tensor
    codebook_size: int
    vocabulary_size: int

    @property
    def num_levels(self) -> int:
        return self.target.shape[1]

    @property
    def is_aligned(self) -> bool:
        """Whether the units of all frames are known."""
        return not bool((self.mask("target") & (self.frame_units < 0)).any())

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        return dataclasses.replace(
            self, **{name: tensor.to(device, non_blocking=non_blocking) for name, tensor in self._tensors().items()}
        )

    def rows(self, numbers: torch.Tensor) -> Batch:
        """Some of the items, int64 [N], padded to the longest of them."""
        chosen = {name: tensor[numbers] for name, tensor in self._tensors().items()}
        for name, tensor in chosen.items():
            lengths = chosen.get(_lengths_of(name))
            if lengths is not None:
                chosen[name] = tensor[..., : int(lengths.max()) if len(lengths) else 0]
        return dataclasses.replace(self, ids=tuple(self.ids[number] for number in numbers.tolist()), **chosen)

    def pin_memory(self) -> Batch:
        """In page-locked memory; torch's DataLoader calls it."""
        return dataclasses.replace(self, **{name: tensor.pin_memory() for name, tensor in self._tensors().items()})

    def _tensors(self) -> dict[str, Any]:
        import torch

        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, torch.Tensor)}

    def mask(self, name: str) -> torch.Tensor:
        """bool [B,N]: which places of `text`, `prompt`, `target`, `source`, `prompt_text` or `units` are no padding."""
        import torch

        values, lengths = self._with_lengths(name)
        return torch.arange(values.shape[-1], device=values.device) < lengths[:, None]

    def packed(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        """The same without padding: int64 [sum of lengths], of codes [K, sum of lengths], one item behind the other,
        and where each begins, [B+1]: what attention over sequences of various lengths takes.
        """
        import torch

        values, lengths = self._with_lengths(name)
        starts = torch.nn.functional.pad(lengths.cumsum(0), (1, 0))
        mask = self.mask(name)
        return (values[mask] if values.ndim == 2 else values.transpose(0, 1)[:, mask]), starts

    def _with_lengths(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        return getattr(self, name), getattr(self, _lengths_of(name))

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


def _lengths_of(name: str) -> str:
    """The field that has the lengths of another one, where it has some."""
    like = {"units": "unit_lengths", "unit_optional": "unit_lengths", "frame_units": "target_lengths"}
    return like.get(name, f"{name}_lengths")


def collate(examples: Sequence[Example], *, codebook_size: int, vocabulary_size: int) -> Batch:
    """One batch of the examples, in their order; `Dataset.collate` knows both sizes."""
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
    source, source_lengths = padded([example.source for example in examples], CODE_PAD)
    prompt_text, prompt_text_lengths = padded([example.prompt_text for example in examples], PAD)
    units, unit_lengths = padded([example.units.places for example in examples], 0)
    unit_optional, _ = padded([example.units.optional for example in examples], 0)
    frame_units, _ = padded([_frame_units(example) for example in examples], -1)
    return Batch(
        ids=tuple(example.id for example in examples),
        text=text,
        prompt=prompt,
        target=target,
        source=source,
        text_lengths=text_lengths,
        prompt_lengths=prompt_lengths,
        target_lengths=target_lengths,
        source_lengths=source_lengths,
        prompt_text=prompt_text,
        prompt_text_lengths=prompt_text_lengths,
        units=units,
        unit_optional=unit_optional.bool(),
        unit_lengths=unit_lengths,
        frame_units=frame_units,
        languages=torch.tensor([example.language for example in examples]),
        speakers=torch.tensor([example.speaker_id for example in examples]),
        tasks=torch.tensor([example.task for example in examples]),
        codebook_size=codebook_size,
        vocabulary_size=vocabulary_size,
    )


def _frame_units(example: Example) -> np.ndarray:
    """int64 [T]: the unit of each frame; -1 where that is not known."""
    if not len(example.durations):
        return np.full(example.target.shape[1], -1)
    return np.repeat(np.arange(len(example.units.places)), example.durations[example.units.places])


def for_synthesis(
    texts: Sequence[np.ndarray],
    prompts: Sequence[np.ndarray],
    languages: Sequence[int],
    vocabulary: Vocabulary,
    *,
    codebook_size: int,
    prompt_texts: Sequence[np.ndarray] | None = None,
    sources: Sequence[np.ndarray] | None = None,
    tasks: Sequence[int] | None = None,
) -> Batch:
    """A batch without targets, for a model that is to speak.

    Args:
        texts: int32 [S] each, with <bos> and <eos>.
        prompts: uint16 [K,P] each; P may be 0.
        languages: ids of the vocabulary.
        vocabulary: of the tokens.
        codebook_size: of the codec.
        prompt_texts: int32 each, what the prompts speak, without <bos> and <eos>; none where it is not known.
        sources: uint16 [K,S] each, what a task beside speaking works on.
        tasks: their numbers; none: all are text to speech.
    """
    from vall_e.dataset.examples import Example

    nothing = np.zeros(0, np.int32)
    examples = [
        Example(
            id=str(number),
            text=text,
            prompt=prompt,
            target=prompt[:, :0],
            language=language,
            speaker="",
            prompt_id=None,
            prompt_text=nothing if prompt_texts is None else prompt_texts[number],
            durations=nothing,
            units=units_of(vocabulary.kinds[text]),
            speaker_id=0,
            source=prompt[:, :0] if sources is None else sources[number],
            task=0 if tasks is None else tasks[number],
        )
        for number, (text, prompt, language) in enumerate(zip(texts, prompts, languages, strict=True))
    ]
    return collate(examples, codebook_size=codebook_size, vocabulary_size=len(vocabulary))
