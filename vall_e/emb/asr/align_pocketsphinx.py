"""Alignment by pocketsphinx: each span of speech is decoded with a grammar of the text that may be spoken in it.

The grammar is the text from where the last span ended, word after word; it may begin and end anywhere. Where that fits
badly the span is decoded once more with a larger one, in which sentences may be left out and anything may be said
between sentences (a loop of phones). Moreno et al., "A recursive algorithm for the forced alignment of very long audio
segments" (ICSLP 1998), also go from text that fits to text that does not. Memory holds one span.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vall_e import audio
from vall_e.emb.asr.align import Other, Placed, Say, in_order
from vall_e.emb.asr.pocketsphinx import FRAMES_PER_S, LANGUAGE, RATE_HZ, utterances
from vall_e.emb.asr.registry import RecogniserOptions
from vall_e.emb.asr.segmenting import BLOCK_S
from vall_e.types import BackendError, ends_sentence

WORDS_PER_S = 5  # at most, of fast speech
SPARE_WORDS = 30  # of the text in a grammar beyond what a span can hold
BEFORE_WORDS = 8  # of the text in a grammar that are spoken already: an end may have been heard too late
START, STOP, SKIP, OTHER = 1e-3, 1e-2, 1e-5, 1e-4  # probabilities of beginning and ending elsewhere, and of the rest
AWAY = 0.95  # of beginning one word further away
LEAST_RUN = 3  # words in a row behind a part that was left out: fewer fit anywhere
FITS = -1.5  # log10 of the score of a frame, on average over RUN_WORDS words; good speech has -0.5, wrong text -3
RUN_WORDS = 5
FILLED = 0.4  # of a span, pauses and its margins in it, that words take at least
LOWEST = 1e-300
NO_FIT = -6.0  # of a text that can not be put on the sound at all
PHONE_S = 0.2  # of a phone, at most, on average over a word at the end of a sentence
QUIET_DB = -30.0  # below the loud frames, where there is no speech
EDGE_S = 0.1  # of what lies before or behind the words; less tells nothing
# What stands for speech that is not in the text: of each broad kind of sound one phone. All 39 find nothing more and
# take a hundred times as long, as each is known in every context.
_PHONES = ("AH", "IY", "S", "T", "N", "R")
# for words that the dictionary lacks: good enough to find where they are
_LETTERS = {
    **{"ch": "CH", "sh": "SH", "th": "TH", "ph": "F", "ck": "K", "qu": "K W", "ee": "IY", "oo": "UW", "ou": "AW"},
    **{"ai": "EY", "ay": "EY", "ea": "IY", "oa": "OW", "ng": "NG", "a": "AE", "b": "B", "c": "K", "d": "D", "e": "EH"},
    **{"f": "F", "g": "G", "h": "HH", "i": "IH", "j": "JH", "k": "K", "l": "L", "m": "M", "n": "N", "o": "AA"},
    **{
        "p": "P",
        "q": "K",
        "r": "R",
        "s": "S",
        "t": "T",
        "u": "AH",
        "v": "V",
        "w": "W",
        "x": "K S",
        "y": "IY",
        "z": "Z",
    },
}
_LETTER = re.compile("|".join(sorted(_LETTERS, key=len, reverse=True)))


@dataclass(frozen=True)
class Fit:
    """How well a text fits all of some sound: log10 of the score of a frame; about -0.6 where it does, -3 where not.

    Attributes:
        whole: on average over its words.
        edge: the worst of the first word, the last one, and what lies before and behind them.
        edge_speech_s: seconds of speech before the first word and behind the last, or that make these two longer than
            they can be: words that are not in the text.
    """

    whole: float
    edge: float
    edge_speech_s: float | None


def load(options: RecogniserOptions, say: Say) -> PocketSphinxAligner:
    return PocketSphinxAligner(say)


class PocketSphinxAligner:
    """English only.

    Args:
        say: how a word is said, numbers and signs in words.

    Raises:
        BackendError: the package is missing.
    """

    def __init__(self, say: Say) -> None:
        if importlib.util.find_spec("pocketsphinx") is None:
            raise BackendError('align: pocketsphinx is missing; pip install "vall-e[pocketsphinx]"')
        self._say = say
        self.name_and_version = f"aligned by pocketsphinx {importlib.metadata.version('pocketsphinx')}"
        self._known: dict[str, bool] = {}

    def supports(self, language: str) -> bool:
        return language == LANGUAGE

    def place(self, source: audio.Source, words: Sequence[str], language: str) -> Iterator[Placed | Other]:
        """See Aligner."""
        spans = utterances(source.blocks(RATE_HZ, BLOCK_S))
        return in_order(spans, RATE_HZ, lambda samples, at: self._span(samples, words, at))

    @functools.cached_property
    def _decoder(self) -> Any:
        import pocketsphinx

        decoder = pocketsphinx.Decoder(samprate=RATE_HZ, frate=FRAMES_PER_S, loglevel="FATAL", lm=None)
        for phone in _PHONES:
            decoder.add_word(f"~{phone}", phone, True)
        return decoder

    def _span(self, samples: np.ndarray, words: Sequence[str], at: int) -> list[Placed | Other]:
        """What is spoken in int16 samples [n]; times count from their start."""
        first = max(0, at - BEFORE_WORDS)
        last = min(len(words), at + SPARE_WORDS + math.ceil(len(samples) / RATE_HZ * WORDS_PER_S))
        names, indices = self._names(words, first, last)
        if not names:
            return [Other(0.0, len(samples) / RATE_HZ)]
        expected = next((place for place, index in enumerate(indices) if index >= at), len(names))
        found = self._decode(samples, _grammar(names, expected))
        if _fits(found, len(samples) / RATE_HZ):
            return self._placed(found, names, indices)
        ends = [0, *(n + 1 for n, index in enumerate(indices) if ends_sentence(words[index])), expected, len(names)]
        found = self._decode(samples, _grammar(names, expected, sorted(set(ends))))
        placed = _sure(self._placed(found, names, indices), at)
        return placed or [Other(0.0, len(samples) / RATE_HZ)]

    def _names(self, words: Sequence[str], first: int, last: int) -> tuple[list[str], list[int]]:
        """Names of words first … last - 1 in the dictionary, each once, and their indices; marks have none."""
        names: list[str] = []
        indices = []
        times: dict[str, int] = {}
        for index in range(first, last):
            spoken = re.findall("[a-z']+", _plain(self._spoken(words[index])))
            key = "_".join(part.strip("'") for part in spoken if part.strip("'"))
            if not key:
                continue
            times[key] = times.get(key, 0) + 1
            name = f"{key}~{times[key]}"
            self._add(name, key.split("_"))
            names.append(name)
            indices.append(index)
        return names, indices

    def _spoken(self, word: str) -> str:
        return self._say(word, LANGUAGE) if re.search("[^A-Za-z'.,;:!?\"-]", word) else word

    def _add(self, name: str, spoken: Sequence[str]) -> None:
        """A word with the pronunciations of its parts; of a single one all that the dictionary has."""
        if name in self._known:
            return
        self._known[name] = True
        decoder = self._decoder
        if len(spoken) > 1:
            decoder.add_word(name, " ".join(self._phones(part)[0] for part in spoken), True)
            return
        for number, phones in enumerate(self._phones(spoken[0]), start=1):
            decoder.add_word(name if number == 1 else f"{name}({number})", phones, True)

    def _phones(self, word: str) -> list[str]:
        """All pronunciations of a word, or one by its letters."""
        found = []
        for number in range(1, 5):
            phones = self._decoder.lookup_word(word if number == 1 else f"{word}({number})")
            if phones is None:
                break
            found.append(phones)
        return found or [" ".join(_LETTERS[part] for part in _LETTER.findall(word)) or "AH"]

    def _decode(
        self, samples: np.ndarray, transitions: Sequence[tuple[Any, ...]], *, silences: bool = False
    ) -> list[tuple[str, float, float, float]]:
        """(name, start, end, log10 score a frame) of each word; pauses left out unless `silences` are asked for."""
        decoder = self._decoder
        end = max(transition[1] for transition in transitions)
        decoder.add_fsg("text", decoder.create_fsg("text", 0, end, transitions))
        decoder.activate_search("text")
        decoder.reinit_feat()  # forgets the means of earlier spans, which would colour this one
        decoder.start_utt()
        decoder.process_raw(samples.tobytes(), full_utt=True)
        decoder.end_utt()
        if decoder.hyp() is None:
            return []
        return [
            (
                re.sub(r"\(\d+\)$", "", entry.word),
                entry.start_frame / FRAMES_PER_S,
                (entry.end_frame + 1) / FRAMES_PER_S,
                math.log10(max(entry.ascore, LOWEST)) / (entry.end_frame - entry.start_frame + 1),
            )
            for entry in decoder.seg()
            if silences or entry.word[0] not in "<[+("
        ]

    def fit(self, samples: np.ndarray, text: str) -> Fit:
        """How well int16 samples [n] at 16 kHz are all of a text and nothing else: a forced alignment."""
        words = text.split()
        names, _ = self._names(words, 0, len(words))
        if not names:
            return Fit(NO_FIT, NO_FIT, None)
        chain = [(place, place + 1, 0.9, name) for place, name in enumerate(names)]
        found = self._decode(samples, chain, silences=True)
        spoken = [each for each in found if each[0][0] not in "<[+("]
        if len(spoken) < len(names):
            return Fit(NO_FIT, NO_FIT, None)
        frames = sum(end_s - start_s for _, start_s, end_s, _ in spoken)
        whole = sum(score * (end_s - start_s) for _, start_s, end_s, score in spoken) / frames
        first, last = found.index(spoken[0]), found.index(spoken[-1])
        edges = [each for each in (*found[:first], *found[last + 1 :]) if each[2] - each[1] >= EDGE_S]
        edge = min(each[3] for each in (spoken[0], spoken[-1], *edges))
        outside_s = _loud_s(samples, 0.0, spoken[0][1]) + _loud_s(samples, spoken[-1][2], len(samples) / RATE_HZ)
        stretched_s = sum(self._stretched_s(*each) for each in {spoken[0], spoken[-1]})
        return Fit(round(whole, 4), round(edge, 4), round(outside_s + stretched_s, 3))

    def _stretched_s(self, name: str, start_s: float, end_s: float, _: float) -> float:
        """By how much a word is longer than its phones can be."""
        phones = self._decoder.lookup_word(name) or ""
        return max(0.0, end_s - start_s - PHONE_S * len(phones.split()) - EDGE_S)

    def _placed(
        self, found: Sequence[tuple[str, float, float, float]], names: Sequence[str], indices: Sequence[int]
    ) -> list[Placed | Other]:
        index_of = dict(zip(names, indices, strict=True))
        out: list[Placed | Other] = []
        for name, start_s, end_s, score in found:
            if name in index_of:
                out.append(Placed(index_of[name], start_s, end_s, round(10 ** max(score, -4.0), 4)))
            elif out and isinstance(out[-1], Other):
                out[-1] = Other(out[-1].start_s, end_s)
            else:
                out.append(Other(start_s, end_s))
        return out


def _loud_s(samples: np.ndarray, start_s: float, end_s: float) -> float:
    """Seconds of frames of 10 ms that are as loud as speech, between two times."""
    size = RATE_HZ // FRAMES_PER_S
    count = len(samples) // size
    frames = samples[: count * size].astype(np.float64).reshape(count, size)
    power = np.mean(np.square(frames), axis=1)
    loud = power > np.quantile(power, 0.95) * 10 ** (QUIET_DB / 10) if count else power > 0
    return float(loud[int(start_s * FRAMES_PER_S) : int(end_s * FRAMES_PER_S)].sum() / FRAMES_PER_S)


def _grammar(names: Sequence[str], expected: int, ends: Sequence[int] = ()) -> list[tuple[Any, ...]]:
    """Transitions (from, to, probability, word): state 0 is before all, 1 + place before a word, the last one the end.

    Every step has a word: the decoder does not weigh steps without one.

    Args:
        names: the words in order.
        expected: the place that comes next.
        ends: places where a sentence begins or ends: there sentences may be skipped, and anything may be said.
    """
    stop = len(names) + 2
    transitions: list[tuple[Any, ...]] = []

    def add(state: int, place: int, probability: float, word: str) -> None:
        transitions.append((state, place + 1, 0.9 * probability, word))
        transitions.append((state, stop, STOP * probability, word))

    for place, name in enumerate(names):
        add(place + 1, place + 1, 1.0, name)
        add(0, place + 1, _start(place, expected), name)
    for here, there in zip(ends, ends[1:], strict=False):
        if there < len(names):
            add(here + 1, there + 1, SKIP, names[there])
    for place in ends:
        for phone in _PHONES:
            add(place + 1, place, OTHER, f"~{phone}")
            add(0, place, OTHER * _start(place, expected), f"~{phone}")
    return transitions


def _start(place: int, expected: int) -> float:
    """How probable it is that a span begins at a place: less with each word that it is away from the next one."""
    return 1.0 if place == expected else START * AWAY ** abs(place - expected)


def _fits(found: Sequence[tuple[str, float, float, float]], span_s: float) -> bool:
    """Whether the words fill the span, and no run of them fits badly."""
    if sum(end_s - start_s for _, start_s, end_s, _ in found) < FILLED * span_s:
        return False
    size = min(RUN_WORDS, len(found))
    for first in range(len(found) - size + 1):
        run = found[first : first + size]
        frames = [(end_s - start_s) * FRAMES_PER_S for _, start_s, end_s, _ in run]
        if sum(score * number for (*_, score), number in zip(run, frames, strict=True)) / sum(frames) < FITS:
            return False
    return True


def _sure(found: Sequence[Placed | Other], at: int) -> list[Placed | Other]:
    """Without the runs of words that fit badly, or are too short to tell where in the text they are: other speech."""
    out: list[Placed | Other] = []
    run: list[Placed] = []
    before = at - 1

    def close() -> None:
        nonlocal before
        if not run:
            return
        frames = sum(word.end_s - word.start_s for word in run)
        fit = sum(math.log10(word.score) * (word.end_s - word.start_s) for word in run) / max(frames, 1e-6)
        follows = run[0].index <= before + 1
        if fit >= FITS and (follows or len(run) >= LEAST_RUN):
            out.extend(run)
            before = run[-1].index
        else:
            out.append(Other(run[0].start_s, run[-1].end_s))
        run.clear()

    for each in found:
        if isinstance(each, Other) or (run and each.index > run[-1].index + 2):
            close()
        if isinstance(each, Placed):
            run.append(each)
        else:
            out.append(each)
    close()
    return out


def _plain(text: str) -> str:
    """Lower case, one apostrophe, letters without accents."""
    text = unicodedata.normalize("NFKD", text.lower().replace("’", "'"))
    return "".join(char for char in text if not unicodedata.combining(char))
