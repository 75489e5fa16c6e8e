"""Where there is speech: silero-vad, whose model ships in its wheel. https://github.com/snakers4/silero-vad"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from vall_e.compat import install_shim

RATE_HZ = 16_000


def find_speech(
    samples: np.ndarray, *, longest_s: float = math.inf, shortest_pause_s: float = 0.1, margin_s: float = 0.03
) -> list[tuple[float, float]]:
    """(start, end) in seconds of each span of speech in float32 [n] at 16 kHz.

    Args:
        samples: of any length.
        longest_s: longer spans are split in a pause.
        shortest_pause_s: shorter pauses are inside of a span.
        margin_s: of silence kept on either side.
    """
    import torch
    from silero_vad import get_speech_timestamps

    found = get_speech_timestamps(
        torch.from_numpy(samples),
        _model(),
        sampling_rate=RATE_HZ,
        max_speech_duration_s=longest_s,
        min_silence_duration_ms=round(1000 * shortest_pause_s),
        speech_pad_ms=round(1000 * margin_s),
    )
    return [(entry["start"] / RATE_HZ, entry["end"] / RATE_HZ) for entry in found]


@functools.cache
def _model() -> Any:
    install_shim()  # silero_vad imports torchaudio
    from silero_vad import load_silero_vad

    return load_silero_vad()
