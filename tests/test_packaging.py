"""What a wheel holds, and that every advice to install an extra can be followed."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from vall_e import config
from vall_e.types import UsageError

REPOSITORY = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


def test_every_extra_that_a_message_names_exists() -> None:
    named = {
        extra
        for path in (REPOSITORY / "vall_e").rglob("*.py")
        for found in re.findall(r"vall-e\[([\w,]+)\]", path.read_text())
        for extra in found.split(",")
    }
    assert named and named <= PROJECT["optional-dependencies"].keys()


def test_the_core_has_no_package_under_the_gpl() -> None:
    core = " ".join(PROJECT["dependencies"])
    assert not re.search("phonemizer|espeak|pykakasi|librosa", core)


def test_configs_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert config.load_file(Path("offline"))["process"]["audio_backend"] == "tiny"
    assert config.load_file(Path("default"))["process"]["audio_backend"] == "encodec"
    with pytest.raises(UsageError, match="did you mean 'offline'"):
        config.load_file(Path("ofline"))
    (tmp_path / "offline").write_text("process: {levels: 2}")
    assert config.load_file(Path("offline")) == {"process": {"levels": 2}}


def test_a_wheel_holds_configs_weights_and_every_module(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", tmp_path]
    done = subprocess.run([*map(str, command), str(REPOSITORY)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"vall_e/configs/offline.yaml", "vall_e/configs/default.yaml", "vall_e/py.typed"} <= names
    assert "vall_e/emb/codecs/tiny.safetensors" in names
    modules = {path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "vall_e").rglob("*.py")}
    assert modules <= names
