"""Who speaks when, put on a transcript: segments of one speaker each, and what can't be given to one as rejects.

A diarizer finds the turns of each voice (`Found`); what becomes of a transcript is decided here, the same for every
diarizer.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from vall_e import audio
from vall_e.emb.words import split_text
from vall_e.types import (
    UNKNOWN_SPEAKER,
    Recording,
    Reject,
    RejectReason,
    Segment,
    Transcript,
    Word,
    utterance_id,
)

STAGE = "transcribe"
LEAST_SHARE = 0.9  # of the speech in a segment without word times that is its speaker's
OVERLAPPED_SHARE = 0.25  # of a word, from which it is of nobody


@dataclass(frozen=True)
class Turn:
    """A time in which one voice speaks; voices are numbered from 0 by when they are first heard."""

    start_s: float
    end_s: float
    voice: int


@dataclass(frozen=True)
class Overlap:
    """A time in which several voices speak at once."""

    start_s: float
    end_s: float


@dataclass(frozen=True)
class Found:
    """Turns in order of time, which don't overlap; and where several voices speak at once, inside of turns or not."""

    turns: tuple[Turn, ...]
    overlaps: tuple[Overlap, ...] = ()

    @property
    def num_voices(self) -> int:
        return len({turn.voice for turn in self.turns})

    @property
    def changes_s(self) -> tuple[float, ...]:
        """When the voice changes: halfway between two turns."""
        pairs = itertools.pairwise(self.turns)
        return tuple((early.end_s + late.start_s) / 2 for early, late in pairs if early.voice != late.voice)


class Diarizer(Protocol):
    """Tells voices apart in a recording."""

    name_and_version: str

    def find(self, source: audio.Source) -> Found:
        """The turns of each voice.

        Raises:
            AudioError: as `Source.blocks`.
        """
        ...


def voice_name(number: int) -> str:
    """What a voice is called in a transcript.

    Example:
        >>> voice_name(3)
        'SPEAKER_03'
    """
    return f"SPEAKER_{number:02d}"


def tell_apart(
    recording: Recording, transcript: Transcript, found: Found, first_reject: int = 0
) -> tuple[Transcript, tuple[Reject, ...]]:
    """A transcript whose segments have one speaker each, and what could not be given to one.

    Segments whose speaker the corpus names stay as they are, and so do all where one voice was found and the corpus
    names the recording's speaker.

    Args:
        recording: the corpus' own words on who speaks.
        transcript: of the recording.
        found: by a diarizer.
        first_reject: number of the first reject; those before it are of this recording too.
    """
    if not found.turns or (found.num_voices == 1 and recording.speaker != UNKNOWN_SPEAKER):
        return transcript, ()
    segments: list[Segment] = []
    rejects: list[Reject] = []
    for segment in transcript.segments:
        parts = [segment] if segment.speaker is not None else list(_parts(segment, found))
        for part in parts:
            if isinstance(part, Segment):
                segments.append(part)
            else:
                reason, start_s, end_s, detail = part
                rejects.append(
                    Reject(
                        id=utterance_id(recording.id, first_reject + len(rejects)),
                        stage=STAGE,
                        reason=reason,
                        detail=detail,
                        start_s=round(start_s, 3),
                        duration_s=round(end_s - start_s, 3),
                    )
                )
    text = transcript.text if not rejects else " ".join(segment.text for segment in segments)
    return msgspec.structs.replace(transcript, text=text, segments=tuple(segments)), tuple(rejects)


Refused = tuple[RejectReason, float, float, str]  # reason, start, end, detail


def _parts(segment: Segment, found: Found) -> Iterator[Segment | Refused]:
    """A segment cut where its speaker changes."""
    if not segment.words:
        yield _whole(segment, found)
        return
    owners = _owners(segment.words, found)
    text, words = segment.text, segment.words
    while words:
        size = next((n for n, owner in enumerate(owners) if owner != owners[0]), len(words))
        part, text = (text, "") if size == len(words) else split_text(text, words, size)
        start_s = segment.start_s if words[0] is segment.words[0] else words[0].start_s
        end_s = segment.end_s if size == len(words) else words[size - 1].end_s
        if owners[0] is None:
            detail = f"several people speak at once: {' '.join(part.split()[:8])}"
            yield RejectReason.OVERLAPPING_SPEECH, start_s, end_s, detail
        else:
            voice = voice_name(owners[0])
            yield msgspec.structs.replace(
                segment, text=part, start_s=start_s, end_s=end_s, words=words[:size], speaker=voice
            )
        words, owners = words[size:], owners[size:]


def _owners(words: Sequence[Word], found: Found) -> list[int | None]:
    """The voice of each word; None where several speak at once. A word between turns is of the nearest one."""
    starts = [turn.start_s for turn in found.turns]
    owners: list[int | None] = []
    for word in words:
        overlapped_s = sum(_shared_s(word.start_s, word.end_s, each) for each in found.overlaps)
        if overlapped_s > OVERLAPPED_SHARE * max(word.end_s - word.start_s, 1e-3):
            owners.append(None)
            continue
        # turns don't overlap: only those that begin inside the word, the one before them and the one behind matter
        near = found.turns[max(0, bisect_right(starts, word.start_s) - 1) : bisect_right(starts, word.end_s) + 1]
        owners.append(
            max(
                near,
                key=lambda turn: (_shared_s(word.start_s, word.end_s, turn), -_away_s(word.start_s, word.end_s, turn)),
            ).voice
        )
    return owners


def _whole(segment: Segment, found: Found) -> Segment | Refused:
    """A segment without word times, which can't be cut."""
    spoken_s: dict[int, float] = {}
    for turn in found.turns:
        spoken_s[turn.voice] = spoken_s.get(turn.voice, 0.0) + _shared_s(segment.start_s, segment.end_s, turn)
    several_s = sum(_shared_s(segment.start_s, segment.end_s, each) for each in found.overlaps)
    total_s = sum(spoken_s.values())
    voice = max(spoken_s, key=lambda each: spoken_s[each])
    if several_s > (1 - LEAST_SHARE) * total_s:
        detail = f"several people speak at once for {several_s:.1f} s"
        return RejectReason.OVERLAPPING_SPEECH, segment.start_s, segment.end_s, detail
    if spoken_s[voice] < LEAST_SHARE * total_s:
        detail = f"{sum(each > 0 for each in spoken_s.values())} voices in it, and without word times it can't be cut"
        return RejectReason.MIXED_SPEAKERS, segment.start_s, segment.end_s, detail
    if total_s == 0:  # between turns
        voice = min(found.turns, key=lambda turn: _away_s(segment.start_s, segment.end_s, turn)).voice
    return msgspec.structs.replace(segment, speaker=voice_name(voice))


def _shared_s(start_s: float, end_s: float, span: Turn | Overlap) -> float:
    return max(0.0, min(end_s, span.end_s) - max(start_s, span.start_s))


def _away_s(start_s: float, end_s: float, span: Turn | Overlap) -> float:
    return max(0.0, span.start_s - end_s, start_s - span.end_s)
