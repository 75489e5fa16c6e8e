"""EnCodec 48 kHz, stereo (Défossez et al. 2022, https://arxiv.org/abs/2210.13438) with the `encodec` package's layers.

Not causal: it codes seconds of sound, each overlapping the one before by 10 ms and divided by its own loudness, which
are the scales. 3, 6, 12 and 24 kbps are 2, 4, 8 and 16 levels of 1024 entries at 150 frames/s.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from vall_e.emb.codecs import checkpoints
from vall_e.emb.codecs.encodec import load_model
from vall_e.emb.codecs.registry import CodecOptions
from vall_e.executor import devices
from vall_e.types import CodecSpec

CHECKPOINT = "encodec_48khz-7e698e3e.th"
MAX_LEVELS = 16
HOP = 320
CHUNK = 48_000
STRIDE = 47_520


class Encodec48Codec:
    """Chunks are coded each on its own, so memory is that of a few chunks, whatever the length."""


    def __init__(
        self, *, weights: Path | None = None, num_levels: int = 8, device: str = "cpu", dtype: str = "float32"
    ) -> None:
        """As `EncodecCodec`."""
        checkpoints.check_levels("encodec_48khz", num_levels, MAX_LEVELS, " (8 are 12 kbps)")
        model, path = load_model("encodec_48khz", "encodec_model_48khz", "EnCodec 48 kHz", CHECKPOINT, weights)
        self._dtype = checkpoints.place("encodec_48khz", device, dtype)
        import torch

        from vall_e.emb.codecs.seanet import Seanet

        codebooks = torch.stack([layer._codebook.embed for layer in model.quantizer.vq.layers[:num_levels]])
        self._codebooks = codebooks.to(device)
        self._encoder = Seanet(model.encoder, dtype=self._dtype, device=device)
        self._decoder = Seanet(model.decoder, dtype=self._dtype, device=device)
        self._device = device
        self._lanes = self._encoder.lstm.lanes
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
        import torch

        from vall_e.emb.codecs.rvq import quantize

        found: list[list[np.ndarray]] = [[] for _ in audio]
        chunks = ((item, chunk) for item, samples in enumerate(audio) for chunk in _chunks(samples))
        with torch.inference_mode():
            while batch := list(itertools.islice(chunks, self._lanes)):
                inputs = [torch.from_numpy((chunk / _loudness(chunk)).T.copy()) for _, chunk in batch]
                latents = self._encoder.together([x.to(self._device, self._dtype) for x in inputs])
                codes = quantize(torch.cat(latents), self._codebooks).cpu().numpy().astype(np.uint16)
                for (item, _), part in zip(batch, latents, strict=True):
                    found[item].append(codes[:, : len(part)])
                    codes = codes[:, len(part) :]
        return [np.concatenate(parts, axis=1) for parts in found]

    def scales(self, audio: Sequence[np.ndarray]) -> list[np.ndarray]:
        """float32 [S] each: what each chunk is divided by, the root of its mean square and a trifle."""
        return [np.array([_loudness(chunk) for chunk in _chunks(samples)], np.float32) for samples in audio]

    def decode(self, codes: Sequence[np.ndarray], scales: Sequence[np.ndarray] | None = None) -> list[np.ndarray]:
        """[K,T] each, and scales [S] or [0] each → float32 [2,n] each, n no less than what was encoded.

        Raises:
            ValueError: scales of another number of chunks.
        """
        empty = [np.zeros(0, np.float32)] * len(codes)
        return [self._decode(item, scale) for item, scale in zip(codes, scales or empty, strict=True)]

    def _decode(self, codes: np.ndarray, scales: np.ndarray) -> np.ndarray:
        frames = chunk_frames(self.spec, codes.shape[1])
        if len(scales) not in (0, len(frames)):
            raise ValueError(f"{len(scales)} scales for {len(frames)} chunks")
        bounds = np.cumsum([0, *frames])
        longest = frames[0] * HOP
        place = np.linspace(0, 1, longest + 2, dtype=np.float32)[1:-1]
        window = np.float32(0.5) - np.abs(place - np.float32(0.5))
        total = STRIDE * (len(frames) - 1) + frames[-1] * HOP
        audio, weight = np.zeros((2, total), np.float32), np.zeros(total, np.float32)
        for first in range(0, len(frames), self._lanes):
            parts = [codes[:, a:b] for a, b in itertools.pairwise(bounds[first : first + self._lanes + 1])]
            for index, sound in enumerate(self._sounds(parts), first):
                gain = scales[index] if len(scales) else np.float32(1)
                start, fade = index * STRIDE, window[: sound.shape[1]]
                audio[:, start : start + sound.shape[1]] += fade * (sound * gain)
                weight[start : start + sound.shape[1]] += fade
        return np.divide(audio, weight, out=audio)

    def _sounds(self, parts: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Codes [K,T] of chunks → float32 [2, T · hop] of each."""
        import torch

        from vall_e.emb.codecs.rvq import dequantize

        with torch.inference_mode():
            indices = [torch.from_numpy(part.astype(np.int64)).to(self._device) for part in parts]
            frames = [dequantize(part, self._codebooks).to(self._dtype) for part in indices]
            return [sound.T.float().cpu().numpy() for sound in self._decoder.together(frames)]


def chunk_frames(spec: CodecSpec, num_frames: int) -> list[int]:
    """Frames of each chunk of a recording that has `num_frames` in all.

    Every chunk's share grows with the length and never shrinks, so the sum tells the shares.
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
