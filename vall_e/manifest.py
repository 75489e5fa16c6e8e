"""JSON lines that are appended, read and resumed, and files that appear whole or not at all.

A row is the completion marker of its item: whatever it refers to is on disk before it is appended. There is one writer
per folder (`folder_lock`); a line that a crash tore is dropped when the file is next opened for writing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import fcntl
import functools
import hashlib
import importlib.metadata
import io
import json
import os
import platform
import shutil
import sys
import tempfile
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from vall_e import __version__
from vall_e.types import ContractError, UsageError

T = TypeVar("T")
SCHEMA_VERSION = 1
TEMP_FOLDER = ".tmp"
CODE_DTYPE = np.dtype(np.uint16)


def to_row(record: Any) -> dict[str, Any]:
    """A record as a JSON object whose keys are the field names."""
    row: dict[str, Any] = dataclasses.asdict(record)
    return row


def from_row(cls: type[T], row: Any, where: str = "") -> T:
    """A record from a JSON object; keys and types must be those of the record.

    Raises:
        ContractError: names `where` (file and line) and the key at fault.
    """
    try:
        record: T = _converter(typing.cast(Any, cls))(row)
    except _Mismatch as error:
        place = "".join(f": {key}" for key in reversed(error.trail))
        raise ContractError(f"{where}{place}: {error}") from None
    return record


class _Mismatch(Exception):
    """A value of the wrong type; `trail` gathers the keys that lead to it, innermost first."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.trail: list[str] = []


@functools.cache
def _converter(hint: Any) -> Callable[[Any], Any]:
    """What turns a JSON value into a value of this type, or raises _Mismatch. Made once per type: rows are many."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        inner = _converter(next(arg for arg in args if arg is not type(None)))
        return lambda value: None if value is None else inner(value)
    if origin is tuple:
        return functools.partial(_to_tuple, _converter(args[0]))
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        return functools.partial(_to_record, hint, {key: _converter(hints[key]) for key in hints})
    if issubclass(hint, enum.Enum):
        return functools.partial(_to_enum, hint)
    return functools.partial(_to_plain, hint)


def _to_record(cls: Any, converters: dict[str, Callable[[Any], Any]], value: Any) -> Any:
    if not isinstance(value, dict):
        raise _Mismatch(f"expected a JSON object for {cls.__name__}, found {type(value).__name__}")
    values = {}
    for key, item in value.items():
        if key not in converters:
            raise _Mismatch(f"{cls.__name__} has no key {key!r}")
        try:
            values[key] = converters[key](item)
        except _Mismatch as error:
            error.trail.append(key)
            raise
    try:
        return cls(**values)
    except TypeError as error:  # a required key is missing: the constructor says which
        raise _Mismatch(str(error)) from None


def _to_tuple(convert: Callable[[Any], Any], value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise _Mismatch("expected a list")
    items: list[Any] = []
    try:
        for item in value:
            items.append(convert(item))
    except _Mismatch as error:
        error.trail.append(f"[{len(items)}]")
        raise
    return tuple(items)


def _to_enum(cls: Any, value: Any) -> Any:
    try:
        return cls(value)
    except ValueError:
        known = ", ".join(str(item.value) for item in cls)
        raise _Mismatch(f"{value!r} is not one of {known}") from None


def _to_plain(cls: type, value: Any) -> Any:
    if cls is float and type(value) in (int, float):
        if not abs(value) <= sys.float_info.max:  # NaN and Infinity, which are no JSON, or an integer beyond them
            raise _Mismatch(f"expected a finite number, found {str(value)[:20]}")
        return float(value)
    if type(value) is cls:
        if isinstance(value, str) and not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
            raise _Mismatch(f"{value!r} holds half of a surrogate pair, which is no character")
        return value
    raise _Mismatch(f"expected {cls.__name__}, found {type(value).__name__}")


@dataclasses.dataclass(frozen=True)
class RowPlace:
    """Where a row stands: what a worker gets instead of the row, so that no process holds all rows."""

    path: Path
    line: int
    start_bytes: int

    def read(self, cls: type[T]) -> T:
        """The record that stands there.

        Raises:
            ContractError: names file and line.
        """
        with self.path.open("rb") as file:
            file.seek(self.start_bytes)
            return from_row(cls, _parse(file.readline()), f"{self.path}:{self.line}")


def index_rows(path: Path, key: str) -> Iterator[tuple[str, RowPlace]]:
    """(value of `key`, place) of each whole row of a JSON lines file."""
    start_bytes = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            row = _parse(line)
            if row is None and not file.peek(1):
                return  # torn: whoever opens the file for writing drops it
            if row is None or not isinstance(row.get(key), str):
                raise ContractError(f"{path}:{number}: not a row with {key!r}")
            yield row[key], RowPlace(path, number, start_bytes)
            start_bytes += len(line)


def read_json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) of each whole line. A file that does not exist has none; a torn last line is left out.

    Raises:
        ContractError: a line before the last that is not JSON, by file and line.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            value = _parse(line)
            if value is not None:
                yield number, value
            elif file.read(1):
                raise ContractError(f"{path}:{number}: not a JSON object; the file was changed by hand or by the disk")


def _parse(line: bytes) -> dict[str, Any] | None:
    """The object on the line; None if it was torn off while being written."""
    if not line.endswith(b"\n"):
        return None
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def read_rows(path: Path, cls: type[T]) -> Iterator[T]:
    """The records of a JSON lines file, in the order in which they were written."""
    for number, row in read_json_lines(path):
        yield from_row(cls, row, f"{path}:{number}")


def require_file(path: Path, made_by: str) -> Path:
    """`path`, if it is there.

    Raises:
        UsageError: says which command makes it.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such file; {made_by} makes it")
    return path


