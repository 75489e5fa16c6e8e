"""Mixtures from outside: real audio and codec, compared with the same sum made here by hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from corpora.miniatures import write
from hypothesis import given, settings
from hypothesis import strategies as st

from vall_e import audio, cli, storage
from vall_e.emb.codecs.base import encode
from vall_e.emb.codecs.registry import CodecOptions, load_codec
from vall_e.emb.mix import MixOptions, main, mix, mixture
from vall_e.types import Mixture, UsageError, Utterance

RATE_HZ = 24_000  # of the codec tiny
COUNT = 4  # utterances


@pytest.fixture(scope="module")
def dataset(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two speakers with two recordings each."""
    root = tmp_path_factory.mktemp("mix")
    for name in ("slt/slt_0001.wav", "slt/slt_0002.wav", "rms/one.flac", "rms/two.flac"):
        path = root / "in" / "english" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(demo / "english" / name, path)
        write(path.with_suffix(".txt"), "Some words, whatever they are.")
        write(path.with_name("language.txt"), "en")
    args = ["prepare", str(root / "in"), str(root / "work"), "--config", "offline", "--executor", "serial"]
    assert cli.main(args) == 0
    return root / "work" / "dataset"


@pytest.fixture(scope="module")
def noises(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One longer than an utterance, one shorter, in stereo and at another rate."""
    folder = tmp_path_factory.mktemp("noises")
    rng = np.random.default_rng(0)
    (folder / "deep").mkdir()
    soundfile.write(folder / "deep" / "long.wav", 0.1 * rng.standard_normal(20 * 16_000), 16_000, subtype="FLOAT")
    soundfile.write(folder / "short.flac", 0.05 * rng.standard_normal((22_050, 2)), 44_100)
    (folder / "broken.wav").write_bytes(b"RIFF and nothing more")
    return folder


@pytest.fixture(scope="module")
def mixed(dataset: Path, noises: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("mixed")
    report = mix(dataset, output, MixOptions(executor="serial"), noises=noises)
    assert report.num_rows == 2 * COUNT and report.num_rejects == 0
    assert any("broken.wav: not used as a noise" in note for note in report.notes)
    return output


def rows_of(output: Path) -> list[Mixture]:
    return sorted(storage.read_rows(output / "mixtures.jsonl", Mixture), key=lambda row: row.id)


def content(output: Path) -> dict[str, bytes]:
    files = {str(path.relative_to(output)): path.read_bytes() for path in output.rglob("*.npy")}
    return files | {row.id: str(row).encode() for row in rows_of(output)}


def at_codec_rate(path: Path, start_s: float = 0.0, num_s: float | None = None) -> np.ndarray:
    samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    first = round(start_s * rate_hz)
    last = None if num_s is None else first + int(np.ceil(num_s * rate_hz - 1e-9))
    return audio.resample(samples[first:last].mean(axis=1, dtype=np.float32), rate_hz, RATE_HZ)


def test_a_mixture_is_the_sum_that_its_row_tells(dataset: Path, noises: Path, mixed: Path) -> None:
    codec = load_codec(CodecOptions(audio_backend="tiny"))
    utterances = {row.id: row for row in storage.read_rows(dataset / "utterances.jsonl", Utterance)}
    voices = dataset.parent.parent / "in"
    for row in rows_of(mixed):
        utterance = utterances[row.utterance_id]
        own = at_codec_rate(voices / utterance.recording_id, utterance.start_samples / utterance.sample_rate_hz)
        own = own[: round(utterance.duration_s * RATE_HZ)]
        if row.kind == "noise":
            other = at_codec_rate(noises / row.other, row.start_s, utterance.duration_s)
            other = np.resize(other, len(own))
        else:
            another = utterances[row.other]
            assert another.speaker != utterance.speaker
            other = at_codec_rate(voices / another.recording_id, another.start_samples / another.sample_rate_hz)
            other = other[: round(another.duration_s * RATE_HZ)]
            other = np.pad(other, (0, max(0, len(own) - len(other))))[: len(own)]
        gain = np.sqrt(np.mean(own.astype(float) ** 2) / np.mean(other.astype(float) ** 2)) / 10 ** (row.level_db / 20)
        loudest = float(np.abs(own + gain * other).max())
        quieter = 1.0 if loudest <= 1 else 0.999 / loudest
        wanted = encode(codec, (quieter * (own + gain * other)).astype(np.float32), RATE_HZ)
        found = storage.read_array(mixed / row.kind / f"{utterance.id}.npy")
        assert found.shape == (8, utterance.num_frames) == wanted.shape
        assert np.mean(found == wanted) > 0.98, "sums may be rounded in another order"
        if row.kind == "noise":
            alone = storage.read_array(mixed / "noise_alone" / f"{utterance.id}.npy")
            assert np.mean(alone == encode(codec, (quieter * gain * other).astype(np.float32), RATE_HZ)) > 0.98
            assert -5 <= row.level_db <= 20


def test_workers_and_a_stop_in_the_middle_change_nothing(
    dataset: Path, noises: Path, mixed: Path, tmp_path: Path
) -> None:
    mix(dataset, tmp_path, MixOptions(workers=2), noises=noises)
    assert content(tmp_path) == content(mixed)
    lines = (tmp_path / "mixtures.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "mixtures.jsonl").write_text("".join(lines[:5]) + lines[5][:20])
    report = mix(dataset, tmp_path, MixOptions(executor="serial"), noises=noises)
    assert report.num_resumed == 5 and content(tmp_path) == content(mixed)
    other = mix(dataset, tmp_path, MixOptions(executor="serial", seed=1, overwrite=True), noises=noises)
    assert other.num_rows == 2 * COUNT and content(tmp_path) != content(mixed)


def test_the_command(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without noises there are mixtures of voices."""
    args = ["--input-dataset", str(dataset), "--output-mixtures", str(tmp_path), "--executor", "serial"]
    assert main(args) == 0
    assert f"mix: {COUNT} rows, 0 rejects" in capsys.readouterr().out
    assert {row.kind for row in rows_of(tmp_path)} == {"voice"}
    head = json.loads((tmp_path / "mixtures.json").read_text())
    assert head["codec"]["name"] == "tiny" and head["options"]["seed"] == 0


def test_what_it_refuses(dataset: Path, noises: Path, mixed: Path, tmp_path: Path) -> None:
    serial: dict[str, Any] = {"executor": "serial"}
    with pytest.raises(UsageError, match="no audio in it that can be read as a noise"):
        mix(dataset, tmp_path / "out", MixOptions(**serial), noises=tmp_path)
    with pytest.raises(UsageError, match=r"made with noise_min_db -5\.0, now 0\.0"):
        mix(dataset, mixed, MixOptions(**serial, noise_min_db=0.0), noises=noises)
    with pytest.raises(UsageError, match="made with another noises"):
        mix(dataset, mixed, MixOptions(**serial))
    with pytest.raises(ValueError, match="the least level is above the most"):
        MixOptions(voice_min_db=6.0)


def test_a_silent_noise_is_a_reject(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "noises").mkdir()
    soundfile.write(tmp_path / "noises" / "nothing.wav", np.zeros(24_000), 24_000)
    report = mix(dataset, tmp_path / "out", MixOptions(executor="serial"), noises=tmp_path / "noises")
    assert dict(report.rejects) == {"silent": COUNT} and report.num_rows == COUNT


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 999), level_db=st.floats(-30, 30), scale=st.sampled_from([1e-3, 0.1, 0.9]))
def test_the_level_of_a_mixture(seed: int, level_db: float, scale: float) -> None:
    """By the definition of the decibel; and what is too loud becomes quieter as a whole."""
    rng = np.random.default_rng(seed)
    own = (scale * rng.uniform(-1, 1, 500)).astype(np.float32)
    other = (0.3 * rng.uniform(-1, 1, 500)).astype(np.float32)
    mixed = mixture(own, other, level_db)
    assert mixed is not None
    together, alone = mixed
    rest = together - alone
    power = [float(np.mean(each.astype(float) ** 2)) for each in (rest, alone)]
    assert 10 * np.log10(power[0] / power[1]) == pytest.approx(level_db, abs=0.05)
    assert np.abs(together).max() <= 1
    shared = float(rest @ own / (own @ own))
    np.testing.assert_allclose(rest, shared * own, atol=2e-6)
    assert shared == pytest.approx(1, abs=1e-4) or np.abs(together).max() == pytest.approx(0.999, abs=1e-4)


def test_nothing_is_mixed_with_silence() -> None:
    assert mixture(np.ones(10, np.float32), np.zeros(10, np.float32), 0.0) is None
