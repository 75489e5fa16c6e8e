"""Speaker features from audio: statistics of mel-frequency cepstra (Davis and Mermelstein 1980), by librosa.

25 ms windows every 10 ms at 16 kHz, 40 mel bands, coefficients 1 to 20. Coefficient 0 is left out: it holds the level
and nothing else, so that without it a louder copy has the same features.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

import numpy as np

from vall_e.audio import resample
from vall_e.emb.features.registry import FeatureOptions
from vall_e.types import BackendError, CodecSpec

SAMPLE_RATE_HZ = 16_000
FFT_SAMPLES, WINDOW_SAMPLES, HOP_SAMPLES = 512, 400, 160
NUM_MELS, NUM_COEFFICIENTS = 40, 20
QUIET = 1e-6  # power relative to the loudest frame: 60 dB down there is room, not voice
CHUNK_FRAMES = 4096  # 41 s: bounds the memory of an hour-long utterance


def load(options: FeatureOptions, spec: CodecSpec) -> MfccExtractor:
    return MfccExtractor()


class MfccExtractor:
    """Raw statistics [B, 1 + 20 + 20]: number of voiced frames, mean and standard deviation over them."""

    needs_audio = True

    def __init__(self) -> None:
        if importlib.util.find_spec("librosa") is None:  # here, so that it fails before any work
            raise BackendError('similarity backend mfcc: librosa is missing; pip install "vall-e[mfcc]"')

    def extract(self, inputs: Sequence[tuple[np.ndarray, int]]) -> np.ndarray:
        """(mono float32 [n], its rate in Hz) each → float32 [B, 41], each as if alone. Silence gives zeros."""
        rows = [_statistics(resample(audio, rate_hz, SAMPLE_RATE_HZ)) for audio, rate_hz in inputs]
        return np.stack(rows) if rows else np.zeros((0, 1 + 2 * NUM_COEFFICIENTS), np.float32)

    def normalise(self, raw: np.ndarray) -> np.ndarray:
        """Raw statistics [N, 41] of one speaker or corpus → unit rows [N, 40], float32.

        Cepstral mean normalisation (Atal 1974): the mean over all frames of the group, which holds microphone and
        room, goes from each utterance's mean. A deviation does not change by that. Silent rows are zeros.
        """
        frames, mean, deviation = np.split(raw.astype(np.float64), [1, 1 + NUM_COEFFICIENTS], axis=1)
        group_mean = (frames * mean).sum(axis=0) / max(1.0, frames.sum())
        features = np.concatenate([mean - group_mean, deviation], axis=1) * (frames > 0)
        norm = np.linalg.norm(features, axis=1, keepdims=True)
        return np.divide(features, norm, out=np.zeros_like(features), where=norm > 0).astype(np.float32)


def _statistics(audio: np.ndarray) -> np.ndarray:
    """Audio [n] at 16 kHz → [41]."""
    cepstra, power = _cepstra(audio)
    voiced = power > power.max(initial=0.0) * QUIET
    if not voiced.any():
        return np.zeros(1 + 2 * NUM_COEFFICIENTS, np.float32)
    kept = cepstra[:, voiced].astype(np.float64)
    row = np.concatenate([[kept.shape[1]], kept.mean(axis=1), kept.std(axis=1)])
    return row.astype(np.float32)


def _cepstra(audio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients 1 to 20 [20, T] and power [T] of each frame; frame t is centred on sample 160 t."""
    import librosa

    # zeros on both sides: even one sample makes a frame
    padded = np.pad(audio, FFT_SAMPLES // 2)
    num_frames = 1 + (len(padded) - FFT_SAMPLES) // HOP_SAMPLES
    cepstra, power = [], []
    for start in range(0, num_frames, CHUNK_FRAMES):
        last = min(start + CHUNK_FRAMES, num_frames) - 1
        part = padded[start * HOP_SAMPLES : last * HOP_SAMPLES + FFT_SAMPLES]
        power_spectra = np.abs(spectra(part)) ** 2
        mel = librosa.feature.melspectrogram(S=power_spectra, sr=SAMPLE_RATE_HZ, n_fft=FFT_SAMPLES, n_mels=NUM_MELS)
        # the smallest number of the array's own type: that of a Python float is 0 in float32, and its log -inf
        log_mel = np.log(np.maximum(mel, np.finfo(mel.dtype).tiny))
        cepstra.append(librosa.feature.mfcc(S=log_mel, n_mfcc=NUM_COEFFICIENTS + 1)[1:])
        power.append(mel.sum(axis=0))
    return np.concatenate(cepstra, axis=1), np.concatenate(power)


def spectra(samples: np.ndarray, window: str = "hann") -> np.ndarray:
    """Complex [F,T]: frame t is that of samples 160 t … 160 t + 511, of which the window leaves the middle 400."""
    import librosa

    found: np.ndarray = librosa.stft(
        samples, n_fft=FFT_SAMPLES, win_length=WINDOW_SAMPLES, hop_length=HOP_SAMPLES, window=window, center=False
    )
    return found
