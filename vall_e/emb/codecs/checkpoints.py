"""Weights of codecs: found, fetched, read without running anything that is in them, and put into a model."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vall_e.types import BackendError, UsageError

if TYPE_CHECKING:
    import torch

DTYPES = ("float32", "bfloat16", "float16")
# what the tensors-only reader of torch stumbles over in damaged bytes, besides its own errors
DAMAGED = (RuntimeError, EOFError, KeyError, IndexError, ValueError, TypeError, AttributeError)


def require(codec: str, *, package: str, extra: str) -> None:
    """Raises BackendError where `package` is not installed."""
    if importlib.util.find_spec(package) is None:
        raise BackendError(
            f'{codec}: the package {package} is missing; pip install "vall-e[{extra}]", '
            'or the embedded codec: pip install "vall-e[tiny]" and --audio-backend tiny'
        )


def check_levels(codec: str, num_levels: int, most: int, note: str = "") -> None:
    """Raises UsageError unless 1 ≤ num_levels ≤ most."""
    if not 1 <= num_levels <= most:
        raise UsageError(f"{codec}: {num_levels} levels; it has 1 to {most}{note}")


def place(codec: str, device: str, dtype: str) -> torch.dtype:
    """The type of numbers to compute with on `device`.

    Raises:
        UsageError: none of DTYPES. BackendError: a device that this torch can't use.
    """
    import torch

    if dtype not in DTYPES:
        raise UsageError(f"{codec}: dtype {dtype!r}; it is one of {', '.join(DTYPES)}")
    prepare_device(codec, device)
    result: torch.dtype = getattr(torch, dtype)
    return result


def prepare_device(codec: str, device: str) -> None:
    """Makes float32 mean float32 on `device`.

    Raises:
        BackendError: a device that this torch can't use.
    """
    import torch

    if torch.device(device).type != "cuda":
        return
    if not torch.cuda.is_available():
        raise BackendError(f"{codec}: no CUDA device, or a torch without CUDA; use --device cpu, or docs/cuda.md")
    # cuDNN's default for convolutions and LSTMs is TF32, of 10 bits: codes would depend on the others of a batch
    torch.backends.cudnn.allow_tf32 = False


@contextlib.contextmanager
def inference(dtype: torch.dtype) -> Iterator[None]:
    """Without gradients; and without oneDNN in bfloat16 and float16.

    In these types it was seen to convolve 16 channels by a kernel of 8 wrongly, on one processor (torch 2.13).
    """
    import torch

    exact = dtype == torch.float32
    with torch.inference_mode(), contextlib.nullcontext() if exact else torch.backends.mkldnn.flags(enabled=False):
        yield


def digest(*paths: Path) -> str:
    """sha256 of the bytes of all of them, one after the other."""
    total = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                total.update(block)
    return total.hexdigest()


def fetched(codec: str, path: Path, url: str, *, hash_prefix: str | None = None) -> Path:
    """`path`, downloaded from `url` if it is not there yet.

    Raises:
        BackendError: the hub is out of reach, or its file has another hash.
    """
    if path.is_file():
        return path
    import torch

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), hash_prefix=hash_prefix, progress=False)
    except (urllib.error.URLError, OSError, RuntimeError) as error:  # RuntimeError: the hash does not fit
        raise BackendError(
            f"{codec}: no weights at {path} and its hub can't be reached ({error}); "
            f"give --weights FILE, or use the embedded codec: --audio-backend tiny"
        ) from None
    return path


def read(codec: str, path: Path) -> dict[str, Any]:
    """What a file of weights holds, by torch's tensors-only reader or from safetensors.

    Raises:
        BackendError: not such a file.
    """
    import safetensors
    import safetensors.torch

    if path.suffix != ".safetensors":
        content: Any = read_tensors(codec, path)
    else:
        try:
            content = safetensors.torch.load_file(path)
        except (OSError, safetensors.SafetensorError) as error:
            raise _unreadable(codec, path, str(error)) from None
    if not isinstance(content, dict):
        raise BackendError(f"{codec}: {path} holds a {type(content).__name__} where weights are expected")
    return content


def read_tensors(codec: str, path: Path) -> Any:
    """What a file written by `torch.save` holds; tensors and plain values only.

    Raises:
        BackendError: not such a file.
    """
    import pickle

    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # whose own words are an advice to run what is in the file
        raise _unreadable(codec, path, "it is damaged, or holds more than tensors and plain values") from None
    except (OSError, *DAMAGED) as error:
        raise _unreadable(codec, path, f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}") from None


def _unreadable(codec: str, path: Path, reason: str) -> BackendError:
    return BackendError(
        f"{codec}: {path} can't be read as weights: {reason.rstrip('.')}; fetch it again or give other --weights"
    )


def fill(codec: str, title: str, model: Any, state: dict[str, Any], path: Path, *, assign: bool = False) -> None:
    """Loads `state` into the model, all of it and nothing missing; with `assign` these very tensors.

    Raises:
        BackendError: weights of another model.
    """
    try:
        model.load_state_dict(state, assign=assign)
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BackendError(f"{codec}: {path} does not hold weights of {title}: {reason}") from None
