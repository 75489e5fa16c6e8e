"""Speaker features as LPCNet hears speech (Valin and Skoglund, arXiv:1810.11846, section 3.1): Bark cepstra and pitch.

16 kHz, frames of 20 ms every 10 ms, 18 bands of about a Bark (those of Opus), log energies, their cosine transform;
and the lag at which a frame repeats itself, with how well it does. Coefficient 0, the level, is left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vall_e.audio import resample
from vall_e.emb.features.registry import FeatureOptions
from vall_e.types import CodecSpec

RATE_HZ = 16_000
FRAME_SAMPLES, HOP_SAMPLES = 320, 160
BAND_EDGES_HZ = 200 * np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 34, 40])
SHORTEST_LAG, LONGEST_LAG = 32, 256  # samples: 500 to 62.5 Hz
QUIET = 1e-6  # power relative to the loudest frame: 60 dB down there is room, not voice
AS_WELL = 0.95  # share of the best correlation that a shorter lag must reach
VOICED = 0.5  # correlation from which a frame has a pitch
CHUNK_FRAMES = 4096
NUM_CEPSTRA = len(BAND_EDGES_HZ) - 1
SIZE = 2 * NUM_CEPSTRA + 3


def load(options: FeatureOptions, spec: CodecSpec) -> LpcnetExtractor:
    return LpcnetExtractor()


class LpcnetExtractor:
    """Raw statistics [B,1+37]: number of frames; mean and deviation of 17 cepstra; of the pitch; mean correlation."""

    needs_audio = True

    def extract(self, inputs: Sequence[tuple[np.ndarray, int]]) -> np.ndarray:
        """(mono float32 [n], its rate in Hz) each → float32 [B,38], each as if alone. Silence gives zeros."""
        rows = [_statistics(resample(audio, rate_hz, RATE_HZ)) for audio, rate_hz in inputs]
        return np.stack(rows) if rows else np.zeros((0, 1 + SIZE), np.float32)

    def normalise(self, raw: np.ndarray) -> np.ndarray:
        """Raw statistics [N,38] of a group → unit rows [N,37], float32.

        The mean over all frames of the group goes from the cepstra, as for mfcc; the pitch is compared as a step of
        the scale: an octave counts as much as a deviation of 1.
        """
        frames, values = raw[:, :1].astype(np.float64), raw[:, 1:].astype(np.float64)
        values -= (frames * values).sum(axis=0) / max(1.0, frames.sum())
        values *= frames > 0
        norm = np.linalg.norm(values, axis=1, keepdims=True)
        return np.divide(values, norm, out=np.zeros_like(values), where=norm > 0).astype(np.float32)


def frames_of(audio: np.ndarray, size: int = FRAME_SAMPLES) -> np.ndarray:
    """[T,size] of [n]: frame t begins at sample 160 t; zeros follow the end. No centring, and no copy."""
    count = max(1, -(-len(audio) // HOP_SAMPLES))
    padded = np.pad(audio, (0, (count - 1) * HOP_SAMPLES + size - len(audio)))
    return np.lib.stride_tricks.sliding_window_view(padded, size)[::HOP_SAMPLES][:count]


def spectrum(frames: np.ndarray, window: np.ndarray | None = None) -> np.ndarray:
    """Complex [T,F] of frames [T,size]; no window is a boxcar."""
    return np.fft.rfft(frames if window is None else frames * window)


def bark_cepstra(power: np.ndarray) -> np.ndarray:
    """Power [T,F] of frames of 320 → coefficients 1 to 17, [T,17]."""
    bins_hz = np.arange(power.shape[1]) * RATE_HZ / FRAME_SAMPLES
    bands = np.stack([np.interp(bins_hz, BAND_EDGES_HZ, row) for row in np.eye(len(BAND_EDGES_HZ))])
    energy = power @ bands.T
    # the smallest number of the array's own type: that of another one may be 0 in it, and its log -inf
    logs = np.log10(np.maximum(energy, np.finfo(energy.dtype).tiny))
    order = np.arange(len(BAND_EDGES_HZ))
    cosines = np.cos(np.pi / len(order) * (order[:, None] + 0.5) * order[None])
    cosines *= np.sqrt(2 / len(order))
    return (logs @ cosines)[:, 1:]


def pitch(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(lag in samples [T], correlation [T]) at which each frame of [T,size] repeats itself best."""
    size = frames.shape[1]
    kept = size - LONGEST_LAG
    padded = 1 << (2 * size - 1).bit_length()
    whole, start = np.fft.rfft(frames, padded), np.fft.rfft(frames[:, :kept], padded)
    products = np.fft.irfft(whole * start.conj(), padded)[:, SHORTEST_LAG:LONGEST_LAG]
    total = np.concatenate([np.zeros((len(frames), 1)), np.cumsum(np.square(frames), axis=1)], axis=1)
    lags = np.arange(SHORTEST_LAG, LONGEST_LAG)
    energy = total[:, lags + kept] - total[:, lags]
    scale = np.sqrt(np.maximum(energy * total[:, kept : kept + 1], 1e-20))
    correlation = products / scale
    # of lags that fit about as well, the shortest: a voice repeats itself at twice its lag too
    inner = correlation[:, 1:-1]
    is_peak = (inner >= correlation[:, :-2]) & (inner >= correlation[:, 2:])
    good = is_peak & (inner >= AS_WELL * correlation.max(axis=1, keepdims=True))
    best = np.where(good.any(axis=1), 1 + good.argmax(axis=1), correlation.argmax(axis=1))
    return lags[best], correlation[np.arange(len(frames)), best].clip(0, 1)


def _statistics(audio: np.ndarray) -> np.ndarray:
    """Audio [n] at 16 kHz → [38]."""
    window = np.hanning(FRAME_SAMPLES + 2)[1:-1]
    cepstra, lags, fits, power = [], [], [], []
    short, long = frames_of(audio.astype(np.float64)), frames_of(audio.astype(np.float64), 2 * FRAME_SAMPLES)
    for first in range(0, len(short), CHUNK_FRAMES):
        found = np.square(np.abs(spectrum(short[first : first + CHUNK_FRAMES], window)))
        cepstra.append(bark_cepstra(found))
        power.append(found.sum(axis=1))
        lag, fit = pitch(long[first : first + CHUNK_FRAMES])
        lags.append(lag)
        fits.append(fit)
    energy = np.concatenate(power)
    loud = energy > energy.max() * QUIET
    if not loud.any():
        return np.zeros(1 + SIZE, np.float32)
    kept, fit = np.concatenate(cepstra)[loud], np.concatenate(fits)[loud]
    octaves = np.log2(np.concatenate(lags)[loud])[fit > VOICED]
    of_pitch = [octaves.mean(), octaves.std()] if len(octaves) else [np.log2(SHORTEST_LAG), 0.0]
    row = np.concatenate([[loud.sum()], kept.mean(axis=0), kept.std(axis=0), of_pitch, [fit.mean()]])
    return row.astype(np.float32)
