"""Which frames of an utterance belong to which phone, learnt from codes and phonemes alone.

A hidden Markov model that only moves forward (Rabiner, "A tutorial on hidden Markov models", 1989, section IV): each
phone is a row of sub-states, each pause one state that may be left out, and a state tells how likely each code of the
first levels is. Training starts from frames dealt out evenly, and repeats: find the best path of each utterance
(Viterbi), then count the codes that each state has on it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from vall_e.units import PHONE, Units, kinds_of, units_of

SILENCE = "<pause>"
PRIOR = 40.0  # frames that the codes of the whole corpus count in each state's
PAUSE_COST = 2.0  # nats: an optional pause is rare
FINE_HZ = 40.0  # above this frame rate a phone has two sub-states, else one
BATCH_CELLS = 4_000_000  # frames × states of a batch
NEVER = np.float32(-1e30)
IMPOSSIBLE = -1e20


class Path(NamedTuple):
    """The best path of one utterance.

    durations: int64 [S], frames of each token, <bos> and <eos> included, summing to T; states: int64 [T]; log_prob:
    nats a frame of the codes on the path.
    """

    durations: np.ndarray
    states: np.ndarray
    log_prob: float


@dataclass(frozen=True)
class Spelling:
    """A text as states.

    Attributes:
        num_tokens: S, with <bos> and <eos>.
        units: its units.
        states: int64 [N], the state of each place of the chain.
        owner: int64 [N], the unit of each place.
        optional: bool [N].
        windows: (first, last place, first, last frame) outside of which those places have no frames.
    """

    num_tokens: int
    units: Units
    states: np.ndarray
    owner: np.ndarray
    optional: np.ndarray
    windows: tuple[tuple[int, int, float, float], ...] = ()

    @property
    def least_frames(self) -> int:
        """The fewest frames that the text can take."""
        return int((~self.optional).sum())


class Model:
    """Log-probabilities of codes in each state.

    Args:
        names: SILENCE, then the phones.
        sub_states: of a phone.
        log_probs: float32 [L,C,N] of L levels, C codes, N states.
    """

    def __init__(self, names: Sequence[str], sub_states: int, log_probs: np.ndarray) -> None:
        self.names, self.sub_states, self.log_probs = tuple(names), sub_states, log_probs
        self._first = {name: 1 + sub_states * (number - 1) for number, name in enumerate(names)}
        self._first[SILENCE] = 0

    @property
    def num_levels(self) -> int:
        return len(self.log_probs)

    def spell(self, phonemes: str) -> Spelling:
        """The states of a text; a phone that training did not have is a pause that takes a frame."""
        kinds = kinds_of(phonemes)
        units = units_of(kinds)
        states: list[int] = []
        owner: list[int] = []
        optional: list[bool] = []
        for number, place in enumerate(units.places.tolist()):
            is_phone = kinds[place] == PHONE and phonemes[place - 1] in self._first
            first = self._first[phonemes[place - 1]] if is_phone else 0
            size = self.sub_states if is_phone else 1
            states += range(first, first + size)
            owner += [number] * size
            optional += [bool(units.optional[number])] * size
        return Spelling(len(kinds), units, np.array(states), np.array(owner), np.array(optional))

    def frame_log_probs(self, codes: np.ndarray) -> np.ndarray:
        """float32 [T,N] of integers [K,T]: how likely each frame's codes are in each state, summed over the levels."""
        total: np.ndarray = self.log_probs[0][codes[0]]
        for level in range(1, self.num_levels):
            total = total + self.log_probs[level][codes[level]]
        return total


def align(model: Model, items: Sequence[tuple[np.ndarray, Spelling]]) -> list[Path | None]:
    """The best path of each (codes [K,T], text); None where the text has more states than there are frames.

    Where no path keeps within a text's windows, they are left out.
    """
    paths: list[Path | None] = [None] * len(items)
    able = [number for number, (codes, text) in enumerate(items) if text.least_frames <= codes.shape[1]]
    able.sort(key=lambda number: items[number][0].shape[1])
    while able:
        batch: list[int] = []
        while able and _cells([items[number] for number in (*batch, able[-1])]) <= BATCH_CELLS or not batch:
            batch.append(able.pop())
        for number, path in zip(batch, _viterbi(model, [items[number] for number in batch]), strict=True):
            paths[number] = path
    again = [number for number, path in enumerate(paths) if path is not None and path.log_prob < IMPOSSIBLE]
    if again:
        free = [(items[number][0], dataclasses.replace(items[number][1], windows=())) for number in again]
        for number, unbound in zip(again, align(model, free), strict=True):
            paths[number] = unbound
    return paths


def within(text: Spelling, windows: Sequence[tuple[int, float, float]]) -> Spelling:
    """With (token, first frame, last frame) for tokens whose frames are known to lie there."""
    unit_of = {place: unit for unit, place in enumerate(text.units.places.tolist())}
    found = []
    for token, begin, end in windows:
        places = np.flatnonzero(text.owner == unit_of[token])
        found.append((int(places[0]), int(places[-1]) + 1, begin, end))
    return dataclasses.replace(text, windows=tuple(found))


