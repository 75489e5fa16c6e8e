"""Audio files that tests make."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vall_e import audio
from vall_e.types import RejectReason

RATE_HZ = 16_000
CONTAINERS = {".wma": "asf", ".m4a": "mp4", ".m4b": "mp4", ".aac": "adts", ".mpga": "mp2", ".mka": "matroska"}


def tone(num: int, rate_hz: int = RATE_HZ) -> np.ndarray:
    """A glide, so that no two places sound the same, float32 [n]."""
    time = np.arange(num) / rate_hz
    return (0.4 * np.sin(2 * np.pi * (200 + 300 * time) * time)).astype(np.float32)


def encode(path: Path, samples: np.ndarray, rate_hz: int, codec: str) -> None:
    import av

    with av.open(str(path), "w", format=CONTAINERS.get(path.suffix)) as container:
        stream: Any = container.add_stream(codec, rate=rate_hz)
        stream.layout = "mono"
        stream.bit_rate = 64_000
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate_hz, 0, Fraction(1, rate_hz)
        for packet in stream.encode(frame):
            container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)


def reason_of(path: Path) -> RejectReason:
    """Why reading it from end to end fails."""
    with pytest.raises(audio.AudioError) as error:
        audio.probe(path, path.name)
        for _ in audio.blocks(path):
            pass
    return error.value.reason


@contextlib.contextmanager
def nobodys_folder() -> Iterator[Path]:
    """A folder that can be entered, while this process, where it is root's, is nobody: root may read everything."""
    with tempfile.TemporaryDirectory() as name:
        before = os.geteuid()
        os.chmod(name, 0o777)
        if before == 0:
            os.seteuid(65534)
        try:
            yield Path(name)
        finally:
            os.seteuid(before)
