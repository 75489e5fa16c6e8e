"""Map-style dataset: one example per target utterance of a split."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vall_e.dataset import files
from vall_e.dataset.batch import Batch, collate
from vall_e.dataset.index import Index
from vall_e.dataset.prompts import PromptChooser, crop, text_of
from vall_e.dataset.tasks import TASKS, TTS, Mixtures, choose, shares_of
from vall_e.scores import Limits
from vall_e.types import UsageError
from vall_e.units import Units, units_of

PROMPT_S = 3
JOIN_TRIES = 16  # draws of further utterances for a prompt


@dataclass(frozen=True, kw_only=True)
class Example:
    """A target and its prompt. Arrays are read-only views of the mapped files.

    text: int32 [S] with <bos> and <eos>; prompt: uint16 [K,P], P = 0 without a prompt; target: uint16 [K,T];
    source: uint16 [K,S], what the task works on, S = 0 of text to speech; task: its number in `vall_e.dataset.tasks`;
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
    source: np.ndarray
    task: int


class Dataset:
    """The utterances of one split of a built dataset, in order of id; `dataset[i]` is an `Example`.

    With `tasks` an example is of one of them, by chance; an utterance without a mixture for it stays one to be spoken.

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
        join_prompts: several utterances, one behind the other, where one is shorter than `prompt_frames`.
        speakers, languages: only targets of these (as `index.speakers` and the vocabulary have them); none: all.
        min_frames, max_frames: only targets of such a length; None: any.
        aligned: only targets whose durations are known.
        tasks: with their shares, like `("tts=0.7", "ns=0.3")`; none: text to speech alone.
        mixtures: the folder that `python -m vall_e.emb.mix` made, for tasks that need one.
        gates: only targets whose scores are in these limits, like `snr_db>=20`; one without the score is kept.

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
        join_prompts: bool = False,
        speakers: Sequence[str] = (),
        languages: Sequence[str] = (),
        min_frames: int | None = None,
        max_frames: int | None = None,
        aligned: bool = False,
        gates: Sequence[str] = (),
        tasks: Sequence[str] = (),
        mixtures: Path | str | None = None,
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
        self.join_prompts = join_prompts
        self.tasks = tuple(tasks)
        self._shares = shares_of(tasks)
        needs = [name for name in self._shares if TASKS[name].needs]
        if needs and mixtures is None:
            raise UsageError(f"task {needs[0]} needs mixtures; make some with python -m vall_e.emb.mix")
        self.mixtures = Path(mixtures) if needs and mixtures is not None else None
        made = self.index.built["made"]
        self._mixtures = None if self.mixtures is None else Mixtures(self.mixtures, self.index.spec, made)
        self.only = {
            name: value
            for name, value in (
                ("speakers", tuple(sorted(speakers))),
                ("languages", tuple(sorted(languages))),
                ("min_frames", min_frames),
                ("max_frames", max_frames),
                ("aligned", aligned),
                ("gates", tuple(gates)),
            )
            if value not in ((), None, False)
        }
        self.rows = self._filtered(self.index.rows(files.split_number(split)))
        self._prompts = PromptChooser(
            self.index, files.split_number(split), similar_probability=similar_probability, any_speaker=any_speaker
        )

    def __getstate__(self) -> dict[str, object]:
        names = ("split", "seed", "similar_probability", "any_speaker", "prompt_frames", "join_prompts", "tasks")
        given = {name: getattr(self, name) for name in names} | self.only
        return {"built": self.index.path, "epoch": self.epoch, "mixtures": self.mixtures} | given

    @property
    def identity(self) -> dict[str, Any]:
        """All that the examples depend on, as JSON values."""
        only = {name: list(value) if isinstance(value, tuple) else value for name, value in self.only.items()}
        return {
            "dataset": self.index.fingerprint,
            "split": self.split,
            "dataset_seed": self.seed,
            "similar_probability": self.similar_probability,
            "any_speaker": self.any_speaker,
            "prompt_frames": self.prompt_frames,
            "join_prompts": self.join_prompts,
            "tasks": list(self.tasks),
            "only": only,
        }

    def __setstate__(self, state: dict[str, object]) -> None:
        state = dict(state)
        epoch = state.pop("epoch")
        self.__init__(**state)  # type: ignore[misc]
        self.epoch = epoch  # type: ignore[assignment]

    def _filtered(self, rows: np.ndarray) -> np.ndarray:
        """The rows whose speaker, language, length and scores are asked for.

        Raises:
            UsageError: a speaker, language or score that the dataset does not have.
        """
        index, kept = self.index, np.ones(len(rows), bool)
        for name, column, known in (
            ("speakers", index.speaker, index.speakers),
            ("languages", index.language, index.vocabulary.languages),
        ):
            wanted: Sequence[str] = self.only.get(name, ())  # type: ignore[assignment]
            strange = sorted(set(wanted) - set(known))
            if strange:
                raise UsageError(f"{index.path}: none of its {name} is {strange[0]!r}")
            if wanted:
                numbers = [number for number, value in enumerate(known) if value in wanted]
                kept &= np.isin(column[rows], numbers)
        lengths = index.num_frames[rows]
        kept &= (lengths >= self.only.get("min_frames", 0)) & (
            lengths <= self.only.get("max_frames", lengths.max(initial=0))
        )
        if "aligned" in self.only:
            kept &= index.aligned[rows] > 0
        for name, (low, high) in Limits({}, self.only.get("gates", ())).bounds.items():  # type: ignore[arg-type]
            score = index.score(name)[rows]
            kept &= ~((score < (-np.inf if low is None else low)) | (score > (np.inf if high is None else high)))
        filtered: np.ndarray = rows[kept]
        return filtered

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

    @property
    def num_places(self) -> np.ndarray:
        """int64 [n]: the most places that an example takes in a model, in any epoch: its text and its target, and of
        the prompts that its speaker has the longest one and its text; with tasks, the source as well.
        """
        own = self.index.num_tokens[self.rows].astype(np.int64) + self.num_frames
        if any(name != TTS for name in self._shares):
            own += self.num_frames  # of the source
        places: np.ndarray = own + self._prompts.most_places(self.rows, self.prompt_frames, join=self.join_prompts)
        return places

    def collate(self, examples: Sequence[Example]) -> Batch:
        """One batch of examples of this dataset, in their order."""
        size = self.index.spec.codebook_size
        return collate(examples, codebook_size=size, vocabulary_size=len(self.index.vocabulary))

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
        target, text = index.codes(row), index.tokens(row)
        sources = self._sources(row, rng)
        prompt, prompt_text = target[:, :0], text[:0]
        if sources:
            prompt, prompt_text = self._prompt(sources, rng)
        example = Example(
            id=index.id(row),
            text=text,
            prompt=prompt,
            target=target,
            language=int(index.language[row]),
            speaker=index.speakers[index.speaker[row]],
            prompt_id=index.id(sources[0]) if sources else None,
            prompt_text=prompt_text,
            durations=index.durations(row),
            units=units_of(index.vocabulary.kinds[text]),
            speaker_id=int(index.speaker[row]),
            source=target[:, :0],
            task=TASKS[TTS].number,
        )
        return self._with_task(example, words) if self._shares else example

    def _with_task(self, example: Example, words: Sequence[int]) -> Example:
        """The example as one of a task, which is drawn from `words`: what else was drawn from them stays as it is."""
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([*words, len(TASKS)])))
        task = TASKS[choose(self._shares, rng)]
        arrays: Sequence[np.ndarray] | None = ()
        if task.needs:
            assert self._mixtures is not None, "checked when the dataset was opened"
            arrays = self._mixtures.read(task, example.id, example.target.shape[1])
        if arrays is None:
            return example
        return dataclasses.replace(task.transform(example, arrays), task=task.number)

    def _sources(self, row: int, rng: np.random.Generator) -> list[int]:
        """The utterances that the prompt is made of: one, or as many as fill it; none where there is no other."""
        if not self.prompt_frames:
            return []
        first = self._prompts.choose(row, rng)
        if first is None:
            return []
        sources, missing = [first], self.prompt_frames - int(self.index.num_frames[first])
        for _ in range(JOIN_TRIES if self.join_prompts else 0):
            if missing <= 0:
                break
            another = self._prompts.choose(row, rng)
            if another is not None and another not in sources:
                sources.append(another)
                missing -= int(self.index.num_frames[another])
        return sources

    def _prompt(self, sources: Sequence[int], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """(codes [K,P], the tokens that they speak): the sources one behind the other, the last one cut."""
        index, codes, texts, left = self.index, [], [], self.prompt_frames
        for source in sources:
            whole = index.codes(source)
            start, end = crop(whole.shape[1], left, rng)
            codes.append(whole[:, start:end])
            left -= end - start
            if end - start == whole.shape[1] or len(index.durations(source)):
                texts.append(text_of(index.tokens(source), index.durations(source), start, end))
            else:
                texts.append(index.tokens(source)[:0])
        if len(codes) == 1:
            return codes[0], texts[0]
        known = all(len(text) for text in texts)  # of a part without text, that of the others would mislead
        return np.concatenate(codes, axis=1), np.concatenate(texts) if known else texts[0][:0]
