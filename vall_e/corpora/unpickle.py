"""The only place that reads pickled data: code files of another tool, in a process of its own that knows arrays alone.

`python -m vall_e.corpora.unpickle` reads lines of JSON, {"source", "target"}, and answers each with a line, {"levels",
"frames", "largest"} or {"error"}. `vall-e import-codes` runs it.

https://github.com/e-c-k-e-r/vall-e saves a `.enc` or `.dac` file as a numpy array of one object: {"codes": [1,K,T], …}.
"""

from __future__ import annotations

import io
import json
import pickle
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

MAX_BYTES = 256_000_000
_ALLOWED = frozenset(
    (module, name)
    for name in ("_reconstruct", "scalar")
    for module in ("numpy.core.multiarray", "numpy._core.multiarray")
) | {("numpy", "ndarray"), ("numpy", "dtype"), ("collections", "OrderedDict")}


class NotPlain(ValueError):
    """What a file holds beside arrays, numbers, texts, lists and dicts; or that it is no such file."""


class PlainUnpickler(pickle.Unpickler):
    """Arrays and plain types; anything that could run code is refused by its name."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise NotPlain(f"holds {module}.{name}, which is no array and no plain value")
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        return super().find_class(module, name)

    def persistent_load(self, pid: Any) -> Any:
        raise NotPlain("refers to something outside the file")


def read_codes(path: Path) -> np.ndarray:
    """Integer codes [K,T] of a code file.

    Raises:
        NotPlain: it holds something else.
    """
    if path.stat().st_size > MAX_BYTES:
        raise NotPlain(f"over {MAX_BYTES:,} bytes, which are no codes")
    content = io.BytesIO(path.read_bytes())
    try:
        if content.getvalue().startswith(np.lib.format.MAGIC_PREFIX):
            version = np.lib.format.read_magic(content)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            _, _, dtype = read(content)
            if not dtype.hasobject:
                content.seek(0)
                return _as_codes(np.load(content, allow_pickle=False))
        value = PlainUnpickler(content).load()
    except NotPlain:
        raise
    except Exception as error:  # a damaged pickle fails in any way
        raise NotPlain(f"not a file of codes: {type(error).__name__}: {' '.join(str(error).split())[:100]}") from None
    if isinstance(value, np.ndarray) and value.dtype == object and value.shape == ():
        value = value.item()
    if isinstance(value, dict):
        value = value.get("codes")
    return _as_codes(value)


def _as_codes(value: Any) -> np.ndarray:
    if not isinstance(value, np.ndarray) or not np.issubdtype(value.dtype, np.integer):
        raise NotPlain("holds no array of whole numbers under 'codes'")
    codes = value[0] if value.ndim == 3 and len(value) == 1 else value
    if codes.ndim != 2 or not codes.size or codes.min() < 0 or codes.max() > 65_535:
        raise NotPlain(f"codes of shape {value.shape} are not [levels, frames] of 0 … 65535")
    return codes


def main() -> int:
    for line in sys.stdin:
        request = json.loads(line)
        try:
            codes = read_codes(Path(request["source"]))
            target = Path(request["target"])
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as file:
                np.save(file, codes.astype(np.uint16), allow_pickle=False)
            answer = {"levels": codes.shape[0], "frames": codes.shape[1], "largest": int(codes.max())}
        except (NotPlain, OSError) as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
