"""Listening to sound that lies in memory: what a recogniser makes of decoded or synthesised speech."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vall_e import audio
from vall_e.emb.asr.registry import RECOGNISERS, RecogniserOptions
from vall_e.types import NoTranscript

RATE_HZ = 16_000  # what recognisers work at
MODEL_NAME = "large-v3"
ENGLISH = "en"


def knows(backend: str, language: str) -> bool:
    """Whether a recogniser can listen to a language: pocketsphinx knows English only."""
    return backend != "pocketsphinx" or language == ENGLISH


class Listener:
    """One recogniser.

    Args:
        backend: its name.
        model_name: of a Whisper model, where it is whisperx.
        device: where it runs.

    Raises:
        BackendError: a package or model is missing.
    """

    def __init__(self, backend: str, *, model_name: str = MODEL_NAME, device: str = "cpu") -> None:
        options = RecogniserOptions(backend=(backend,), model_name=model_name, align_model="off", device=device)
        self.recogniser = RECOGNISERS.load(backend)(options)

    def texts(self, sounds: Sequence[np.ndarray], languages: Sequence[str]) -> list[str]:
        """What is recognised in each float32 [n] at RATE_HZ; nothing where no word is."""
        texts = [""] * len(sounds)
        with tempfile.TemporaryDirectory() as folder:
            sources = []
            for number, samples in enumerate(sounds):
                path = Path(folder) / f"{number}.wav"
                audio.write(path, samples, RATE_HZ)
                sources.append(audio.Source(audio.probe(path, str(number)), path))
            for language in dict.fromkeys(languages):
                numbers = [number for number, own in enumerate(languages) if own == language]
                results = self.recogniser.transcribe([sources[number] for number in numbers], language)
                for number, result in zip(numbers, results, strict=True):
                    texts[number] = "" if isinstance(result, NoTranscript) else result.text
        return texts
