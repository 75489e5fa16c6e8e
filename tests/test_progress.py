"""What a person sees while a stage runs."""

from __future__ import annotations

import sys

import pytest

from vall_e.progress import Progress, track


def test_lines_end_with_the_total_and_change_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(range(5), "test", 5, 5 * 3600.0, audio_s=lambda _: 3600.0)) == list(range(5))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("test: 5/5, ") and "h of audio/s" in line and line.endswith("0:00:00 left")


def test_nothing_is_shown_of_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track([], "test", 0)) == []
    assert capsys.readouterr().err == ""


def test_the_bar_of_a_terminal_yields_everything(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert list(track(range(3), "test", 6, num_items=lambda _: 2)) == [0, 1, 2]
    assert "6/6" in capsys.readouterr().err


def test_the_time_left_follows_the_audio_not_the_items(monkeypatch: pytest.MonkeyPatch) -> None:
    """One long recording among short ones: after 99 of 100 items, nine tenths of the work may be left."""
    monkeypatch.setattr("time.monotonic", lambda: 160.0)
    progress = Progress("test", total_items=100, total_audio_s=1000.0, started=100.0)
    progress.add(99, 100.0)
    assert progress.left == "0:09:00 left"
    assert Progress("test").left == ""
