"""The training script of the tiny codec, run small: it trains, saves, resumes and measures."""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import load_file

from vall_e.emb.codecs.tiny import TinyCodec

SCRIPT = Path(__file__).resolve().parents[2] / "data" / "train_tiny.py"
pytestmark = [
    pytest.mark.skipif(
        not (shutil.which("flite") and shutil.which("espeak-ng")), reason="needs the programs flite and espeak-ng"
    ),
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("pystoi", "pocketsphinx")),
        reason="needs pystoi and pocketsphinx",
    ),
]


def run(folder: Path, steps: int, *more: str) -> str:
    options = ["--cache", str(folder / "cache"), "--output", str(folder / "tiny.safetensors"), "--steps", str(steps)]
    small = ["--corpus-minutes", "0.3", "--held-out-clips", "1", "--minutes", "5"]
    command = [sys.executable, str(SCRIPT), *options, *small, *more]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def table(output: str) -> list[list[str]]:
    """The cells of the measured rows."""
    rows = [line.strip("| ").split(" | ") for line in output.splitlines() if line.startswith("|")]
    return [row for row in rows if row[0].isdigit()]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with a codec of four steps, and what the script printed."""
    folder = tmp_path_factory.mktemp("tiny")
    return folder, run(folder, 4)


def test_it_trains_and_measures(trained: tuple[Path, str]) -> None:
    folder, output = trained
    assert "step 4 " in output
    rows = table(output)
    assert [row[0] for row in rows] == [str(level) for level in range(1, 9)]
    for row in rows:
        assert len(row) == 9  # levels, mean, five groups, distance, codes in use
        assert all(-1 <= float(cell) <= 1 for cell in row[1:7])
        assert float(row[1]) == pytest.approx(sum(map(float, row[2:7])) / 5, abs=2e-3)
        assert 0 < float(row[7]) < 60
        assert re.fullmatch(r"\d+%", row[8])
    assert "pocketsphinx word errors on rms" in output


def test_what_it_saves_is_a_codec(trained: tuple[Path, str]) -> None:
    codec = TinyCodec(weights=trained[0] / "tiny.safetensors")
    codes = codec.encode([np.random.default_rng(0).standard_normal(24_000).astype(np.float32) / 10])
    assert codes[0].shape == (8, 75)
    assert codec.decode(codes)[0].shape == (24_000,)
    # k-means gave every level entries of its own
    codebooks = load_file(trained[0] / "tiny.safetensors")["codebooks"]
    assert all(codebooks[level].std(dim=0).min() > 0 for level in range(8))


def test_measuring_alone_repeats_the_numbers_and_trains_nothing(trained: tuple[Path, str]) -> None:
    folder, output = trained
    before = (folder / "tiny.safetensors").read_bytes()
    assert table(run(folder, 4, "--eval-only")) == table(output)
    assert (folder / "tiny.safetensors").read_bytes() == before


def test_it_goes_on_where_it_was_stopped(trained: tuple[Path, str], tmp_path: Path) -> None:
    shutil.copytree(trained[0] / "cache", tmp_path / "cache")
    output = run(tmp_path, 5)
    assert "resumed after step 4" in output
    assert "trained 5 steps" in output
    old, new = (
        load_file(trained[0] / "cache" / "state.safetensors"),
        load_file(tmp_path / "cache" / "state.safetensors"),
    )
    assert old.keys() == new.keys()
    moments = [name for name in old if name.endswith("exp_avg")]
    assert moments
    assert all(int(new[name]) == 5 for name in new if name.endswith(".step"))
    # near what it was: one step at this rate moves no weight far, a fresh start would
    name = "model.head.out.weight"
    assert 0 < float((old[name] - new[name]).abs().max()) < 0.01
    with safe_open(tmp_path / "cache" / "state.safetensors", framework="pt") as file:
        assert file.metadata()["step"] == "5"
