"""The gates that can be chosen, and their options."""

from __future__ import annotations

from dataclasses import dataclass

from vall_e import config
from vall_e.emb.gates.base import Gate
from vall_e.registry import Registry

GATES = Registry("gate", "vall_e.gates", {"duration": "vall_e.emb.gates.duration:load"})


@dataclass(frozen=True, kw_only=True)
class GateOptions:
    """Options of all gates."""

    gates: tuple[str, ...] = config.option(
        ("duration",), f"scores of each utterance, a comma list: {', '.join(GATES)}, or those of installed packages"
    )
    min_duration_s: float = config.option(0.5, "seconds; shorter utterances are rejected")
    max_duration_s: float = config.option(20.0, "seconds; longer segments are split between words, or rejected")

    def __post_init__(self) -> None:
        for name in self.gates:
            GATES.check(name)
        if not 0 <= self.min_duration_s <= self.max_duration_s:
            raise ValueError(f"durations: 0 <= {self.min_duration_s} <= {self.max_duration_s} does not hold")


def load_gates(options: GateOptions) -> list[Gate]:
    """The gates in the order in which they are asked.

    Raises:
        BackendError: a package is missing.
    """
    return [GATES.load(name)(options) for name in options.gates]
