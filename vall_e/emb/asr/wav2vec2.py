"""Words put on sound by WhisperX: a Wav2Vec2 CTC model for a language, and the package's own forced alignment."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
import math
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vall_e.types import BackendError, Word

RATE_HZ = 16_000
AUTO, OFF = "auto", "off"
SHORTEST_S = 0.1  # alignment divides by the number of its 20 ms frames less one


class WordAligner:
    """Alignment models by language, each loaded when it is first asked for.

    Args:
        model: a folder or hub name; `auto`, whisperx's choice for the language; or `off`.
        device: cpu or cuda.

    Raises:
        BackendError: at construction, where a package or a local folder is missing; later, where a model can't be
            loaded.
    """

    def __init__(self, model: str, device: str) -> None:
        for package in ("whisperx", "torchaudio"):
            if importlib.util.find_spec(package) is None:
                raise BackendError(f'whisperx: the package {package} is missing; pip install "vall-e[whisperx]"')
        if model not in (AUTO, OFF) and looks_like_path(model):
            require_files(Path(model), ("config.json", "vocab.json"), "Wav2Vec2 CTC", "align-model")
        self._name, self._device = model, device
        self._models: dict[str, tuple[Any, dict[str, Any]] | None] = {}

    def model(self, language: str) -> tuple[Any, dict[str, Any]] | None:
        """(model, what it is about) for `language`; None where there is none, which standard error then says once."""
        if self._name == OFF:
            return None
        if language not in self._models:
            self._models[language] = self._load(language)
        return self._models[language]

    def has(self, language: str) -> bool:
        """Whether there is a model for a language, as far as can be said before it is loaded."""
        return self._name not in (AUTO, OFF) or (self._name == AUTO and language in _defaults())

    def align(self, text: str, samples: np.ndarray, language: str) -> list[dict[str, Any]] | None:
        """The sentences of a text that is all of float32 [n], with word times from its start; None without a model."""
        model = self.model(language)
        duration_s = len(samples) / RATE_HZ
        if model is None or duration_s < SHORTEST_S:
            return None
        from whisperx.alignment import align

        entry = {"text": text, "start": 0.0, "end": duration_s}
        sentences: list[dict[str, Any]] = align([entry], *model, samples, self._device)["segments"]
        return sentences

    def spelled(self, samples: np.ndarray, language: str) -> list[tuple[str, float]]:
        """What the model hears in float32 [n], letter by letter: (letter, seconds). No words: letters as they sound."""
        import torch

        found = self.model(language)
        assert found is not None, "has() was asked before"
        model, about = found
        with torch.inference_mode():
            waves = torch.from_numpy(samples)[None].to(self._device)
            made = model(waves)
            logits = (made.logits if about["type"] == "huggingface" else made[0])[0]
        best = logits.argmax(dim=-1).tolist()
        names = {number: letter for letter, number in about["dictionary"].items() if len(letter) == 1 and letter != "|"}
        frame_s = len(samples) / RATE_HZ / max(1, len(best))
        return [
            (names[number], (frame + 0.5) * frame_s)
            for frame, number in enumerate(best)
            if number in names and (frame == 0 or best[frame - 1] != number)
        ]

    def _load(self, language: str) -> tuple[Any, dict[str, Any]] | None:
        prepare_imports()
        from whisperx import alignment

        name = None if self._name == AUTO else self._name
        if name is None and not self.has(language):
            print(f"transcribe: whisperx has no alignment model for {language!r}: no word times", file=sys.stderr)
            return None
        try:
            model, metadata = alignment.load_align_model(language, self._device, model_name=name)
        except (OSError, ValueError) as error:
            name, reason = name or _defaults()[language], " ".join(str(error).split())[:200]
            raise BackendError(
                f"whisperx: the alignment model of {language!r}, {name}, can't be loaded ({reason}); "
                "give a local folder as --align-model, or --align-model off"
            ) from None
        return model.eval(), metadata


@functools.cache
def _defaults() -> dict[str, str]:
    """Language → the model that whisperx takes for it."""
    prepare_imports()
    from whisperx import alignment

    return {**alignment.DEFAULT_ALIGN_MODELS_TORCH, **alignment.DEFAULT_ALIGN_MODELS_HF}


def timed(words: Sequence[dict[str, Any]], start_s: float, end_s: float, offset_s: float) -> Iterator[Word]:
    """Words with times; one that alignment left without gets what lies between its neighbours."""
    floor = float(start_s)
    for number, word in enumerate(words):
        later = (entry["start"] for entry in words[number + 1 :] if "start" in entry)
        begin = float(word.get("start", floor))
        end = float(word["end"]) if "end" in word else max(begin, float(next(later, end_s)))
        score = word.get("score")
        known = score is not None and math.isfinite(score)
        yield Word(
            text=word["word"],
            start_s=round(offset_s + begin, 3),
            end_s=round(offset_s + end, 3),
            score=min(1.0, max(0.0, float(score))) if known else None,  # type: ignore[arg-type]
            interpolated="start" not in word or "end" not in word,
        )
        floor = max(floor, end)


def looks_like_path(name: str) -> bool:
    """Whether a folder is meant and no hub name: it is there, or is written as only paths are."""
    return Path(name).exists() or name.startswith((".", "/", "~")) or name.count("/") > 1


def require_files(folder: Path, names: Sequence[str], kind: str, flag: str) -> Path:
    for name in names:
        if not (folder / name).is_file():
            raise BackendError(f"whisperx: --{flag} {folder}: no {name} in it; it takes a {kind} folder")
    return folder


@functools.cache
def prepare_imports() -> None:
    """Makes whisperx importable beside a CPU-only torch, and keeps torch to one thread."""
    import torch

    from vall_e.compat import forget_lazy_modules, import_pyannote

    torch.set_num_threads(1)
    import_pyannote()
    import transformers

    transformers.logging.disable_progress_bar()
    with warnings.catch_warnings(), quiet():
        warnings.simplefilter("ignore")
        import whisperx.alignment
        import whisperx.asr  # noqa: F401
    forget_lazy_modules()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps what whisperx prints off standard output, which belongs to the command."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
