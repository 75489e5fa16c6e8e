"""Tar files of a corpus: the members by their key, as WebDataset names them. Nothing is unpacked.

https://github.com/webdataset/webdataset: files of one sample follow each other and share the name up to the first full
stop, `0001.mp3` and `0001.json`.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vall_e.corpora.base import rejected
from vall_e.types import Reject, RejectReason, UsageError, has_audio_extension

MAX_SIDE_BYTES = 1_000_000  # of a member that is not audio


@dataclass
class Sample:
    """The members of one key: the name of the audio, and the others' content by what follows the key."""

    key: str
    audio: str | None = None
    sides: dict[str, bytes] = field(default_factory=dict)

    def json(self) -> dict[str, Any] | None:
        """The object in its `.json`, or None."""
        return to_object(self.sides.get("json", b""))

    def text(self, name: str) -> str | None:
        """The content of a side file as text, or None where there is none, or no UTF-8."""
        try:
            return self.sides[name].decode("utf-8-sig")
        except (KeyError, UnicodeDecodeError):
            return None


def to_object(content: bytes) -> dict[str, Any] | None:
    """A JSON object, or None for anything else."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def samples(path: Path, name: str) -> Iterator[Sample | Reject]:
    """The samples of a tar in its order, and a reject for each member that is a link or whose name leaves it.

    Args:
        path: of the tar; it may not be compressed, as its members are read by their place.
        name: of the tar, for rejects.

    Raises:
        UsageError: not a tar, compressed or damaged.
    """
    current: Sample | None = None
    try:
        with tarfile.open(path, "r:") as tar:
            for info in tar:
                if info.isdir():
                    continue
                if not info.isreg() or info.name.startswith("/") or ".." in info.name.split("/"):
                    shown = info.name[:80].encode(errors="backslashreplace").decode()
                    detail = f"{shown!r} in {name}: a link, no plain file, or a name that leaves the tar"
                    yield rejected(f"{name}/{info.offset}", RejectReason.UNSAFE_PATH, detail)
                    continue
                folder, _, last = info.name.rpartition("/")
                stem, _, extension = last.partition(".")
                key = f"{folder}/{stem}" if folder else stem
                if current is None or current.key != key:
                    if current is not None:
                        yield current
                    current = Sample(key)
                if has_audio_extension(last):
                    current.audio = info.name
                elif info.size <= MAX_SIDE_BYTES:
                    member = tar.extractfile(info)
                    current.sides[extension.lower()] = member.read() if member is not None else b""
    except (tarfile.TarError, OSError) as error:
        raise UsageError(f"{path}: not an uncompressed tar, or damaged: {error}") from None
    if current is not None:
        yield current
