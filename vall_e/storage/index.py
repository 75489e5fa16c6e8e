"""Which ids a file of JSON lines has and where their rows start, in 24 bytes a row, whatever the rows hold.

Ids are kept as 128-bit BLAKE2b digests (RFC 7693): among ten million ids two share one with a probability of 1e-25.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from vall_e.storage.jsonl import parse_line
from vall_e.storage.records import decode
from vall_e.types import ContractError

T = TypeVar("T")


@dataclass(frozen=True)
class RowPlace:
    """Where a row starts: what a worker is sent instead of the row, so that no process holds all rows."""

    path: Path
    start_bytes: int

    def read(self, cls: type[T]) -> T:
        """The record at this place.

        Raises:
            ContractError: names the file and line.
        """
        line = self.read_line()
        try:
            return decode(cls, line, "")
        except ContractError:
            return decode(cls, line, f"{self.path}:{self.line}")

    def read_line(self) -> bytes:
        """The row as it stands in the file."""
        with self.path.open("rb") as file:
            file.seek(self.start_bytes)
            return file.readline()

    @property
    def line(self) -> int:
        """The row's line number, from 1; counted only for an error."""
        with self.path.open("rb") as file:
            return file.read(self.start_bytes).count(b"\n") + 1


class IdSet:
    """Ids, as digests: membership, no iteration.

    Args:
        ids: may hold an id several times.
    """

    def __init__(self, ids: Iterable[str] = ()) -> None:
        halves = array("Q")
        for name in ids:
            halves.frombytes(_digest(name))
        self._sort(halves)

    def _sort(self, halves: array[int]) -> None:
        pairs = np.frombuffer(halves, np.uint64).reshape(-1, 2)
        self._order = np.lexsort((pairs[:, 1], pairs[:, 0]))
        self._high, self._low = pairs[self._order, 0], pairs[self._order, 1]

    def find(self, name: str) -> int:
        """The number of `name` in the order in which the ids came, from 0; -1 where it is not among them."""
        if not len(self._high):
            return -1
        high, low = np.frombuffer(_digest(name), np.uint64)
        slot = int(np.searchsorted(self._high, high))
        while slot < len(self._high) and self._high[slot] == high:
            if self._low[slot] == low:
                return int(self._order[slot])
            slot += 1
        return -1

    def __contains__(self, name: str) -> bool:
        return self.find(name) >= 0

    def __len__(self) -> int:
        return len(self._order)

    def first_repeated(self) -> int:
        """The number of an id that came before already; -1 where all differ."""
        same = (self._high[1:] == self._high[:-1]) & (self._low[1:] == self._low[:-1])
        return int(self._order[1:][same].min()) if same.any() else -1


class RowIndex(IdSet):
    """The rows of a JSON lines file by id, in the order of the file.

    Args:
        path: a file that need not exist.
        key: the key whose value is a row's id.
        value: what `values` holds of each row, a float; nothing by default.

    Raises:
        ContractError: a damaged line, a row without `key`, or an id that two rows have; names file and line.
    """

    def __init__(self, path: Path, key: str, value: Callable[[dict[str, Any]], float] | None = None) -> None:
        self.path, self.key = path, key
        halves, starts, values = array("Q"), array("q"), array("f")
        for number, start, row in _rows(path):
            if not isinstance(row.get(key), str):
                raise ContractError(f"{path}:{number}: not a row with {key!r}")
            halves.frombytes(_digest(row[key]))
            starts.append(start)
            if value is not None:
                values.append(value(row))
        self._sort(halves)
        self.starts = np.frombuffer(starts, np.int64)
        self.values = np.frombuffer(values, np.float32)
        repeated = self.first_repeated()
        if repeated >= 0:
            place = self.place(repeated)
            name = place.read(dict).get(key)
            raise ContractError(f"{path}:{place.line}: {name} for the second time; keep one row")

    def ids(self) -> Iterator[str]:
        """The ids, read from the file, in its order."""
        for _, _, row in _rows(self.path):
            yield str(row[self.key])

    def place(self, number: int) -> RowPlace:
        """Where row `number` (from 0) starts."""
        return RowPlace(self.path, int(self.starts[number]))

    def get(self, name: str) -> RowPlace | None:
        """Where the row of this id starts; None where there is none."""
        number = self.find(name)
        return None if number < 0 else self.place(number)


def _digest(name: str) -> bytes:
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _rows(path: Path) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """(line number, start in bytes, object) of each row; a torn last line is left out."""
    if not path.exists():
        return
    start = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            row = parse_line(line)
            if row is None:
                if not file.peek(1):
                    return
                raise ContractError(f"{path}:{number}: not a JSON object; the file was changed by hand or by the disk")
            yield number, start, row
            start += len(line)
