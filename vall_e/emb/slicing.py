"""Where a recording is cut: slices whose edges never reach into a neighbouring word.

All arithmetic is in whole samples of the recording's own rate; a time becomes a sample once, by `seconds_to_samples`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec
import numpy as np

from vall_e.emb.words import sentence_ends, split_text
from vall_e.types import (
    Recording,
    Reject,
    RejectReason,
    Segment,
    Transcript,
    Word,
    seconds_to_samples,
    utterance_id,
)

STAGE = "process"
MARGIN_S = 0.2  # of silence kept on each side of a slice, as far as the gap to the neighbouring word allows
FRAME_S, SILENT_DB = 0.01, -45.0  # what is silence around speech: frames below the loud ones of the slice
LOUD_SHARE, LOUD_FRAMES = 0.05, 20  # of a slice, that are the loud ones: the fewer
SENTENCE_S = 0.3  # by which the end of a sentence is preferred to a pause
TOLERANCE_S = 0.5  # by which recognisers may place the last word behind the end of the audio


@dataclass(frozen=True, kw_only=True)
class Slice:
    """A span of one recording and what is said in it; word times count from the slice's start.

    `language` is None where it is the transcript's.
    """

    id: str
    start_samples: int
    num_samples: int
    text: str
    words: tuple[Word, ...]
    speaker: str
    language: str | None = None


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How to cut.

    Attributes:
        mode: auto, true or false; see `plan_slices`.
        max_duration_s: longer segments are split.
        check: (utterance id, seconds, text) → a reject of a slice that is not wanted.
    """

    mode: str
    max_duration_s: float
    check: Callable[[str, float, str], Reject | None]


@dataclass(frozen=True)
class Speech:
    """Text with its edges in samples: [first, last) is speech; words are on the recording's clock."""

    text: str
    first: int
    last: int
    words: tuple[Word, ...]
    speaker: str | None
    language: str | None = None


def plan_slices(
    recording: Recording, transcript: Transcript, limits: Limits, speakers: Mapping[str, str] | None = None
) -> tuple[list[Slice], list[Reject]]:
    """Slices of a recording in order of time, and the spans that can't become one, each with its reason.

    `auto` takes the whole file unless it is longer than the maximum or has several segments. A segment that is too long
    is split at its widest gaps between words. `speakers` are those of the recording's voices that have a name in other
    recordings too.
    """
    transcript = _named(recording, transcript, speakers or {})
    wants_segments = len(transcript.segments) > 1 or recording.duration_s > limits.max_duration_s
    if limits.mode == "true" or (limits.mode == "auto" and wants_segments):
        return _plan_segments(recording, transcript, limits)
    reject = _check(recording.id, recording.num_samples, transcript.text, recording, limits)
    if reject:
        return [], [reject]
    found = {segment.speaker or recording.speaker for segment in transcript.segments} or {recording.speaker}
    if len(found) > 1:
        detail = f"{len(found)} people speak in it, and it is not cut: --slice auto cuts it"
        return [], [Reject(id=recording.id, stage=STAGE, reason=RejectReason.MIXED_SPEAKERS, detail=detail)]
    languages = {segment.language for segment in transcript.segments} or {None}
    if len(languages) > 1:
        detail = f"{len(languages)} languages are spoken in it, and it is not cut: --slice auto cuts it"
        return [], [Reject(id=recording.id, stage=STAGE, reason=RejectReason.LANGUAGE_UNSUPPORTED, detail=detail)]
    words = tuple(word for segment in transcript.segments for word in segment.words)
    return [_whole(recording, transcript.text, words, found.pop(), languages.pop())], []


