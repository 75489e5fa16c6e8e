"""Speaking from outside: a model that a few steps made, real g2p and codec; what is said, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import spoken_dataset

from vall_e import audio, synthesize
from vall_e.dataset.build import BuildOptions, build
from vall_e.emb.durations import DurationsOptions, durations
from vall_e.evaluate import EvaluateOptions, evaluate
from vall_e.synthesize import Synthesizer, main
from vall_e.train import TrainOptions, train
from vall_e.types import UsageError

TEXT = "cat, dog"  # its phones are those of the data


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of a few steps does not know when to stop: it is stopped earlier than others are."""
    monkeypatch.setattr(synthesize, "FRAMES_PER_PHONE", 8)
    monkeypatch.setattr(synthesize, "EXTRA_S", 0.2)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("spoken")
    spoken_dataset.make(folder, count=40)
    text = (folder / "utterances.jsonl").read_text().replace("dˈɔɡ", "dˈɑːɡ")
    (folder / "utterances.jsonl").write_text(text)
    durations(folder, DurationsOptions(executor="serial"))
    return build(folder, folder / "built", BuildOptions()).output


@pytest.fixture(scope="module", params=["monotone", "none"])
def run(request: pytest.FixtureRequest, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("run")
    shape: dict[str, Any] = {"width": 32, "num_layers": 1, "num_heads": 2, "inner_width": 64, "text_layers": 1}
    form = {"alignment": request.param, "target": "latent" if request.param == "monotone" else "codes"}
    options = TrainOptions(**shape, **form, workers=0, max_frames=900, prompt_s=1.0, device="cpu", steps=4, samples=0)
    train(data, output, options)
    return output


@pytest.fixture(scope="module")
def voice(demo: Path) -> Path:
    return next((demo / "english" / "slt").glob("*.wav"))


def test_the_same_seed_says_the_same(run: Path, voice: Path) -> None:
    speaker = Synthesizer.load(run, seed=1)
    prompt = speaker.prompt(voice)
    assert prompt.shape == (8, 75), "a second, as in training"
    first = speaker.speak(TEXT, language="en", prompt=prompt)
    speaker.speak("big dog", language="en", prompt=prompt)
    again = speaker.speak(TEXT, language="en", prompt=prompt)
    other = Synthesizer.load(run, seed=2).speak(TEXT, language="en", prompt=prompt)
    assert np.array_equal(first.codes, again.codes) and np.array_equal(first.audio, again.audio)
    assert not np.array_equal(first.codes, other.codes)
    assert first.codes.dtype == np.uint16 and first.codes.shape[0] == 8 and first.codes.max() < 1024
    assert first.audio.shape == (first.codes.shape[1] * 320,) and first.rate_hz == 24_000


def test_lines_are_each_said_as_if_alone(run: Path, voice: Path, tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text(f"{TEXT}\n\nbig cat\n")
    shared = ["--language", "en", "--prompt", str(voice), "--model", str(run)]
    assert main(["--lines", str(tmp_path / "lines.txt"), *shared, "--output", str(tmp_path / "out")]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0001.wav", "0002.wav"]
    assert main(["big cat", *shared, "--output", str(tmp_path / "one.wav")]) == 0
    assert (tmp_path / "one.wav").read_bytes() == (tmp_path / "out" / "0002.wav").read_bytes()


def test_the_best_of_several_is_one_of_them(run: Path, voice: Path) -> None:
    """Pocketsphinx listens to the three."""
    speaker = Synthesizer.load(run, best_of=3)
    prompt = speaker.prompt(voice)
    best = speaker.speak(TEXT, language="en", prompt=prompt)
    vocabulary = speaker.model.description.vocabulary
    tokens, language = speaker.model.tokens(TEXT, "en"), vocabulary.language_ids["en"]
    tries = [speaker.speak_tokens(tokens, language, prompt, attempt=number) for number in range(3)]
    assert any(np.array_equal(best.codes, each.codes) for each in tries)
    assert not np.array_equal(tries[0].codes, tries[1].codes)


def test_a_prompt_of_another_rate_is_resampled(run: Path, voice: Path, tmp_path: Path) -> None:
    samples, rate_hz = audio.load(voice)
    samples = samples[: rate_hz // 2 + rate_hz // 4]
    at_codec_rate = audio.resample(samples, rate_hz, 24_000)
    soundfile.write(tmp_path / "a.wav", samples, rate_hz, subtype="FLOAT")
    soundfile.write(tmp_path / "b.wav", at_codec_rate, 24_000, subtype="FLOAT")
    speaker = Synthesizer.load(run)
    assert np.array_equal(speaker.prompt(tmp_path / "a.wav"), speaker.prompt(tmp_path / "b.wav"))


@pytest.mark.parametrize(
    ("text", "language", "message"),
    [
        (" ", "en", "the text is empty"),
        ("cat", "German", "language 'de': the model was trained with en only"),
        ("three", "en", r"never trained with the phones 'θ' of 'θɹˈiː'"),
    ],
)
def test_what_it_cannot_say(run: Path, text: str, language: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Synthesizer.load(run).speak(text, language=language)


def test_prompts_that_are_none(run: Path, tmp_path: Path) -> None:
    speaker = Synthesizer.load(run)
    soundfile.write(tmp_path / "silent.wav", np.zeros(24_000), 24_000)
    soundfile.write(tmp_path / "short.wav", 0.1 * np.ones(2_400), 24_000)
    (tmp_path / "text.wav").write_text("not audio")
    for name, message in (("silent", "silent; give a prompt"), ("short", "0.10 s; a prompt takes 0.5 s"), ("text", "")):
        with pytest.raises(UsageError, match=f"{name}.wav: {message}"):
            speaker.prompt(tmp_path / f"{name}.wav")


def test_other_refusals(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--vocos decodes the codes of encodec, these are of tiny"):
        Synthesizer.load(run, vocos=True)
    with pytest.raises(UsageError, match="model.json"):
        Synthesizer.load(tmp_path)
    with pytest.raises(UsageError, match="give a text, or --lines FILE"):
        main(["--output", "a.wav"])
    with pytest.raises(UsageError, match="audio is written as"):
        main(["cat", "--output", str(tmp_path / "a.txt"), "--model", str(run)])


def test_an_evaluation_says_what_was_heard(run: Path, data: Path, tmp_path: Path) -> None:
    figures = evaluate(run, data, EvaluateOptions(sample=2), tmp_path)
    assert figures["utterances"] == 2 and 0 <= figures["stopped"] <= 1 and figures["length"] > 0
    assert -1 <= figures["likeness"] <= 1 and figures["cer"] >= 0
    assert len(list((tmp_path / "evaluation").glob("*.wav"))) == 2 and (tmp_path / "evaluation.json").exists()
