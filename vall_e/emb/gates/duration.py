"""Seconds of an utterance. It acts before the audio is read, so that nothing too long is ever encoded."""

from __future__ import annotations

from vall_e.emb.gates.base import GateInput
from vall_e.emb.gates.registry import GateOptions


def load(options: GateOptions) -> Duration:
    return Duration(options.min_duration_s, options.max_duration_s)


class Duration:
    """Limits are inclusive.

    Args:
        minimum, maximum: in seconds.
    """

    name, needs_codes, acts_early = "duration", False, True

    def __init__(self, minimum: float, maximum: float) -> None:
        self.minimum: float | None = minimum
        self.maximum: float | None = maximum

    def score(self, utterance: GateInput) -> float:
        return utterance.duration_s
