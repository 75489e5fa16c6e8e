"""The transcribe stage from outside: files in, transcripts and rejects out, and every file accounted for."""

from __future__ import annotations

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

from vall_e import storage
from vall_e.emb import transcribe
from vall_e.emb.transcribe import TranscribeOptions
from vall_e.types import Reject, Transcript, UsageError

RATE_HZ = 16_000
OFFLINE = ("sidecar", "pocketsphinx")
COMMAND = [sys.executable, "-m", "vall_e.emb.transcribe"]


def rows(meta: Path) -> dict[str, Transcript]:
    found = list(storage.read_rows(meta / "transcripts.jsonl", Transcript))
    assert len({row.recording_id for row in found}) == len(found)
    return {row.recording_id: row for row in found}


def rejects(meta: Path) -> dict[str, Reject]:
    found = list(storage.read_rows(meta / "rejects.jsonl", Reject))
    assert len({row.id for row in found}) == len(found) and {row.stage for row in found} <= {"import", "transcribe"}
    return {row.id: row for row in found}


def run(voices: Path, meta: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, f"--input-audio={voices}", f"--output-metadata={meta}", *flags]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def sidecar(voices: Path, meta: Path, **changes: Any) -> None:
    transcribe.transcribe(voices, meta, TranscribeOptions(backend=("sidecar",), executor="serial", **changes))


def write(path: Path, samples: np.ndarray, text: str | None = "Some words.", **how: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, RATE_HZ, **{"format": "WAV", **how})
    if text is not None:
        path.with_suffix(".txt").write_text(text)


SOUND = 0.1 * np.sin(np.arange(RATE_HZ) / 20).astype(np.float32)


