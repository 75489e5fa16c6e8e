"""EnCodec 48 kHz, stereo (Défossez et al. 2022, https://arxiv.org/abs/2210.13438) with the `encodec` package's layers.

Not causal: it codes seconds of sound, each overlapping the one before by 10 ms and divided by its own loudness, which
are the scales. 3, 6, 12 and 24 kbps are 2, 4, 8 and 16 levels of 1024 entries at 150 frames/s.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from vall_e.emb.codecs import checkpoints
from vall_e.emb.codecs.batching import Codes, Split, on_device
from vall_e.emb.codecs.encodec import codebooks, load_model
from vall_e.emb.codecs.registry import CodecOptions
from vall_e.emb.codecs.rvq import CodeSpace, dequantize, quantize
from vall_e.executor import devices
from vall_e.types import CodecSpec

CHECKPOINT = "encodec_48khz-7e698e3e.th"
MAX_LEVELS = 16
HOP = 320
CHUNK = 48_000
STRIDE = 47_520


class Encodec48Codec(CodeSpace):
    """EnCodec 48 kHz. Chunks are coded each on its own, so memory is that of a few chunks, whatever the length."""

    def __init__(
        self, *, weights: Path | None = None, num_levels: int = 8, device: str = "cpu", dtype: str = "float32"
    ) -> None:
        """As `EncodecCodec`."""
        checkpoints.check_levels("encodec_48khz", num_levels, MAX_LEVELS, " (8 are 12 kbps)")
        self._device, self._dtype = device, checkpoints.place("encodec_48khz", device, dtype)
        model, path = load_model("encodec_48khz", "encodec_model_48khz", "EnCodec 48 kHz", CHECKPOINT, weights)
        model.to(device, self._dtype)
        self._codebooks = codebooks(model, num_levels)
        self._encoder, self._decoder = Split(model.encoder), Split(model.decoder)
        self.spec = CodecSpec(
            name="encodec_48khz",
            weights_sha256=checkpoints.digest(path),
            sample_rate_hz=48_000,
            hop_samples=HOP,
            num_levels=num_levels,
            codebook_size=1024,
            num_channels=2,
            chunk_samples=CHUNK,
            stride_samples=STRIDE,
        )

    def encode(self, audio: Sequence[np.ndarray]) -> list[np.ndarray]:
        """float32 [2,n], or [n] for the same on both sides, n ≥ 1 → uint16 [K, spec.num_frames(n)] each."""
        counts = [self.spec.num_frames(samples.shape[-1]) for samples in audio]
        codes = Codes(counts, self._device, self.spec.num_levels)
        owners = [item for item, samples in enumerate(audio) for _ in range(0, samples.shape[-1], STRIDE)]
        chunks = (chunk for samples in audio for chunk in _chunks(samples))
        done = [0] * len(audio)
        with checkpoints.inference(self._dtype):
            inputs = (on_device(chunk / _loudness(chunk), self._device, self._dtype) for chunk in chunks)
            for item, latents in zip(owners, self._encoder(inputs), strict=True):
                codes.write(item, done[item], quantize(latents.T, self._codebooks))
                done[item] += latents.shape[1]
        return codes.arrays()

    def scales(self, audio: Sequence[np.ndarray]) -> list[np.ndarray]:
        """float32 [S] each: what each chunk is divided by, the root of its mean square and a trifle."""
        return [np.array([_loudness(chunk) for chunk in _chunks(samples)], np.float32) for samples in audio]

    def decode(self, codes: Sequence[np.ndarray], scales: Sequence[np.ndarray] | None = None) -> list[np.ndarray]:
        """[K,T] each, and scales [S] or [0] each → float32 [2,n] each, n no less than what was encoded.

        Raises:
            ValueError: scales of another number of chunks.
        """
        shares = [chunk_frames(self.spec, item.shape[1]) for item in codes]
        given = scales or [np.zeros(0, np.float32)] * len(codes)
        gains = [_gains(scale, len(frames)) for scale, frames in zip(given, shares, strict=True)]
        parts = (
            part
            for item, frames in zip(codes, shares, strict=True)
            for part in np.split(item, np.cumsum(frames)[:-1], axis=1)
        )
        with checkpoints.inference(self._dtype):
            sounds = self._decoder(self._latents(part) for part in parts)
            return [self._faded(sounds, gain, frames) for gain, frames in zip(gains, shares, strict=True)]

    def _latents(self, codes: np.ndarray) -> torch.Tensor:
        indices = on_device(codes, self._device, torch.int64)
        return dequantize(indices, self._codebooks).T.to(self._dtype)

    def _faded(self, sounds: Iterator[torch.Tensor], gains: np.ndarray, frames: list[int]) -> np.ndarray:
        """The next chunks, scaled and faded into each other, [2,n]."""
        place = torch.linspace(0, 1, frames[0] * HOP + 2, device=self._device)[1:-1]
        window = 0.5 - (place - 0.5).abs()
        total = STRIDE * (len(frames) - 1) + frames[-1] * HOP
        audio, weight = torch.zeros(2, total, device=self._device), torch.zeros(total, device=self._device)
        for index, (gain, sound) in enumerate(zip(gains.tolist(), itertools.islice(sounds, len(frames)), strict=True)):
            span = slice(index * STRIDE, index * STRIDE + sound.shape[1])
            fade = window[: sound.shape[1]]
            audio[:, span] += fade * (sound.float() * gain)
            weight[span] += fade
        return audio.div_(weight).cpu().numpy()


def _gains(scales: np.ndarray, num_chunks: int) -> np.ndarray:
    if not len(scales):
        return np.ones(num_chunks, np.float32)
    if len(scales) != num_chunks:
        raise ValueError(f"{len(scales)} scales for {num_chunks} chunks")
    return scales


def chunk_frames(spec: CodecSpec, num_frames: int) -> list[int]:
    """Frames of each chunk of a recording that has `num_frames` in all.

    Every chunk's share grows with the length and never shrinks, so the sum determines the shares.
    """
    low, high = 1, num_frames * spec.hop_samples  # samples; find the longest recording with no more frames
    while low < high:
        middle = (low + high + 1) // 2
        if spec.num_frames(middle) <= num_frames:
            low = middle
        else:
            high = middle - 1
    starts = range(0, low, spec.stride_samples)
    return [-(-min(spec.chunk_samples, low - start) // spec.hop_samples) for start in starts]


def _chunks(audio: np.ndarray) -> Iterator[np.ndarray]:
    """float32 [2,n] or [n] → [2,m] each, in order."""
    stereo = np.broadcast_to(audio, (2, len(audio))) if audio.ndim == 1 else audio
    if stereo.shape[0] != 2 or stereo.shape[1] == 0:
        raise ValueError(f"expected audio [2,n] or [n], n at least 1, got {audio.shape}")
    for start in range(0, stereo.shape[1], STRIDE):
        yield stereo[:, start : start + CHUNK].astype(np.float32, copy=False)


def _loudness(chunk: np.ndarray) -> np.float32:
    """Root of the mean square of both sides' mean; [2,m] → one number. In float64, so that no summing order matters."""
    mono = chunk.mean(axis=0, dtype=np.float64)
    return np.float32(1e-8 + np.sqrt(np.square(mono).mean()))


def load(options: CodecOptions) -> Encodec48Codec:
    return Encodec48Codec(
        weights=options.weights,
        num_levels=options.levels,
        device=devices.kind_of(options.device),
        dtype=options.dtype,
    )
