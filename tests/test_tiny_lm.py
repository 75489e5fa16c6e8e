"""The model that ships: what it says is understood by a second engine, in the voice of its prompt, and it stops."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from vall_e import audio, trained
from vall_e.synthesize import Synthesizer, main

DATA = Path(__file__).resolve().parents[1] / "data"
NUMBERS = ("three one four one five", "nine two six zero", "seven eight two eight one", "five three zero nine")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """data/train_lm.py, for its grammars."""
    sys.path.insert(0, str(DATA))
    spec = importlib.util.spec_from_file_location("train_lm", DATA / "train_lm.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["train_lm"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def speaker() -> Synthesizer:
    return Synthesizer.load("tiny")


def test_it_is_small() -> None:
    assert sum(path.stat().st_size for path in trained.EMBEDDED.iterdir()) < 16_000_000


def test_digits_are_understood(speaker: Synthesizer, script: ModuleType, demo: Path) -> None:
    """By pocketsphinx with a grammar of digits: at most one of 18 words wrong (8 %)."""
    ear, score = script.Ear(script.DIGIT_RULES), script.Score()
    prompt = speaker.prompt(demo / "english" / "slt" / "slt_0001.wav")
    for text in NUMBERS:
        spoken = speaker.speak(text, language="en", prompt=prompt)
        assert spoken.stopped and 0.15 < len(spoken.audio) / spoken.rate_hz / len(text.split()) < 0.9
        score.add(text, ear.hear(spoken.audio, spoken.rate_hz))
    assert score.words == 18 and score.errors <= 1


def test_a_prompt_of_another_voice_changes_the_voice(speaker: Synthesizer, demo: Path) -> None:
    """A woman's and a man's: what is said is nearer to its own prompt than to the other."""
    from vall_e.emb import voice

    def embedding(samples: np.ndarray, rate_hz: int) -> np.ndarray:
        return voice.of_sound(audio.resample(samples, rate_hz, voice.RATE_HZ))

    paths = [demo / "english" / "slt" / "slt_0001.wav", demo / "english" / "awb" / "c.wav"]
    own = [embedding(*audio.load(path)) for path in paths]
    for number, path in enumerate(paths):
        spoken = speaker.speak("the boy was there when the sun rose", language="en", prompt=speaker.prompt(path))
        heard = embedding(spoken.audio, spoken.rate_hz)
        assert heard @ own[number] > heard @ own[1 - number]


def test_the_command_of_the_demo(demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prompt = str(demo / "english" / "slt" / "slt_0001.wav")
    assert main(["Is it March third?", "--prompt", prompt, "--output", str(tmp_path / "a.wav")]) == 0
    told = capsys.readouterr().err
    assert "for demos and tests" in told and "'?'; it is read as '.'" in told
    samples, rate_hz = audio.load(tmp_path / "a.wav")
    assert rate_hz == 24_000 and not audio.is_silent(samples)


@pytest.mark.skipif(shutil.which("flite") is None, reason="the program flite makes the corpus of the embedded model")
def test_the_corpus_of_the_script_is_the_same_again(script: ModuleType, tmp_path: Path) -> None:
    for name in ("one", "two"):
        script.make_corpus(tmp_path / name, hours=0.001, seed=3)
    one, two = (sorted((tmp_path / name / "voices").rglob("*.wav")) for name in ("one", "two"))
    assert len(one) == 120 and [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
    texts = {path.read_text() for path in (tmp_path / "one" / "voices").rglob("*.txt")}
    assert len(texts) > 100
