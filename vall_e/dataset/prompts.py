"""Which utterance speaks the prompt of a target, and which part of it.

VALL-E (arXiv:2301.02111, section 4) conditions on three seconds of another utterance of the same speaker. With
probability p it comes from the target's similar list, else at random from the speaker, so that a model learns from
prompts of the same manner and of any manner of the voice.
"""

from __future__ import annotations

import numpy as np

from vall_e.dataset import files
from vall_e.dataset.index import Index
from vall_e.types import SAME_TAKE_S

TRIES = 8


class PromptChooser:
    """Chooses prompts for the targets of one split (`files.TRAIN` or `files.VALIDATION`).

    A prompt is never the target itself nor its take under another name, nor overlaps it in the same recording, and is
    of the same speaker unless `any_speaker`. A target for training never has a prompt that is kept for validation; one
    for validation may have either.
    """

    def __init__(self, index: Index, split: int, *, similar_probability: float, any_speaker: bool = False) -> None:
        self.index = index
        self.any_speaker = any_speaker
        self.training = split == files.TRAIN
        self.similar_probability = similar_probability

    def choose(self, row: int, rng: np.random.Generator) -> int | None:
        """Row of the prompt for target `row`; None if there is no other utterance to use."""
        if rng.random() < self.similar_probability:
            similar = self.index.similar(row)[0]
            allowed = similar[self._allowed(row, similar)]
            if not self.any_speaker:  # lists of scope `dataset` hold other voices too
                allowed = allowed[self.index.speaker[allowed] == self.index.speaker[row]]
            if len(allowed):
                return int(allowed[rng.integers(len(allowed))])
        return self._same_speaker(row, rng)

    def most_places(self, rows: np.ndarray, prompt_frames: int, *, join: bool) -> np.ndarray:
        """int64 [n]: the most frames and tokens together that a prompt of each of these targets can have.

        Args:
            rows: of the targets.
            prompt_frames: what prompts are cut to.
            join: whether several utterances make up a prompt.
        """
        index = self.index
        others = index.rows(files.TRAIN) if self.training else np.arange(len(index))
        owner = np.zeros(len(index), np.int64) if self.any_speaker else index.speaker.astype(np.int64)
        number = int(owner.max(initial=0)) + 1
        frames, tokens = index.num_frames[others].astype(np.int64), index.num_tokens[others].astype(np.int64) - 2
        longest, total, most_tokens = (np.zeros(number, np.int64) for _ in range(3))
        densest = np.zeros(number)
        np.maximum.at(longest, owner[others], frames)
        np.add.at(total, owner[others], frames)
        np.maximum.at(most_tokens, owner[others], tokens)
        np.maximum.at(densest, owner[others], tokens / frames)
        if join:  # whole utterances that together are no longer than the prompt, and a part of one more
            longest = total
            most_tokens += np.ceil(densest * prompt_frames).astype(np.int64)
        places = np.minimum(longest, prompt_frames) + most_tokens
        count = np.bincount(owner[others], minlength=number)[owner[rows]] - np.isin(rows, others)
        most: np.ndarray = np.where((count > 0) & (prompt_frames > 0), places[owner[rows]], 0)
        return most

    def _same_speaker(self, row: int, rng: np.random.Generator) -> int | None:
        """Uniform over what is allowed. Almost all of it is, so drawing again is cheaper than looking at everything."""
        members = self.index.speaker_rows(int(self.index.speaker[row]), training_only=self.training)
        if not len(members):
            return None
        for _ in range(TRIES):
            place = int(rng.integers(len(members)))
            if self._allowed(row, members[place : place + 1])[0]:
                return int(members[place])
        allowed = members[self._allowed(row, members)]
        return int(allowed[rng.integers(len(allowed))]) if len(allowed) else None

    def _allowed(self, row: int, others: np.ndarray) -> np.ndarray:
        """bool [N]: which of `others` may prompt `row`."""
        index = self.index
        start, end = index.start_samples[row], index.start_samples[row] + index.num_samples[row]
        starts = index.start_samples[others]
        overlaps = (starts < end) & (start < starts + index.num_samples[others])
        refused = (index.recording_hash[others] == index.recording_hash[row]) & overlaps | (others == row)
        refused |= self._same_take(row, others)
        if self.training:
            refused |= index.split[others] != files.TRAIN
        allowed: np.ndarray = ~refused
        return allowed

    def _same_take(self, row: int, others: np.ndarray) -> np.ndarray:
        """bool [N]: which of `others` are the target's take under another name, as a copy or a second microphone."""
        index = self.index
        tolerance = SAME_TAKE_S * index.spec.sample_rate_hz / index.spec.hop_samples
        alike = (index.num_tokens[others] == index.num_tokens[row]) & (index.speaker[others] == index.speaker[row])
        alike &= np.abs(index.num_frames[others].astype(np.int64) - int(index.num_frames[row])) <= tolerance
        for place in np.flatnonzero(alike):
            alike[place] = np.array_equal(index.tokens(int(others[place])), index.tokens(row))
        return alike


def crop(num_frames: int, max_frames: int, rng: np.random.Generator) -> tuple[int, int]:
    """(first, last + 1) of min(num_frames, max_frames) frames, from a random place."""
    spare = num_frames - max_frames
    start = int(rng.integers(spare + 1)) if spare > 0 else 0
    return start, start + min(num_frames, max_frames)


def text_of(tokens: np.ndarray, durations: np.ndarray, start: int, end: int) -> np.ndarray:
    """int32: the tokens that frames start…end-1 of an utterance speak, with the marks between them; <bos> and <eos>
    stay outside.

    Args:
        tokens: int32 [S] of the utterance, with <bos> and <eos>.
        durations: int32 [S], frames of each; [0] where nobody knows: then a part has no text, a whole utterance has.
        start, end: the part.
    """
    if not len(durations):
        return tokens[1:-1] if start == 0 else tokens[:0]
    ends = np.cumsum(durations)
    inside = np.flatnonzero((ends > start) & (ends - durations < end) & (durations > 0))
    inside = inside[(inside > 0) & (inside < len(tokens) - 1)]
    return tokens[inside[0] : inside[-1] + 1] if len(inside) else tokens[:0]
