"""PocketSphinx: speech recognition of English on one core; its model ships inside its wheel.

https://cmusphinx.github.io. Speech is found by the package's own endpointer (WebRTC's voice activity detector), and
each span of speech is decoded on its own, so that a result does not depend on what was decoded before.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from vall_e import audio
from vall_e.emb.asr import segmenting
from vall_e.emb.asr.registry import RecogniserOptions
from vall_e.types import BackendError, NoTranscript, RejectReason, Segment, Transcript, Word

RATE_HZ = 16_000
FRAMES_PER_S = 100  # of the decoder
LANGUAGE = "en"
PAD = round(0.3 * RATE_HZ)  # the endpointer misses soft onsets (docs/transcribe.md has figures)
LONGEST = 30 * RATE_HZ  # of one decoding; music can keep the endpointer open for an hour
SEARCH = 10 * RATE_HZ
HISTORY = 1 * RATE_HZ  # speech is reported some frames late; this much of the past is kept for its onset


def load(options: RecogniserOptions) -> PocketSphinx:
    return PocketSphinx()


class PocketSphinx:
    """Segments with word times and scores (posterior probabilities); one segment per span of speech.

    Raises:
        BackendError: at construction, where the package is missing.
    """

    def __init__(self) -> None:
        if importlib.util.find_spec("pocketsphinx") is None:
            raise BackendError('pocketsphinx: the package is missing; pip install "vall-e[pocketsphinx]"')
        self.name_and_version = f"pocketsphinx {importlib.metadata.version('pocketsphinx')}"

    def transcribe(self, sources: Sequence[audio.Source], language: str | None) -> list[Transcript | NoTranscript]:
        """One result per source, in order. An unknown language (None) is taken to be English."""
        if language not in (None, LANGUAGE):
            detail = f"pocketsphinx knows English only, this is {language!r}; put the text beside it or use whisperx"
            return [NoTranscript(reason=RejectReason.LANGUAGE_UNSUPPORTED, detail=detail)] * len(sources)
        return segmenting.each(sources, self._transcribe_one)

    def _transcribe_one(self, source: audio.Source) -> Transcript | NoTranscript:
        others = {segment.language for segment in source.recording.segments} - {None, LANGUAGE}
        if others:
            detail = f"pocketsphinx knows English only, some of it is {' and '.join(sorted(map(repr, others)))}"
            return NoTranscript(reason=RejectReason.LANGUAGE_UNSUPPORTED, detail=detail)
        spans = utterances(source.blocks(RATE_HZ, segmenting.BLOCK_S))
        found = [segment for start, samples in spans if (segment := self._decode(start, samples)) is not None]
        if not found:
            return NoTranscript(reason=RejectReason.NO_SPEECH, detail="pocketsphinx found no word in it")
        segments = segmenting.segments_in_order(found, source.recording.duration_s)
        return Transcript(
            recording_id=source.recording.id,
            language=LANGUAGE,
            language_prob=None,
            text=" ".join(segment.text for segment in segments),
            segments=segments,
            backend=self.name_and_version,
        )

    @functools.cached_property
    def _decoder(self) -> Any:
        import pocketsphinx

        return pocketsphinx.Decoder(samprate=RATE_HZ, frate=FRAMES_PER_S, loglevel="FATAL")

    def _decode(self, start: int, samples: np.ndarray) -> Segment | None:
        """The segment of int16 samples [n] that begin at sample `start`; None where no word is in them."""
        decoder = self._decoder
        decoder.reinit_feat()  # forgets the means of earlier utterances, which would colour this one
        decoder.start_utt()
        decoder.process_raw(samples.tobytes(), full_utt=True)
        decoder.end_utt()
        begin_s, end_s = start / RATE_HZ, (start + len(samples)) / RATE_HZ
        if decoder.hyp() is None:
            return None
        words = segmenting.in_order(
            (
                Word(
                    text=re.sub(r"\(\d+\)$", "", entry.word),  # the(2) is another pronunciation of the
                    start_s=round(begin_s + entry.start_frame / FRAMES_PER_S, 3),
                    end_s=round(begin_s + (entry.end_frame + 1) / FRAMES_PER_S, 3),
                    score=round(min(1.0, max(0.0, entry.prob)), 4),
                )
                for entry in decoder.seg()
                if entry.word[0] not in "<[+"  # <s>, <sil>, [NOISE], ++UM++
            ),
            begin_s,
            end_s,
        )
        text = " ".join(word.text for word in words)
        return Segment(text=text, start_s=begin_s, end_s=end_s, words=words) if words else None


def utterances(blocks: Iterator[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
    """(start in samples, int16 [n]) of each span of speech in float32 blocks at 16 kHz; none overlap.

    Memory holds one block and one span; a span longer than `LONGEST` is cut where it is quietest.
    """
    import pocketsphinx

    endpointer = pocketsphinx.Endpointer(sample_rate=RATE_HZ)
    frame = endpointer.frame_bytes // 2
    kept, base, fed, floor = np.zeros(0, np.int16), 0, 0, 0  # kept[0] is sample `base`; spoken for up to `floor`
    start: int | None = None  # of the span that is open

    for block in blocks:
        kept = np.concatenate([kept, to_int16(block)])
        # the endpointer never sees the last frame, whole or not: a span that is open there continues to the end
        while base + len(kept) - fed > frame:
            endpointer.process(kept[fed - base : fed - base + frame].tobytes())
            fed += frame
            if start is None and endpointer.in_speech:
                start = max(floor, round(endpointer.speech_start * RATE_HZ) - PAD)
            end = None
            if start is not None and not endpointer.in_speech:
                end = min(fed, round(endpointer.speech_end * RATE_HZ) + PAD)
            elif start is not None and fed - start > LONGEST:
                end = base + segmenting.quietest(kept, fed - SEARCH - base, fed - base, frame)
            if start is not None and end is not None:
                yield start, kept[start - base : end - base]
                start, floor = (end if endpointer.in_speech else None), end
        drop = max(0, (fed - HISTORY if start is None else start) - base)
        kept, base = kept[drop:], base + drop
    if start is not None:
        yield start, kept[start - base :]


def to_int16(samples: np.ndarray) -> np.ndarray:
    """Float32 [n] → int16 [n], as the decoder takes them."""
    return np.clip(np.round(samples * 32767.0), -32768, 32767).astype("<i2")