def _cells(items: Sequence[tuple[np.ndarray, Spelling]]) -> int:
    longest = max(codes.shape[1] for codes, _ in items)
    return len(items) * longest * max(len(text.states) for _, text in items)


def _viterbi(model: Model, items: Sequence[tuple[np.ndarray, Spelling]]) -> list[Path]:
    lengths = np.array([codes.shape[1] for codes, _ in items])
    sizes = np.array([len(text.states) for _, text in items])
    num_frames, num_states, count = int(lengths.max()), int(sizes.max()), len(items)
    emitted = np.full((num_frames, count, num_states), NEVER, np.float32)
    leap = np.zeros((count, num_states), bool)  # whether the state before may be left out
    cost = np.zeros((count, num_states), np.float32)  # of entering a state
    for row, (codes, text) in enumerate(items):
        own = emitted[: codes.shape[1], row, : len(text.states)]
        own[:] = model.frame_log_probs(codes)[:, text.states]
        for first, last, begin, end in text.windows:
            own[: max(0, int(np.floor(begin))), first:last] = NEVER
            own[max(0, int(np.ceil(end))) :, first:last] = NEVER
        leap[row, 1 : len(text.states)] = text.optional[:-1]
        cost[row, : len(text.states)] = PAUSE_COST * text.optional
    best = np.full((count, num_states), NEVER, np.float32)
    best[:, 0] = emitted[0, :, 0]
    came = np.zeros((num_frames, count, num_states), np.int8)  # how many places back
    final = np.full((count, num_states), NEVER, np.float32)
    final[lengths == 1] = best[lengths == 1]
    step, jump = np.full_like(best, NEVER), np.full_like(best, NEVER)
    for frame in range(1, num_frames):
        step[:, 1:] = best[:, :-1] - cost[:, 1:]
        jump[:, 2:] = np.where(leap[:, 2:], best[:, :-2], NEVER)
        move = came[frame]
        further = np.maximum(step, jump)
        move[:] = np.where(further > best, np.where(jump > step, 2, 1), 0)
        best = np.maximum(best, further) + emitted[frame]
        ended = lengths == frame + 1
        final[ended] = best[ended]
    place = sizes - 1
    rows = np.arange(count)
    before_last = np.array([len(text.states) > 1 and bool(text.optional[-1]) for _, text in items])
    at_end = final[rows, place]
    earlier = np.where(before_last, final[rows, np.maximum(place - 1, 0)], NEVER)
    place = np.where(earlier > at_end, place - 1, place)
    total = np.maximum(at_end, earlier)
    places = np.zeros((num_frames, count), np.int64)
    for frame in range(num_frames - 1, -1, -1):
        places[frame] = place
        place = np.where(lengths > frame, place - came[frame, rows, place], place)
    return [
        _path(text, places[: lengths[row], row], float(total[row] / lengths[row]))
        for row, (_, text) in enumerate(items)
    ]


def _path(text: Spelling, places: np.ndarray, log_prob: float) -> Path:
    """Of the place in the chain of each frame, int64 [T]."""
    of_unit = np.bincount(text.owner[places], minlength=len(text.units.places))
    durations = np.zeros(text.num_tokens, np.int64)
    durations[text.units.places] = of_unit
    return Path(durations, text.states[places], log_prob)


def evenly(text: Spelling, num_frames: int) -> Path:
    """Frames dealt out evenly to all states but the pauses inside: where training starts."""
    ends = (text.owner == 0) | (text.owner == len(text.units.places) - 1)
    kept = np.flatnonzero(ends | ~text.optional)
    places = kept[np.arange(num_frames) * len(kept) // num_frames]
    return _path(text, places, 0.0)


class Counts:
    """How often each code comes in each state.

    Args:
        num_levels: L. codebook_size: C. num_states: N.
    """

    def __init__(self, num_levels: int, codebook_size: int, num_states: int) -> None:
        self.of = np.zeros((num_levels, codebook_size, num_states), np.float64)

    def add(self, codes: np.ndarray, states: np.ndarray) -> None:
        """Integers [K,T], and the state of each frame, int64 [T]."""
        _, size, num_states = self.of.shape
        for level, counts in enumerate(self.of):
            flat = codes[level].astype(np.int64) * num_states + states
            counts += np.bincount(flat, minlength=size * num_states).reshape(size, num_states)

    def model(self, names: Sequence[str], sub_states: int) -> Model:
        """Their shares, each state's mixed with those of the whole corpus as if it had PRIOR frames more."""
        whole = self.of.sum(axis=2) + 1.0
        background = whole / whole.sum(axis=1, keepdims=True)
        total = self.of.sum(axis=1)  # [L,N]
        share = (self.of + PRIOR * background[:, :, None]) / (total[:, None, :] + PRIOR)
        return Model(names, sub_states, np.log(share).astype(np.float32))
