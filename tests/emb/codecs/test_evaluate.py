"""Measures against values known in advance, and the report as a person runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vall_e import audio
from vall_e.emb.codecs import evaluate


def test_a_copy_is_perfect(demo_speech: np.ndarray) -> None:
    clip = demo_speech[:72_000]
    assert evaluate.stoi(clip, clip, 24_000) == pytest.approx(1.0, abs=1e-3)
    assert evaluate.log_spectral_distance_db(clip, clip) == 0.0
    assert evaluate.si_sdr_db(clip, clip) > 100


def test_more_noise_is_worse_by_every_measure(demo_speech: np.ndarray) -> None:
    clip = demo_speech[:96_000]
    noise = np.random.default_rng(0).normal(0, clip.std(), len(clip)).astype(np.float32)
    scores = [
        (
            evaluate.stoi(clip, clip + gain * noise, 24_000),
            -evaluate.log_spectral_distance_db(clip, clip + gain * noise),
            evaluate.si_sdr_db(clip, clip + gain * noise),
        )
        for gain in (0.03, 0.3, 3.0)
    ]
    for better, worse in zip(scores, scores[1:], strict=False):
        assert all(one > two for one, two in zip(better, worse, strict=True))


def test_si_sdr_is_the_ratio_of_powers_whatever_the_scale() -> None:
    rng = np.random.default_rng(1)
    clip, noise = rng.normal(size=200_000), rng.normal(size=200_000)
    for gain_db in (-10.0, 0.0, 20.0):
        mixed = clip + 10 ** (-gain_db / 20) * noise
        assert evaluate.si_sdr_db(clip, 7 * mixed) == pytest.approx(gain_db, abs=0.1)


def test_log_spectral_distance_of_a_gain_is_the_gain() -> None:
    noise = np.random.default_rng(2).normal(size=48_000)
    assert evaluate.log_spectral_distance_db(noise, noise * 10 ** (3 / 20)) == pytest.approx(3.0, abs=0.01)


def test_entropy() -> None:
    assert evaluate.entropy_bits(np.arange(1024), 1024) == pytest.approx(10.0)
    assert evaluate.entropy_bits(np.zeros(50, np.uint16), 1024) == 0.0
    assert evaluate.entropy_bits(np.array([0, 1, 0, 1]), 1024) == pytest.approx(1.0)


def test_silence_and_short_audio_give_finite_numbers() -> None:
    for size in (1, 100, 5_000):
        silence, tone = np.zeros(size), np.sin(np.arange(size))
        for one, two in ((silence, silence), (silence, tone), (tone, silence)):
            assert np.isfinite(evaluate.log_spectral_distance_db(one, two))
            assert np.isfinite(evaluate.si_sdr_db(one, two))


def report(*args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vall_e.emb.qnt", "report", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_report_of_the_demo(demo: Path, tmp_path: Path) -> None:
    done = report("--input-audio", demo / "english", "--output", tmp_path / "r", "--max-clips", 3)
    assert done.returncode == 0, done.stderr
    assert "STOI" in done.stdout
    scores = json.loads((tmp_path / "r" / "report.json").read_text())["scores"]
    assert [score["num_levels"] for score in scores] == [1, 2, 4, 8]
    assert [score["bits_per_s"] for score in scores] == [750, 1500, 3000, 6000]
    assert scores[-1]["stoi"] > scores[0]["stoi"]
    assert all(0 < score["used"] <= 1 and 0 < score["entropy_bits"] <= 10 for score in scores)
    picture = (tmp_path / "r" / "spectrograms.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert not (tmp_path / "r" / ".tmp").exists()


def test_clips_are_spread_over_the_whole_folder(tmp_path: Path) -> None:
    """The first and the last file are among them, not the first ones of one speaker."""
    for number in range(9):
        tone = np.sin(np.arange(16_000) * (number + 1) * 0.01).astype(np.float32) * (number + 1) / 10
        audio.write(tmp_path / f"{number}.wav", tone, 16_000)
    clips = evaluate.load_clips(tmp_path, evaluate.QualityOptions(max_clips=3))
    assert [round(float(np.abs(clip).max()) * 10) for clip, _ in clips] == [1, 5, 9]


def test_report_says_what_is_wrong_in_one_line(demo: Path, tmp_path: Path) -> None:
    audio.write(tmp_path / "short.wav", np.ones(100, np.float32), 24_000)
    cases = [
        (("--input-audio", tmp_path / "none"), "no such folder"),
        (("--input-audio", tmp_path), "no readable audio"),
        (("--input-audio", demo, "--audio-backend", "tinny"), "tiny"),
        (("--input-audio", demo, "--audio-backend", "tiny,encodec", "--weights", "x"), "one codec"),
    ]
    for args, message in cases:
        done = report(*args)
        assert done.returncode == 2
        assert message in done.stderr
        assert done.stderr.count("\n") == 1
