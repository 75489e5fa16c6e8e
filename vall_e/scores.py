"""Scores of utterances, and the limits past which they are left out of a build.

Scores are in the rows of utterances.jsonl, and in scores.jsonl those that need the whole corpus. Limits come from the
gates (dataset.json), from `audit --apply` (gates.yaml), and from options, each over the one before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vall_e import layout, storage
from vall_e.types import GATE_REASON, Reject, UsageError, Utterance


class Scores:
    """Scores that were given after the rows were written: scores.jsonl, `{"id", "scores"}`. Later lines go first."""

    def __init__(self, dataset: Path) -> None:
        self._of: dict[str, dict[str, float | None]] = {}
        path = dataset / layout.SCORES
        if path.exists():
            for _, row in storage.read_json_lines(path):
                scores = row.get("scores")
                if isinstance(scores, dict):
                    self._of.setdefault(str(row.get("id")), {}).update(scores)

    def of(self, utterance_id: str) -> Mapping[str, float | None]:
        return self._of.get(utterance_id, {})

    def names(self) -> list[str]:
        return sorted({name for scores in self._of.values() for name in scores})


def limits_of(value: Any) -> Any:
    """`{name: {min: x, max: y}}` of a config file as `name>=x`, `name<=y`; a name without limits lifts the gate's.

    Example:
        >>> limits_of({"snr_db": {"min": 10}, "duration": None})
        ('snr_db>=10', 'duration')
    """
    if not isinstance(value, dict):
        return value
    found: list[str] = []
    for name, bounds in value.items():
        bounds = bounds or {}
        if not isinstance(bounds, dict) or not bounds.keys() <= {"min", "max"}:
            raise UsageError(f"gates: {name}: {bounds!r} is not like {{min: 1, max: 2}}")
        signs = (("min", ">="), ("max", "<="))
        parts = [f"{name}{sign}{bounds[key]}" for key, sign in signs if bounds.get(key) is not None]
        found += parts or [str(name)]
    return tuple(found)


def chosen_limits(dataset: Path) -> tuple[str, ...]:
    """The limits that `vall-e audit --apply` wrote, as strings."""
    path = dataset / layout.GATES_YAML
    if not path.is_file():
        return ()
    import yaml

    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{path}: can't be read as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(value, dict):
        raise UsageError(f"{path}: not like `snr_db: {{min: 10}}`")
    limits: tuple[str, ...] = limits_of(value)
    return limits


class Limits:
    """The limits of gates: which utterances are left out of a build.

    Args:
        gates: name → {"minimum": …, "maximum": …}, as dataset.json has them.
        thresholds: `name>=value` or `name<=value`, which override those; `name` alone lifts the gate's limits.
        scores: those that came later than the rows.

    Raises:
        UsageError: a threshold of another form.
    """

    def __init__(
        self,
        gates: Mapping[str, Mapping[str, float | None]],
        thresholds: Sequence[str] = (),
        scores: Scores | None = None,
    ) -> None:
        self._scores = scores
        self.bounds: dict[str, tuple[float | None, float | None]] = {
            name: (bounds.get("minimum"), bounds.get("maximum")) for name, bounds in gates.items()
        }
        for text in thresholds:
            found = re.fullmatch(r"\s*([\w.-]+?)\s*(?:(>=|<=)\s*([-+.\deE]+))?\s*", text)
            try:
                if found is None:
                    raise ValueError
                name, sign, number = found.groups()
                low, high = self.bounds.get(name, (None, None)) if sign else (None, None)
                self.bounds[name] = (float(number) if sign == ">=" else low, float(number) if sign == "<=" else high)
            except ValueError:
                raise UsageError(f"threshold {text!r} is not like 'duration>=0.5' or 'duration<=20'") from None
        self.bounds = {name: bounds for name, bounds in self.bounds.items() if bounds != (None, None)}

    def scores_of(self, row: Utterance) -> dict[str, float | None]:
        """All scores of an utterance, those that came later over those of its row."""
        return row.scores if self._scores is None else row.scores | dict(self._scores.of(row.id))

    def check(self, row: Utterance) -> Reject | None:
        """A reject for a score outside its limits; an utterance without the score passes."""
        scores = self.scores_of(row)
        for name, (low, high) in self.bounds.items():
            score = scores.get(name)
            if score is not None and ((low is not None and score < low) or (high is not None and score > high)):
                limits = " to ".join("any" if limit is None else str(limit) for limit in (low, high))
                start_s = row.start_samples / row.sample_rate_hz
                return Reject(
                    id=row.id,
                    stage="build",
                    reason=f"{GATE_REASON}{name}",
                    detail=f"{score:.3f}, allowed are {limits}",
                    start_s=round(start_s, 6),
                    duration_s=round(row.duration_s, 6),
                )
        return None
