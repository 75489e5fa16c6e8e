"""Training from outside: what a run leaves on disk, that a kill changes nothing, and what it refuses."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import spoken_dataset
import torch
from safetensors.torch import load_file

from vall_e import storage, trained
from vall_e.dataset import Dataset, make_loader
from vall_e.dataset.build import BuildOptions, build
from vall_e.emb.durations import DurationsOptions, durations
from vall_e.evaluate import EvaluateOptions, evaluate
from vall_e.speaking import Synthesizer
from vall_e.synthesize import main as speak
from vall_e.train import CHECKPOINT, Trainer, TrainOptions, main, swap_test, train
from vall_e.training.curves import METRICS
from vall_e.types import ContractError, UsageError

SMALL: dict[str, Any] = {
    **{"width": 32, "num_layers": 1, "num_heads": 2, "inner_width": 64, "text_layers": 1, "workers": 0},
    **{
        "max_frames": 900,
        "prompt_s": 0.3,
        "device": "cpu",
        "eval_every": 4,
        "save_every": 4,
        "warmup_steps": 2,
        "samples": 0,
    },
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("spoken")
    spoken_dataset.make(folder, count=40)
    durations(folder, DurationsOptions(executor="serial"))
    return build(folder, folder / "built", BuildOptions()).output


def rows(run: Path) -> list[dict[str, Any]]:
    return [row for _, row in storage.read_json_lines(run / METRICS)]


def losses(run: Path) -> list[tuple[int, dict[str, float]]]:
    return [
        (row["step"], {name: row[name] for name in row if name.startswith(("train", "valid"))}) for row in rows(run)
    ]


def flags(**changes: Any) -> list[str]:
    found: list[str] = []
    for name, value in (SMALL | changes).items():
        found += [f"--{name.removesuffix('_s').replace('_', '-')}", str(value)]
    return found


def test_a_run_leaves_a_model_figures_and_a_picture(built: Path, tmp_path: Path) -> None:
    assert main(["--dataset", str(built), "--output", str(tmp_path / "run"), *flags(steps=12, samples=1)]) == 0
    found = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"model.json", "model.safetensors", "metrics.jsonl", "curves.png", "summary.json", CHECKPOINT} <= found
    assert [row["step"] for row in rows(tmp_path / "run")] == [4, 8, 12]
    first, last = losses(tmp_path / "run")[0][1], losses(tmp_path / "run")[-1][1]
    for level in range(8):
        best, ten = (last[f"validation_{'nar' if level else 'ar'}_level_{level}_top{n}"] for n in (1, 10))
        assert 0 <= best <= ten <= 1
    assert last["train_ar"] < first["train_ar"]
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert {"ar_codes_swapped_text", "ar_steps_swapped_text", "nar_latent_swapped_text"} <= summary["swap"].keys()
    assert (tmp_path / "run" / "curves.png").read_bytes()[:4] == b"\x89PNG"
    for step in (4, 8, 12):
        spoken, rate_hz = soundfile.read(tmp_path / "run" / "samples" / f"step-{step:06d}-1.wav")
        assert rate_hz == 24_000 and len(spoken) > 0
    model = trained.load(tmp_path / "run")
    assert model.ar is not None and model.nar is not None and model.description.trained["step"] == 12


@pytest.mark.parametrize("form", [{"alignment": "none", "target": "codes"}, {"model": "ar"}, {"model": "nar"}])
def test_every_form_trains(built: Path, tmp_path: Path, form: dict[str, str]) -> None:
    train(built, tmp_path, TrainOptions(**(SMALL | form | {"steps": 3, "eval_every": 3})))
    ((step, values),) = losses(tmp_path)
    wanted = {"ar": ["train_ar"], "nar": ["train_nar"]}.get(form.get("model", ""), ["train_ar", "train_nar"])
    assert step == 3 and {name for name in values if name.startswith("train")} == set(wanted)
    if "model" in form:
        other = {"ar": "NAR", "nar": "AR"}[form["model"]]
        with pytest.raises(UsageError, match=f"holds no {other} model, which speaking takes; train with --model both"):
            Synthesizer.load(tmp_path).speak("cat", language="en")


@pytest.fixture(scope="module")
def mixtures(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mixtures")
    spoken_dataset.add_mixtures(built.parent, folder)
    return folder


@pytest.mark.parametrize("form", [{}, {"alignment": "none", "target": "codes", "dual_head": True}])
def test_further_tasks_are_trained_and_looked_at(
    built: Path, mixtures: Path, tmp_path: Path, form: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Then the model does them: sound without its noise, and phonemes of a sound."""
    tasks = ("tts=2", "ns", "sr", "tse", "stt")
    options = SMALL | {"steps": 6, "eval_every": 6, "tasks": tasks, "mixtures": mixtures, "width": 16} | form
    train(built, tmp_path, TrainOptions(**options))
    ((_, values),) = losses(tmp_path)
    wanted = {f"validation_ar_codes_{name}" for name in ("ns", "sr", "tse")} | {"validation_ar_tokens_stt"}
    assert wanted <= values.keys() and "validation_ar_codes_stt" not in values
    assert all(np.isfinite(value) for value in values.values())
    sound = tmp_path / "noisy.wav"
    soundfile.write(sound, 0.1 * np.random.default_rng(0).standard_normal(24_000), 24_000)
    shared = ["--model", str(tmp_path), "--source", str(sound)]
    assert speak(["cat", "--task", "ns", *shared, "--output", str(tmp_path / "clean.wav")]) == 0
    assert 0 < soundfile.info(tmp_path / "clean.wav").frames <= 24_000
    capsys.readouterr()
    assert speak(["--task", "stt", *shared]) == 0
    phones = set(trained.load(tmp_path).description.vocabulary.phones)
    assert set(capsys.readouterr().out.strip()) <= phones
    shared_options: dict[str, Any] = {"mixtures": mixtures, "sample": 2}
    figures = evaluate(tmp_path, built, EvaluateOptions(task="ns", **shared_options))
    assert {"cer", "codec_cer", "source_cer", "spectrum_db", "source_spectrum_db"} <= figures.keys()
    assert figures["utterances"] == 2 and "likeness" not in figures, "there is no prompt to be like"
    assert "source_likeness" in evaluate(tmp_path, built, EvaluateOptions(task="tse", **shared_options), tmp_path)
    pictures = list((tmp_path / "evaluation").glob("*.png"))
    assert len(pictures) == 2 and all(path.read_bytes()[:4] == b"\x89PNG" for path in pictures)
    figures = evaluate(tmp_path, built, EvaluateOptions(task="stt", **shared_options), tmp_path)
    assert figures["phoneme_error_rate"] > 0 and "cer" not in figures
    assert set(json.loads((tmp_path / "evaluation.json").read_text())["rows"][0]["phonemes"]) <= phones
    for wrong, message in (
        (["cat", "--task", "ns", "--output", "a.wav"], "--task and --source go together"),
        (["cat", "--task", "stt", *shared], "it takes no text"),
        (["cat", "--task", "ns", "--source", str(sound), "--output", "a.wav"], "not with ns; train with --tasks"),
    ):
        with pytest.raises(UsageError, match=message):
            speak(wrong)


