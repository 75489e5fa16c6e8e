"""Speaker features by a network: resemblyzer's voice embedding, whose weights ship in that package's wheel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vall_e.audio import is_silent, resample
from vall_e.emb import voice
from vall_e.emb.features.registry import FeatureOptions
from vall_e.types import CodecSpec


def load(options: FeatureOptions, spec: CodecSpec) -> SpeakerExtractor:
    return SpeakerExtractor()


class SpeakerExtractor:
    """Unit vectors [B,256]: the mean over windows of 1.6 s."""

    needs_audio = True

    def __init__(self) -> None:
        voice.require("similarity backend speaker")

    def extract(self, inputs: Sequence[tuple[np.ndarray, int]]) -> np.ndarray:
        """(mono float32 [n], its rate in Hz) each → float32 [B,256], each as if alone. Silence gives zeros."""
        rows = [_embedding(resample(audio, rate_hz, voice.RATE_HZ)) for audio, rate_hz in inputs]
        return np.stack(rows) if rows else np.zeros((0, voice.WIDTH), np.float32)

    def normalise(self, raw: np.ndarray) -> np.ndarray:
        """As they are: the network was trained to be compared by the cosine."""
        return raw.copy()


def _embedding(audio: np.ndarray) -> np.ndarray:
    return np.zeros(voice.WIDTH, np.float32) if is_silent(audio) else voice.of_sound(audio)
