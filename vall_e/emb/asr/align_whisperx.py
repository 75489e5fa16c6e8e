"""Alignment of a given text by WhisperX's Wav2Vec2 CTC models, window by window, in the languages that have one.

What the model hears in a window, letter by letter, is matched with the text that comes next (an edit distance with
affine gaps, Gotoh 1982); runs of words that match are put on the sound by whisperx. What was heard and matches nothing
is other speech; words that nothing matches were not said. Memory holds one window.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from vall_e import audio
from vall_e.emb.asr.align import Other, Placed, Say, in_order
from vall_e.emb.asr.registry import RecogniserOptions
from vall_e.emb.asr.segmenting import pieces
from vall_e.emb.asr.wav2vec2 import RATE_HZ, WordAligner, quiet, timed
from vall_e.executor import devices

WINDOW_S, SEARCH_S = 30.0, 10.0
WITHOUT_SPACES = frozenset(("ja", "zh", "yue", "th", "lo", "km", "my"))  # where a text is no row of words
BEFORE_WORDS = 8  # of the text that are matched again: an end may have been placed too early
SPARE_LETTERS = 600  # of the text beyond what a window can hold, for what may have been left out
AWAY = 0.01  # cost of a letter by which a window begins elsewhere than expected
CHANGED, EDITED = 1.0, 0.6  # cost of a letter for another one, and of one more or less
GAP, IN_GAP = 3.0, 0.05  # the same of many at a time: once, and for each letter
FOUND = 0.6  # of the letters of a word, and of a run of words, that must match
LEAST_RUN = 3  # words in a row away from the expected place: fewer fit anywhere
SPOKEN = 0.4  # letters heard for each of a word that is badly heard, between words that are found
OTHER_LETTERS = 8  # that match nothing and are worth a word
BESIDE_S = 0.25  # of sound beside a letter that was heard, which belongs to its word
PAUSE_S, GROUP_S = 0.4, 6.0  # between words, and of words in a row, from which they are timed apart


def load(options: RecogniserOptions, say: Say) -> WhisperXAligner:
    return WhisperXAligner(say, options.align_model, devices.kind_of(options.device))


class WhisperXAligner:
    """Every language with an alignment model, but those without spaces between words.

    Args:
        say: how a word is said, numbers and signs in words.
        model: a Wav2Vec2 CTC folder or name; `auto`: whisperx's choice for the language.
        device: cpu or cuda.

    Raises:
        BackendError: a package or model is missing.
    """

    def __init__(self, say: Say, model: str, device: str) -> None:
        self._say, self._aligner = say, WordAligner(model, device)
        self.name_and_version = f"aligned by whisperx {importlib.metadata.version('whisperx')}"

    def supports(self, language: str) -> bool:
        return language not in WITHOUT_SPACES and self._aligner.has(language)

    def place(self, source: audio.Source, words: Sequence[str], language: str) -> Iterator[Placed | Other]:
        """See Aligner."""
        text = self._text(words, language)
        windows = pieces(source, RATE_HZ, WINDOW_S, SEARCH_S)
        return in_order(windows, RATE_HZ, lambda samples, at: self._window(samples, text, at, language))

    def _text(self, words: Sequence[str], language: str) -> Text:
        model = self._aligner.model(language)
        assert model is not None, "supports() was asked before"
        letters = {letter for letter in model[1]["dictionary"] if len(letter) == 1 and letter != "|"}
        spelled = []
        for word in words:
            said = word if not any(char.isdigit() for char in word) else self._say(word, language)
            spelled.append("".join(char for char in said.lower() if char in letters))
        return Text(spelled)

    def _window(self, samples: np.ndarray, text: Text, at: int, language: str) -> list[Placed | Other]:
        """What is spoken in float32 [n]; times count from its start."""
        heard = self._aligner.spelled(samples, language)
        if not heard:
            return []
        spelled = "".join(letter for letter, _ in heard)
        first_word = max(0, at - BEFORE_WORDS)
        first = text.starts[first_word] if first_word < len(text.words) else len(text.letters)
        expected = (text.starts[at] if at < len(text.words) else len(text.letters)) - first
        last = first + expected + 2 * len(spelled) + SPARE_LETTERS
        matched = match(spelled, text.letters[first:last], expected)
        runs, others = _runs(matched, spelled, text, first, at)
        out: list[Placed | Other] = [Other(heard[begin][1], heard[end - 1][1]) for begin, end in others]
        times = [at_s for _, at_s in heard]
        groups = [group for run in runs for group in _groups(run, times)]
        for number, group in enumerate(groups):
            first_s, last_s = times[group.heard_first], times[group.heard_last]
            begin_s, end_s = max(0.0, first_s - BESIDE_S), min(len(samples) / RATE_HZ, last_s + BESIDE_S)
            if number:
                begin_s = max(begin_s, (times[groups[number - 1].heard_last] + first_s) / 2)
            if number + 1 < len(groups):
                end_s = min(end_s, (last_s + times[groups[number + 1].heard_first]) / 2)
            out += self._placed(samples, text, group, times, begin_s, end_s, language)
        return sorted(out, key=lambda each: each.start_s)

    def _placed(
        self,
        samples: np.ndarray,
        text: Text,
        run: Run,
        times: Sequence[float],
        begin_s: float,
        end_s: float,
        language: str,
    ) -> Iterator[Placed]:
        """The words of a run, timed by whisperx; each holds the letters of it that were heard, and not much besides."""
        indices = [index for index in range(run.first, run.last + 1) if text.words[index]]
        part = samples[round(begin_s * RATE_HZ) : round(end_s * RATE_HZ)]
        with quiet():
            sentences = self._aligner.align(" ".join(text.words[index] for index in indices), part, language)
        spans = {word: (times[begin], times[end]) for word, begin, end in run.spans}
        for sentence in sentences or ():
            for word in timed(sentence.get("words", ()), sentence["start"], sentence["end"], begin_s):
                if not indices:
                    return
                index = indices.pop(0)
                start_s, stop_s = word.start_s, word.end_s
                if index in spans:
                    first_s, last_s = spans[index]
                    start_s = min(max(start_s, first_s - BESIDE_S), first_s)
                    stop_s = max(min(stop_s, last_s + BESIDE_S), last_s)
                yield Placed(index, start_s, stop_s, 0.0 if word.score is None else word.score)


class Text:
    """Words as letters that a model knows.

    Attributes:
        words: the letters of each; none of marks.
        letters: of all words, one behind the other.
        starts: where each word begins in `letters`.
        owners: the word of each letter, int64 [n].
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)
        self.letters = "".join(words)
        lengths = [len(word) for word in words]
        self.starts: list[int] = np.concatenate([[0], np.cumsum(lengths)])[:-1].astype(int).tolist() if words else []
        self.owners = np.repeat(np.arange(len(words)), lengths)


