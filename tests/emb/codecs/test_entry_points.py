"""The example of docs/codecs.md, installed as another package would be and used through the command."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vall_e import audio

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder of installed packages with the example in it."""
    page = (REPOSITORY / "docs" / "codecs.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (entry,) = re.findall(r'^coarse = "(.*)"$', page, re.MULTILINE)
    folder = tmp_path / "site"
    info = folder / "coarse_codec-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "coarse_codec.py").write_text(code, encoding="utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: coarse-codec\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[vall_e.codecs]\ncoarse = {entry}\nbroken = no_such_module:load\nempty = builtins:repr\n"
    )
    return folder


def qnt(site: Path, *args: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vall_e.emb.qnt", *map(str, args)]
    environment = os.environ | {"PYTHONPATH": f"{site}{os.pathsep}{REPOSITORY}"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_example_codes_and_decodes_a_file(site: Path, tmp_path: Path) -> None:
    source, codes, back = tmp_path / "a.wav", tmp_path / "a.npy", tmp_path / "b.wav"
    tone = 0.5 * np.sin(np.arange(4_000) * 0.3).astype(np.float32)
    audio.write(source, tone, 8_000)
    flags = ("--audio-backend", "coarse", "--levels", "1")
    done = qnt(site, "--input", source, "--output", codes, *flags)
    assert done.returncode == 0, done.stderr
    assert np.load(codes).shape == (1, 4_000)
    done = qnt(site, "--input", codes, "--output", back, *flags)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(audio.load(back)[0], tone, atol=1 / 127)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("coarze", "did you mean 'coarse'?"),
        ("broken", "no_such_module:load can't be imported"),
        ("empty", "builtins:repr gives is no Codec"),
        ("coarse", "8 levels; it has 1"),
    ],
)
def test_what_goes_wrong_is_told_in_a_line(site: Path, tmp_path: Path, name: str, says: str) -> None:
    audio.write(tmp_path / "a.wav", np.zeros(80, np.float32), 8_000)
    done = qnt(site, "--input", tmp_path / "a.wav", "--output", tmp_path / "a.npy", "--audio-backend", name)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "a.npy").exists()
