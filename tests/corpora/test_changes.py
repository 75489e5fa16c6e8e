"""Folders change between two runs. Nothing is redone unasked, and nothing passes unseen."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from vall_e import storage
from vall_e.emb.transcribe import TranscribeOptions, transcribe
from vall_e.types import Transcript, UsageError

OPTIONS = TranscribeOptions(backend=("sidecar",))


@pytest.fixture
def voices(tmp_path: Path, demo: Path) -> Path:
    folder = tmp_path / "voices"
    shutil.copytree(demo / "world" / "lena", folder / "world" / "lena")
    return folder


def texts(meta: Path) -> dict[str, str]:
    return {row.recording_id: row.text for row in storage.read_rows(meta / "transcripts.jsonl", Transcript)}


def test_nothing_changed_nothing_is_said(voices: Path, tmp_path: Path) -> None:
    first = transcribe(voices, tmp_path / "meta", OPTIONS)
    again = transcribe(voices, tmp_path / "meta", OPTIONS)
    assert first.warnings == again.warnings == ()
    assert again.num_resumed == again.num_items == 4


def test_a_text_that_was_corrected_is_told(voices: Path, tmp_path: Path) -> None:
    transcribe(voices, tmp_path / "meta", OPTIONS)
    (voices / "world" / "lena" / "de_2.lab").write_text("Ein anderer Text.")
    before = texts(tmp_path / "meta")
    for _ in range(2):  # and told again
        (warning,) = transcribe(voices, tmp_path / "meta", OPTIONS).warnings
        assert "1 recordings or texts changed since, like world/lena/de_2.ogg" in warning
    assert texts(tmp_path / "meta") == before
    anew = TranscribeOptions(backend=("sidecar",), overwrite=True)
    assert transcribe(voices, tmp_path / "meta", anew).warnings == ()
    assert texts(tmp_path / "meta")["world/lena/de_2.ogg"] == "Ein anderer Text."
    assert transcribe(voices, tmp_path / "meta", OPTIONS).warnings == ()


def test_audio_that_was_replaced_or_removed_is_told_and_new_audio_is_heard(voices: Path, tmp_path: Path) -> None:
    transcribe(voices, tmp_path / "meta", OPTIONS)
    lena = voices / "world" / "lena"
    shutil.copy(lena / "de_1.ogg", lena / "de_5.ogg")
    shutil.copy(lena / "de_1.lab", lena / "de_5.lab")
    shutil.copy(lena / "de_1.ogg", lena / "de_2.ogg")
    (lena / "de_3.wav").unlink()
    report = transcribe(voices, tmp_path / "meta", OPTIONS)
    changed, gone = report.warnings
    assert "changed since, like world/lena/de_2.ogg" in changed
    assert "1 recordings are gone, like world/lena/de_3.wav" in gone
    assert report.num_items - report.num_resumed == 1
    assert "world/lena/de_5.ogg" in texts(tmp_path / "meta")


def test_another_folder_is_refused_and_a_moved_one_is_followed(voices: Path, tmp_path: Path, demo: Path) -> None:
    transcribe(voices, tmp_path / "meta", OPTIONS)
    before = texts(tmp_path / "meta")
    with pytest.raises(UsageError, match="made from .*voices, now .*demo"):
        transcribe(demo, tmp_path / "meta", OPTIONS)
    assert texts(tmp_path / "meta") == before
    voices.rename(tmp_path / "moved")
    report = transcribe(tmp_path / "moved", tmp_path / "meta", OPTIONS)
    assert report.num_resumed == report.num_items
    assert json.loads((tmp_path / "meta" / "metadata.json").read_text())["input_audio"] == str(tmp_path / "moved")


def test_a_folder_without_audio_is_a_wrong_call(tmp_path: Path) -> None:
    (tmp_path / "voices").mkdir()
    (tmp_path / "voices" / "notes.txt").write_text("no audio")
    with pytest.raises(UsageError, match="none of its 1 files is audio"):
        transcribe(tmp_path / "voices", tmp_path / "meta", OPTIONS)


def test_a_folder_whose_name_is_no_utf8(tmp_path: Path, demo: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    shutil.copytree(demo / "world" / "lena", folder / "lena")
    with pytest.raises(UsageError, match="not UTF-8"):
        transcribe(folder, tmp_path / "meta", OPTIONS)


def test_groups_with_names_that_datasets_use_are_rejected(voices: Path, tmp_path: Path) -> None:
    shutil.copytree(voices / "world", voices / "built")
    report = transcribe(voices, tmp_path / "meta", OPTIONS)
    assert report.rejects == {"bad_name": 4}
    assert transcribe(voices, tmp_path / "meta", OPTIONS).warnings == ()
