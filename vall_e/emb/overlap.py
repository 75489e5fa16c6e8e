"""Where several people speak at once: the segmentation model of pyannote, which ships in the wheel of whisperx.

Bredin and Laurent, End-to-end speaker segmentation for overlap-aware resegmentation, https://arxiv.org/abs/2104.04045.
The model sees 5 s at a time and says of each frame of 17 ms how sure it is of each of up to three voices. Its file is
read with `weights_only`: of what else is in it nothing is built.
"""

from __future__ import annotations

import collections
import functools
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from vall_e.compat import forget_lazy_modules, import_pyannote

RATE_HZ = 16_000
CHUNK_SAMPLES, STEP_SAMPLES = 80_000, 40_000  # each moment is in the middle half of a chunk, or at an end of the audio
SURE = 0.5  # of a second voice
LEAST_S = 0.1  # shorter ones are no overlap but a doubt
BATCH = 16


def is_here() -> bool:
    """Whether the packages are installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("whisperx", "pyannote"))


def find_overlaps(samples: np.ndarray) -> list[tuple[float, float]]:
    """(start, end) in seconds where two or more people speak in float32 [n] at 16 kHz."""
    import torch

    num_chunks = max(1, -(-(len(samples) - CHUNK_SAMPLES) // STEP_SAMPLES) + 1)
    padded = np.pad(samples, (0, (num_chunks - 1) * STEP_SAMPLES + CHUNK_SAMPLES - len(samples)))
    chunks = np.lib.stride_tricks.sliding_window_view(padded, CHUNK_SAMPLES)[::STEP_SAMPLES]
    second = []
    with torch.inference_mode():
        for first in range(0, num_chunks, BATCH):
            batch = torch.from_numpy(np.array(chunks[first : first + BATCH]))[:, None]
            second.append(np.sort(_model()(batch).numpy(), axis=2)[:, :, -2])
    of_chunks = np.concatenate(second)  # [chunks, frames]: how sure a second voice is
    num_frames = of_chunks.shape[1]
    # a moment counts in the chunk whose middle is nearest
    edges = [0, *(n * STEP_SAMPLES + (CHUNK_SAMPLES + STEP_SAMPLES) // 2 for n in range(num_chunks - 1)), len(padded)]
    found: list[tuple[float, float]] = []
    frame_samples = CHUNK_SAMPLES / num_frames
    for number, sure in enumerate(of_chunks):
        start = number * STEP_SAMPLES + np.arange(num_frames) * frame_samples
        for begin in start[(sure > SURE) & (start >= edges[number]) & (start < edges[number + 1])]:
            begin_s, end_s = float(begin) / RATE_HZ, float(begin + frame_samples) / RATE_HZ
            if found and begin_s - found[-1][1] < 2 * frame_samples / RATE_HZ:
                found[-1] = (found[-1][0], end_s)
            else:
                found.append((begin_s, end_s))
    return [(begin_s, end_s) for begin_s, end_s in found if end_s - begin_s >= LEAST_S]


class _Nothing:
    """Stands for all that is in the file beside tensors and plain values."""

    def __init__(self, *_: Any) -> None: ...

    def __call__(self, *_: Any) -> _Nothing:
        return self

    def __setstate__(self, _: Any) -> None: ...

    def append(self, _: Any) -> None: ...


_PLAIN: dict[str, Any] = {
    **{"builtins.dict": dict, "builtins.int": int, "builtins.list": list},
    "collections.defaultdict": collections.defaultdict,
}


@functools.cache
def _model() -> Any:
    import torch

    import_pyannote()
    from pyannote.audio.core.task import Problem, Resolution, Specifications
    from pyannote.audio.models.segmentation import PyanNet
    forget_lazy_modules()
    from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

    spec = importlib.util.find_spec("whisperx")
    assert spec is not None and spec.submodule_search_locations, "is_here() was asked before"
    path = Path(next(iter(spec.submodule_search_locations))) / "assets" / "pytorch_model.bin"
    names = get_unsafe_globals_in_checkpoint(str(path))
    with safe_globals([(_PLAIN.get(name, _Nothing), name) for name in names]):
        state = torch.load(path, map_location="cpu", weights_only=True)
    made_with = state["hyper_parameters"]
    model = PyanNet(**{name: made_with[name] for name in ("sincnet", "lstm", "linear")})
    model.specifications = Specifications(
        problem=Problem.MULTI_LABEL_CLASSIFICATION,
        resolution=Resolution.FRAME,
        duration=CHUNK_SAMPLES / RATE_HZ,
        classes=["1", "2", "3"],
        permutation_invariant=True,
    )
    model.build()
    model.load_state_dict(state["state_dict"])
    return model.eval()
