"""EnCodec 24 kHz (Défossez et al. 2022, https://arxiv.org/abs/2210.13438) with the `encodec` package's layers.

1.5, 3, 6, 12 and 24 kbps are 2, 4, 8, 16 and 32 levels of 1024 entries at 75 frames/s. The layers run piece by piece
with their state carried (`streaming`), so three hours take the memory of seconds; the nearest entry is searched in
float64, as the package's float32 formula cancels (`rvq`).
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from vall_e.emb.codecs import checkpoints
from vall_e.emb.codecs.batching import Codes, Output, fold_weight_norm, on_device
from vall_e.emb.codecs.registry import CodecOptions
from vall_e.emb.codecs.rvq import CodeSpace, dequantize, quantize
from vall_e.executor import devices
from vall_e.types import CodecSpec

if TYPE_CHECKING:
    from torch import Tensor

CHECKPOINT = "encodec_24khz-d7cc33bc.th"
MAX_LEVELS = 32
HOP = 320


class EncodecCodec(CodeSpace):
    """EnCodec 24 kHz. Items of any lengths share a batch; on a CPU the others of a list change no bit."""

    def __init__(
        self,
        *,
        weights: Path | None = None,
        num_levels: int = 8,
        device: str = "cpu",
        dtype: str = "float32",
        piece_s: float | None = None,
    ) -> None:
        """Load the weights: a file, else torch hub's cache, else Meta's server.

        Args:
            weights: a checkpoint in .th or .safetensors.
            num_levels: how many levels `encode` returns.
            device: where torch computes.
            dtype: in what the networks compute.
            piece_s: how much runs at once, which changes speed and memory only; 2 s on a CPU, 10 s elsewhere.

        Raises:
            BackendError: package or weights are missing or do not fit. UsageError: levels or dtype that it lacks.
        """
        checkpoints.check_levels("encodec", num_levels, MAX_LEVELS, " (8 are 6 kbps)")
        self._device, self._dtype = device, checkpoints.place("encodec", device, dtype)
        model, path = load_model("encodec", "encodec_model_24khz", "EnCodec 24 kHz", CHECKPOINT, weights)
        model.to(device, self._dtype)
        from vall_e.emb.codecs.streaming import Stream

        self._codebooks = codebooks(model, num_levels)
        on_cpu, frames = torch.device(device).type == "cpu", None if piece_s is None else round(piece_s * 75)
        self._encoder = Stream(model.encoder, columns_per_frame=HOP, on_cpu=on_cpu, piece_frames=frames)
        self._decoder = Stream(model.decoder, columns_per_frame=1, on_cpu=on_cpu, piece_frames=frames)
        self.spec = CodecSpec(
            name="encodec",
            weights_sha256=checkpoints.digest(path),
            sample_rate_hz=24_000,
            hop_samples=HOP,
            num_levels=num_levels,
            codebook_size=1024,
        )

    def encode(self, audio: Sequence[np.ndarray]) -> list[np.ndarray]:
        """float32 [n] each, n ≥ 1 → uint16 [K, ceil(n / 320)] each."""
        counts = [self.spec.num_frames(len(samples)) for samples in audio]
        codes, done = Codes(counts, self._device, self.spec.num_levels), [0] * len(audio)
        sources = [functools.partial(self._samples, samples) for samples in audio]
        with checkpoints.inference(self._dtype):
            for parts in self._encoder(sources, [len(samples) for samples in audio]):
                found = quantize(torch.cat([latents.T for _, latents in parts]), self._codebooks)
                sizes = [latents.shape[1] for _, latents in parts]
                for (item, _), own in zip(parts, found.split(sizes, dim=1), strict=True):
                    codes.write(item, done[item], own)
                    done[item] += own.shape[1]
        return codes.arrays()

    def scales(self, audio: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Nothing is normalised: float32 [0] each."""
        return [np.zeros(0, np.float32) for _ in audio]

    def decode(self, codes: Sequence[np.ndarray], scales: Sequence[np.ndarray] | None = None) -> list[np.ndarray]:
        """[K,T] each → float32 [320 · T] each."""
        lengths, done = [item.shape[1] for item in codes], [0] * len(codes)
        sounds = Output([length * HOP for length in lengths], self._device)
        sources = [functools.partial(self._frames, item) for item in codes]
        with checkpoints.inference(self._dtype):
            for parts in self._decoder(sources, lengths):
                for item, sound in parts:
                    sounds.write(item, done[item], sound[0])
                    done[item] += sound.shape[1]
        return sounds.arrays()

    def _samples(self, audio: np.ndarray, start: int, stop: int) -> Tensor:
        return on_device(audio[start:stop], self._device, self._dtype)[None]

    def _frames(self, codes: np.ndarray, start: int, stop: int) -> Tensor:
        indices = on_device(codes[:, start:stop], self._device, torch.int64)
        return dequantize(indices, self._codebooks).T.to(self._dtype)


def codebooks(model: Any, num_levels: int) -> Tensor:
    """The first levels of the package's model, float64 [K, C, D]."""
    return torch.stack([layer._codebook.embed.double() for layer in model.quantizer.vq.layers[:num_levels]])


def load_model(codec: str, factory: str, title: str, checkpoint: str, weights: Path | None) -> tuple[Any, Path]:
    """(the package's model without weight norm, the file its weights are from).

    Raises:
        BackendError: package or weights are missing or do not fit.
    """
    checkpoints.require(codec, package="encodec", extra="encodec")
    from vall_e.compat import install_shim

    install_shim()
    from encodec.model import ROOT_URL, EncodecModel

    cached = Path(torch.hub.get_dir()) / "checkpoints" / checkpoint
    prefix = cached.stem.rpartition("-")[2]
    path = weights or checkpoints.fetched(codec, cached, ROOT_URL + checkpoint, hash_prefix=prefix)
    state = checkpoints.read(codec, path)
    with warnings.catch_warnings():  # the package builds on torch's older weight norm, which says so at each layer
        warnings.simplefilter("ignore", FutureWarning)
        model = getattr(EncodecModel, factory)(pretrained=False)
    checkpoints.fill(codec, title, model, state, path)
    fold_weight_norm(model)
    return model.eval().requires_grad_(False), path


def load(options: CodecOptions) -> EncodecCodec:
    return EncodecCodec(
        weights=options.weights,
        num_levels=options.levels,
        device=devices.kind_of(options.device),
        dtype=options.dtype,
    )
