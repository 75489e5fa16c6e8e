"""Voices told apart with what ships in wheels: speech by silero-vad, voices by resemblyzer, groups by scikit-learn.

Windows of speech become vectors (`vall_e.emb.voice`). Average linkage (UPGMA) of their cosine distances finds the
voices, and how many there are where nobody says; a path that seldom changes its voice (Viterbi) then gives each moment
to one.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util

import numpy as np

from vall_e import audio
from vall_e.emb import overlap, voice
from vall_e.emb.asr.diarize import Found, Overlap, Turn
from vall_e.emb.asr.registry import RecogniserOptions
from vall_e.emb.asr.segmenting import pieces
from vall_e.emb.asr.speech import RATE_HZ, find_speech
from vall_e.types import BackendError

PIECE_S, SEARCH_S = 600.0, 60.0
FRAME_S = voice.HOP_SAMPLES / RATE_HZ
STEP_FRAMES = 20  # a window each 0.2 s
LEAST_FRAMES = 40  # of a window that tells a voice; shorter spans of speech go with their neighbours
SAME_VOICE = 0.34  # cosine distance of groups of windows, on average, up to which they are one voice: see docs
LEAST_VOICE_S, LEAST_VOICE_SHARE = 3.0, 0.02  # of speech: smaller groups are no voice but odd moments of another
MOST_WINDOWS = 4_000  # that decide on the voices; their distances take 128 MB
CHANGE = 0.2  # what a change of voice costs, in cosine similarity summed over windows
PAUSE_CHANGE = 0.05  # the same across a pause
ROUNDS = 3  # of giving windows to voices and averaging these again


def load(options: RecogniserOptions) -> EmbeddedDiarizer:
    return EmbeddedDiarizer(options.num_speakers)


class EmbeddedDiarizer:
    """No hub, no account. Overlapping speech is found where whisperx is installed, which brings a model of it.

    Args:
        num_speakers: of each recording; 0: estimated.

    Raises:
        BackendError: a package is missing.
    """

    def __init__(self, num_speakers: int = 0) -> None:
        voice.require("diarize embedded")
        for package in ("silero_vad", "sklearn"):
            if importlib.util.find_spec(package) is None:
                raise BackendError(f"diarize embedded: {package} is missing; {voice.INSTALL}")
        self._num_speakers = num_speakers
        self._finds_overlaps = overlap.is_here()
        self.name_and_version = f"diarized by resemblyzer {importlib.metadata.version('resemblyzer')}"
        if self._finds_overlaps:
            self.name_and_version += " and pyannote's segmentation"

    def find(self, source: audio.Source) -> Found:
        """See Diarizer. Memory: one piece of audio, and 5 kB for each second of speech."""
        overlaps: list[Overlap] = []
        times: list[tuple[float, float]] = []
        firsts: list[bool] = []
        vectors: list[np.ndarray] = []
        for start, samples in pieces(source, RATE_HZ, PIECE_S, SEARCH_S):
            if self._finds_overlaps:
                offset_s = start / RATE_HZ
                overlaps += [Overlap(offset_s + begin, offset_s + end) for begin, end in overlap.find_overlaps(samples)]
            for begin_s, end_s in find_speech(samples):
                frames = voice.mels(samples[round(begin_s * RATE_HZ) : round(end_s * RATE_HZ)])
                if len(frames) < LEAST_FRAMES:
                    continue
                bounds = voice.windows(len(frames), STEP_FRAMES)
                vectors.append(voice.embed([frames[first:last] for first, last in bounds]))
                offset_s = start / RATE_HZ + begin_s
                times += [(offset_s + first * FRAME_S, offset_s + last * FRAME_S) for first, last in bounds]
                firsts += [number == 0 for number in range(len(bounds))]
        if not times:
            return Found(())
        found = turns(np.asarray(times), np.asarray(firsts), np.concatenate(vectors), self._num_speakers)
        return Found(tuple(found), tuple(overlaps))


def turns(times: np.ndarray, firsts: np.ndarray, vectors: np.ndarray, num_speakers: int = 0) -> list[Turn]:
    """Who speaks in which window, as turns.

    Args:
        times: start and end of each window in seconds, in order, [N,2].
        firsts: whether a span of speech begins with the window, [N].
        vectors: unit rows [N,D].
        num_speakers: how many there are; 0: estimated.
    """
    voices = _voices(vectors, _seconds(times, firsts), num_speakers)
    path = np.zeros(len(vectors), np.int64)
    for _ in range(ROUNDS):
        path = _path(vectors @ voices.T, firsts)
        voices = voice.unit(np.stack([vectors[path == each].sum(axis=0) for each in np.unique(path)]))
    path = _path(vectors @ voices.T, firsts)
    return _turns(times, firsts, path)


def _seconds(times: np.ndarray, firsts: np.ndarray) -> np.ndarray:
    """How much speech each window stands for, [N]: its share of the span that it lies in."""
    span = np.cumsum(firsts) - 1
    starts = times[firsts, 0]
    ends = np.append(times[np.flatnonzero(firsts)[1:] - 1, 1], times[-1, 1])
    seconds: np.ndarray = ((ends - starts) / np.bincount(span))[span]
    return seconds


def _voices(vectors: np.ndarray, seconds: np.ndarray, num_speakers: int) -> np.ndarray:
    """Unit vectors of the voices, [V,D], from those of windows and how much speech each stands for."""
    numbers = np.unique(np.linspace(0, len(vectors) - 1, min(len(vectors), MOST_WINDOWS)).astype(int))
    chosen, seconds = vectors[numbers], seconds[numbers] * (len(vectors) / len(numbers))
    if len(chosen) == 1 or num_speakers == 1:
        return voice.unit(chosen.sum(axis=0, keepdims=True))
    from sklearn.cluster import AgglomerativeClustering

    def groups(count: int | None) -> list[np.ndarray]:
        """Masks [N] of groups of windows, those of most speech first."""
        threshold = SAME_VOICE if count is None else None
        made = AgglomerativeClustering(
            n_clusters=count, distance_threshold=threshold, metric="cosine", linkage="average"
        )
        labels = made.fit_predict(chosen.astype(np.float64))
        masks = [labels == each for each in range(labels.max() + 1)]
        return sorted(masks, key=lambda mask: -float(seconds[mask].sum()))

    def is_voice(mask: np.ndarray) -> bool:
        return bool(seconds[mask].sum() >= max(LEAST_VOICE_S, LEAST_VOICE_SHARE * seconds.sum()))

    if num_speakers:
        found = groups(min(num_speakers, len(chosen)))
        count = num_speakers  # odd moments make groups of their own: ask for more until as many voices are large enough
        while sum(map(is_voice, found)) < num_speakers and count < min(4 * num_speakers, len(chosen)):
            count += 1
            found = groups(count)
        found = found[:num_speakers]
    else:
        found = groups(None)
        found = [each for each in found if is_voice(each)] or found[:1]
    return voice.unit(np.stack([chosen[each].sum(axis=0) for each in found]))


def _path(nearness: np.ndarray, firsts: np.ndarray) -> np.ndarray:
    """The voice of each window, [N], of the path of largest `nearness` [N,V] less what its changes cost."""
    num_windows, num_voices = nearness.shape
    total = nearness[0].astype(np.float64)
    came_from = np.zeros((num_windows, num_voices), np.int64)
    for number in range(1, num_windows):
        changed = total.max() - (PAUSE_CHANGE if firsts[number] else CHANGE)
        came_from[number] = np.where(total >= changed, np.arange(num_voices), int(total.argmax()))
        total = np.maximum(total, changed) + nearness[number]
    path = np.zeros(num_windows, np.int64)
    path[-1] = int(total.argmax())
    for number in range(num_windows - 1, 0, -1):
        path[number - 1] = came_from[number, path[number]]
    return path


def _turns(times: np.ndarray, firsts: np.ndarray, path: np.ndarray) -> list[Turn]:
    """Windows of one voice in a row, across pauses too, as turns; a change is halfway between the middles of two."""
    names: dict[int, int] = {}  # by when they are first heard
    found: list[Turn] = []
    for number, each in enumerate(path.tolist()):
        each = names.setdefault(each, len(names))
        start_s, end_s = (float(value) for value in times[number])
        if not firsts[number]:
            before = found[-1]
            if before.voice == each:
                found[-1] = Turn(before.start_s, end_s, each)
                continue
            start_s = float(times[number - 1].mean() + times[number].mean()) / 2
            found[-1] = Turn(before.start_s, start_s, before.voice)
        elif found and found[-1].voice == each:
            found[-1] = Turn(found[-1].start_s, end_s, each)
            continue
        found.append(Turn(start_s, end_s, each))
    return found
