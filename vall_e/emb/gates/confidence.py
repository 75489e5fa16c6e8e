"""How sure a recogniser or an aligner was of its words: the mean and the least score of the words that have one."""

from __future__ import annotations

from collections.abc import Callable

from vall_e.emb.gates.base import GateInput
from vall_e.emb.gates.measured import Measured
from vall_e.emb.gates.registry import GateOptions


def load_mean(options: GateOptions) -> Measured:
    return Measured("word_score", lambda seen: _of(seen, lambda scores: sum(scores) / len(scores)), bad="low")


def load_least(options: GateOptions) -> Measured:
    return Measured("least_word_score", lambda seen: _of(seen, min), bad="low")


def _of(seen: GateInput, combine: Callable[[list[float]], float]) -> float | None:
    scores = [word.score for word in seen.words if word.score is not None]
    return combine(scores) if scores else None
