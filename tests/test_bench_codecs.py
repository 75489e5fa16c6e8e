"""The script behind the tables of docs/codecs.md runs, on the codec whose weights are here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "bench_codecs.py"


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--quick", "--threads", "1", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_tables_of_a_codec() -> None:
    done = run("--codecs", "tiny", "--markdown")
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert "batch/alone 0.0000%, pieces/whole 0.0000%" in done.stdout
    assert done.stdout.count("| `tiny` |") == 2


def test_a_codec_that_is_none() -> None:
    done = run("--codecs", "tiny,nothing")
    assert done.returncode == 2
    assert "nothing" in done.stderr and "funcodec" in done.stderr
