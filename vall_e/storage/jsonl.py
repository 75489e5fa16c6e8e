"""JSON lines that are appended, read and resumed.

A row is the completion marker of its item: whatever it refers to is on disk before it is appended. There is one writer
per folder (`folder_lock`); a line that a crash tore is dropped when the file is next opened for writing.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from vall_e.storage.files import write_whole
from vall_e.storage.records import decode, to_row
from vall_e.types import ContractError

T = TypeVar("T")


def read_json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) of each whole line. A file that does not exist has none; a torn last line is left out.

    Raises:
        ContractError: a line before the last that is not JSON, by file and line.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            value = parse_line(line)
            if value is not None:
                yield number, value
            elif file.read(1):
                raise ContractError(f"{path}:{number}: not a JSON object; the file was changed by hand or by the disk")


def parse_line(line: bytes) -> dict[str, Any] | None:
    """The object on the line; None where it is not whole or not an object."""
    if not line.endswith(b"\n"):
        return None
    try:
        value = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return value if isinstance(value, dict) else None


def read_rows(path: Path, cls: type[T]) -> Iterator[T]:
    """The records of a JSON lines file, in the order in which they were written."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return  # torn while it was written
            try:
                yield decode(cls, line, f"{path}:{number}")
            except ContractError:
                if parse_line(line) is None and not file.peek(1):
                    return  # torn as well, and padded by the file system
                raise


class JsonlWriter:
    """Appends rows to one file. Opening drops a torn last line; each `write` reaches the kernel before it returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")
        self._file.truncate(_whole_length(path))

    def write(self, records: Iterable[Any]) -> None:
        """One write for all `records`, so that a kill leaves them whole but, at worst, the last."""
        rows = (record if isinstance(record, dict) else to_row(record) for record in records)
        lines = [json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows]
        if lines:
            self._file.write("".join(lines).encode())
            self._file.flush()

    def close(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def __enter__(self) -> JsonlWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _whole_length(path: Path) -> int:
    """Bytes up to the end of the last whole row."""
    size = path.stat().st_size
    with path.open("rb") as file:
        end, tail = size, b""
        while end > 0:
            start = max(0, end - (1 << 16))
            file.seek(start)
            tail = file.read(end - start) + tail
            # two newlines bound the last whole line; the start of the file bounds it as well
            cut = tail.rfind(b"\n") + 1
            previous = tail.rfind(b"\n", 0, max(cut - 1, 0)) + 1
            if start == 0 or (cut and previous):
                last = tail[previous:cut]
                return start + (cut if not last or parse_line(last) is not None else previous)
            end = start
    return 0


def prefix_hash(path: Path, num_bytes: int | None = None) -> tuple[int, str]:
    """(bytes, sha256) of the first `num_bytes` of an append-only file, of its whole rows if None.

    Rows that were there before are there still if, and only if, their hash is the same.
    """
    num_bytes = _whole_length(path) if num_bytes is None else num_bytes
    digest, left = hashlib.sha256(), num_bytes
    with path.open("rb") as file:
        while left > 0 and (chunk := file.read(min(left, 1 << 20))):
            digest.update(chunk)
            left -= len(chunk)
    return num_bytes, digest.hexdigest()


def write_json_lines(path: Path, rows: Iterable[Mapping[str, Any]], root: Path) -> None:
    """Replaces a JSON lines file whole or not at all; `rows` may come from reading it."""
    lines = (json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n" for row in rows)
    write_whole(path, lambda file: file.writelines(lines), root)
