"""Which channel of a file is read, what is said of it, and that every stage reads the same one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from audio_files import RATE_HZ, tone

from vall_e import audio, storage
from vall_e.corpora.importing import import_corpus
from vall_e.corpora.registry import ImportOptions
from vall_e.emb.transcribe import TranscribeOptions, transcribe
from vall_e.types import Note, Recording, UsageError

MIX = ImportOptions(executor="serial")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    left, other = tone(2 * RATE_HZ), np.roll(tone(2 * RATE_HZ), 777)[::-1]
    files = {
        "cancel": (left, -0.98 * left),
        "stereo": (left, other),
        "one side": (left, 0 * left),
        "same": (left, left),
    }
    (tmp_path / "in").mkdir()
    for name, sides in files.items():
        soundfile.write(tmp_path / "in" / f"{name}.wav", np.stack(sides, axis=1), RATE_HZ, subtype="FLOAT")
    soundfile.write(tmp_path / "in" / "mono.wav", left, RATE_HZ, subtype="FLOAT")
    return tmp_path / "in"


def rows_of(metadata: Path) -> dict[str, Recording]:
    return {row.id: row for row in storage.read_rows(metadata / "recordings.jsonl", Recording)}


def test_of_channels_that_cancel_the_louder_is_read_and_it_is_said(root: Path, tmp_path: Path) -> None:
    """Their mean is a hundredth of the level of either, and was taken for the recording."""
    report = import_corpus(root, tmp_path / "meta", MIX)
    rows = rows_of(tmp_path / "meta")
    assert {name: row.channel for name, row in rows.items() if row.channel is not None} == {"cancel.wav": 0}
    (note,) = storage.read_rows(tmp_path / "meta" / "notes.jsonl", Note)
    assert (note.id, note.stage, note.note) == ("cancel.wav", "import", "channels_cancel")
    assert "channel 1" in note.detail
    assert report.notes == ["1 recording: channels_cancel, see notes.jsonl"]
    assert import_corpus(root, tmp_path / "meta", MIX).notes == report.notes


@pytest.mark.parametrize(("channels", "place"), [("left", 0), ("right", 1)])
def test_one_side_can_be_asked_for(root: Path, tmp_path: Path, channels: str, place: int) -> None:
    import_corpus(root, tmp_path / "meta", ImportOptions(executor="serial", channels=channels))
    rows = rows_of(tmp_path / "meta")
    assert {row.channel for name, row in rows.items() if name != "mono.wav"} == {place}
    assert rows["mono.wav"].channel is None
    for name in ("stereo.wav", "cancel.wav"):
        expected = soundfile.read(root / name, dtype="float32")[0][:, place]
        source = audio.Source(rows[name], root / name)
        np.testing.assert_array_equal(np.concatenate(list(source.blocks(RATE_HZ, 0.3))), expected)
        (cut,) = audio.iter_slices(root / name, [(100, 5_000)], channel=rows[name].channel)
        np.testing.assert_array_equal(cut, expected[100:5_100])


def test_later_stages_import_as_the_first_did(root: Path, tmp_path: Path) -> None:
    import_corpus(root, tmp_path / "meta", ImportOptions(executor="serial", channels="left"))
    soundfile.write(root / "new.wav", np.stack([tone(RATE_HZ), 0 * tone(RATE_HZ)], axis=1), RATE_HZ)
    options = TranscribeOptions(executor="serial", backend=("sidecar",), language="en")
    assert not [line for line in transcribe(root, tmp_path / "meta", options).warnings if "changed" in line]
    assert rows_of(tmp_path / "meta")["new.wav"].channel == 0
    with pytest.raises(UsageError, match="channels 'left', now 'mix'"):
        import_corpus(root, tmp_path / "meta", MIX)
    overwrite = ImportOptions(executor="serial", overwrite=True)
    import_corpus(root, tmp_path / "meta", overwrite)
    assert rows_of(tmp_path / "meta")["new.wav"].channel is None