def test_bfloat16_changes_little(built: Path, tmp_path: Path) -> None:
    """It has eight bits."""
    shared = SMALL | {"steps": 4, "eval_every": 4, "dropout": 0.0}
    train(built, tmp_path / "plain", TrainOptions(**shared))
    train(built, tmp_path / "fast", TrainOptions(**shared, bf16=True))
    ((_, plain),), ((_, fast),) = losses(tmp_path / "plain"), losses(tmp_path / "fast")
    for name in ("train_ar", "train_nar"):
        assert fast[name] == pytest.approx(plain[name], abs=0.05) and fast[name] != plain[name]


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile takes a C++ compiler on a CPU")
def test_a_compiled_model_trains_alike(built: Path, tmp_path: Path) -> None:
    """Sums are taken in another order, that is all."""
    shared = SMALL | {"steps": 2, "eval_every": 2, "dropout": 0.0, "model": "ar", "alignment": "none"}
    train(built, tmp_path / "plain", TrainOptions(**shared))
    train(built, tmp_path / "fast", TrainOptions(**shared, compile=True))
    ((_, plain),), ((_, fast),) = losses(tmp_path / "plain"), losses(tmp_path / "fast")
    assert fast["train_ar"] == pytest.approx(plain["train_ar"], abs=1e-4)


