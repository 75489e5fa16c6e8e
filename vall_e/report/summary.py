"""What a folder of results holds: counts, read back from the files themselves.

    python -m vall_e.report WORK
"""

from __future__ import annotations

import argparse
import collections
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vall_e import layout, storage
from vall_e.report.account import OF_RECORDINGS, Account, accounts
from vall_e.types import Reject, UsageError, recording_id_of, speaker_key


@dataclass(kw_only=True)
class Summary:
    """Counts over the files in a work folder.

    Attributes:
        reports: of the stages that ran just now, if any did.
        recordings: their seconds, by id.
        transcribed: recordings with a transcript.
        processed: of these, those with an utterance.
        tenths: utterances by tenths of a second.
    """

    work: Path
    reports: Sequence[Any] = ()
    transcribed: set[str] = field(default_factory=set)
    processed: set[str] = field(default_factory=set)
    num_utterances: int = 0
    tenths: collections.Counter[int] = field(default_factory=collections.Counter)
    speaker_s: dict[str, float] = field(default_factory=lambda: collections.defaultdict(float))
    languages: collections.Counter[str] = field(default_factory=collections.Counter)
    rejects: list[Reject] = field(default_factory=list)
    recordings: dict[str, float] = field(default_factory=dict)

    def add(self, row: dict[str, Any]) -> None:
        """Counts one row of utterances.jsonl, read as plain JSON: rows are many, and few of their keys are used."""
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

    def accounts(self) -> list[Account]:
        """What each stage found, kept and dropped."""
        total_s = sum(self.speaker_s.values())
        return accounts(self.recordings, self.transcribed, self.num_utterances, total_s, self.rejects)

    @property
    def num_ignored(self) -> int | None:
        """Files that are not audio; None where no stage that counts them ran just now."""
        return next((report.num_ignored for report in self.reports if report.stage in OF_RECORDINGS), None)

    def lost_recordings(self) -> set[str]:
        """Recordings with a transcript and neither an utterance nor a reject: empty unless a run was cut short."""
        rejected = {recording_id_of(reject.id) for reject in self.rejects if reject.stage == "process"}
        return self.transcribed - self.processed - rejected


def summarise(work: Path, reports: Sequence[Any] = ()) -> Summary:
    """Counts what is in `work`, which `vall-e prepare` filled.

    Args:
        work: the folder of results.
        reports: of the stages that ran just now.
    """
    summary = Summary(work=work, reports=reports, rejects=list(_all_rejects(work)))
    for _, row in storage.read_json_lines(work / layout.METADATA_FOLDER / layout.RECORDINGS):
        summary.recordings[row["id"]] = row["num_samples"] / row["sample_rate_hz"]
    for _, row in storage.read_json_lines(work / layout.METADATA_FOLDER / layout.TRANSCRIPTS):
        summary.transcribed.add(row["recording_id"])
    for _, row in storage.read_json_lines(work / layout.DATASET_FOLDER / layout.UTTERANCES):
        summary.add(row)
    return summary


def _all_rejects(work: Path) -> Iterator[Reject]:
    dataset = Path(layout.DATASET_FOLDER)
    for folder in (Path(layout.METADATA_FOLDER), dataset, dataset / layout.BUILT_FOLDER):
        yield from storage.read_rows(work / folder / layout.REJECTS, Reject)


def main(argv: Sequence[str] | None = None, *, prog: str = "python -m vall_e.report") -> int:
    parser = argparse.ArgumentParser(prog=prog, description="Counts of a folder of results.")
    parser.add_argument("work", type=Path, help="folder that `vall-e prepare` filled")
    work = parser.parse_args(argv).work
    if not (work / layout.METADATA_FOLDER).is_dir():
        raise UsageError(f"{work}: no results of `vall-e prepare` here")
    from vall_e.report.terminal import show

    show(summarise(work))
    return 0
