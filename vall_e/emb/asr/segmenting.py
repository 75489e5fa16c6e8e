"""What the transcribers share: reading in pieces, cutting where it is quiet, times that keep their promises."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec
import numpy as np

from vall_e import audio
from vall_e.types import NoTranscript, Segment, Transcript, Word

BLOCK_S = 20.0
QUIET_S = 0.03  # what is compared when looking for a quiet place


def each(
    sources: Sequence[audio.Source], transcribe: Callable[[audio.Source], Transcript | NoTranscript]
) -> list[Transcript | NoTranscript]:
    """`transcribe` of each source; a damaged file costs one item, not the batch."""
    return [_transcribe_one(source, transcribe) for source in sources]


def _transcribe_one(
    source: audio.Source, transcribe: Callable[[audio.Source], Transcript | NoTranscript]
) -> Transcript | NoTranscript:
    try:
        return transcribe(source)
    except audio.AudioError as error:
        return NoTranscript(reason=error.reason, detail=error.detail, final=True)


def quietest(samples: np.ndarray, first: int, last: int, frame: int) -> int:
    """The middle of the `frame` with least energy among samples[first:last] ([n]), the earliest where several have."""
    num = (last - first) // frame
    if num < 1:
        return last
    window = samples[first : first + num * frame].astype(np.float64).reshape(num, frame)
    return first + int(np.argmin(np.square(window).sum(axis=1))) * frame + frame // 2


def pieces(source: audio.Source, rate_hz: int, piece_s: float, search_s: float) -> Iterator[tuple[int, np.ndarray]]:
    """(start in samples, mono float32 [n]) of consecutive pieces at `rate_hz`, at most `piece_s` long.

    A cut falls on the quietest place of the last `search_s` of a piece, seldom inside a word. Memory holds two pieces.

    Raises:
        AudioError: as `Source.blocks`.
    """
    longest, search, frame = round(piece_s * rate_hz), round(search_s * rate_hz), round(QUIET_S * rate_hz)
    gathered: list[np.ndarray] = []
    have = start = 0
    for block in source.blocks(rate_hz, BLOCK_S):
        gathered.append(block)
        have += len(block)
        while have > longest:
            joined = np.concatenate(gathered)
            cut = quietest(joined, longest - search, longest, frame)
            yield start, joined[:cut]
            gathered, have, start = [joined[cut:]], have - cut, start + cut
    if have:
        yield start, np.concatenate(gathered)


def in_order(words: Iterable[Word], start_s: float, end_s: float) -> tuple[Word, ...]:
    """Words as given, their times made to lie in start_s..end_s, in order and without overlap."""
    ordered: list[Word] = []
    floor = start_s
    for word in words:
        begin = min(max(word.start_s, floor), end_s)
        floor = min(max(word.end_s, begin), end_s)
        ordered.append(msgspec.structs.replace(word, start_s=begin, end_s=floor))
    return tuple(ordered)


def segments_in_order(segments: Iterable[Segment], duration_s: float) -> tuple[Segment, ...]:
    """Segments, and the words in them, inside the recording, in order and without overlap."""
    ordered: list[Segment] = []
    floor = 0.0
    for segment in segments:
        begin = min(max(segment.start_s, floor), duration_s)
        floor = min(max(segment.end_s, begin), duration_s)
        words = in_order(segment.words, begin, floor)
        ordered.append(msgspec.structs.replace(segment, start_s=begin, end_s=floor, words=words))
    return tuple(ordered)


def one_line(text: str) -> str:
    """White space of any kind and length as single spaces, none at the ends."""
    return " ".join(text.split())
