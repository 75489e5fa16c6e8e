"""Speaking from outside: a model that a few steps made, real g2p and codec; what is said, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import spoken_dataset

from vall_e import audio, speaking
from vall_e.dataset.build import BuildOptions, build
from vall_e.emb.durations import DurationsOptions, durations
from vall_e.evaluate import EvaluateOptions, evaluate
from vall_e.evaluate import main as evaluate_main
from vall_e.synthesize import Request, Synthesizer, main, speak_lines
from vall_e.train import TrainOptions, train
from vall_e.types import UsageError
from vall_e.units import units_of

TEXT = "cat, dog"  # its phones are those of the data


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of a few steps does not know when to stop: it is stopped earlier than others are."""
    monkeypatch.setattr(speaking, "FRAMES_PER_PHONE", 8)
    monkeypatch.setattr(speaking, "EXTRA_S", 0.2)


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


def test_lines_are_each_said_as_if_alone(
    run: Path, voice: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lines.txt").write_text(f"{TEXT}\n\nbig cat\n")
    shared = ["--language", "en", "--prompt", str(voice), "--model", str(run)]
    assert main(["--lines", str(tmp_path / "lines.txt"), *shared, "--output", str(tmp_path / "out")]) == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir() if not path.name.startswith("."))
    assert names == ["0001.wav", "0002.wav", "lines.jsonl"]
    assert main(["--lines", str(tmp_path / "lines.txt"), *shared, "--output", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[2] for line in shown] == ["2 spoken", "0 spoken, 2 before"]
    assert main(["big cat", *shared, "--output", str(tmp_path / "one.wav")]) == 0
    assert (tmp_path / "one.wav").read_bytes() == (tmp_path / "out" / "0002.wav").read_bytes()


@pytest.mark.parametrize("batch_size", [2, 3, 5])
def test_how_many_are_spoken_at_once_changes_nothing(run: Path, voice: Path, batch_size: int) -> None:
    """Texts, prompts and seeds of various lengths: the same codes alone and in company."""
    texts = [TEXT, "big", "moon cat dog", "nine", "fast tree see the big moon"]
    alone, together = (Synthesizer.load(run, batch_size=size) for size in (1, batch_size))
    prompt = alone.prompt(voice)
    said = [
        Request(tokens=alone.model.tokens(text, "en"), language=0, prompt=prompt[:, : 12 * number], attempt=number)
        for number, text in enumerate(texts)
        if set(alone.model.to_phonemes(text, "en")) <= alone.model.description.vocabulary.token_of.keys()
    ]
    assert len(said) > 2
    one_by_one = list(alone.speak_requests(said))
    in_company = list(together.speak_requests(said))
    for one, other in zip(one_by_one, in_company, strict=True):
        assert np.array_equal(one.codes, other.codes) and one.stopped == other.stopped
        assert np.array_equal(one.audio, other.audio)


def test_lines_that_are_there_are_not_said_again(run: Path, voice: Path, tmp_path: Path) -> None:
    """One was lost, one changed, one is new: only those are spoken; with another seed all are."""
    texts, out = [TEXT, "big cat", "moon"], tmp_path / "out"

    def say(lines: list[str], **options: Any) -> list[float]:
        speaker = Synthesizer.load(run, **options)
        speak_lines(speaker, lines, out, language="en", prompt=speaker.prompt(voice))
        return [(out / f"{number:04d}.wav").stat().st_mtime_ns for number in range(1, len(lines) + 1)]

    first = say(texts)
    assert say(texts, batch_size=2) == first
    before = (out / "0001.wav").read_bytes()
    (out / "0001.wav").unlink()
    second = say([TEXT, "big dog", "moon", "cat"])
    assert (out / "0001.wav").read_bytes() == before
    assert second[2] == first[2] and second[0] > first[0] and second[1] > first[1]
    rows = [json.loads(line) for line in (out / "lines.jsonl").read_text().splitlines()]
    assert [(row["file"], row["text"]) for row in rows] == [
        *(("0001.wav", TEXT), ("0002.wav", "big dog"), ("0003.wav", "moon"), ("0004.wav", "cat")),
    ]
    assert all(new > old for new, old in zip(say([TEXT, "big dog"], seed=5), second, strict=False))


def test_voiced_phones_may_be_drawn_with_a_power_of_their_own(run: Path) -> None:
    if not Synthesizer.load(run).ar.is_monotone:
        with pytest.raises(UsageError, match="no --voiced-power"):
            Synthesizer.load(run, voiced_power=2.0)
        return
    speaker = Synthesizer.load(run, voiced_power=2.0)
    vocabulary = speaker.model.description.vocabulary
    tokens = speaker.model.tokens(TEXT, "en")
    phonemes = f" {vocabulary.decode(tokens)} "  # <bos> and <eos> are pauses
    named = [phonemes[place] for place in units_of(vocabulary.kinds[tokens]).places]
    wanted = {"k": 1.0, "æ": 2.0, "t": 1.0, "d": 2.0, "ɑ": 2.0, "ɡ": 2.0, ",": 1.0, " ": 1.0}
    assert speaker._powers(tokens) == [wanted[name] for name in named]


def test_the_best_of_several_is_one_of_them(run: Path, voice: Path) -> None:
    """Pocketsphinx listens to the three."""
    speaker = Synthesizer.load(run, best_of=3)
    prompt = speaker.prompt(voice)
    best = speaker.speak(TEXT, language="en", prompt=prompt)
    vocabulary = speaker.model.description.vocabulary
    tokens, language = speaker.model.tokens(TEXT, "en"), vocabulary.language_ids["en"]
    shared: dict[str, Any] = {"tokens": tokens, "language": language, "prompt": prompt}
    tries = list(speaker.speak_requests([Request(**shared, attempt=number) for number in range(3)]))
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
    for name, message in (("silent", "silent; give audio"), ("short", "0.10 s; it takes 0.5 s"), ("text", "")):
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


def test_languages_that_the_recogniser_does_not_know_have_no_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pocketsphinx reads English; of German it would write down nonsense."""
    made = spoken_dataset.make(tmp_path, count=30)
    german = [row.id for row in made.rows if row.split == "validation"][:1] + [made.rows[0].id]
    rows = [json.loads(line) for line in (tmp_path / "utterances.jsonl").read_text().splitlines()]
    for row in rows:
        row["language"] = "de" if row["id"] in german else "en"
    (tmp_path / "utterances.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    durations(tmp_path, DurationsOptions(executor="serial"))
    built = build(tmp_path, tmp_path / "built", BuildOptions()).output
    shape: dict[str, Any] = {"width": 32, "num_layers": 1, "num_heads": 2, "inner_width": 64, "text_layers": 1}
    run = tmp_path / "run"
    train(built, run, TrainOptions(**shape, workers=0, max_frames=900, prompt_s=1.0, device="cpu", steps=1, samples=0))
    assert evaluate_main(["--model", str(run), "--dataset", str(built)]) == 0
    shown = capsys.readouterr()
    assert "note: 1 of 3 utterances are in languages that pocketsphinx does not know" in shown.err
    figures = json.loads((run / "evaluation.json").read_text())
    assert [row["id"] for row in figures["rows"] if "cer" not in row] == german[:1] and figures["recognised"] == 2
    with pytest.raises(UsageError, match="pocketsphinx does not know the language 'de'; choose --backend whisperx"):
        Synthesizer.load(run, best_of=2).speak("Hund", language="de")


def test_an_evaluation_says_what_was_heard(run: Path, data: Path, tmp_path: Path) -> None:
    figures = evaluate(run, data, EvaluateOptions(sample=2), tmp_path)
    assert figures["utterances"] == 2 and 0 <= figures["stopped"] <= 1 and figures["length"] > 0
    assert -1 <= figures["likeness"] <= 1 and figures["cer"] >= 0
    assert len(list((tmp_path / "evaluation").glob("*.wav"))) == 2 and (tmp_path / "evaluation.json").exists()
