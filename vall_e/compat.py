"""Let torchaudio import on a CPU-only torch.

The torchaudio wheel on PyPI is linked to CUDA. On a CPU-only torch its extension fails to load, and with it all that
imports torchaudio (encodec, vocos, dac, whisperx, pyannote). Its Python parts need no extension, so a stand-in module
that says "the extension is not there" makes resampling, mel and filters work. `forced_align` and RNN-T do not.
"""

import importlib.metadata
import sys
import types
from typing import NoReturn

import torch

_NAME = "torchaudio._extension"


def install_shim() -> None:
    """Register the stand-in for `torchaudio._extension`; must run before anything imports torchaudio.

    Does nothing on a CUDA build of torch, when torchaudio is already imported, when its own version says that it is a
    CPU build, or when the stand-in is in place: calling it twice is harmless.
    """
    if torch.version.cuda is not None or _NAME in sys.modules or _is_cpu_build():
        return
    sys.modules[_NAME] = _stand_in()


def _is_cpu_build() -> bool:
    """True for torchaudio wheels marked `+cpu` (PyTorch's own index), which load as they are."""
    try:
        return importlib.metadata.version("torchaudio").endswith("+cpu")
    except importlib.metadata.PackageNotFoundError:
        return False


def _stand_in() -> types.ModuleType:
    module = types.ModuleType(_NAME, "Stand-in: the compiled extension of torchaudio needs a CUDA build of torch.")
    module.__dict__.update(
        _IS_TORCHAUDIO_EXT_AVAILABLE=False,
        _IS_ALIGN_AVAILABLE=False,
        _IS_RNNT_AVAILABLE=False,
        _check_cuda_version=_no_cuda_version,
        fail_if_no_align=_refuse,
        fail_if_no_rnnt=_refuse,
    )
    return module


def _no_cuda_version() -> None:
    """The CUDA version torchaudio was built for: none."""


def _refuse(function: object) -> object:
    """Decorator used by torchaudio on functions that need the extension: they fail when called, not when imported."""
    name = getattr(function, "__name__", "this function")

    def unavailable(*_args: object, **_kwargs: object) -> NoReturn:
        raise RuntimeError(f"torchaudio's {name} needs its compiled extension, which a CPU-only torch can't load")

    return unavailable