@pytest.fixture
def voices(tmp_path: Path) -> Path:
    """A folder of everything that can go wrong."""
    root, outside = tmp_path / "voices", tmp_path / "outside"
    names = ["a.wav", "with space.wav", "-leading.wav", "line\nfeed.wav", "🎤.wav", "声.wav", "'q\"uo`te$.wav"]
    names += ["..wav", "x..wav"]
    for name in names:
        write(root / "g" / "s" / name, SOUND)
    write(root / "g" / "s" / "a.flac", SOUND, format="FLAC")
    write(root / "g" / "s" / "one sample.wav", SOUND[5:6])
    write(root / "bad" / "silent.wav", np.zeros(RATE_HZ))
    write(root / "bad" / "header.wav", np.zeros(0))
    broken = SOUND.copy()
    broken[7] = np.nan
    write(root / "bad" / "nan.wav", broken, subtype="FLOAT")
    write(root / "bad" / "cut.wav", SOUND)
    content = (root / "bad" / "cut.wav").read_bytes()
    (root / "bad" / "cut.wav").write_bytes(content[: len(content) // 2])
    (root / "bad" / "empty.mp3").write_bytes(b"")
    (root / "bad" / "recipe.m4a").write_text("plum cake")
    write(root / "bad" / "latin.wav", SOUND, None)
    (root / "bad" / "latin.txt").write_bytes("Grüße".encode("latin-1"))
    write(root / "bad" / "untold.wav", SOUND, None)
    (root / "folder.wav").mkdir()
    write(outside / "o.wav", SOUND)
    (root / "out.wav").symlink_to(outside / "o.wav")
    (root / "loop").symlink_to(root)
    (root / "language.txt").write_text("EN\n")
    return root


REASONS = {
    "bad/silent.wav": "silent",
    "bad/header.wav": "empty",
    "bad/nan.wav": "non_finite",
    "bad/cut.wav": "truncated",
    "bad/empty.mp3": "empty",
    "bad/recipe.m4a": "unreadable",
    "bad/latin.wav": "no_text",
    "bad/untold.wav": "no_text",
    "folder.wav": "not_a_file",
    "out.wav": "link_outside",
    "loop": "link_inside",
}


def test_every_file_is_a_row_a_reject_or_ignored(voices: Path, tmp_path: Path) -> None:
    options = TranscribeOptions(backend=("sidecar",), executor="serial")
    report = transcribe.transcribe(voices, tmp_path / "meta", options)
    found, lost = rows(tmp_path / "meta"), rejects(tmp_path / "meta")
    assert {name: str(reject.reason) for name, reject in lost.items()} == REASONS
    folders = [path for path in voices.rglob("*") if path.is_dir() and not path.is_symlink()]
    num_entries = len(list(voices.rglob("*"))) - len(folders) + 1  # folder.wav has an audio file's name
    assert len(found) + len(lost) + report.num_ignored == num_entries
    assert set(found) == {f"g/s/{path.name}" for path in (voices / "g" / "s").iterdir() if path.suffix != ".txt"}
    assert (report.num_rows, report.num_rejects) == (len(found), len(lost))
    assert {row.language for row in found.values()} == {"en"}
    assert "latin.txt" in lost["bad/latin.wav"].detail


def test_the_demo_offline(demo: Path, tmp_path: Path) -> None:
    """Texts where they lie beside the audio, the recogniser where not; two workers give what one gives."""
    root = tmp_path / "voices"
    shutil.copytree(demo / "english" / "awb", root / "english" / "awb")
    shutil.copytree(demo / "world", root / "world")
    (root / "world" / "haruka" / "ja_004.txt").unlink()
    results = []
    for workers in ("1", "2"):
        meta = tmp_path / f"meta{workers}"
        done = run(root, meta, "--backend", ",".join(OFFLINE), "--workers", workers)
        assert done.returncode == 0, done.stderr
        assert "transcribe: 16 rows, 1 reject (1 language_unsupported)" in done.stdout
        results.append((rows(meta), rejects(meta)))
    assert results[0] == results[1]
    found, lost = results[0]
    assert found["english/awb/c.wav"].backend.startswith("pocketsphinx ")
    assert found["english/awb/d.ogg"].backend.startswith("sidecar ")
    assert found["world/lena/de_1.ogg"].language == "de" and found["world/haruka/駅.m4a"].language == "ja"
    assert "'ja'" in lost["world/haruka/ja_004.flac"].detail


def test_whisperx_through_the_command(demo: Path, tmp_path: Path, whisper_models: dict[str, str]) -> None:
    shutil.copytree(demo / "english" / "awb", tmp_path / "voices" / "english" / "awb")
    config = tmp_path / "x.yaml"
    options = {"backend": ["whisperx"], "compute_type": "float32", **whisper_models}
    config.write_text(json.dumps({"transcribe": options}))
    done = run(tmp_path / "voices", tmp_path / "meta", f"--config={config}", "--language=en")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "transcribe: 4 rows, 0 rejects (none), 3 files ignored\n"
    head = json.loads((tmp_path / "meta" / "metadata.json").read_text())
    assert head["transcribe"]["model_name"] == whisper_models["model_name"]
    assert head["backends"][0].startswith("whisperx ") and head["versions"]["ctranslate2"]


def test_a_run_that_was_killed_is_resumed(demo: Path, tmp_path: Path) -> None:
    """SIGKILL after the first rows, a torn last line, then the same command: what an uninterrupted run gives."""
    root = tmp_path / "voices"
    for number in range(6):
        target = root / f"s{number}" / "c.wav"
        target.parent.mkdir(parents=True)
        shutil.copy(demo / "english" / "awb" / "c.wav", target)
    flags = ["--backend=pocketsphinx", "--language=en"]
    meta = tmp_path / "killed"
    process = subprocess.Popen([*COMMAND, f"--input-audio={root}", f"--output-metadata={meta}", *flags])
    written, deadline = meta / "transcripts.jsonl", time.monotonic() + 120
    while not (written.exists() and written.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    num_before = len(rows(meta))
    assert 0 < num_before < 6
    with written.open("ab") as file:
        file.write(b'{"recording_id": "s5/c.w')
    done = run(root, meta, *flags)
    assert done.returncode == 0, done.stderr
    assert f"{num_before} of 6 items were done before" in done.stdout
    assert run(root, tmp_path / "whole", *flags).returncode == 0
    assert rows(meta) == rows(tmp_path / "whole") and len(rows(meta)) == 6


def test_resuming_and_starting_from_scratch(voices: Path, tmp_path: Path) -> None:
    meta = tmp_path / "meta"
    sidecar(voices, meta)
    before = (meta / "transcripts.jsonl").read_bytes()
    write(voices / "g" / "s" / "new.wav", SOUND)
    sidecar(voices, meta)
    assert (meta / "transcripts.jsonl").read_bytes().startswith(before)
    assert rows(meta)["g/s/a.wav"].text == "Some words." and "g/s/new.wav" in rows(meta)
    (voices / "g" / "s" / "a.txt").write_text("Other words.")
    with pytest.raises(UsageError, match="made with language 'auto', now 'de'.*--overwrite"):
        sidecar(voices, meta, language="de")
    with pytest.raises(UsageError, match="made with backend .*--overwrite"):
        transcribe.transcribe(voices, meta, TranscribeOptions(backend=("pocketsphinx",), executor="serial"))
    sidecar(voices, meta, language="de", overwrite=True)
    assert rows(meta)["g/s/a.wav"].text == "Other words." and rows(meta)["g/s/a.wav"].language == "de"
    assert set(rejects(meta)) == set(REASONS)


def test_exit_status(voices: Path, tmp_path: Path) -> None:
    meta = tmp_path / "meta"
    assert run(voices, meta, "--backend=sidecar").returncode == 0
    assert run(voices, meta, "--backend=sidecar", "--max-reject-ratio=0.9").returncode == 0
    refused = run(voices, meta, "--backend=sidecar", "--max-reject-ratio=0.1")
    assert refused.returncode == 1 and "--max-reject-ratio" in refused.stderr


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--backend=sidecars"], "did you mean 'sidecar'"),
        (["--backend=sidecar,sidecar"], "not a list of different recognisers"),
        (["--language=English"], "ISO 639-1"),
        (["--language=xx"], "ISO 639-1"),
        (["--batch-size=0"], "batch_size"),
        (["--workers=-1"], "--workers"),
        (["--model-name=tiny"], "--model-name"),
        (["--nonsense"], "unrecognized arguments"),
    ],
)
def test_usage_errors_come_before_any_work(tmp_path: Path, flags: list[str], said: str) -> None:
    (tmp_path / "voices").mkdir()
    done = run(tmp_path / "voices", tmp_path / "meta", *flags)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "meta").exists()