@dataclass(frozen=True)
class Run:
    """Words of the text that are heard in a row.

    Attributes:
        spans: (word, its first and last letter among those heard) of each that was found; those between them in the
            text belong to the run, if badly heard.
    """

    spans: tuple[tuple[int, int, int], ...]

    @property
    def first(self) -> int:
        return self.spans[0][0]

    @property
    def last(self) -> int:
        return self.spans[-1][0]

    @property
    def heard_first(self) -> int:
        return self.spans[0][1]

    @property
    def heard_last(self) -> int:
        return self.spans[-1][2]


def _groups(run: Run, times: Sequence[float]) -> Iterator[Run]:
    """A run cut at its pauses, and where it gets long: whisperx loses its way in long ones."""
    spans: list[tuple[int, int, int]] = []
    for span in run.spans:
        if spans and span[0] == spans[-1][0] + 1:  # only between words that were both found
            pause_s = times[span[1]] - times[spans[-1][2]]
            if pause_s > PAUSE_S or times[span[2]] - times[spans[0][1]] > GROUP_S:
                yield Run(tuple(spans))
                spans = []
        spans.append(span)
    yield Run(tuple(spans))


def match(heard: str, text: str, expected: int) -> np.ndarray:
    """For each letter heard, the place of the same letter in the text, or -1, int64 [n]; places rise.

    The text may begin and end anywhere; letters away from `expected` cost a little. A slow reference is in the tests.
    """
    letters = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    size = len(letters)
    columns = np.arange(size + 1, dtype=np.float64)
    rows = len(heard)
    cost = np.empty((rows + 1, size + 1))
    # where each cell comes from: 0 letter for letter, 1 one heard besides, 2 many, 3 one left out, 4 many
    kind = np.zeros((rows + 1, size + 1), np.int8)
    jump = np.zeros((rows + 1, size + 1), np.int32)
    cost[0] = AWAY * np.abs(columns - expected)
    kind[0] = -1
    many, many_from = np.full(size + 1, np.inf), np.zeros(size + 1, np.int32)
    for row, code in enumerate(map(ord, heard), start=1):
        before = cost[row - 1]
        opened = before + GAP < many
        many_from = np.where(opened, row - 1, many_from).astype(np.int32)
        many = np.where(opened, before + GAP, many) + IN_GAP
        best, how, where = before + EDITED, np.ones(size + 1, np.int8), np.full(size + 1, row - 1, np.int32)
        better = many < best
        best, how, where = np.where(better, many, best), np.where(better, 2, how), np.where(better, many_from, where)
        diagonal = np.concatenate([[np.inf], before[:-1] + CHANGED * (letters != code)])
        better = diagonal <= best
        best, how = np.where(better, diagonal, best), np.where(better, 0, how)
        for name, open_cost, step in ((3, 0.0, EDITED), (4, GAP, IN_GAP)):
            level = best - step * columns
            lowest = np.minimum.accumulate(level)
            source = np.maximum.accumulate(np.where(level <= lowest, np.arange(size + 1), 0))
            skipped = lowest + step * columns + open_cost
            better = skipped < best - 1e-9
            best, how = np.where(better, skipped, best), np.where(better, name, how)
            where = np.where(better, source, where)
        cost[row], kind[row], jump[row] = best, how, where
    found = np.full(rows, -1, np.int64)
    row, column = rows, int(cost[rows].argmin())
    while row > 0:
        step_kind = kind[row, column]
        if step_kind == 0:
            row, column = row - 1, column - 1
            if letters[column] == ord(heard[row]):
                found[row] = column
        elif step_kind in (1, 2):
            row = int(jump[row, column])
        else:
            column = int(jump[row, column])
    return found


