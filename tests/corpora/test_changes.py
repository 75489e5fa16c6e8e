"""Folders change between two runs. Nothing is redone unasked, and nothing passes unseen."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from vall_e import storage
from vall_e.corpora.importing import import_corpus
from vall_e.corpora.registry import ImportOptions
from vall_e.emb.transcribe import TranscribeOptions, transcribe
from vall_e.types import Recording, Transcript, UsageError

OPTIONS = TranscribeOptions(backend=("sidecar",), executor="serial")
UPDATE = TranscribeOptions(backend=("sidecar",), update=True, executor="serial")


@pytest.fixture
def voices(tmp_path: Path, demo: Path) -> Path:
    folder = tmp_path / "voices"
    shutil.copytree(demo / "world" / "lena", folder / "world" / "lena")
    return folder


def texts(meta: Path) -> dict[str, str]:
    return {row.recording_id: row.text for row in storage.read_rows(meta / "transcripts.jsonl", Transcript)}


def recordings(meta: Path) -> list[Recording]:
    return list(storage.read_rows(meta / "recordings.jsonl", Recording))


def test_nothing_changed_nothing_is_said(voices: Path, tmp_path: Path) -> None:
    first = transcribe(voices, tmp_path / "meta", OPTIONS)
    again = transcribe(voices, tmp_path / "meta", OPTIONS)
    assert first.warnings == again.warnings == ()
    assert again.num_resumed == again.num_items == 4


def test_a_text_that_was_corrected_is_reported_and_redone_when_asked(voices: Path, tmp_path: Path) -> None:
    transcribe(voices, tmp_path / "meta", OPTIONS)
    (voices / "world" / "lena" / "de_2.lab").write_text("Ein anderer Text.")
    before = texts(tmp_path / "meta")
    for _ in range(2):  # every time, not only the first
        (warning,) = transcribe(voices, tmp_path / "meta", OPTIONS).warnings
        assert "1 recording changed since" in warning and "like world/lena/de_2.ogg" in warning
    assert texts(tmp_path / "meta") == before
    report = transcribe(voices, tmp_path / "meta", UPDATE)
    assert report.warnings == () and report.num_items - report.num_resumed == 1
    assert texts(tmp_path / "meta") == before | {"world/lena/de_2.ogg": "Ein anderer Text."}
    assert transcribe(voices, tmp_path / "meta", OPTIONS).warnings == ()


@pytest.mark.parametrize("name", ["metadata.csv", "language.txt"])
def test_a_table_or_language_that_was_edited_is_noticed(voices: Path, tmp_path: Path, name: str) -> None:
    """Only the files named like a recording used to be looked at."""
    lena = voices / "world" / "lena"
    for path in lena.glob("*.lab"):
        path.unlink()
    names = ("de_1.ogg", "de_2.ogg", "de_3.wav", "de_4.mp3")
    (lena / "metadata.csv").write_text("".join(f"{each}|Ein Text.\n" for each in names))
    transcribe(voices, tmp_path / "meta", OPTIONS)
    if name == "metadata.csv":
        (lena / name).write_text("".join(f"{each}|Ein neuer Text.\n" for each in names))
    else:
        (lena / name).write_text("nl")
    (warning,) = transcribe(voices, tmp_path / "meta", OPTIONS).warnings
    assert "4 recordings changed since" in warning
    assert transcribe(voices, tmp_path / "meta", UPDATE).warnings == ()
    rows = list(storage.read_rows(tmp_path / "meta" / "transcripts.jsonl", Transcript))
    assert {row.text for row in rows} == {"Ein neuer Text." if name == "metadata.csv" else "Ein Text."}
    assert {row.language for row in rows} == {"de" if name == "metadata.csv" else "nl"}


def test_audio_that_was_replaced_or_removed_is_reported_and_new_audio_is_added(voices: Path, tmp_path: Path) -> None:
    transcribe(voices, tmp_path / "meta", OPTIONS)
    lena = voices / "world" / "lena"
    shutil.copy(lena / "de_1.ogg", lena / "de_5.ogg")
    shutil.copy(lena / "de_1.lab", lena / "de_5.lab")
    shutil.copy(lena / "de_1.ogg", lena / "de_2.ogg")
    (lena / "de_3.wav").unlink()
    report = transcribe(voices, tmp_path / "meta", OPTIONS)
    changed, gone = report.warnings
    assert "like world/lena/de_2.ogg" in changed and "--update" in changed
    assert "1 recording went away since, like world/lena/de_3.wav" in gone
    assert report.num_items - report.num_resumed == 1
    assert "world/lena/de_5.ogg" in texts(tmp_path / "meta")
    assert transcribe(voices, tmp_path / "meta", UPDATE).warnings == ()
    assert sorted(texts(tmp_path / "meta")) == [f"world/lena/de_{n}" for n in ("1.ogg", "2.ogg", "4.mp3", "5.ogg")]
    (row,) = (row for row in recordings(tmp_path / "meta") if row.id == "world/lena/de_2.ogg")
    assert row.size_bytes == (lena / "de_1.ogg").stat().st_size


def test_a_copy_with_other_times_is_the_same_corpus(voices: Path, tmp_path: Path) -> None:
    transcribe(voices, tmp_path / "meta", OPTIONS)
    for path in voices.rglob("*.*"):
        os.utime(path, ns=(1, 1))
    assert transcribe(voices, tmp_path / "meta", OPTIONS).warnings == ()


def test_a_change_in_the_bytes_at_the_end_counts_where_size_is_the_same(voices: Path, tmp_path: Path) -> None:
    path = voices / "world" / "lena" / "de_3.wav"
    transcribe(voices, tmp_path / "meta", OPTIONS)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    (warning,) = transcribe(voices, tmp_path / "meta", OPTIONS).warnings
    assert "like world/lena/de_3.wav" in warning


def test_what_was_rejected_is_tried_again_by_an_update(voices: Path, tmp_path: Path) -> None:
    lena = voices / "world" / "lena"
    whole = (lena / "de_3.wav").read_bytes()
    (lena / "de_3.wav").write_bytes(whole[:1000])
    assert transcribe(voices, tmp_path / "meta", OPTIONS).rejects == {"truncated": 1}
    (lena / "de_3.wav").write_bytes(whole)
    (lena / "de_4.lab").unlink()
    report = transcribe(voices, tmp_path / "meta", UPDATE)
    assert report.rejects == {"no_text": 1} and report.num_rows == 3
    (lena / "de_4.lab").write_text("Wieder da.")
    report = transcribe(voices, tmp_path / "meta", UPDATE)
    assert report.rejects == {} and report.num_rows == 4 and report.warnings == ()


@pytest.mark.parametrize("stop_before", ["rejects.jsonl", "transcripts.jsonl", "recordings.jsonl"])
def test_an_update_killed_between_two_files_is_taken_up(
    voices: Path, tmp_path: Path, stop_before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed, changed and resumed, it used to stay "changed" for ever."""
    transcribe(voices, tmp_path / "meta", OPTIONS)
    lena = voices / "world" / "lena"
    shutil.copy(lena / "de_1.ogg", lena / "de_2.ogg")
    (lena / "de_2.lab").write_text("Ein anderer Text.")
    replace = os.replace

    def killed(source: str, target: Path) -> None:
        if Path(target).name == stop_before:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", killed)
    if stop_before == "rejects.jsonl":
        (voices / "a.mp3").write_text("no audio")
        with pytest.raises(KeyboardInterrupt):
            transcribe(voices, tmp_path / "meta", OPTIONS)
            transcribe(voices, tmp_path / "meta", UPDATE)
    else:
        with pytest.raises(KeyboardInterrupt):
            transcribe(voices, tmp_path / "meta", UPDATE)
    monkeypatch.undo()
    assert transcribe(voices, tmp_path / "meta", UPDATE).num_rows == 4
    warnings = transcribe(voices, tmp_path / "meta", OPTIONS).warnings
    assert not [line for line in warnings if "a.mp3" not in line]  # which is no audio, and has no text
    assert texts(tmp_path / "meta")["world/lena/de_2.ogg"] == "Ein anderer Text."


def test_audio_that_changes_between_import_and_transcription_is_rejected(voices: Path, tmp_path: Path) -> None:
    """It used to become a row with the text of the old audio."""
    import_corpus(voices, tmp_path / "meta", ImportOptions(executor="serial"))
    lena = voices / "world" / "lena"
    shutil.copy(lena / "de_1.ogg", lena / "de_2.ogg")
    report = transcribe(voices, tmp_path / "meta", OPTIONS)
    assert report.rejects == {"changed": 1} and report.num_rows == 3
    report = transcribe(voices, tmp_path / "meta", UPDATE)
    assert report.rejects == {} and report.num_rows == 4


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
