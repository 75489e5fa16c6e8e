"""Files that appear whole or not at all, and the lock that makes one process the only writer of a folder."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.metadata
import json
import os
import platform
import shutil
import tempfile
import typing
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from vall_e import __version__
from vall_e.types import ContractError, UsageError

SCHEMA_VERSION = 2  # 1: no recordings.jsonl and no done.jsonl; both are still read
TEMP_FOLDER = ".tmp"


def require_file(path: Path, made_by: str) -> Path:
    """`path`, if it is there.

    Raises:
        UsageError: says which command makes it.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such file; {made_by} makes it")
    return path


def require_voices(path: Path) -> Path:
    """`path`, if it can be a corpus, by its name and kind: a folder, or a manifest's file.

    Raises:
        UsageError: nothing there, or a name that libraries and JSON files can't hold.
    """
    if not path.is_dir() and not path.is_file():
        raise UsageError(f"{printable(path)}: no such folder of recordings")
    if printable(path) != str(path):
        raise UsageError(f"{printable(path)}: its name is not UTF-8; rename it")
    return path


def write_json(path: Path, value: Any, root: Path) -> None:
    """Writes an indented JSON file whole or not at all."""
    text = json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    write_whole(path, lambda file: file.write(text.encode()), root)


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None where there is no such file.

    Raises:
        ContractError: it holds something else.
    """
    try:
        value = msgspec.json.decode(path.read_bytes())
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ContractError(f"{path}: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ContractError(f"{path}: expected a JSON object")
    return value


def printable(path: Path) -> str:
    """A path for a JSON file or a terminal: bytes of its name that are no UTF-8 are shown as escapes."""
    return str(path).encode(errors="backslashreplace").decode()


def is_another_folder(recorded: str | None, now: Path) -> bool:
    """Whether an earlier run read another folder than `now`. One that is gone from where it was has been moved."""
    return recorded is not None and recorded != printable(now.resolve()) and Path(recorded).exists()


def versions(libraries: Iterable[str]) -> dict[str, str]:
    """Versions of Python, of this package and of those of `libraries` that are installed."""
    found = {"python": platform.python_version(), "vall_e": __version__}
    for name in libraries:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def write_whole(path: Path, save: Callable[[typing.BinaryIO], Any], root: Path) -> None:
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