def test_no_input_folder(tmp_path: Path) -> None:
    done = run(tmp_path / "nowhere", tmp_path / "meta")
    assert done.returncode == 2 and "no such folder" in done.stderr


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    """As in an environment without the extras: the packages are hidden from the import system."""
    (tmp_path / "voices").mkdir()
    (tmp_path / "voices" / "a.wav").touch()
    script = """
import importlib.util, sys
find_spec, hidden = importlib.util.find_spec, {"pocketsphinx", "langdetect", "silero_vad"}
importlib.util.find_spec = lambda name, package=None: None if name in hidden else find_spec(name, package)
from vall_e import config
from vall_e.emb import transcribe
config.run_main(transcribe.main, sys.argv[1:])
"""
    for backend, said in {
        "pocketsphinx": 'pip install "vall-e[pocketsphinx]"',
        "sidecar": 'pip install "vall-e[sidecar]"',
        "whisperx": 'pip install "vall-e[whisperx]"',
    }.items():
        flags = [f"--input-audio={tmp_path / 'voices'}", f"--output-metadata={tmp_path / 'meta'}"]
        flags.append(f"--backend={backend}")
        done = subprocess.run([sys.executable, "-c", script, *flags], capture_output=True, text=True, check=False)
        assert done.returncode == 2 and said in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    flags[-1:] = ["--backend=sidecar", "--language=en"]
    assert subprocess.run([sys.executable, "-c", script, *flags], capture_output=True, check=False).returncode == 0


def test_the_nearest_language_file_counts(tmp_path: Path) -> None:
    root = tmp_path / "voices"
    for name in ("x.wav", "g/x.wav", "g/s/x.wav", "h/s/x.wav", "odd/x.wav", "link/x.wav"):
        write(root / name, SOUND)
    for name, code in {"": "fr", "g": " de\n", "g/s": "pt-BR"}.items():
        (root / name / "language.txt").write_text(code)
    (root / "odd" / "language.txt").write_bytes("Französisch".encode("latin-1"))
    (tmp_path / "language.txt").write_text("it")
    (root / "link" / "language.txt").symlink_to(tmp_path / "language.txt")
    sidecar(root, tmp_path / "meta")
    languages = {name: row.language for name, row in rows(tmp_path / "meta").items()}
    assert languages == {"x.wav": "fr", "g/x.wav": "de", "g/s/x.wav": "pt", "h/s/x.wav": "fr"}
    lost = rejects(tmp_path / "meta")
    assert str(lost["odd/x.wav"].reason) == "language_unsupported" and "language.txt" in lost["odd/x.wav"].detail
    assert str(lost["link/x.wav"].reason) == "link_outside"
    (root / "language.txt").unlink()
    sidecar(root, tmp_path / "other", language="ja")
    assert {row.language for row in rows(tmp_path / "other").values()} == {"ja"}


def test_a_text_that_is_there_but_unusable_is_not_replaced_by_a_guess(demo: Path, tmp_path: Path) -> None:
    root = tmp_path / "voices"
    root.mkdir()
    shutil.copy(demo / "english" / "awb" / "c.wav", root / "c.wav")
    (root / "c.txt").write_bytes(b"\xff\xfe broken")
    transcribe.transcribe(root, tmp_path / "meta", TranscribeOptions(backend=OFFLINE, executor="serial"))
    assert str(rejects(tmp_path / "meta")["c.wav"].reason) == "no_text" and not rows(tmp_path / "meta")


def test_a_relative_input_folder(voices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(voices)
    sidecar(Path("."), tmp_path / "meta")
    sidecar(voices, tmp_path / "other")
    assert rows(tmp_path / "meta") == rows(tmp_path / "other")
    assert os.listdir(tmp_path / "meta").count("metadata.json") == 1
