"""Let torchaudio import on a CPU-only torch.

The torchaudio wheel on PyPI is linked to CUDA. On a CPU-only torch its extension fails to load, and with it all that
imports torchaudio (encodec, vocos, dac, whisperx, pyannote). Its Python parts need no extension, so a stand-in module
that says "the extension is not there" makes resampling, mel and filters work. `forced_align` and RNN-T do not.
"""

import contextlib
import functools
import importlib.metadata
import io
import sys
import types
import warnings
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


@functools.cache
def import_pyannote() -> None:
    """Imports pyannote.audio beside a CPU-only torch, without what it prints and leaves behind."""
    install_shim()
    import torchaudio

    # pyannote 3 names these while it is imported; nothing here calls them, as audio comes as arrays
    for name, stand_in in (
        ("AudioMetaData", type("AudioMetaData", (), {})),
        ("list_audio_backends", lambda: ["soundfile"]),
        ("info", None),
    ):
        if not hasattr(torchaudio, name):
            setattr(torchaudio, name, stand_in)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        import pyannote.audio  # noqa: F401
    forget_lazy_modules()


def forget_lazy_modules() -> None:
    """To be called behind imports that may bring speechbrain.

    It leaves modules that import what is not installed as soon as anybody looks at them: `inspect`, and whatever else
    walks over all modules, would fail from now on.
    """
    for module_name, module in list(sys.modules.items()):
        if type(module).__module__ == "speechbrain.utils.importutils":
            del sys.modules[module_name]


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