def require_voices(path: Path) -> Path:
    """`path`, if it is a folder of recordings by all that can be told from outside.

    Raises:
        UsageError: no such folder, or a name that libraries and JSON files can't hold.
    """
    if not path.is_dir():
        raise UsageError(f"{printable(path)}: no such folder of recordings")
    if printable(path) != str(path):
        raise UsageError(f"{printable(path)}: the folder's name is not UTF-8; rename it")
    return path


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
                return start + (cut if not last or _parse(last) is not None else previous)
            end = start
    return 0


def write_array(path: Path, array: np.ndarray, root: Path) -> None:
    """Writes `.npy` so that `path`, below `root`, is either absent or whole: temporary name, fsync, rename."""

    buffer = io.BytesIO()  # numpy's own error on a full disk does not say that it is full
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    _write_whole(path, lambda file: file.write(buffer.getbuffer()), root)


def write_json(path: Path, value: Any, root: Path) -> None:
    """Writes an indented JSON file whole or not at all."""
    text = json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    _write_whole(path, lambda file: file.write(text.encode()), root)


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None where there is no such file.

    Raises:
        ContractError: it holds something else.
    """
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ContractError(f"{path}: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ContractError(f"{path}: expected a JSON object")
    return value


def printable(path: Path) -> str:
    """A path for a JSON file or a terminal: bytes of its name that are no UTF-8 are shown as escapes."""
    return str(path).encode(errors="backslashreplace").decode()


def is_another_folder(recorded: str | None, now: Path) -> bool:
    """Whether an earlier run read another folder than `now`. One that is gone from where it was has been moved."""
    return recorded is not None and recorded != printable(now.resolve()) and Path(recorded).is_dir()


def versions(libraries: Iterable[str]) -> dict[str, str]:
    """Versions of Python, of this package and of those of `libraries` that are installed."""
    found = {"python": platform.python_version(), "vall_e": __version__}
    for name in libraries:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def prefix_hash(path: Path, num_bytes: int | None = None) -> tuple[int, str]:
    """(bytes, sha256) of the first `num_bytes` of an append-only file, of its whole rows if None.

    Rows that were there before are there still if, and only if, the hash of their stretch is the same.
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
    _write_whole(path, lambda file: file.writelines(lines), root)


def _write_whole(path: Path, save: Callable[[typing.BinaryIO], Any], root: Path) -> None:
    # temporary files gather in one folder, so that what a kill leaves behind is found without walking the tree
    temp_folder = root / TEMP_FOLDER
    temp_folder.mkdir(parents=True, exist_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=temp_folder)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, 0o644)
            save(file)
            file.flush()
            os.fsync(handle)
        os.replace(name, path)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        if isinstance(error, OSError) and error.errno and error.filename is None:  # a full disk: say of which file
            error.filename = str(path)
        raise


def read_array(path: Path) -> np.ndarray:
    """Codes, memory-mapped, uint16 [K,T].

    Raises:
        ContractError: missing, not a plain `.npy`, or of another type or shape.
    """
    try:
        codes: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise ContractError(f"{path}: can't be read as codes: {error.strerror or error}") from None
    except (ValueError, EOFError):  # numpy's own words are, for some files, an advice to unpickle them
        raise ContractError(f"{path}: can't be read as codes: not a whole .npy file of numbers") from None
    if codes.dtype != CODE_DTYPE or codes.ndim != 2:
        raise ContractError(f"{path}: codes are uint16 [K,T], found {codes.dtype} with {codes.ndim} axes")
    return codes


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Holds `folder` as its only writer, and clears what a killed one left half written.

    Raises:
        UsageError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"{folder}: another run is writing here; wait for it or choose another folder") from None
        shutil.rmtree(folder / TEMP_FOLDER, ignore_errors=True)
        yield
        shutil.rmtree(folder / TEMP_FOLDER, ignore_errors=True)
