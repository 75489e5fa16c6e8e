"""Which channel of a file is read, what is said of it, and that every stage reads the same one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
        source = audio.locate(audio.Roots(root), rows[name])
        assert source is not None
        np.testing.assert_array_equal(np.concatenate(list(source.blocks(RATE_HZ, 0.3))), expected)
        (cut,) = source.slices([(100, 5_000)])
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


def test_each_side_can_be_a_recording_and_a_speaker_of_its_own(root: Path, tmp_path: Path) -> None:
    """A call has one speaker a side; the mean of both mixed them."""
    (root / "calls").mkdir()
    (root / "stereo.wav").rename(root / "calls" / "stereo.wav")
    split = ImportOptions(executor="serial", channels="split")
    report = import_corpus(root, tmp_path / "meta", split)
    rows = rows_of(tmp_path / "meta")
    assert report.num_rows == len(rows) == 9 and rows["mono.wav"].channel is None
    sides = [rows[f"calls/stereo.wav-channel{number}"] for number in (1, 2)]
    assert [(side.speaker, side.channel, side.path) for side in sides] == [
        ("calls-channel1", 0, "calls/stereo.wav"),
        ("calls-channel2", 1, "calls/stereo.wav"),
    ]
    expected = soundfile.read(root / "calls" / "stereo.wav", dtype="float32")[0].T
    for side, samples in zip(sides, expected, strict=True):
        source = audio.locate(audio.Roots(root), side)
        assert source is not None
        np.testing.assert_array_equal(np.concatenate(list(source.blocks(RATE_HZ, 0.3))), samples)
    again = import_corpus(root, tmp_path / "meta", split)
    assert (again.num_rows, again.num_resumed, again.notes) == (9, 5, [])
    soundfile.write(root / "calls" / "stereo.wav", expected.T[::-1], RATE_HZ)
    (note,) = import_corpus(root, tmp_path / "meta", split).notes
    assert "2 recordings changed" in note


def test_a_kill_between_the_two_sides_loses_none(root: Path, tmp_path: Path) -> None:
    split = ImportOptions(executor="serial", channels="split")
    import_corpus(root, tmp_path / "meta", split)
    rows = tmp_path / "meta" / "recordings.jsonl"
    whole = rows.read_text().splitlines()
    number = next(n for n, line in enumerate(whole) if "stereo.wav-channel2" in line)
    rows.write_text("\n".join(whole[:number]) + "\n")
    import_corpus(root, tmp_path / "meta", split)
    assert rows.read_text().splitlines() == whole


def test_a_text_of_both_sides_is_given_to_neither(root: Path, tmp_path: Path) -> None:
    (root / "stereo.txt").write_text("both of them")
    (root / "mono.txt").write_text("one of them")
    import_corpus(root, tmp_path / "meta", ImportOptions(executor="serial", channels="split"))
    options = TranscribeOptions(executor="serial", backend=("sidecar",), language="en")
    transcribe(root, tmp_path / "meta", options)
    rejects = [row for _, row in storage.read_json_lines(tmp_path / "meta" / "rejects.jsonl")]
    details = {row["id"]: row["detail"] for row in rejects if row["id"].startswith("stereo")}
    assert list(details) == ["stereo.wav-channel1", "stereo.wav-channel2"]
    assert all("all channels" in detail for detail in details.values())
    assert {row.id: row.text for row in rows_of(tmp_path / "meta").values() if row.text} == {"mono.wav": "one of them"}


SURROUND = ("FL", "FR", "FC", "LFE", "BL", "BR")
GAINS = dict(zip(SURROUND, np.array([0.7071, 0.7071, 1.0, 0.0, 0.5, 0.5]) / 3.4142, strict=True))  # ITU-R BS.775-4


def write_surround(path: Path, channels: dict[str, np.ndarray], rate_hz: int) -> None:
    import av

    if path.suffix == ".ogg":  # the order of Vorbis I, section 4.3.9
        in_order = [channels.get(name, np.zeros(2 * rate_hz)) for name in ("FL", "FC", "FR", "BL", "BR", "LFE")]
        soundfile.write(path, np.stack(in_order, axis=1), rate_hz)
        return
    codec = {".wav": "pcm_f32le", ".flac": "flac", ".mka": "ac3", ".m4a": "aac"}[path.suffix]
    with av.open(str(path), "w", format={".m4a": "mp4", ".mka": "matroska"}.get(path.suffix)) as container:
        stream: Any = container.add_stream(codec, rate=rate_hz)
        stream.layout = "5.1"
        samples = np.stack([channels.get(name, np.zeros(2 * rate_hz, np.float32)) for name in SURROUND])
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="5.1")
        frame.sample_rate, frame.pts = rate_hz, 0
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mka", ".m4a"])
@pytest.mark.parametrize("name", ["FL", "FC", "BR"])
def test_surround_sound_is_mixed_by_the_standard_gains(tmp_path: Path, suffix: str, name: str) -> None:
    """Speech in the centre was a sixth of its level, beneath five channels of noise; each format orders its own way."""
    path = tmp_path / f"a{suffix}"
    rate_hz = 48_000
    write_surround(path, {name: tone(2 * rate_hz, rate_hz)}, rate_hz)
    found = audio.load(path)[0][rate_hz // 2 : 3 * rate_hz // 2]
    level = np.abs(tone(2 * rate_hz, rate_hz)[rate_hz // 2 : 3 * rate_hz // 2]).max() * GAINS[name]
    assert np.abs(found).max() == pytest.approx(level, rel=0.001 if suffix in (".wav", ".flac") else 0.03)


def test_channels_without_names_are_averaged_and_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in" / "a.wav", np.tile(tone(RATE_HZ)[:, None], (1, 7)), RATE_HZ, subtype="FLOAT")
    report = import_corpus(tmp_path / "in", tmp_path / "meta", MIX)
    assert report.notes == ["1 recording: channels_averaged, see notes.jsonl"]
    np.testing.assert_allclose(audio.load(tmp_path / "in" / "a.wav")[0], tone(RATE_HZ), atol=1e-6)
