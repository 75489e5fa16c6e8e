"""What changed since a dataset was made, and how it is dropped so that a resumed run makes it again.

Each finished recording has a row in done.jsonl with a hash of the rows that its utterances were made from. Files are
rewritten whole or not at all; done.jsonl comes last and arrays after it, so that a kill at any moment leaves either the
old state or one that the next run can tell.
"""

from __future__ import annotations

import collections
import datetime
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vall_e import layout, stage, storage
from vall_e.types import RejectReason, recording_id_of, safe_path, speaker_key

# rejects whose cause may be gone though the recording is the same
RETRIED = frozenset({RejectReason.CHANGED, RejectReason.WORKER_DIED, RejectReason.UNREADABLE})


@dataclass
class Changes:
    """Recordings whose rows are out of date: `changed` ones can be made again, those of `retried` were rejected."""

    changed: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    retried: list[str] = field(default_factory=list)

    @property
    def ids(self) -> set[str]:
        return {*self.changed, *self.gone, *self.retried}

    @property
    def notes(self) -> list[str]:
        notes = []
        if self.changed:
            number = stage.plural(self.changed, "recording")
            what = "audio, text or transcript"
            notes.append(f"{number} changed since ({what}), like {self.changed[0]}; --update redoes what changed")
        if self.gone:
            number = stage.plural(self.gone, "recording")
            notes.append(f"{number} went away since, like {self.gone[0]}; --update drops the rows")
        return notes


def fingerprint(places: Sequence[storage.RowPlace]) -> str:
    """Hash of rows as they stand in their files."""
    digest = hashlib.blake2b(digest_size=16)
    for place in places:
        digest.update(place.read_line())
    return digest.hexdigest()


def state_of(*paths: Path) -> dict[str, list[int]]:
    """Size and time of files: where both are the same, nothing in them changed."""
    return {path.name: [path.stat().st_size, path.stat().st_mtime_ns] for path in paths if path.exists()}


def find_changes(
    dataset: Path,
    stage_name: str,
    head: dict[str, Any] | None,
    recordings: storage.RowIndex,
    transcripts: storage.RowIndex,
) -> Changes:
    """Compares each finished recording with the rows it was made from."""
    changes = Changes()
    for reject in _rejects(dataset, stage_name):
        if reject["reason"] in RETRIED:
            changes.retried.append(recording_id_of(reject["id"]))
    if head is not None and head.get("read") == state_of(recordings.path, transcripts.path):
        return changes
    for _, row in storage.read_json_lines(dataset / layout.DONE):
        places = [index.get(row["id"]) for index in (recordings, transcripts)]
        found = [place for place in places if place is not None]
        if len(found) < len(places):
            changes.gone.append(row["id"])
        elif row["fingerprint"] and row["fingerprint"] != fingerprint(found):
            changes.changed.append(row["id"])
    return changes


def write_done_of_version_1(
    dataset: Path,
    stage_name: str,
    head: dict[str, Any] | None,
    recordings: storage.RowIndex,
    transcripts: storage.RowIndex,
) -> None:
    """Datasets of version 1 had no done.jsonl: a recording was finished once it had a row, but for the last one."""
    if head is None or head.get("schema_version") != 1 or (dataset / layout.DONE).exists():
        return
    utterances = [row["recording_id"] for _, row in storage.read_json_lines(dataset / layout.UTTERANCES)]
    rejects = [recording_id_of(row["id"]) for row in _rejects(dataset, stage_name)]
    num_rows, num_rejects = collections.Counter(utterances), collections.Counter(rejects)
    finished = dict.fromkeys([*utterances, *rejects])
    if head.get("counts") != {"utterances": len(utterances), "rejects": len(rejects)}:  # it was killed
        for last in (utterances[-1:], rejects[-1:]):
            finished = {name: None for name in finished if name not in last}

    def rows() -> Iterator[dict[str, Any]]:
        for name in finished:
            places = [place for index in (recordings, transcripts) if (place := index.get(name)) is not None]
            of_both = fingerprint(places) if len(places) == 2 else ""
            counts = {"num_rows": num_rows[name], "num_rejects": num_rejects[name]}
            yield {"id": name, "fingerprint": of_both, **counts}

    storage.write_json_lines(dataset / layout.DONE, rows(), dataset)


def clear(dataset: Path, stage_name: str) -> None:
    """Removes a dataset's rows, then the arrays they name; killed in between, the next run removes the rest."""
    rows, stale = dataset / layout.UTTERANCES, dataset / layout.STALE_UTTERANCES
    (dataset / layout.DONE).unlink(missing_ok=True)
    if rows.exists() and not stale.exists():
        rows.replace(stale)
    (dataset / layout.DATASET_JSON).unlink(missing_ok=True)
    stage.Results(dataset, stage_name, layout.UTTERANCES, key="id", done_name=layout.DONE).clear()
    remove_stale_arrays(dataset)


def drop(dataset: Path, stage_name: str, recording_ids: set[str]) -> None:
    """Removes what a dataset has of these recordings: rows, rejects, scores, similar lists that name them, arrays."""
    removed: set[str] = set()
    groups = {"dataset"}

    def stale_rows() -> Iterator[dict[str, Any]]:
        for _, row in storage.read_json_lines(dataset / layout.UTTERANCES):
            if row["recording_id"] in recording_ids:
                removed.add(row["id"])
                groups.add(speaker_key(row["group"], row["speaker"]))
                yield row

    storage.write_json_lines(dataset / layout.STALE_UTTERANCES, stale_rows(), dataset)
    _touch_head(dataset)
    _keep(dataset / layout.SIMILAR_GROUPS, lambda row: row["id"] not in groups)
    _keep(dataset / layout.SIMILAR, lambda row: removed.isdisjoint([row["id"], *(name for name, _ in row["similar"])]))
    _keep(dataset / layout.SCORES, lambda row: row["id"] not in removed)
    stage.drop_rejects(dataset, lambda row: row["stage"] == stage_name and recording_id_of(row["id"]) in recording_ids)
    stage.Deaths(dataset, stage_name).clear()
    _keep(dataset / layout.UTTERANCES, lambda row: row["recording_id"] not in recording_ids)
    _keep(dataset / layout.DONE, lambda row: row["id"] not in recording_ids)
    remove_stale_arrays(dataset)


def remove_stale_arrays(dataset: Path) -> None:
    """Removes the arrays of rows that were dropped, and nothing else, also after a kill."""
    stale = dataset / layout.STALE_UTTERANCES
    if not stale.exists():
        return
    current = storage.RowIndex(dataset / layout.UTTERANCES, "id")
    for _, row in storage.read_json_lines(stale):
        if row["id"] not in current:
            safe_path(dataset, str(row.get("codes"))).unlink(missing_ok=True)
    stale.unlink()


def _touch_head(dataset: Path) -> None:
    """Notes when arrays changed under rows that may be the same, so that a build is made again."""
    path = dataset / layout.DATASET_JSON
    head = storage.read_json(path)
    if head is not None:
        now = datetime.datetime.now(datetime.UTC).isoformat()
        storage.write_json(path, head | {"updated": now, "read": {}}, dataset)


def _keep(path: Path, is_kept: Callable[[dict[str, Any]], bool]) -> None:
    if path.exists():
        rows = (row for _, row in storage.read_json_lines(path) if is_kept(row))
        storage.write_json_lines(path, rows, path.parent)


def _rejects(dataset: Path, stage_name: str) -> Iterator[dict[str, Any]]:
    rows = (row for _, row in storage.read_json_lines(dataset / layout.REJECTS))
    return (row for row in rows if row.get("stage") == stage_name)
