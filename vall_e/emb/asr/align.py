"""Times for a text that is given: which word is spoken when, what was left out, and what was said besides.

An aligner finds words in the sound (`Placed`); what becomes of them is decided here, the same for every aligner. A part
of the text that is not in the sound, and sound that is not in the text, cost their stretch only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vall_e import audio
from vall_e.types import NoTranscript, Reject, RejectReason, Segment, Transcript, Word, ends_sentence, utterance_id

STAGE = "transcribe"
LEAST_SHARE = 0.5  # of the words that must be found, else the text is taken to be of another recording
PAUSE_S = 1.0  # where a segment ends, whatever the text
LONG_S = 6.0  # a segment of this length ends with its sentence
OTHER_SOUND_S = 0.5  # of speech that is not in the text and is worth a word


@dataclass(frozen=True)
class Placed:
    """A word of the text where it is spoken.

    Attributes:
        index: of the word among those of the text, from 0.
        score: how well it fits, 0 … 1.
    """

    index: int
    start_s: float
    end_s: float
    score: float


@dataclass(frozen=True)
class Other:
    """Speech that is none of the text."""

    start_s: float
    end_s: float


def in_order(
    windows: Iterable[tuple[int, np.ndarray]], rate_hz: int, find: Callable[[np.ndarray, int], Iterable[Placed | Other]]
) -> Iterator[Placed | Other]:
    """What an aligner finds window by window, on the recording's clock, in order of time and of the text.

    Args:
        windows: (start in samples, samples [n]) of each.
        rate_hz: of the samples.
        find: samples and the first word that is not spoken yet → what is in them, from their start.
    """
    at, floor_s = 0, 0.0
    for start, samples in windows:
        for found in find(samples, at):
            begin_s = max(floor_s, start / rate_hz + found.start_s)
            end_s = max(begin_s, start / rate_hz + found.end_s)
            if isinstance(found, Other):
                yield Other(begin_s, end_s)
            elif found.index >= at:
                at, floor_s = found.index + 1, end_s
                yield Placed(found.index, begin_s, end_s, found.score)


class Aligner(Protocol):
    """Finds the words of a text in a recording of any length, window by window."""

    name_and_version: str

    def supports(self, language: str) -> bool: ...

    def place(self, source: audio.Source, words: Sequence[str], language: str) -> Iterator[Placed | Other]:
        """The words that are spoken, in order of time and of the text; and speech besides.

        Args:
            source: the recording.
            words: of the text, as written.
            language: of the text.
        """
        ...


@dataclass(frozen=True)
class Alignment:
    """A transcript with word times, and what did not fit."""

    transcript: Transcript
    rejects: tuple[Reject, ...]


def align(aligner: Aligner, source: audio.Source, transcript: Transcript) -> Alignment | NoTranscript:
    """Puts times on the words of a transcript's text; NoTranscript where too little of it is in the sound."""
    words = transcript.text.split()
    placed: list[Placed] = []
    others: list[Other] = []
    for found in aligner.place(source, words, transcript.language):
        if isinstance(found, Placed):
            placed.append(found)
        else:
            others.append(found)
    spoken = sum(any(char.isalnum() for char in word) for word in words)
    if len(placed) < LEAST_SHARE * spoken or not placed:
        detail = (
            f"{len(placed):,} of {spoken:,} words of its text are in the sound: is it the text of another recording?"
        )
        return NoTranscript(reason=RejectReason.TEXT_MISMATCH, detail=detail, final=True)
    segments = tuple(_segments(words, placed, others))
    aligned = Transcript(
        recording_id=transcript.recording_id,
        language=transcript.language,
        language_prob=transcript.language_prob,
        text=" ".join(segment.text for segment in segments),
        segments=segments,
        backend=f"{transcript.backend}, {aligner.name_and_version}",
    )
    return Alignment(aligned, tuple(_rejects(transcript.recording_id, words, placed, others)))


def _segments(words: Sequence[str], placed: Sequence[Placed], others: Sequence[Other]) -> Iterator[Segment]:
    """Runs of words that follow each other in the text and in time, cut at pauses and behind sentences."""
    run: list[Placed] = []
    for word in placed:
        if run and _ends(words, run, word, others):
            yield _segment(words, run)
            run = []
        run.append(word)
    if run:
        yield _segment(words, run)


def _ends(words: Sequence[str], run: Sequence[Placed], following: Placed, others: Sequence[Other]) -> bool:
    last = run[-1]
    between = words[last.index + 1 : following.index]
    if any(any(char.isalnum() for char in word) for word in between) or following.start_s - last.end_s > PAUSE_S:
        return True
    if any(last.end_s <= other.start_s < following.start_s for other in others):
        return True
    return ends_sentence(words[following.index - 1]) and last.end_s - run[0].start_s >= LONG_S


def _segment(words: Sequence[str], run: Sequence[Placed]) -> Segment:
    """The text of a run with the marks that stand between its words."""
    after = run[-1].index + 1
    while after < len(words) and not any(char.isalnum() for char in words[after]):
        after += 1
    text = " ".join(words[run[0].index : after])
    found = tuple(
        Word(text=words[word.index], start_s=round(word.start_s, 3), end_s=round(word.end_s, 3), score=word.score)
        for word in run
    )
    return Segment(text=text, start_s=found[0].start_s, end_s=found[-1].end_s, words=found)


def _rejects(
    recording_id: str, words: Sequence[str], placed: Sequence[Placed], others: Sequence[Other]
) -> Iterator[Reject]:
    number = 0
    bounds = [(-1, 0.0), *((word.index, word.end_s) for word in placed), (len(words), placed[-1].end_s)]
    for (index, end_s), (following, _) in zip(bounds, bounds[1:], strict=False):
        missing = [word for word in words[index + 1 : following] if any(char.isalnum() for char in word)]
        if missing:
            shown = " ".join(missing[:8]) + (" …" if len(missing) > 8 else "")
            detail = f"{len(missing)} words of the text are not in the sound: {shown}"
            yield _reject(recording_id, number, detail, end_s, 0.0)
            number += 1
    for other in others:
        if other.end_s - other.start_s >= OTHER_SOUND_S:
            detail = f"speech of {other.end_s - other.start_s:.1f} s that is not in the text"
            yield _reject(recording_id, number, detail, other.start_s, other.end_s - other.start_s)
            number += 1


def _reject(recording_id: str, number: int, detail: str, start_s: float, duration_s: float) -> Reject:
    return Reject(
        id=utterance_id(recording_id, number),
        stage=STAGE,
        reason=RejectReason.TEXT_MISMATCH,
        detail=detail,
        start_s=round(start_s, 3),
        duration_s=round(duration_s, 3),
    )


Say = Callable[[str, str], str]  # a word as written, a language → as it is said
