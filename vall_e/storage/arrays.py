"""Arrays of codes as plain `.npy` files."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from vall_e.storage.files import write_whole
from vall_e.types import ContractError

CODE_DTYPE = np.dtype(np.uint16)


def write_array(path: Path, array: np.ndarray, root: Path) -> None:
    """Writes `.npy` so that `path`, below `root`, is either absent or whole: temporary name, fsync, rename."""

    buffer = io.BytesIO()  # numpy's own error on a full disk does not say that it is full
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    write_whole(path, lambda file: file.write(buffer.getbuffer()), root)


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
