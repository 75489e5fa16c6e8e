"""What changed in a folder of recordings since they were heard, told without reading them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from vall_e import storage
from vall_e.types import TEXT_SUFFIXES, Record

STAMPS = "inputs.jsonl"


class Stamp(Record, frozen=True, kw_only=True):
    """Bytes of a recording and of the texts beside it, and when the youngest of them was written."""

    id: str
    num_bytes: int
    latest_ns: int


def stamp_of(recording_id: str, path: Path) -> Stamp:
    """Of files that are gone by now, zeros."""
    num_bytes, latest_ns = 0, 0
    stem = path.with_suffix("")
    for part in (path, *(stem.with_name(stem.name + suffix) for suffix in TEXT_SUFFIXES)):
        with contextlib.suppress(OSError):
            status = part.stat()
            num_bytes, latest_ns = num_bytes + status.st_size, max(latest_ns, status.st_mtime_ns)
    return Stamp(id=recording_id, num_bytes=num_bytes, latest_ns=latest_ns)


def what_changed(folder: Path, found: Iterable[tuple[str, Path]], done: set[str], rejected: set[str]) -> list[str]:
    """A line each for what changed and what went since it was done; `folder` keeps the stamps of what is new.

    Rows that stand are not made anew: that is `--overwrite`'s. But nobody shall believe that they are up to date.
    """
    path = folder / STAMPS
    known = {stamp.id: stamp for stamp in storage.read_rows(path, Stamp)}
    now = {recording_id: stamp_of(recording_id, path) for recording_id, path in found}
    changed = sorted(key for key, stamp in now.items() if key in done and known.get(key, stamp) != stamp)
    gone = sorted(done - now.keys() - rejected)
    with storage.JsonlWriter(path) as writer:
        writer.write(stamp for key, stamp in now.items() if key not in known)
    notes = []
    if changed:
        notes.append(f"{len(changed)} recordings or texts changed since, like {changed[0]}; --overwrite redoes all")
    if gone:
        notes.append(f"{len(gone)} recordings are gone, like {gone[0]}; their rows stay until --overwrite")
    return notes
