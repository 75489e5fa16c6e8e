"""Scores that need the whole corpus: how unusual an utterance's pace is in its language, and whether it is a copy."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from vall_e.registry import Registry
from vall_e.types import Utterance

# name → function of (rows, codes of a row) → scores by id; others may come from the entry points of other packages
CORPUS_GATES = Registry(
    "corpus gate",
    "vall_e.corpus_gates",
    {"rate_z": "vall_e.emb.gates.corpus:rate_z", "duplicate": "vall_e.emb.gates.corpus:duplicate"},
)
# which end of a score that is no gate's is the worst: those from here, and those that `verify` gives
BAD = {
    **{"rate_z": "both", "duplicate": "high", "cer": "high", "edge_errors": "high", "edge_speech_s": "high"},
    **{"text_fit": "low", "cer_margin": "low", "align_score": "low", "align_edge": "low", "align_margin": "low"},
}
LEAST_OF_LANGUAGE = 30  # utterances: fewer tell nothing of what is usual
TO_SIGMA = 1.4826  # times the median absolute deviation is the standard deviation of a normal distribution
SHINGLE_FRAMES = 8  # codes of level 0 in a row
KEPT_OF_SHINGLES = 8  # one of so many, chosen by hash: the same ones in every utterance
LEAST_SHINGLES = 4
MOST_ALIKE = 50  # utterances that share a shingle; more is silence or a hum


@dataclass(frozen=True)
class Rows:
    """What a corpus gate reads: the rows, any number of times, and the codes of a row, uint16 [K,T]."""

    rows: Callable[[], Iterable[Utterance]]
    codes: Callable[[Utterance], np.ndarray]


def rate_z(corpus: Rows) -> Mapping[str, float | None]:
    """Phonemes a second against the utterance's language: (x - median) / (1.4826 · MAD), the robust z-score.

    Iglewicz and Hoaglin, "How to Detect and Handle Outliers" (1993), who call those beyond 3.5 outliers.
    """
    rates: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for row in corpus.rows():
        rate = row.scores.get("phonemes_per_s")
        if rate is not None:
            rates[row.language].append((row.id, rate))
    scores: dict[str, float | None] = {}
    for found in rates.values():
        values = np.array([rate for _, rate in found])
        median = np.median(values)
        spread = TO_SIGMA * np.median(np.abs(values - median))
        for name, rate in found:
            known = len(found) >= LEAST_OF_LANGUAGE and spread > 0
            scores[name] = round(float((rate - median) / spread), 3) if known else None
    return scores


def duplicate(corpus: Rows) -> Mapping[str, float | None]:
    """How much of an utterance is in an earlier one too, 0 … 1: 1 for the same codes under two names.

    A fingerprint is the set of runs of SHINGLE_FRAMES codes of level 0, thinned by their hashes; the score is the share
    of an utterance's that one other has (Broder, "On the resemblance and containment of documents", 1997).
    The first of two in order of id has 0, so that a limit leaves one of them.
    """
    seen: dict[int, list[int]] = defaultdict(list)  # hash of a run → utterances, by number
    whole: dict[bytes, int] = {}
    scores: dict[str, float | None] = {}
    for number, row in enumerate(corpus.rows()):
        codes = corpus.codes(row)
        digest = hashlib.blake2b(np.ascontiguousarray(codes).tobytes(), digest_size=16).digest()
        if digest in whole:
            scores[row.id] = 1.0
            continue
        whole[digest] = number
        runs = _runs(codes[0])
        shared: dict[int, int] = defaultdict(int)
        for run in runs:
            for other in seen[run] if len(seen[run]) <= MOST_ALIKE else ():
                shared[other] += 1
            seen[run].append(number)
        enough = len(runs) >= LEAST_SHINGLES
        scores[row.id] = round(max(shared.values(), default=0) / len(runs), 3) if enough else 0.0
    return scores


def _runs(level: np.ndarray) -> list[int]:
    """The kept hashes of runs of codes, each once, in order."""
    if len(level) < SHINGLE_FRAMES:
        return []
    windows = np.lib.stride_tricks.sliding_window_view(level.astype(np.uint64), SHINGLE_FRAMES)
    hashes = np.zeros(len(windows), np.uint64)
    with np.errstate(over="ignore"):
        for place in range(SHINGLE_FRAMES):
            hashes = (hashes ^ windows[:, place]) * np.uint64(0x100000001B3) + np.uint64(0x9E3779B97F4A7C15)
            hashes ^= hashes >> np.uint64(29)
    return [int(value) for value in dict.fromkeys(hashes.tolist()) if value % KEPT_OF_SHINGLES == 0]
