"""What became of every recording and every second, counted from the files that the stages left."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from vall_e import audio, cli
from vall_e.report.account import Account
from vall_e.report.summary import Summary, summarise

RATE_HZ = 16_000


def by_stage(summary: Summary) -> dict[str, Account]:
    return {each.stage: each for each in summary.accounts()}


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory, demo: Path) -> Summary:
    """A corpus in which each stage drops something: files, recordings, parts of recordings, utterances."""
    folder = tmp_path_factory.mktemp("report")
    voices = folder / "voices"
    shutil.copytree(demo / "english" / "slt", voices / "slt")
    sounds = [audio.resample(*audio.load(voices / "slt" / f"slt_000{n}.wav"), RATE_HZ) for n in (1, 2, 3, 4)]
    lines = (voices / "slt" / "metadata.csv").read_text().splitlines()
    texts = [line.split("|")[-1] for line in lines[:4]]
    gap = np.zeros(2 * RATE_HZ, np.float32)
    long = voices / "long"
    long.mkdir()
    # the third sentence is not in the text, the last one of the text was not said
    soundfile.write(long / "a.wav", np.concatenate([p for each in sounds[:3] for p in (each, gap)]), RATE_HZ)
    (long / "a.txt").write_text(" ".join([texts[0], texts[1], texts[3]]))
    (voices / "bad.wav").write_text("no audio")
    soundfile.write(voices / "silent.wav", np.zeros(3 * RATE_HZ), RATE_HZ)
    soundfile.write(voices / "noise.wav", 0.1 * np.random.default_rng(0).standard_normal(2 * RATE_HZ), RATE_HZ)
    (voices / "noise.txt").write_text("\N{SNOWMAN}")
    (voices / "language.txt").write_text("en")
    config = folder / "config.yaml"
    config.write_text(
        "transcribe: {backend: [sidecar], align: pocketsphinx, executor: serial}\n"
        "process: {audio_backend: tiny, executor: serial}\n"
        "similar: {executor: serial}\n"
        "build: {gates: {duration: {min: 2.3}}}\n"
    )
    assert cli.main(["prepare", str(voices), str(folder / "work"), "--config", str(config)]) == 0
    return summarise(folder / "work")


def test_found_is_kept_and_dropped(summary: Summary) -> None:
    found = by_stage(summary)
    assert list(found) == ["import", "transcribe", "process", "build"]
    for account in found.values():
        assert account.num_found == account.num_kept + account.num_dropped
        assert account.found_s == pytest.approx(account.kept_s + account.dropped_s + account.between_s, abs=1e-3)
        assert account.between_s >= 0 and account.kept_s > 0
    for early, late in (("import", "transcribe"), ("transcribe", "process")):
        assert found[late].found_s == pytest.approx(found[early].kept_s, abs=1e-3)
    assert found["transcribe"].num_found == found["import"].num_kept
    assert found["build"].found_s == pytest.approx(found["process"].kept_s)


def test_each_loss_has_its_time(summary: Summary) -> None:
    found = by_stage(summary)
    imported = found["import"].dropped
    assert imported["unreadable"].num_items == imported["unreadable"].num_unknown == 1
    heard = found["transcribe"].dropped
    assert heard["silent"].seconds == pytest.approx(3.0) and heard["silent"].num_items == 1
    assert (heard["text_mismatch"].num_parts, heard["text_mismatch"].num_items) == (2, 1)
    assert heard["text_mismatch"].seconds > 2.0 + 1.0, "the noise, and the sentence that no text has"
    built = found["build"].dropped
    assert built and all(each.seconds > 0 for each in built.values())
    between = found["process"].between_s
    assert 3.0 < between < 7.0, "three pauses of 2 s and those in the clips, but for what slices keep"


def test_the_tables_say_it(summary: Summary, capsys: pytest.CaptureFixture[str]) -> None:
    from vall_e.report.terminal import show

    show(summary)
    said = capsys.readouterr().out
    assert "Where it went" in said and "1 ?" in said and "2 parts" in said