def _named(recording: Recording, transcript: Transcript, speakers: Mapping[str, str]) -> Transcript:
    """With speakers that mean the same in every recording, in place of the voices that a diarizer told apart.

    'SPEAKER_00' of two recordings are two people; only a name that the corpus gives, or that links voices, is not.
    """
    given = {segment.speaker for segment in recording.segments}
    segments = tuple(
        segment
        if segment.speaker is None or segment.speaker in given
        else msgspec.structs.replace(
            segment, speaker=speakers.get(segment.speaker, f"{recording.id}#{segment.speaker}")
        )
        for segment in transcript.segments
    )
    return msgspec.structs.replace(transcript, segments=segments)


def _whole(recording: Recording, text: str, words: tuple[Word, ...], speaker: str, language: str | None) -> Slice:
    return Slice(
        id=utterance_id(recording.id, None),
        start_samples=0,
        num_samples=recording.num_samples,
        text=text,
        words=words,
        speaker=speaker,
        language=language,
    )


def _plan_segments(recording: Recording, transcript: Transcript, limits: Limits) -> tuple[list[Slice], list[Reject]]:
    if not transcript.segments:
        detail = "the transcript has no segments"
        return [], [Reject(id=recording.id, stage=STAGE, reason=RejectReason.NO_TEXT, detail=detail)]
    max_samples = int(limits.max_duration_s * recording.sample_rate_hz)
    pieces = []
    for segment in transcript.segments:
        piece = _piece(segment, recording)
        pieces += split(piece, max_samples, recording.sample_rate_hz)
    slices, rejects, floor = [], [], 0
    for index, piece in enumerate(pieces):
        # the gap to a neighbour is shared: each may widen to its middle, so that slices never share a sample
        lowest = (pieces[index - 1].last + piece.first + 1) // 2 if index else 0
        highest = (piece.last + pieces[index + 1].first) // 2 if index + 1 < len(pieces) else recording.num_samples
        bounds = (max(lowest, floor), highest)  # the floor holds back segments that jump back in time
        planned = _cut(utterance_id(recording.id, index), piece, bounds, recording, limits)
        if isinstance(planned, Slice):
            slices.append(planned)
            floor = planned.start_samples + planned.num_samples
        else:
            rejects.append(_located(planned, piece, recording))
    return slices, rejects


def _located(reject: Reject, piece: Speech, recording: Recording) -> Reject:
    """With the part of the recording that is lost."""
    first, last = (min(max(0, edge), recording.num_samples) for edge in (piece.first, piece.last))
    return msgspec.structs.replace(
        reject,
        start_s=round(first / recording.sample_rate_hz, 6),
        duration_s=round(max(0, last - first) / recording.sample_rate_hz, 6),
    )


def _piece(segment: Segment, recording: Recording) -> Speech:
    """The span that a segment's words take, or its own times where it has no words."""
    start_s = segment.words[0].start_s if segment.words else segment.start_s
    end_s = segment.words[-1].end_s if segment.words else segment.end_s
    rate_hz = recording.sample_rate_hz
    last = seconds_to_samples(end_s, rate_hz)
    if 0 < last - recording.num_samples <= TOLERANCE_S * rate_hz:
        last = recording.num_samples
    first = seconds_to_samples(start_s, rate_hz)
    return Speech(segment.text, first, last, segment.words, segment.speaker, segment.language)


def split(piece: Speech, max_samples: int, sample_rate_hz: int) -> list[Speech]:
    """Halves at the widest gap between words until every part is short enough or has one word.

    A gap behind a sentence counts as SENTENCE_S wider. The middle wins among gaps of the same width, so that parts are
    of like length.
    """
    if piece.last - piece.first <= max_samples or len(piece.words) < 2:
        return [piece]
    words = piece.words
    ends = sentence_ends(piece.text, words)
    gaps = [
        late.start_s - early.end_s + SENTENCE_S * end for early, late, end in zip(words, words[1:], ends, strict=False)
    ]
    at = max(range(1, len(words)), key=lambda n: (gaps[n - 1], -abs(n - len(words) / 2)))
    left_text, right_text = split_text(piece.text, words, at)
    end = seconds_to_samples(words[at - 1].end_s, sample_rate_hz)
    start = seconds_to_samples(words[at].start_s, sample_rate_hz)
    left = dataclasses.replace(piece, text=left_text, last=end, words=words[:at])
    right = dataclasses.replace(piece, text=right_text, first=start, words=words[at:])
    return split(left, max_samples, sample_rate_hz) + split(right, max_samples, sample_rate_hz)


