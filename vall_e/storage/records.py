"""Records as JSON objects and back, checked by msgspec (https://jcristharif.com/msgspec)."""

from __future__ import annotations

import functools
import re
from typing import Any, TypeVar, cast

import msgspec

from vall_e.types import ContractError

T = TypeVar("T")
_PLACE = re.compile(r"(?s)(.*) - at `\$?\.?(.*)`")


def to_row(record: Any) -> dict[str, Any]:
    """A record as a JSON object whose keys are the field names."""
    row: dict[str, Any] = msgspec.to_builtins(record)
    return row


def from_row(cls: type[T], row: Any, where: str = "") -> T:
    """A record from a JSON object; keys and types must be those of the record.

    Raises:
        ContractError: names `where` (file and line) and the key at fault.
    """
    try:
        return msgspec.convert(row, cls)
    except msgspec.ValidationError as error:
        raise ContractError(f"{where}: {_explain(error)}") from None


def decode(cls: type[T], line: bytes, where: str) -> T:
    """A record from one line of JSON.

    Raises:
        ContractError: names `where` (file and line) and, where it is known, the key at fault.
    """
    try:
        record: T = _decoder(cast(Any, cls)).decode(line)
    except msgspec.ValidationError as error:
        raise ContractError(f"{where}: {_explain(error)}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ContractError(f"{where}: not JSON: {error}") from None
    return record


@functools.cache
def _decoder(cls: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(cls)


def _explain(error: msgspec.ValidationError) -> str:
    """`segments[0].text: expected str, got int`, from msgspec's own words."""
    found = _PLACE.fullmatch(str(error))
    message, key = found.groups() if found else (str(error), "")
    message = message.replace("`", "")
    return f"{key}: {message[:1].lower()}{message[1:]}" if key else message
