"""A gate that is a function: name, limits, and the score."""

from __future__ import annotations

from collections.abc import Callable

from vall_e.emb.gates.base import GateInput


class Measured:
    """A Gate without settings of its own, which acts when the dataset is built.

    Args:
        name: of the score.
        score: an utterance → its score, or None where it can't be measured.
        minimum, maximum: limits that are clear of any good recording; None is no limit.
        bad: which scores are the worst ones: low, high, or both ends.
    """

    needs_codes, acts_early = False, False

    def __init__(
        self,
        name: str,
        score: Callable[[GateInput], float | None],
        *,
        minimum: float | None = None,
        maximum: float | None = None,
        bad: str = "both",
    ) -> None:
        self.bad = bad
        self.name, self.minimum, self.maximum, self._score = name, minimum, maximum, score

    def score(self, utterance: GateInput) -> float | None:
        found = self._score(utterance)
        return None if found is None else round(found, 4)
