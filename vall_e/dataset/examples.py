"""Map-style dataset: one example per target utterance of a split."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vall_e.dataset import files
from vall_e.dataset.index import Index
from vall_e.dataset.prompts import PromptChooser, crop, text_of
from vall_e.types import UsageError
from vall_e.units import Units, units_of

PROMPT_S = 3


@dataclass(frozen=True, kw_only=True)
class Example:
    """A target and its prompt. Arrays are read-only views of the mapped files.

    text: int32 [S] with <bos> and <eos>; prompt: uint16 [K,P], P = 0 without a prompt; target: uint16 [K,T];
    language: id in the vocabulary; prompt_id: the utterance that the prompt is cut from, None without one; prompt_text:
    int32, the tokens that the prompt speaks, without <bos> and <eos>, none where they are not known; durations: int32
    [S], frames of each token, [0] where they are not known; units: the tokens that take time; speaker_id: number of
    the speaker in the dataset.
    """

    id: str
    text: np.ndarray
    prompt: np.ndarray
    target: np.ndarray
    language: int
    speaker: str
    prompt_id: str | None
    prompt_text: np.ndarray
    durations: np.ndarray
    units: Units
    speaker_id: int


class Dataset:
    """The utterances of one split of a built dataset, in order of id; `dataset[i]` is an `Example`.

    An example depends on `seed`, the epoch and the utterance's id alone: not on what was read before, on the worker or
    the rank, nor on other utterances being added, but for those that become candidates for its prompt. Pickled, it
    is its arguments and the epoch: a worker process maps the files itself.

    Args:
        built: folder that `python -m vall_e.dataset build` wrote.
        split: `train` or `validation`.
        similar_probability: chance that the prompt comes from the similar list; else, or if nothing in that list may
            be used, it comes at random from the same speaker.
        any_speaker: whether a prompt from the similar list may be of another speaker: `similar --scope dataset` lists
            some.
        prompt_frames: prompts are cut to at most this many frames (default: 3 seconds); 0 for no prompts.

    Raises:
        UsageError: no such dataset or split, or an option out of range.
        ContractError: the files are damaged, or of another build or version.
    """

    def __init__(
        self,
        built: Path | str,
        split: str = "train",
        *,
        seed: int = 0,
        similar_probability: float = 0.5,
        any_speaker: bool = False,
        prompt_frames: int | None = None,
    ) -> None:
        if not 0 <= similar_probability <= 1:
            raise UsageError(f"similar_probability {similar_probability} is not in 0..1")
        if seed < 0 or (prompt_frames is not None and prompt_frames < 0):
            raise UsageError("seed and prompt_frames are not negative")
        self.index = Index(Path(built))
        self.split = split
        self.seed = seed
        self.similar_probability = similar_probability
        self.any_speaker = any_speaker
        self.prompt_frames = round(PROMPT_S * self.index.spec.frame_rate_hz) if prompt_frames is None else prompt_frames
        self.epoch = 0
        self.rows = self.index.rows(files.split_number(split))
        self._prompts = PromptChooser(
            self.index, files.split_number(split), similar_probability=similar_probability, any_speaker=any_speaker
        )

    def __getstate__(self) -> dict[str, object]:
        names = ("split", "seed", "similar_probability", "any_speaker", "prompt_frames")
        return {"built": self.index.path, "epoch": self.epoch} | {name: getattr(self, name) for name in names}

    def __setstate__(self, state: dict[str, object]) -> None:
        state = dict(state)
        epoch = state.pop("epoch")
        self.__init__(**state)  # type: ignore[misc]
        self.epoch = epoch  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> Example:
        return self.example(place, self.epoch)

    def __iter__(self) -> Iterator[Example]:
        return (self[place] for place in range(len(self)))

    def set_epoch(self, epoch: int) -> None:
        """Another epoch cuts other prompts."""
        self.epoch = epoch

    @property
    def num_frames(self) -> np.ndarray:
        """int32 [n]: frames of each target."""
        frames: np.ndarray = self.index.num_frames[self.rows]
        return frames

    def example(self, place: int, epoch: int) -> Example:
        """The example at `place` (0..n-1) in a given epoch.

        Raises:
            IndexError: there is no such place.
        """
        if not -len(self) <= place < len(self):
            raise IndexError(f"{place} is outside the {len(self)} utterances of the {self.split} split")
        index, row = self.index, int(self.rows[place])
        words = [self.seed, epoch, int(index.id_hash[row])]
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence(words)))
        source = self._prompts.choose(row, rng) if self.prompt_frames else None
        target, text = index.codes(row), index.tokens(row)
        prompt, prompt_text = target[:, :0], text[:0]
        if source is not None:
            codes = index.codes(source)
            start, end = crop(codes.shape[1], self.prompt_frames, rng)
            prompt = codes[:, start:end]
            if end == codes.shape[1] or len(index.durations(source)):
                prompt_text = text_of(index.tokens(source), index.durations(source), start, end)
        return Example(
            id=index.id(row),
            text=text,
            prompt=prompt,
            target=target,
            language=int(index.language[row]),
            speaker=index.speakers[index.speaker[row]],
            prompt_id=None if source is None else index.id(source),
            prompt_text=prompt_text,
            durations=index.durations(row),
            units=units_of(index.vocabulary.kinds[text]),
            speaker_id=int(index.speaker[row]),
        )
