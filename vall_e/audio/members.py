"""Audio inside a tar file, or in a row of a parquet or arrow file, as a file of its own.

Decoders want a file that they can seek in, so a member is copied to a temporary one while it is read. Only plain files
of a tar count, by their place in it; nothing is unpacked by its name.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from vall_e.audio.errors import AudioError
from vall_e.audio.file_part import FilePart
from vall_e.types import RejectReason

KEPT_INDEXES = 4  # of the files that were read last: recordings come file by file
TABLE_SUFFIXES = (".parquet", ".arrow")


def row_member(column: str, row: int) -> str:
    """The `member` of a row of a table.

    Example:
        >>> row_member("audio", 17)
        'audio/17'
    """
    return f"{column}/{row}"


@contextlib.contextmanager
def extracted(path: Path, member: str | None) -> Iterator[Path]:
    """The file itself, or a copy of what `member` names in it, which is removed at the end.

    Raises:
        AudioError: UNREADABLE, where the file holds no such member.
    """
    if member is None:
        yield path
        return
    try:
        state = path.stat()
        read = _table_bytes if path.suffix.lower() in TABLE_SUFFIXES else _tar_bytes
        with tempfile.NamedTemporaryFile(suffix=PurePosixPath(member).suffix) as copy:
            read(path, member, (state.st_size, state.st_mtime_ns), copy)
            copy.flush()
            yield Path(copy.name)
    except (OSError, tarfile.TarError) as error:
        raise AudioError(RejectReason.UNREADABLE, f"{path.name}: {error}") from None


def _tar_bytes(path: Path, member: str, state: tuple[int, int], copy: IO[bytes]) -> None:
    places = _tar_places(path, state)
    if member not in places:
        raise AudioError(RejectReason.UNREADABLE, f"{path.name}: holds no file {member!r}")
    begin, size = places[member]
    with path.open("rb") as file:
        shutil.copyfileobj(FilePart(file, begin, begin + size), copy)


@functools.lru_cache(KEPT_INDEXES)
def _tar_places(path: Path, state: tuple[int, int]) -> dict[str, tuple[int, int]]:
    """(begin, bytes) of each plain file of a tar; `state` is of the file, so that a changed one is read again."""
    with tarfile.open(path, "r:") as tar:
        return {info.name: (info.offset_data, info.size) for info in tar if info.isreg()}


def _table_bytes(path: Path, member: str, state: tuple[int, int], copy: IO[bytes]) -> None:
    column, _, row = member.rpartition("/")
    value = table_rows(path, state, column).get(int(row))
    if value is None:
        raise AudioError(RejectReason.UNREADABLE, f"{path.name}: row {row} holds no audio in {column!r}")
    copy.write(value)


class _Rows:
    """The audio of a table's rows, of which one group lies in memory at a time."""

    def __init__(self, path: Path, column: str) -> None:
        self._begin = 0
        self._values: list[Any] = []
        if path.suffix.lower() == ".parquet":
            import pyarrow.parquet as parquet

            file: Any = parquet.ParquetFile(path)
            counts = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
            self._read = lambda number: file.read_row_group(number, columns=[column]).column(0)
        else:
            batches = arrow_batches(path)
            counts = [len(batch) for batch in batches]
            self._read = lambda number: batches[number].column(column)
        self._ends = list(itertools.accumulate(counts))

    def get(self, row: int) -> bytes | None:
        if not self._begin <= row < self._begin + len(self._values):
            number = next((number for number, end in enumerate(self._ends) if row < end), None)
            if number is None:
                return None
            self._begin = self._ends[number - 1] if number else 0
            values = self._read(number).to_pylist()
            self._values = [value["bytes"] if isinstance(value, dict) else value for value in values]
        value = self._values[row - self._begin]
        return value if isinstance(value, bytes) else None


@functools.lru_cache(KEPT_INDEXES)
def table_rows(path: Path, state: tuple[int, int], column: str) -> _Rows:
    """The rows of a table; `state` as of a tar."""
    import pyarrow as pa

    try:
        return _Rows(path, column)
    except (pa.ArrowException, KeyError) as error:
        raise AudioError(RejectReason.UNREADABLE, f"{path.name}: {' '.join(str(error).split())}") from None


def arrow_batches(path: Path) -> list[Any]:
    """The record batches of an Arrow file, in its stream form (as `datasets` writes) or its file form."""
    import pyarrow as pa

    source = pa.memory_map(str(path))
    try:
        return list(pa.ipc.open_stream(source))
    except pa.ArrowInvalid:
        reader = pa.ipc.open_file(source)
        return [reader.get_batch(number) for number in range(reader.num_record_batches)]
