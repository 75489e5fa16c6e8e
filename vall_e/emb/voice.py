"""What a voice sounds like, as a vector: the encoder of resemblyzer, whose weights ship in that package's wheel.

Wan et al., Generalized End-to-End Loss for Speaker Verification, https://arxiv.org/abs/1710.10467. The network is built
here, as importing the package wants webrtcvad, which has no wheel; only the file of its weights is read.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vall_e.types import BackendError

RATE_HZ = 16_000
HOP_SAMPLES, WINDOW_SAMPLES = 160, 400
NUM_MELS, WIDTH, NUM_LAYERS = 40, 256, 3
TARGET_DB = -30.0  # below full scale; quieter speech is raised to it
WINDOW_FRAMES = 160  # 1.6 s, which the encoder was trained on
BATCH = 64
INSTALL = 'pip install "vall-e[speakers]", then pip install --no-deps resemblyzer'


def require(what: str) -> None:
    """Raises BackendError where a package is missing; `what` asks for it."""
    for package in ("librosa", "resemblyzer"):
        if importlib.util.find_spec(package) is None:
            raise BackendError(f"{what}: {package} is missing; {INSTALL}")


def mels(samples: np.ndarray) -> np.ndarray:
    """Power in mel bands of float32 [n] at 16 kHz → float32 [T,40], a frame each 10 ms; quiet speech is made louder."""
    import librosa

    level_db = 10 * np.log10(max(float(np.mean(np.square(samples, dtype=np.float64))), 1e-20))
    power: np.ndarray = librosa.feature.melspectrogram(
        y=samples * np.float32(10 ** (max(0.0, TARGET_DB - level_db) / 20)),
        sr=RATE_HZ,
        n_fft=WINDOW_SAMPLES,
        hop_length=HOP_SAMPLES,
        n_mels=NUM_MELS,
    )
    return power.astype(np.float32).T


def windows(num_frames: int, step_frames: int) -> list[tuple[int, int]]:
    """(first, last) frames of windows over a span of speech, the last one up to its end."""
    last = max(0, num_frames - WINDOW_FRAMES)
    return [(start, min(num_frames, start + WINDOW_FRAMES)) for start in (*range(0, last, step_frames), last)]


def embed(windows: Sequence[np.ndarray]) -> np.ndarray:
    """Unit vectors, float32 [B,256], of frames [T,40] each, as `mels` gives them; none is negative."""
    import torch

    lstm, linear = _network()
    found = np.zeros((len(windows), WIDTH), np.float32)
    by_length: dict[int, list[int]] = {}
    for number, window in enumerate(windows):
        by_length.setdefault(len(window), []).append(number)
    with torch.inference_mode():
        for numbers in by_length.values():
            for first in range(0, len(numbers), BATCH):
                part = numbers[first : first + BATCH]
                batch = torch.from_numpy(np.stack([windows[number] for number in part]))
                _, (hidden, _) = lstm(batch)
                found[part] = torch.relu(linear(hidden[-1])).numpy()
    return unit(found)


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows [N,D] scaled to length 1; zeros stay."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)


@functools.cache
def _network() -> tuple[Any, Any]:
    import torch

    spec = importlib.util.find_spec("resemblyzer")
    assert spec is not None and spec.submodule_search_locations, "require() was called before"
    path = Path(next(iter(spec.submodule_search_locations))) / "pretrained.pt"
    state = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
    lstm = torch.nn.LSTM(NUM_MELS, WIDTH, NUM_LAYERS, batch_first=True)
    linear = torch.nn.Linear(WIDTH, WIDTH)
    lstm.load_state_dict({name.removeprefix("lstm."): value for name, value in state.items() if name[:5] == "lstm."})
    linear.load_state_dict({"weight": state["linear.weight"], "bias": state["linear.bias"]})
    return lstm.eval(), linear.eval()


def of_sound(samples: np.ndarray) -> np.ndarray:
    """Unit vector, float32 [256], of mono float32 [n] at 16 kHz: the mean over windows of 1.6 s, each half new."""
    frames = mels(samples)
    parts = embed([frames[first:last] for first, last in windows(len(frames), WINDOW_FRAMES // 2)])
    return unit(parts.mean(axis=0, keepdims=True))[0]
