"""What a model may learn beside text to speech: each task turns an example into another one.

Noise suppression (`ns`), speech removal (`sr`) and target-speaker extraction (`tse`) are those of SpeechX
(arXiv:2308.06873, section 3.2), speech to text (`stt`) reads an utterance as phonemes. All work on a second sound, the
example's `source`: a mixture that `python -m vall_e.emb.mix` made, or the utterance itself. As a mixture is as long as
its utterance, the durations of the text hold for it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vall_e import layout, storage
from vall_e.types import CodecSpec, ContractError, UsageError, safe_path

if TYPE_CHECKING:
    from vall_e.dataset.examples import Example

NOISE, VOICE, ALONE = "noise", "voice", "noise_alone"  # kinds of mixtures, and folders of their codes
TTS, STT = "tts", "stt"


@dataclass(frozen=True)
class Task:
    """A task, and its number in `Batch.tasks`.

    Attributes:
        transform: an example of text to speech and the arrays of `needs` → that of the task.
        needs: folders of mixtures whose codes of the utterance it takes.
    """

    number: int
    transform: Callable[[Example, Sequence[np.ndarray]], Example]
    needs: tuple[str, ...] = ()


def _speak(example: Example, _: Sequence[np.ndarray]) -> Example:
    return example


def _suppress_noise(example: Example, arrays: Sequence[np.ndarray]) -> Example:
    """The utterance out of noise; its voice is in the noisy source."""
    return dataclasses.replace(_without_prompt(example), source=arrays[0])


def _remove_speech(example: Example, arrays: Sequence[np.ndarray]) -> Example:
    """The noise without the utterance."""
    return dataclasses.replace(_without_prompt(example), source=arrays[0], target=arrays[1])


def _extract_speaker(example: Example, arrays: Sequence[np.ndarray]) -> Example:
    """The utterance out of two that are spoken at once: that in the voice of the prompt."""
    return dataclasses.replace(example, source=arrays[0])


def _write_down(example: Example, _: Sequence[np.ndarray]) -> Example:
    """What is spoken: the target is the text, and there are no codes to say."""
    bare = _without_prompt(example)
    return dataclasses.replace(bare, source=example.target, target=example.target[:, :0], durations=example.text[:0])


def _without_prompt(example: Example) -> Example:
    nothing = example.prompt_text[:0]
    return dataclasses.replace(example, prompt=example.prompt[:, :0], prompt_text=nothing, prompt_id=None)


TASKS = {
    TTS: Task(0, _speak),
    "ns": Task(1, _suppress_noise, (NOISE,)),
    "sr": Task(2, _remove_speech, (NOISE, ALONE)),
    "tse": Task(3, _extract_speaker, (VOICE,)),
    STT: Task(4, _write_down),
}


def tasks_of(value: Any) -> Any:
    """`{tts: 0.7, ns: 0.3}` of a config file as `("tts=0.7", "ns=0.3")`."""
    return tuple(f"{name}={share}" for name, share in value.items()) if isinstance(value, dict) else value


def shares_of(tasks: Sequence[str]) -> dict[str, float]:
    """`("tts=3", "ns=1")` → {"tts": 0.75, "ns": 0.25}; in the order of TASKS.

    Raises:
        UsageError: an unknown task, a share that is no positive number, or a task twice.
    """
    found: dict[str, float] = {}
    for text in tasks:
        name, _, share = text.partition("=")
        try:
            value = float(share or 1)
        except ValueError:
            value = -1.0
        if name not in TASKS or name in found or not 0 < value < float("inf"):
            raise UsageError(f"task {text!r} is not like 'ns=0.2', each once, with a name of {', '.join(TASKS)}")
        found[name] = value
    total = sum(found.values())
    return {name: found[name] / total for name in TASKS if name in found}


class Mixtures:
    """The folder that `python -m vall_e.emb.mix` wrote.

    Args:
        folder: that folder.
        spec: the codec of the dataset.
        made: when the dataset was made (`built.json`).

    Raises:
        UsageError: no mixtures there, or those of another codec or of an earlier dataset.
    """

    def __init__(self, folder: Path, spec: CodecSpec, made: str) -> None:
        self.folder = folder
        head = storage.read_json(storage.require_file(folder / layout.MIXTURES_JSON, "python -m vall_e.emb.mix")) or {}
        for name, own in (("codec", storage.to_row(spec)), ("made", made)):
            if head.get(name) != own:
                what = "another codec" if name == "codec" else "an earlier state of the dataset"
                raise UsageError(f"{folder}: mixtures of {what}; run python -m vall_e.emb.mix --overwrite")

    def read(self, task: Task, utterance_id: str, num_frames: int) -> list[np.ndarray] | None:
        """Codes uint16 [K,T] of each folder that a task needs; None where the utterance has none.

        Raises:
            ContractError: an array is damaged, or not as long as the utterance.
        """
        found = []
        for kind in task.needs:
            path = safe_path(self.folder, f"{kind}/{utterance_id}.npy")
            if not path.is_file():
                return None
            codes = storage.read_array(path)
            if codes.shape[1] != num_frames:
                what = f"has {codes.shape[1]} frames, the utterance {num_frames}"
                raise ContractError(f"{path}: {what}; run python -m vall_e.emb.mix --overwrite")
            found.append(codes)
        return found


def choose(shares: Mapping[str, float], rng: np.random.Generator) -> str:
    """One of the tasks, by their shares."""
    point = rng.random()
    for name, share in shares.items():
        point -= share
        if point < 0:
            return name
    return list(shares)[-1]  # of shares that rounding left below 1