@pytest.mark.parametrize("only", [{"speakers": ("g/s1",)}, {"gates": ("text_fit>=1000",)}, {"languages": ("de",)}])
def test_only_some_utterances_are_trained_with(built: Path, tmp_path: Path, only: dict[str, Any]) -> None:
    options = TrainOptions(**(SMALL | {"steps": 1, "eval_every": 1} | only))
    if "languages" in only:
        with pytest.raises(UsageError, match="none of its languages is 'de'"):
            train(built, tmp_path, options)
    elif "gates" in only:
        with pytest.raises(UsageError, match="no utterance for training"):
            train(built, tmp_path, options)
    else:
        trainer = Trainer(built, tmp_path, options)
        assert {trainer.data[place].speaker for place in range(len(trainer.data))} == {"g/s1"}


def test_a_kill_changes_nothing(built: Path, tmp_path: Path) -> None:
    """kill -9 in the middle, then the same command: the same losses at the same steps, and the same weights."""
    options = TrainOptions(**(SMALL | {"steps": 40, "dropout": 0.1}))
    train(built, tmp_path / "whole", options)
    command = [sys.executable, "-m", "vall_e.train", "--dataset", str(built), "--output", str(tmp_path / "killed")]
    command += flags(steps=40, dropout=0.1)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not (tmp_path / "killed" / CHECKPOINT).exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    reached = len(rows(tmp_path / "killed"))
    assert reached < 10, "killed before its end"
    train(built, tmp_path / "killed", options)
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
    for name in ("model.safetensors", f"{CHECKPOINT}/model.safetensors"):
        one, other = (load_file(tmp_path / run / name) for run in ("whole", "killed"))
        assert all(torch.equal(one[key], other[key]) for key in one)


def kill_all(argument: str) -> None:
    """kill -9 of every process that was started with this argument: torchrun's workers outlive it."""
    while True:
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if argument.encode() in path.read_bytes().split(b"\0"):
                    found.append(int(path.parent.name))
        if not found:
            return
        for number in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        time.sleep(0.05)


@pytest.mark.parametrize("shard", [False, True])
def test_two_processes_train_as_one(built: Path, tmp_path: Path, shard: bool) -> None:
    """torchrun with two ranks against one process that takes two batches a step; killed on the way, and resumed."""
    data = Dataset(built, prompt_frames=22)
    budgets = range(900, 2000, 20)  # with an even number of batches, which two ranks get as they are
    budget = next(frames for frames in budgets if len(make_loader(data, max_frames=frames)) % 2 == 0)
    shared = {"steps": 12, "eval_every": 2, "save_every": 2, "dropout": 0.0, "max_frames": budget}
    train(built, tmp_path / "one", TrainOptions(**(SMALL | shared | {"accumulate": 2})))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "vall_e.train", "--dataset", str(built), "--output", str(tmp_path / "two"), *flags(**shared)]
    command += ["--shard"] if shard else []
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment, start_new_session=True
    ) as first:
        while first.poll() is None and not (tmp_path / "two" / CHECKPOINT).exists():
            time.sleep(0.01)
        kill_all(str(tmp_path / "two"))
    assert len(rows(tmp_path / "two")) < len(rows(tmp_path / "one")), "killed on its way"
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[:6000]
    for (step, one), (same_step, two) in zip(losses(tmp_path / "one"), losses(tmp_path / "two"), strict=True):
        assert step == same_step and one.keys() == two.keys()
        for name in one:
            if "level" not in name:  # shares of right codes: a tie may fall either way
                assert one[name] == pytest.approx(two[name], abs=1e-5), (step, name)


