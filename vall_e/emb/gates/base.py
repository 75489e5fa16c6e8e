"""What a gate is: a score of an utterance, and the limits past which the utterance is left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vall_e.types import Reject, RejectReason, Word


@dataclass(frozen=True, kw_only=True)
class GateInput:
    """What a gate may look at.

    Attributes:
        duration_s: length of the utterance.
        text: as written.
        language: of the text; empty before it is known.
        words: their times count from the start of the utterance.
        phonemes: of the text; empty before they are known.
        samples: mono float32 [n] at `sample_rate_hz`; None before the audio is read.
        codes: uint16 [K,T]; None before the audio is encoded.
    """

    duration_s: float
    sample_rate_hz: int
    text: str
    language: str = ""
    words: tuple[Word, ...] = ()
    phonemes: str = ""
    samples: np.ndarray | None = None
    codes: np.ndarray | None = None


class Gate(Protocol):
    """A score of an utterance.

    Attributes:
        name: of the score in a row's `scores`; a reject past the limits has the reason `gate:<name>`.
        minimum, maximum: limits of the score, both allowed; None is no limit. They act when the dataset is built, which
            may override them. A gate with `acts_early` acts in `process` instead, before the audio is read.
        needs_codes: whether it asks for the codes.
        bad: which scores are the worst ones: "low", "high" or "both"; what an audit shows. It may be left out.
        acts_early: see above; such a gate sees no phonemes, samples or codes.
    """

    name: str
    minimum: float | None
    maximum: float | None
    needs_codes: bool
    acts_early: bool

    def score(self, utterance: GateInput) -> float | None:
        """The score, or None where it can't be computed; such an utterance passes."""
        ...


def check(gate: Gate, score: float | None, utterance_id: str, stage: str) -> Reject | None:
    """A reject for a score outside the gate's limits."""
    if score is None:
        return None
    if gate.minimum is not None and score < gate.minimum:
        detail, short = f"{score:.3f}, the minimum is {gate.minimum}", True
    elif gate.maximum is not None and score > gate.maximum:
        detail, short = f"{score:.3f}, the maximum is {gate.maximum}", False
    else:
        return None
    reason: str = f"gate:{gate.name}"
    if gate.name == "duration":  # its reasons are older than gates
        reason = RejectReason.TOO_SHORT if short else RejectReason.TOO_LONG
        detail = f"{detail} s" + ("" if short else "; without word times it can't be cut (--align finds them)")
    return Reject(id=utterance_id, stage=stage, reason=reason, detail=detail)
