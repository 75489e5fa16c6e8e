"""EnCodec 24 kHz (Défossez et al. 2022, https://arxiv.org/abs/2210.13438) through the `encodec` package.

1.5, 3, 6, 12 and 24 kbps are 2, 4, 8, 16 and 32 levels of 1024 entries at 75 frames/s. The network is the package's;
the nearest entry is searched exactly, as the package's float32 formula cancels (see `_rvq`).
"""

from __future__ import annotations

import hashlib
import importlib.util
import urllib.error
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vall_e.types import BackendError, CodecSpec, UsageError

if TYPE_CHECKING:
    import torch

CHECKPOINT = "encodec_24khz-d7cc33bc.th"
MAX_LEVELS = 32
# what the tensors-only reader of torch stumbles over in damaged bytes, besides its own errors
DAMAGED = (RuntimeError, EOFError, KeyError, IndexError, ValueError, TypeError, AttributeError)


class EncodecCodec:
    """Causal: right padding is free. Runs each item alone, which on a CPU is no slower than a batch."""

    causal = True

    def __init__(self, *, weights: Path | None = None, num_levels: int = 8, device: str = "cpu") -> None:
        if not 1 <= num_levels <= MAX_LEVELS:
            raise UsageError(f"encodec: {num_levels} levels; it has 1 to {MAX_LEVELS} (8 are 6 kbps)")
        if importlib.util.find_spec("encodec") is None:
            raise BackendError('encodec: the package is missing; pip install "vall-e[encodec]", or use the codec tiny')
        import torch

        from vall_e.emb.backends._torchaudio import install_shim

        install_shim()
        from encodec.model import EncodecModel

        path = weights or _published_weights()
        with warnings.catch_warnings():  # the package builds on torch's older weight norm, which says so at each layer
            warnings.simplefilter("ignore", FutureWarning)
            self._model = EncodecModel.encodec_model_24khz(pretrained=False)
        _load_state(self._model, path)
        # weight norm recomputes every kernel at every call; folded in, the kernels are the same numbers
        for module in list(self._model.modules()):
            if hasattr(module, "weight_g"):
                torch.nn.utils.remove_weight_norm(module)
        self._model.eval().to(device)
        self._device = device
        entries = [layer._codebook.embed for layer in self._model.quantizer.vq.layers[:num_levels]]
        self._codebooks = torch.stack(entries)
        self.spec = CodecSpec(
            name="encodec",
            weights_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            sample_rate_hz=24_000,
            hop_samples=320,
            num_levels=num_levels,
            codebook_size=1024,
        )

    def encode(self, audio: Sequence[np.ndarray]) -> list[np.ndarray]:
        """float32 [n] each → uint16 [K, ceil(n / 320)] each."""
        import torch

        from vall_e.emb.backends._rvq import quantize

        codes = []
        with torch.inference_mode():
            for samples in audio:
                x = torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32)).to(self._device)
                frames: torch.Tensor = self._model.encoder(x[None, None])[0].T
                codes.append(quantize(frames, self._codebooks).cpu().numpy().astype(np.uint16))
        return codes

    def decode(self, codes: Sequence[np.ndarray]) -> list[np.ndarray]:
        """[K,T] each → float32 [320 · T] each."""
        import torch

        from vall_e.emb.backends._rvq import dequantize

        audio = []
        with torch.inference_mode():
            for item in codes:
                indices = torch.from_numpy(item.astype(np.int64)).to(self._device)
                frames = dequantize(indices, self._codebooks)
                audio.append(self._model.decoder(frames.T[None])[0, 0].cpu().numpy())
        return audio


def _published_weights() -> Path:
    """Meta's checkpoint from torch hub's cache, fetched into it when it is not there."""
    import torch
    from encodec.model import ROOT_URL

    path = Path(torch.hub.get_dir()) / "checkpoints" / CHECKPOINT
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = path.stem.rpartition("-")[2]
    try:
        torch.hub.download_url_to_file(ROOT_URL + CHECKPOINT, str(path), hash_prefix=prefix, progress=False)
    except (urllib.error.URLError, OSError, RuntimeError) as error:  # RuntimeError: the hash does not fit
        raise BackendError(
            f"encodec: no weights in its cache and its hub can't be reached ({error}); "
            f"give --weights FILE, or use the embedded codec: --audio-backend tiny"
        ) from None
    return path


def _load_state(model: Any, path: Path) -> None:
    """Loads a state dict, from torch's format (tensors only, no other objects) or from safetensors.

    Raises:
        BackendError: not such a file, or weights of another model.
    """
    import pickle

    import safetensors
    import safetensors.torch
    import torch

    try:
        if path.suffix == ".safetensors":
            state = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, pickle.UnpicklingError, safetensors.SafetensorError, *DAMAGED) as error:
        reason = str(error).strip().partition("\n")[0]
        raise BackendError(f"encodec: {path} can't be read as weights: {type(error).__name__}: {reason}") from None
    try:
        model.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BackendError(f"encodec: {path} does not hold weights of EnCodec 24 kHz: {reason}") from None