def test_two_processes_end_together_when_the_time_is_over(built: Path, tmp_path: Path) -> None:
    """Their clocks differ; the first one's counts."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "vall_e.train", "--dataset", str(built), "--output", str(tmp_path), *flags(minutes=0.02)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr[:6000]
    assert rows(tmp_path)[-1]["learning_rate"] == pytest.approx(0, abs=1e-9), "it fell to zero"


def test_a_second_training_into_the_same_folder_is_refused(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vall_e import train as module

    monkeypatch.setattr(module, "LOCK_S", 0.0)
    with storage.folder_lock(tmp_path), pytest.raises(UsageError, match="another run is writing here"):
        train(built, tmp_path, TrainOptions(**SMALL))


def test_a_resumed_run_keeps_its_options(built: Path, tmp_path: Path) -> None:
    train(built, tmp_path, TrainOptions(**(SMALL | {"steps": 4})))
    with pytest.raises(UsageError, match="trained with width 32, now 16; choose another --output"):
        train(built, tmp_path, TrainOptions(**(SMALL | {"steps": 8, "width": 16})))
    train(built, tmp_path, TrainOptions(**(SMALL | {"steps": 8})))
    assert [row["step"] for row in rows(tmp_path)] == [4, 8]


def test_another_model_is_gone_on_from(built: Path, tmp_path: Path) -> None:
    """Its weights are taken, phone by phone, where the new data have other phones."""
    tasks = {"tasks": ("tts", "stt")}  # with tables of tokens for what is written
    train(built, tmp_path / "first", TrainOptions(**(SMALL | tasks | {"steps": 12})))
    folder = tmp_path / "more"
    spoken_dataset.make(folder, count=30, seed=1)
    text = (folder / "utterances.jsonl").read_text()
    (folder / "utterances.jsonl").write_text(text.replace("kæt", "ɐæt"))  # ɐ sorts elsewhere than k
    durations(folder, DurationsOptions(executor="serial"))
    other = build(folder, folder / "built", BuildOptions()).output
    options = SMALL | tasks | {"steps": 1, "learning_rate": 0.0, "eval_every": 1, "save_every": 1, "ema": 0.0}
    train(other, tmp_path / "second", TrainOptions(**(options | {"init": str(tmp_path / "first")})))
    one, two = (trained.load(tmp_path / run) for run in ("first", "second"))
    assert one.ar is not None and two.ar is not None
    assert "k" not in two.description.vocabulary.phones and "ɐ" not in one.description.vocabulary.phones
    shared = set(one.description.vocabulary.phones) & set(two.description.vocabulary.phones)
    places = [[model.description.vocabulary.token_of[phone] for phone in sorted(shared)] for model in (one, two)]
    for name in ("text.token.weight", "written.weight", "to_token.weight", "to_token.bias"):
        first, second = (ar.state_dict()[name][rows] for ar, rows in zip((one.ar, two.ar), places, strict=True))
        torch.testing.assert_close(first, second)
    first_trunk, second_trunk = one.ar.trunk.state_dict(), two.ar.trunk.state_dict()
    assert all(torch.equal(first_trunk[name], second_trunk[name]) for name in first_trunk)


# What it refuses, in one line


def test_without_durations_the_command_is_named(tmp_path: Path) -> None:
    spoken_dataset.make(tmp_path, count=20)
    built = build(tmp_path, tmp_path / "built", BuildOptions()).output
    with pytest.raises(
        UsageError, match="no durations, which --alignment monotone needs; run python -m vall_e.emb.durations"
    ):
        train(built, tmp_path / "run", TrainOptions(**SMALL))
    train(built, tmp_path / "run", TrainOptions(**(SMALL | {"steps": 1, "alignment": "none"})))


def test_utterances_without_durations_are_left_out_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = spoken_dataset.make(tmp_path, count=30)
    rows = [json.loads(line) for line in (tmp_path / "utterances.jsonl").read_text().splitlines()]
    rows[2]["phonemes"] = "nˈaɪn " * 40  # more phones than frames
    (tmp_path / "utterances.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    durations(tmp_path, DurationsOptions(executor="serial"))
    built = build(tmp_path, tmp_path / "built", BuildOptions()).output
    train(built, tmp_path / "run", TrainOptions(**(SMALL | {"steps": 2})))
    assert "note: 1 of 30 utterances have no durations and are left out" in capsys.readouterr().err
    kept = {example.id for example in Dataset(built, aligned=True)}
    assert made.rows[2].id not in kept and len(kept) == len(Dataset(built)) - 1


def test_no_validation_split(tmp_path: Path) -> None:
    made = spoken_dataset.make(tmp_path, count=12)
    text = (made.folder / "utterances.jsonl").read_text()
    (made.folder / "utterances.jsonl").write_text(text.replace('"validation"', '"train"'))
    built = build(tmp_path, tmp_path / "built", BuildOptions()).output
    with pytest.raises(UsageError, match="no utterance for validation; build with a larger --validation-fraction"):
        train(built, tmp_path / "run", TrainOptions(**(SMALL | {"alignment": "none"})))


def test_a_loss_that_is_no_number_keeps_the_last_checkpoint(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(built, tmp_path, TrainOptions(**(SMALL | {"steps": 4})))
    before = (tmp_path / CHECKPOINT / "model.safetensors").read_bytes()
    from vall_e.models.ar import AR

    plain = AR.loss

    def broken(self: Any, batch: Any) -> Any:
        loss = plain(self, batch)
        return type(loss)(loss.total * float("nan"), loss.count, loss.parts)

    monkeypatch.setattr(AR, "loss", broken)
    with pytest.raises(UsageError, match=r"step 5: the loss of ar is nan; the last checkpoint is kept; g/s"):
        train(built, tmp_path, TrainOptions(**(SMALL | {"steps": 8})))
    assert (tmp_path / CHECKPOINT / "model.safetensors").read_bytes() == before


def test_a_model_cut_in_half(built: Path, tmp_path: Path) -> None:
    train(built, tmp_path, TrainOptions(**(SMALL | {"steps": 4})))
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ContractError, match=r"model.safetensors: damaged"):
        trained.load(tmp_path)
    state = tmp_path / CHECKPOINT / "state.pt"
    state.write_bytes(state.read_bytes()[:500])
    with pytest.raises(ContractError, match=r"checkpoint: damaged"):
        train(built, tmp_path, TrainOptions(**(SMALL | {"steps": 8})))


def test_a_model_that_does_not_listen_is_named() -> None:
    """The swap test: a loss that another text leaves as it was."""
    deaf = {"validation_ar_codes": 2.0, "validation_ar_codes_swapped_text": 2.01}
    assert "does not listen to the text" in swap_test(deaf)["warnings"][0]
    assert not swap_test({"validation_ar_codes": 2.0, "validation_ar_codes_swapped_text": 3.0})["warnings"]
    deaf = {"validation_ar_codes": 2.0, "validation_ar_codes_swapped_voice": 2.01}
    assert "does not listen to the prompt: with another prompt its loss is 0.010" in swap_test(deaf)["warnings"][0]
    assert not swap_test({"validation_ar_codes": 2.0, "validation_ar_codes_swapped_voice": 2.5})["warnings"]


@pytest.mark.parametrize("speakers", [1, 3])
def test_another_voice_is_tried_where_there_is_one(tmp_path: Path, speakers: int) -> None:
    spoken_dataset.make(tmp_path, count=30, speakers=speakers)
    durations(tmp_path, DurationsOptions(executor="serial"))
    built = build(tmp_path, tmp_path / "built", BuildOptions()).output
    train(built, tmp_path / "run", TrainOptions(**(SMALL | {"steps": 1, "eval_every": 1})))
    ((_, values),) = losses(tmp_path / "run")
    assert "validation_ar_codes_swapped_text" in values
    assert any("voice" in name for name in values) == (speakers > 1)
