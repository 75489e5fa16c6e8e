"""Whether an audio file is still the one that was imported: size, time, and a hash of its two ends."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from vall_e.audio.errors import AudioError
from vall_e.types import Recording, RejectReason

END_BYTES = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What distinguishes one state of a file from another; the names are those of Recording."""

    size_bytes: int
    modified_ns: int
    ends_sha256: str


def identify(path: Path) -> Identity:
    """Size, time of modification and hash of the first and last 64 KiB of a file.

    Raises:
        OSError: it can't be opened. AudioError: NOT_A_FILE.
    """
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:  # a pipe would wait for a writer
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise AudioError(RejectReason.NOT_A_FILE, "a folder, pipe or device with an audio file's name")
        digest = hashlib.sha256(file.read(END_BYTES))
        file.seek(max(END_BYTES, status.st_size - END_BYTES))
        digest.update(file.read(END_BYTES))
    return Identity(size_bytes=status.st_size, modified_ns=status.st_mtime_ns, ends_sha256=digest.hexdigest())


def is_same(path: Path, recording: Recording) -> bool:
    """Whether the file is the one that `recording` describes; its ends are read only where its time differs.

    Raises:
        OSError: it can't be opened. AudioError: NOT_A_FILE.
    """
    status = path.stat()
    if status.st_size != recording.size_bytes:
        return False
    if status.st_mtime_ns == recording.modified_ns:
        return True
    return identify(path).ends_sha256 == recording.ends_sha256


def require_same(path: Path, recording: Recording) -> None:
    """Raises AudioError (CHANGED) where the file is not the one that was imported, or UNREADABLE."""
    try:
        same = is_same(path, recording)
    except OSError as error:
        raise AudioError(RejectReason.UNREADABLE, str(error.strerror)) from None
    if not same:
        raise AudioError(RejectReason.CHANGED, "the file is not what it was when it was imported; --update redoes it")