def _runs(
    matched: np.ndarray, heard: str, text: Text, first: int, at: int
) -> tuple[list[Run], list[tuple[int, int]]]:
    """Runs of words that are spoken; and (first, behind the last) letters heard that are none of the text."""
    hits = np.flatnonzero(matched >= 0)
    owners = text.owners[matched[hits] + first] if len(hits) else np.zeros(0, np.int64)
    spans: list[tuple[int, int, int]] = []  # word, its first and last letter heard
    for word in np.unique(owners).tolist():
        of_word = hits[owners == word]
        # speech that is not in the text may lie before a word's last letter as cheaply as behind it
        of_word = max(np.split(of_word, np.flatnonzero(np.diff(of_word) > OTHER_LETTERS) + 1), key=len)
        begin, end = int(of_word[0]), int(of_word[-1])
        letters = text.words[word]
        left, right = (int(matched[edge]) + first - text.starts[word] for edge in (begin, end))
        while left and begin and heard[begin - 1] == letters[left - 1]:
            left, begin = left - 1, begin - 1
        while right + 1 < len(letters) and end + 1 < len(heard) and heard[end + 1] == letters[right + 1]:
            right, end = right + 1, end + 1
        if len(of_word) >= FOUND * len(letters):
            spans.append((word, begin, end))
    runs: list[Run] = []
    for span in spans:
        if runs and _goes_on(runs[-1], span[0], span[1], text):
            runs[-1] = Run((*runs[-1].spans, span))
        else:
            runs.append(Run((span,)))
    kept: list[Run] = []
    before = at - 1
    for run in runs:
        share = np.count_nonzero(matched[run.heard_first : run.heard_last + 1] >= 0)
        letters = sum(len(text.words[word]) for word in range(run.first, run.last + 1))
        follows = run.first <= before + 1
        if share >= FOUND * letters and (follows or run.last - run.first + 1 >= LEAST_RUN):
            kept.append(run)
            before = run.last
    others = []
    edges = [0, *(edge for run in kept for edge in (run.heard_first, run.heard_last + 1)), len(heard)]
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        if end - begin >= OTHER_LETTERS:
            others.append((begin, end))
    return kept, others


def _goes_on(run: Run, word: int, begin: int, text: Text) -> bool:
    """Whether a word belongs to a run: what lies between them in the text was heard, if badly, and nothing besides."""
    left_out = sum(len(text.words[each]) for each in range(run.last + 1, word))
    between = begin - run.heard_last - 1
    return SPOKEN * left_out <= between + 1 and between <= 2 * left_out + OTHER_LETTERS