def _cut(item_id: str, piece: Speech, bounds: tuple[int, int], recording: Recording, limits: Limits) -> Slice | Reject:
    """Widens a piece into the silence around it, inside `bounds`."""
    rate_hz = recording.sample_rate_hz
    lowest, highest = bounds
    if not 0 <= lowest <= piece.first < piece.last <= highest <= recording.num_samples:
        detail = (
            f"speech at {piece.first / rate_hz:.2f}..{piece.last / rate_hz:.2f} s overlaps its neighbours "
            f"or leaves the {recording.duration_s:.2f} s of audio"
        )
        return Reject(id=item_id, stage=STAGE, reason=RejectReason.BAD_TIMES, detail=detail)
    margin = seconds_to_samples(MARGIN_S, rate_hz)
    spare = int(limits.max_duration_s * rate_hz) - (piece.last - piece.first)
    margin = min(margin, max(0, spare) // 2)  # where speech alone just fits, its margins give way
    start, end = max(piece.first - margin, lowest), min(piece.last + margin, highest)
    reject = _check(item_id, end - start, piece.text, recording, limits)
    if reject:
        return reject
    return Slice(
        id=item_id,
        start_samples=start,
        num_samples=end - start,
        text=piece.text,
        words=tuple(_shift(word, start / rate_hz) for word in piece.words),
        speaker=piece.speaker or recording.speaker,
        language=piece.language,
    )


def trim(cut: Slice, samples: np.ndarray, rate_hz: int) -> tuple[Slice, np.ndarray]:
    """Without the silence around speech, but for MARGIN_S: frames far below the loud ones; words are never cut.

    Args:
        cut: the slice that the samples are of.
        samples: mono float32 [n] at `rate_hz`.
    """
    size = seconds_to_samples(FRAME_S, rate_hz)
    count = len(samples) // size
    power = np.mean(np.square(samples[: count * size].reshape(count, size), dtype=np.float64), axis=1)
    if not count:
        return cut, samples
    level = np.quantile(power, 1 - min(LOUD_SHARE, LOUD_FRAMES / count))
    loud = np.flatnonzero(power > level * 10 ** (SILENT_DB / 10))
    if not len(loud):
        return cut, samples
    margin = seconds_to_samples(MARGIN_S, rate_hz)
    first, last = int(loud[0]) * size, (int(loud[-1]) + 1) * size
    if cut.words:
        first = min(first, seconds_to_samples(cut.words[0].start_s, rate_hz))
        last = max(last, seconds_to_samples(cut.words[-1].end_s, rate_hz))
    first, last = max(0, first - margin), min(len(samples), last + margin)
    if len(samples) - last < size:  # a rest of a frame
        last = len(samples)
    words = tuple(_shift(word, first / rate_hz) for word in cut.words)
    trimmed = dataclasses.replace(cut, start_samples=cut.start_samples + first, num_samples=last - first, words=words)
    return trimmed, samples[first:last]


def _shift(word: Word, by_s: float) -> Word:
    start_s, end_s = max(0.0, word.start_s - by_s), max(0.0, word.end_s - by_s)
    return msgspec.structs.replace(word, start_s=round(start_s, 6), end_s=round(end_s, 6))


def _check(item_id: str, num_samples: int, text: str, recording: Recording, limits: Limits) -> Reject | None:
    duration_s = num_samples / recording.sample_rate_hz
    if not text.strip():
        return Reject(id=item_id, stage=STAGE, reason=RejectReason.NO_TEXT, detail="the transcript has no words here")
    return limits.check(item_id, duration_s, text)
