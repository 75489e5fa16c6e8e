"""Voices told apart by a pipeline of pyannote.audio, from a local folder or with the person's token from the hub.

Bredin, pyannote.audio 2.1 speaker diarization pipeline, https://github.com/pyannote/pyannote-audio. Its models' files
are read with `weights_only`.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from vall_e import audio
from vall_e.compat import forget_lazy_modules, import_pyannote
from vall_e.emb.asr.diarize import Found, Overlap, Turn
from vall_e.emb.asr.registry import RecogniserOptions
from vall_e.emb.asr.segmenting import BLOCK_S
from vall_e.executor import devices
from vall_e.types import BackendError

RATE_HZ = 16_000
# of a hub, a file, or a class that the config names: each raises its own kind
_LOAD_ERRORS = (OSError, ValueError, TypeError, KeyError, AttributeError, ImportError, RuntimeError)
ADVICE = "give the config.yaml of a local pipeline as --diarize-model, or a token of the hub in HF_TOKEN"


def load(options: RecogniserOptions) -> PyannoteDiarizer:
    return PyannoteDiarizer(options.diarize_model, options.num_speakers, devices.kind_of(options.device))


class PyannoteDiarizer:
    """Holds a whole recording in memory, 230 MB an hour, as the pipeline does.

    Args:
        model: name on the hub, a config.yaml, or the folder of one.
        num_speakers: of each recording; 0: estimated.
        device: cpu or cuda.

    Raises:
        BackendError: at construction, where the package or the local file is missing; later, where it can't be loaded.
    """

    def __init__(self, model: str, num_speakers: int = 0, device: str = "cpu") -> None:
        if importlib.util.find_spec("pyannote") is None:
            raise BackendError('diarize pyannote: pyannote.audio is missing; pip install "vall-e[whisperx]"')
        path = Path(model)
        if path.is_dir():
            path = path / "config.yaml"
        if (path.suffix in (".yaml", ".yml") or model.startswith((".", "/", "~"))) and not path.is_file():
            raise BackendError(f"diarize pyannote: --diarize-model {model}: no such file; {ADVICE}")
        self._model = str(path)
        self._num_speakers, self._device = num_speakers or None, device
        self.name_and_version = f"diarized by pyannote.audio {importlib.metadata.version('pyannote-audio')}"

    @functools.cached_property
    def _pipeline(self) -> Any:
        import torch

        import_pyannote()
        from pyannote.audio import Pipeline
        from pyannote.audio.core.task import Problem, Resolution, Specifications
        from torch.serialization import safe_globals
        from torch.torch_version import TorchVersion

        token = os.environ.get("HF_TOKEN")
        try:
            with safe_globals([Problem, Resolution, Specifications, TorchVersion]):
                pipeline = Pipeline.from_pretrained(self._model, **({"use_auth_token": token} if token else {}))
        except (*_LOAD_ERRORS, pickle.UnpicklingError) as error:
            reason = " ".join(str(error).split())[:200]
            raise BackendError(f"diarize pyannote: {self._model} can't be loaded ({reason}); {ADVICE}") from None
        forget_lazy_modules()
        if pipeline is None:
            raise BackendError(f"diarize pyannote: {self._model} can't be fetched; {ADVICE}")
        return pipeline.to(torch.device(self._device))

    def find(self, source: audio.Source) -> Found:
        """See Diarizer."""
        import torch

        samples = np.concatenate(list(source.blocks(RATE_HZ, BLOCK_S)))
        file = {"waveform": torch.from_numpy(samples)[None], "sample_rate": RATE_HZ}
        made = self._pipeline(file, num_speakers=self._num_speakers)
        annotation = getattr(made, "speaker_diarization", made)  # pyannote 4 returns several things
        tracks = [(span.start, span.end, name) for span, _, name in annotation.itertracks(yield_label=True)]
        return found_of(tracks)


def found_of(tracks: list[tuple[float, float, str]]) -> Found:
    """Turns and overlaps of (start, end, voice) that may overlap.

    Example:
        >>> found_of([(0.0, 4.0, "b"), (3.0, 6.0, "a")])  # doctest: +NORMALIZE_WHITESPACE
        Found(turns=(Turn(start_s=0.0, end_s=3.0, voice=0), Turn(start_s=4.0, end_s=6.0, voice=1)),
              overlaps=(Overlap(start_s=3.0, end_s=4.0),))
    """
    numbers: dict[str, int] = {}
    for _, _, name in sorted(tracks):
        numbers.setdefault(name, len(numbers))
    edges = sorted({edge for start_s, end_s, _ in tracks for edge in (start_s, end_s)})
    turns: list[Turn] = []
    overlaps: list[Overlap] = []
    waiting = sorted(tracks)
    active: list[tuple[float, float, str]] = []
    for start_s, end_s in zip(edges, edges[1:], strict=False):
        while waiting and waiting[0][0] <= start_s:
            active.append(waiting.pop(0))
        active = [track for track in active if track[1] > start_s]
        names = {name for _, _, name in active}
        if len(names) > 1:
            overlaps.append(Overlap(start_s, end_s))
        elif names:
            turns.append(Turn(start_s, end_s, numbers[names.pop()]))
    return Found(tuple(turns), tuple(overlaps))
