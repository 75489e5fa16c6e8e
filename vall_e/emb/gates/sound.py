"""What a recording sounds like, measured from its samples: noise, clipping, offset, bandwidth, silence, loudness.

`snr_db` is WADA-SNR: Kim and Stern, "Robust signal-to-noise ratio estimation based on waveform amplitude distribution
analysis" (Interspeech 2008), whose table comes from speech amplitudes of a gamma distribution of shape 0.4 in Gaussian
noise. Here the table is computed from that model.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np

from vall_e.emb.gates.base import GateInput
from vall_e.emb.gates.measured import Measured
from vall_e.emb.gates.registry import GateOptions

SHAPE = 0.4  # of the gamma distribution of speech amplitudes
SNR_DB = np.arange(-20.0, 101.0)
FRAME_S = 0.025
SILENT_DB = -40.0  # below the loud frames of the same utterance
CLIPPED = 0.999  # of full scale
CLIPPED_RUN = 3  # samples at the ceiling that a peak alone does not reach
BAND_FLOOR_DB = -60.0  # below the strongest band, where a spectrum has nothing
FFT_SAMPLES = 2048
MIN_LOUDNESS_S = 0.4  # a block of ITU-R BS.1770


def load_snr(options: GateOptions) -> Measured:
    return _measured("snr_db", lambda samples, rate_hz: snr_db(samples), bad="low")


def load_clipping(options: GateOptions) -> Measured:
    return _measured("clipped_share", lambda samples, rate_hz: clipped_share(samples), maximum=0.2, bad="high")


def load_offset(options: GateOptions) -> Measured:
    return _measured("dc_offset", lambda samples, rate_hz: abs(float(samples.mean())), maximum=0.2, bad="high")


def load_bandwidth(options: GateOptions) -> Measured:
    return _measured("bandwidth_hz", bandwidth_hz, bad="low")


def load_silence(options: GateOptions) -> Measured:
    return _measured("silence_share", silence_share, maximum=0.95, bad="high")


def load_loudness(options: GateOptions) -> Measured:
    return _measured("loudness_lufs", loudness_lufs)


def _measured(
    name: str, measure: Callable[[np.ndarray, int], float | None], *, maximum: float | None = None, bad: str = "both"
) -> Measured:
    def score(seen: GateInput) -> float | None:
        return None if seen.samples is None else measure(seen.samples, seen.sample_rate_hz)

    return Measured(name, score, maximum=maximum, bad=bad)


def snr_db(samples: np.ndarray) -> float | None:
    """Speech to noise in dB, -20 … 100, of float32 [n]; None of silence."""
    loud = np.abs(samples.astype(np.float64))
    loud = loud[loud > 1e-10]
    if not len(loud):
        return None
    statistic = math.log(loud.mean()) - float(np.log(loud).mean())
    return float(np.interp(statistic, _table(), SNR_DB))


@functools.cache
def _table() -> np.ndarray:
    """E[log|z|] - log E[|z|], negated, for speech in noise at each of SNR_DB; it rises with the SNR."""
    rng = np.random.default_rng(0)
    size = 400_000
    speech = rng.gamma(SHAPE, size=size) * rng.choice((-1.0, 1.0), size)
    speech /= np.sqrt(np.mean(speech**2))
    noise = rng.standard_normal(size)
    values = []
    for level_db in SNR_DB:
        mixed = np.abs(speech + noise * 10 ** (-level_db / 20)) + 1e-12
        values.append(math.log(mixed.mean()) - float(np.log(mixed).mean()))
    return np.maximum.accumulate(np.array(values))


def clipped_share(samples: np.ndarray) -> float:
    """The share of samples in runs of at least CLIPPED_RUN at the ceiling, which is the loudest value or full scale."""
    ceiling = float(np.abs(samples).max(initial=0.0))
    if ceiling < 0.1:
        return 0.0
    at = np.abs(samples) >= CLIPPED * min(ceiling, 1.0)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], at.view(np.int8), [0]))))
    lengths = edges[1::2] - edges[::2]
    return float(lengths[lengths >= CLIPPED_RUN].sum() / len(samples))


def bandwidth_hz(samples: np.ndarray, rate_hz: int) -> float | None:
    """The frequency above which the spectrum holds nothing: 4 kHz for telephone speech, whatever the file's rate."""
    count = len(samples) // FFT_SAMPLES
    if not count:
        return None
    frames = samples[: count * FFT_SAMPLES].reshape(count, FFT_SAMPLES) * np.hanning(FFT_SAMPLES).astype(np.float32)
    power = np.mean(np.square(np.abs(np.fft.rfft(frames))), axis=0)
    smooth = np.convolve(power, np.ones(9) / 9, mode="same")
    if smooth.max() <= 0:
        return None
    there = np.flatnonzero(smooth > smooth.max() * 10 ** (BAND_FLOOR_DB / 10))
    return float(there[-1] * rate_hz / FFT_SAMPLES)


def silence_share(samples: np.ndarray, rate_hz: int) -> float | None:
    """The share of frames of 25 ms that are far below the loud ones."""
    size = max(1, int(FRAME_S * rate_hz))
    count = len(samples) // size
    if not count:
        return None
    power = np.mean(np.square(samples[: count * size].reshape(count, size), dtype=np.float64), axis=1)
    loud = np.quantile(power, 0.95)
    return float(np.mean(power < loud * 10 ** (SILENT_DB / 10))) if loud > 0 else 1.0


def loudness_lufs(samples: np.ndarray, rate_hz: int) -> float | None:
    """Integrated loudness after ITU-R BS.1770, by pyloudnorm; None of less than 0.4 s, or of silence."""
    import pyloudnorm

    if len(samples) < MIN_LOUDNESS_S * rate_hz:
        return None
    found = float(pyloudnorm.Meter(rate_hz).integrated_loudness(samples.astype(np.float64)))
    return found if math.isfinite(found) else None
