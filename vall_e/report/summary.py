"""What a folder of results holds: counts for a terminal, read back from the files themselves.

    python -m vall_e.report WORK
"""

from __future__ import annotations

import argparse
import collections
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vall_e import storage
from vall_e.types import Reject, UsageError, recording_id_of, speaker_key

NUM_BINS = 12
BAR_WIDTH = 32


@dataclass(kw_only=True)
class Summary:
    """Counts over the manifests in a work folder; `reports` are of the stages that ran just now, if any did."""

    work: Path
    reports: Sequence[Any] = ()
    heard: set[str] = field(default_factory=set)  # recordings with a transcript
    processed: set[str] = field(default_factory=set)  # of these, with an utterance
    num_utterances: int = 0
    tenths: collections.Counter[int] = field(default_factory=collections.Counter)  # utterances by tenths of a second
    speaker_s: dict[str, float] = field(default_factory=lambda: collections.defaultdict(float))
    languages: collections.Counter[str] = field(default_factory=collections.Counter)
    rejects: list[Reject] = field(default_factory=list)

    def add(self, row: dict[str, Any]) -> None:
        """Counts one row of utterances.jsonl, read as plain JSON: rows are many, and their words are not asked for."""
        duration_s = row["num_samples"] / row["sample_rate_hz"]
        self.processed.add(row["recording_id"])
        self.num_utterances += 1
        self.tenths[int(duration_s * 10)] += 1
        self.speaker_s[speaker_key(row["group"], row["speaker"])] += duration_s
        self.languages[row["language"]] += 1

    @property
    def hours(self) -> float:
        return sum(self.speaker_s.values()) / 3600

    @property
    def reject_ratio(self) -> float:
        return len(self.rejects) / max(1, len(self.rejects) + self.num_utterances)

    def lost_recordings(self) -> set[str]:
        """Recordings with a transcript and neither an utterance nor a reject: empty unless a run was cut short."""
        rejected = {recording_id_of(reject.id) for reject in self.rejects if reject.stage == "process"}
        return self.heard - self.processed - rejected

    def show(self) -> None:
        """Prints tables: totals, speakers, lengths, stages, rejects, and where the results lie."""
        from rich.console import Console

        console = Console(highlight=False)
        for part in (self._totals(), self._speakers(), self._lengths(), self._stages(), self._rejects()):
            if part is not None:
                console.print(part)
        console.print(self._account())
        console.print(f"Results: {self.work}", markup=False, soft_wrap=True)
        for name, what in RESULTS.items():
            if (self.work / name).exists():
                console.print(f"  {self.work / name}  {what}", markup=False, soft_wrap=True)

    def _account(self) -> str:
        before = [reject for reject in self.rejects if reject.stage == "transcribe"]
        ignored = next((report.num_ignored for report in self.reports if report.stage == "transcribe"), None)
        parts = [f"{len(self.heard)} recordings with a transcript", f"{len(before)} rejected"]
        parts += [] if ignored is None else [f"{ignored} other files, texts among them"]
        lost = self.lost_recordings()
        state = f"{len(lost)} recordings are not processed yet" if lost else "every input is accounted for"
        return f"Inputs: {', '.join(parts)}; {state}."

    def _totals(self) -> Any:
        table = _table("Dataset", "hours", "utterances", "recordings", "speakers", "languages", "rejects")
        table.add_row(
            f"{self.hours:.4f}" if self.hours < 1 else f"{self.hours:,.2f}",
            f"{self.num_utterances:,}",
            f"{len(self.processed):,}",
            f"{len(self.speaker_s):,}",
            _plain(", ".join(f"{language} {count}" for language, count in self.languages.most_common())),
            f"{len(self.rejects):,}",
        )
        return table

    def _speakers(self) -> Any:
        if not self.speaker_s:
            return None
        table = _table("Speakers", "speaker", "minutes", "")
        ordered = sorted(self.speaker_s.items(), key=lambda item: (-item[1], item[0]))
        for speaker, total_s in ordered[:NUM_BINS]:
            table.add_row(_plain(speaker), f"{total_s / 60:.2f}", _bar(total_s / ordered[0][1]))
        if len(ordered) > NUM_BINS:
            table.add_row(f"… {len(ordered) - NUM_BINS} more", "", "")
        return table

    def _lengths(self) -> Any:
        if not self.tenths:
            return None
        width = -(-max(self.tenths) // (10 * NUM_BINS)) or 1
        bins: collections.Counter[int] = collections.Counter()
        for tenth, count in self.tenths.items():
            bins[tenth // (10 * width)] += count
        table = _table("Lengths", "seconds", "utterances", "")
        for index in range(min(bins), max(bins) + 1):
            label = f"{index * width}–{(index + 1) * width}"
            table.add_row(label, f"{bins[index]:,}", _bar(bins[index] / max(bins.values())))
        return table

    def _stages(self) -> Any:
        if not self.reports:
            return None
        table = _table("Stages", "stage", "rows", "rejects", "done before", "seconds", "× real time")
        for report in self.reports:
            factor = report.real_time_factor
            table.add_row(
                report.stage,
                str(report.num_rows),
                str(report.num_rejects),
                str(report.num_resumed),
                f"{report.wall_s:.1f}",
                "" if factor is None else f"{factor:.3f}",
            )
        return table

    def _rejects(self) -> Any:
        if not self.rejects:
            return None
        table = _table("Rejects", "stage", "reason", "items", "for example")
        groups: dict[tuple[str, str], list[Reject]] = collections.defaultdict(list)
        for reject in self.rejects:
            groups[reject.stage, str(reject.reason)].append(reject)
        for (stage, reason), items in sorted(groups.items()):
            table.add_row(stage, reason, str(len(items)), _plain(f"{items[0].id}: {items[0].detail}"))
        return table


RESULTS = {
    "metadata/transcripts.jsonl": "what is said",
    "dataset/utterances.jsonl": "one line per utterance; its codes lie beside it as .npy",
    "dataset/similar.jsonl": "speaker prompts for each utterance",
    "dataset/rejects.jsonl": "what was left out, and why (metadata/rejects.jsonl before that)",
    "dataset/built": "memory-mapped training data: vall_e.dataset.Dataset",
}


def _table(title: str, *columns: str) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _bar(share: float) -> str:
    return "█" * max(1 if share else 0, round(share * BAR_WIDTH))


def _plain(text: str) -> str:
    """Text from data, so that no newline, control code or markup in it acts on the terminal."""
    from rich.markup import escape

    return escape("".join(char if char.isprintable() else repr(char)[1:-1] for char in text))


def _all_rejects(work: Path) -> Iterator[Reject]:
    for folder in ("metadata", "dataset"):
        yield from storage.read_rows(work / folder / "rejects.jsonl", Reject)


def summarise(work: Path, reports: Sequence[Any] = ()) -> Summary:
    """Counts what lies in `work`, which `vall-e prepare` filled."""
    summary = Summary(work=work, reports=reports, rejects=list(_all_rejects(work)))
    for _, row in storage.read_json_lines(work / "metadata" / "transcripts.jsonl"):
        summary.heard.add(row["recording_id"])
    for _, row in storage.read_json_lines(work / "dataset" / "utterances.jsonl"):
        summary.add(row)
    return summary


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m vall_e.report", description="Counts of a folder of results.")
    parser.add_argument("work", type=Path, help="folder that `vall-e prepare` filled")
    work = parser.parse_args(argv).work
    if not (work / "metadata").is_dir():
        raise UsageError(f"{work}: no results of `vall-e prepare` here")
    summarise(work).show()
    return 0


