"""Damaged files of every format: read as they are, or refused with a reason, and nothing else."""

from __future__ import annotations

import io
import os
import random
from pathlib import Path

import numpy as np
import pytest
import soundfile
from audio_files import RATE_HZ, encode, nobodys_folder, reason_of, tone

from vall_e import audio, storage
from vall_e.corpora.importing import import_corpus
from vall_e.corpora.registry import ImportOptions
from vall_e.types import Recording, RejectReason

FORMATS = {
    **{"a.wav": "sf", "adpcm.wav": "sf", "a.w64": "sf", "a.aiff": "sf", "a.caf": "sf", "alac.caf": "sf", "a.au": "sf"},
    **{"a.flac": "sf", "vorbis.ogg": "sf", "opus.ogg": "sf", "a.mp3": "sf", "a.opus": "libopus", "a.m4a": "aac"},
    **{"a.webm": "libopus", "a.mka": "flac", "a.wma": "wmav2", "a.mp2": "mp2", "a.aac": "aac", "a.mov": "pcm_s16le"},
}
SUBTYPES = {"adpcm.wav": "IMA_ADPCM", "alac.caf": "ALAC_16", "vorbis.ogg": "VORBIS", "opus.ogg": "OPUS"}
CASES_PER_FORMAT = 18


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Half a second in every format."""
    folder = tmp_path_factory.mktemp("originals")
    for name, codec in FORMATS.items():
        if codec == "sf":
            soundfile.write(folder / name, tone(RATE_HZ // 2), RATE_HZ, subtype=SUBTYPES.get(name))
        else:
            encode(folder / name, tone(24_000, 48_000), 48_000, codec)
    return {name: (folder / name).read_bytes() for name in FORMATS}


def damaged(content: bytes, other: bytes, chance: random.Random) -> bytes:
    """Flipped bytes, mostly in the header; or a cut; or a splice of two files; or a stretch left out."""
    kind, place = chance.randrange(5), chance.randrange(len(content))
    if kind == 0:
        return content[:place]
    if kind == 1:
        return content[:place] + other[chance.randrange(len(other)) :]
    if kind == 2:
        return content[:place] + content[place + chance.randrange(1, 200) :]
    changed = bytearray(content)
    reach = min(len(content), 600 if kind == 3 else len(content))
    for _ in range(chance.choice((1, 3, 20))):
        changed[chance.randrange(reach)] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
    return bytes(changed)


@pytest.mark.parametrize("name", FORMATS)
def test_a_damaged_file_is_read_or_refused(
    originals: dict[str, bytes], tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Text in metadata that is no UTF-8, an unknown codec, a change of rate used to end the run with a traceback."""
    chance = random.Random(name)
    path = tmp_path / name
    for number in range(int(os.environ.get("FUZZ_CASES", CASES_PER_FORMAT))):
        path.write_bytes(damaged(originals[name], originals[chance.choice(list(FORMATS))], chance))
        try:
            recording = audio.probe(path, name)
            assert 1_000 <= recording.sample_rate_hz <= 768_000 and 1 <= recording.num_channels <= 64
            if recording.num_samples < 10_000_000:
                assert sum(len(block) for block in audio.blocks(path)) == recording.num_samples, number
        except audio.AudioError as error:
            assert isinstance(error.reason, RejectReason) and error.detail
    assert capfd.readouterr() == ("", "")  # decoders print to the terminal what they find odd


def replaced(content: bytes, old: bytes, new: bytes) -> bytes:
    assert content.count(old) and len(old) == len(new)
    return content.replace(old, new)


def test_metadata_that_is_no_utf8(originals: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "a.m4a").write_bytes(replaced(originals["a.m4a"], b"SoundHandler", b"S\xff\xfeundHandle"))
    assert len(audio.load(tmp_path / "a.m4a")[0]) == pytest.approx(24_000, abs=2_000)


def test_a_codec_that_nobody_knows(originals: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "a.caf").write_bytes(replaced(originals["a.caf"], b"lpcm", b"zzzz"))
    assert reason_of(tmp_path / "a.caf") == RejectReason.UNREADABLE
    content = bytearray(originals["a.wav"])
    content[20:22] = b"\x34\x12"  # the format's number
    (tmp_path / "a.wav").write_bytes(content)
    assert reason_of(tmp_path / "a.wav") == RejectReason.UNREADABLE


@pytest.mark.parametrize("rate_hz", [0, 1, 999, 768_001, 2**31 - 1])
def test_a_rate_that_can_not_be(originals: dict[str, bytes], tmp_path: Path, rate_hz: int) -> None:
    """Of 16,000 samples at 1 Hz, 4.4 hours of audio were made."""
    content = bytearray(originals["a.wav"])
    content[24:28] = rate_hz.to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(content)
    assert reason_of(tmp_path / "a.wav") == RejectReason.UNREADABLE


@pytest.mark.parametrize(("num_channels", "is_fine"), [(64, True), (65, False), (1_024, False)])
def test_channels_without_end(tmp_path: Path, num_channels: int, is_fine: bool) -> None:
    soundfile.write(tmp_path / "a.wav", np.ones((100, num_channels)), RATE_HZ)
    if is_fine:
        assert len(audio.load(tmp_path / "a.wav")[0]) == 100
    else:
        assert reason_of(tmp_path / "a.wav") == RejectReason.UNREADABLE


@pytest.mark.parametrize("name", ["a.webm", "a.mka", "a.wma", "vorbis.ogg", "opus.ogg", "a.opus", "a.w64"])
def test_a_container_cut_short_is_truncated(tmp_path: Path, name: str) -> None:
    """Half a WebM used to pass as a recording of half the length, with the text of the whole."""
    if FORMATS[name] == "sf":
        soundfile.write(tmp_path / name, tone(4 * RATE_HZ), RATE_HZ, subtype=SUBTYPES.get(name))
    else:
        encode(tmp_path / name, tone(4 * 48_000, 48_000), 48_000, FORMATS[name])
    content = (tmp_path / name).read_bytes()
    assert len(audio.load(tmp_path / name)[0]) > 0
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    assert reason_of(tmp_path / name) == RejectReason.TRUNCATED


def test_a_longer_picture_is_no_missing_sound(tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        picture, sound = container.add_stream("mpeg4", rate=10), container.add_stream("flac", rate=RATE_HZ)
        picture.width = picture.height = 64
        picture.pix_fmt, sound.layout = "yuv420p", "mono"
        for _ in range(40):
            container.mux(picture.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))))
        samples = (tone(RATE_HZ) * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = RATE_HZ, 0
        for packets in (sound.encode(frame), sound.encode(None), picture.encode(None)):
            container.mux(packets)
    assert len(audio.load(tmp_path / "a.mkv")[0]) == RATE_HZ


def test_a_rate_that_changes_in_the_middle(tmp_path: Path) -> None:
    encode(tmp_path / "slow.aac", tone(RATE_HZ), RATE_HZ, "aac")
    encode(tmp_path / "fast.aac", tone(48_000, 48_000), 48_000, "aac")
    (tmp_path / "a.aac").write_bytes((tmp_path / "slow.aac").read_bytes() + (tmp_path / "fast.aac").read_bytes())
    assert reason_of(tmp_path / "a.aac") == RejectReason.UNREADABLE


@pytest.fixture(scope="module")
def mp3(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """3 s."""
    path = tmp_path_factory.mktemp("mp3") / "a.mp3"
    soundfile.write(path, tone(3 * RATE_HZ), RATE_HZ)
    return path.read_bytes()


APE = b"APETAGEX" + b"".join(n.to_bytes(4, "little") for n in (2000, 64, 1, 1 << 31)) + bytes(8)
TAGS = {
    "ID3v2": (b"ID3\x04\0\0\0\0\x40\0" + bytes(64 * 128), b""),
    "ID3v1": (b"", b"TAG" + bytes(125)),
    "APE": (b"", APE + b"x" * 32 + APE),
    "Lyrics3": (b"", b"LYRICSBEGIN" + b"x" * 100 + b"000111LYRICS200" + b"TAG" + bytes(125)),
}


@pytest.mark.parametrize("kind", TAGS)
def test_tags_of_an_mp3_are_no_sound(mp3: bytes, tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    before, after = TAGS[kind]
    (tmp_path / "bare.mp3").write_bytes(mp3)
    (tmp_path / "a.mp3").write_bytes(before + mp3 + after)
    bare, _ = audio.load(tmp_path / "bare.mp3")
    assert len(bare) == 3 * RATE_HZ
    np.testing.assert_array_equal(audio.load(tmp_path / "a.mp3")[0], bare)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 24_000, 44_100, 48_000])
def test_an_mp3_is_as_long_as_libsndfile_says(tmp_path: Path, rate_hz: int) -> None:
    """Without the encoder's delay and padding, which its tag counts."""
    soundfile.write(tmp_path / "a.mp3", tone(2 * rate_hz + 77, rate_hz), rate_hz)
    want, _ = soundfile.read(tmp_path / "a.mp3", dtype="float32")
    samples, found_hz = audio.load(tmp_path / "a.mp3")
    assert (len(samples), found_hz) == (len(want), rate_hz)
    np.testing.assert_allclose(samples, want, atol=1e-4)


@pytest.mark.parametrize("kind", ["header", "random", "lost"])
def test_a_damaged_frame_does_not_shift_an_mp3(mp3: bytes, tmp_path: Path, kind: str) -> None:
    middle = len(mp3) // 2
    junk = {"header": bytes(100), "random": random.Random(5).randbytes(100), "lost": b""}[kind]
    (tmp_path / "a.mp3").write_bytes(mp3[:middle] + junk + mp3[middle + 100 :])
    with pytest.raises(audio.AudioError, match="damaged in the middle") as error:
        audio.load(tmp_path / "a.mp3")
    assert error.value.reason == RejectReason.TRUNCATED


def test_an_mp3_cut_short(mp3: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(mp3[: len(mp3) // 2])
    assert reason_of(tmp_path / "a.mp3") == RejectReason.TRUNCATED


@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.m4a"])
def test_a_file_that_may_not_be_read(originals: dict[str, bytes], name: str) -> None:
    with nobodys_folder() as folder:
        (folder / name).write_bytes(originals[name])
        assert len(audio.load(folder / name)[0]) > 0
        (folder / name).chmod(0)
        assert reason_of(folder / name) == RejectReason.UNREADABLE


# ---- files that hold more than their first header says


def ogg_bytes(samples: np.ndarray, rate_hz: int, subtype: str) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format="OGG", subtype=subtype)
    return buffer.getvalue()


@pytest.mark.parametrize(("subtype", "name"), [("VORBIS", "a.ogg"), ("OPUS", "a.opus")])
def test_a_chained_ogg_file_is_read_to_its_end(tmp_path: Path, subtype: str, name: str) -> None:
    """Two recordings joined with cat: libsndfile reads the first alone, and the text of both was paired with it."""
    parts = [tone(RATE_HZ), tone(RATE_HZ // 2)[::-1].copy(), tone(RATE_HZ)]
    (tmp_path / name).write_bytes(b"".join(ogg_bytes(part, RATE_HZ, subtype) for part in parts))
    alone = []
    for number, part in enumerate(parts):
        (tmp_path / f"{number}{name}").write_bytes(ogg_bytes(part, RATE_HZ, subtype))
        alone.append(audio.load(tmp_path / f"{number}{name}")[0])
    assert audio.probe(tmp_path / name, name).num_samples == sum(map(len, alone))
    np.testing.assert_array_equal(audio.load(tmp_path / name)[0], np.concatenate(alone))
    np.testing.assert_array_equal(np.concatenate(list(audio.blocks(tmp_path / name, 1_000))), np.concatenate(alone))


def test_a_chain_of_two_rates_is_rejected(tmp_path: Path) -> None:
    joined = ogg_bytes(tone(RATE_HZ), RATE_HZ, "VORBIS") + ogg_bytes(tone(8_000, 8_000), 8_000, "VORBIS")
    (tmp_path / "a.ogg").write_bytes(joined)
    with pytest.raises(audio.AudioError, match="differ in rate"):
        audio.probe(tmp_path / "a.ogg", "a")


@pytest.mark.parametrize("riff", ["as the file", "as the chunk"])
@pytest.mark.parametrize("share", [0, 0.5])
def test_a_wav_whose_header_says_too_little_is_rejected(tmp_path: Path, share: float, riff: str) -> None:
    """A recorder that died: the rest was left out without a word."""
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(RATE_HZ), RATE_HZ, subtype="PCM_16")
    content = bytearray(path.read_bytes())
    length = int(2 * RATE_HZ * share)
    content[40:44] = length.to_bytes(4, "little")
    if riff == "as the chunk":
        content[4:8] = (36 + length).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(audio.AudioError) as caught:
        audio.probe(path, "a")
    assert caught.value.reason == RejectReason.TRUNCATED and "repair the header" in caught.value.detail


def test_chunks_behind_the_audio_of_a_wav_are_no_audio(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(RATE_HZ), RATE_HZ, subtype="PCM_16")
    path.write_bytes(path.read_bytes() + b"LIST" + (9_000).to_bytes(4, "little") + b"INFO" + bytes(8_996))
    assert audio.probe(path, "a").num_samples == RATE_HZ


@pytest.fixture
def two_tracks(tmp_path: Path) -> Path:
    """A video whose second track is the default one; their samples are 1,000 and 9,000."""
    import av

    path = tmp_path / "two" / "a.mkv"
    path.parent.mkdir()
    with av.open(str(path), "w") as container:
        tracks = [container.add_stream("pcm_s16le", rate=RATE_HZ) for _ in range(2)]
        for track in tracks:
            track.layout = "mono"
        tracks[0].disposition = av.stream.Disposition(0)
        tracks[1].disposition = av.stream.Disposition.default
        for track, value in zip(tracks, (1_000, 9_000), strict=True):
            frame = av.AudioFrame.from_ndarray(np.full((1, RATE_HZ), value, np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts = RATE_HZ, 0
            container.mux(track.encode(frame))
            container.mux(track.encode(None))
    return path


def test_the_default_track_of_a_video_is_read(two_tracks: Path) -> None:
    np.testing.assert_allclose(audio.load(two_tracks)[0], 9_000 / 32_768, atol=1e-4)


@pytest.mark.parametrize(("track", "value"), [(1, 1_000), (2, 9_000)])
def test_a_track_can_be_asked_for(two_tracks: Path, tmp_path: Path, track: int, value: int) -> None:
    import_corpus(two_tracks.parent, tmp_path / "meta", ImportOptions(executor="serial", audio_track=track))
    (row,) = storage.read_rows(tmp_path / "meta" / "recordings.jsonl", Recording)
    source = audio.locate(audio.Roots(two_tracks.parent), row)
    assert source is not None
    np.testing.assert_allclose(np.concatenate(list(source.blocks(RATE_HZ, 0.3))), value / 32_768, atol=1e-4)
    np.testing.assert_allclose(next(source.slices([(10, 500)])), value / 32_768, atol=1e-4)


def test_a_track_that_is_not_there_is_a_reject(two_tracks: Path, tmp_path: Path) -> None:
    soundfile.write(two_tracks.parent / "b.wav", tone(RATE_HZ), RATE_HZ)
    report = import_corpus(two_tracks.parent, tmp_path / "meta", ImportOptions(executor="serial", audio_track=3))
    assert report.rejects == {"unreadable": 2}
    for _, reject in storage.read_json_lines(tmp_path / "meta" / "rejects.jsonl"):
        assert "track 3 is asked for (--audio-track)" in reject["detail"]


@pytest.mark.parametrize("name", FORMATS)
def test_a_whole_file_raises_no_doubt_of_its_length(tmp_path: Path, name: str) -> None:
    if FORMATS[name] == "sf":
        soundfile.write(tmp_path / name, tone(4 * RATE_HZ), RATE_HZ, subtype=SUBTYPES.get(name))
    else:
        encode(tmp_path / name, tone(4 * 48_000, 48_000), 48_000, FORMATS[name])
    doubts: list[str] = []
    audio.probe(tmp_path / name, name, doubts)
    assert doubts == []


def with_gap(path: Path, gap_s: int) -> None:
    """A stream that lost packets: a second, a gap, a second."""
    import av

    with av.open(str(path), "w") as container:
        track = container.add_stream("pcm_s16le", rate=RATE_HZ)
        track.layout = "mono"
        for start_s in (0, 1 + gap_s):
            frame = av.AudioFrame.from_ndarray(np.full((1, RATE_HZ), 900, np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts = RATE_HZ, start_s * RATE_HZ
            container.mux(track.encode(frame))
        container.mux(track.encode(None))


def test_silence_is_put_into_a_gap_of_the_time_line(tmp_path: Path) -> None:
    """The sound was shorter than its own clock says, and every time of a transcript behind the gap was wrong."""
    with_gap(tmp_path / "a.mkv", gap_s=2)
    doubts: list[str] = []
    assert audio.probe(tmp_path / "a.mkv", "a", doubts).num_samples == 4 * RATE_HZ
    assert doubts == ["its time line has gaps of 2.00 s; silence is put there"]
    speech, silence = np.full(RATE_HZ, np.float32(900 / 32_768)), np.zeros(2 * RATE_HZ, np.float32)
    np.testing.assert_allclose(audio.load(tmp_path / "a.mkv")[0], np.concatenate([speech, silence, speech]), atol=1e-6)


def test_a_time_line_that_jumps_is_truncated(tmp_path: Path) -> None:
    with_gap(tmp_path / "a.mkv", gap_s=61)
    assert reason_of(tmp_path / "a.mkv") == RejectReason.TRUNCATED


ID3 = TAGS["ID3v2"][0]
ID3V1 = TAGS["ID3v1"][1]
JOINTS = {"ID3v2": ID3, "two ID3v2": ID3 + ID3, "ID3v1": ID3V1, "both": ID3V1 + ID3}


@pytest.mark.parametrize("joint", JOINTS)
@pytest.mark.parametrize("start", ["bare", "ID3v2"])
def test_joined_mp3_files_are_read_to_the_end(mp3: bytes, tmp_path: Path, joint: str, start: str) -> None:
    """`cat 1.mp3 2.mp3` was a reject, though every player plays both."""
    (tmp_path / "1.mp3").write_bytes(mp3)
    soundfile.write(tmp_path / "2.mp3", tone(2 * RATE_HZ)[::-1], RATE_HZ)
    both = np.concatenate([audio.load(tmp_path / name)[0] for name in ("1.mp3", "2.mp3")])
    begin = b"" if start == "bare" else ID3
    (tmp_path / "a.mp3").write_bytes(begin + mp3 + JOINTS[joint] + (tmp_path / "2.mp3").read_bytes() + ID3V1)
    doubts: list[str] = []
    assert audio.probe(tmp_path / "a.mp3", "a", doubts).num_samples == len(both) == 5 * RATE_HZ
    np.testing.assert_array_equal(audio.load(tmp_path / "a.mp3")[0], both)
    assert doubts == []


def test_joined_mp3_files_of_two_rates_are_refused(mp3: bytes, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "2.mp3", tone(24_000, 24_000), 24_000)
    (tmp_path / "a.mp3").write_bytes(mp3 + ID3 + (tmp_path / "2.mp3").read_bytes())
    assert reason_of(tmp_path / "a.mp3") == RejectReason.UNREADABLE


def test_a_joined_mp3_whose_second_part_is_cut_is_truncated(mp3: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(mp3 + ID3 + mp3[: len(mp3) // 2])
    assert reason_of(tmp_path / "a.mp3") == RejectReason.TRUNCATED


@pytest.mark.parametrize("name", ["a.wav", "adpcm.wav", "a.flac", "a.aiff"])
def test_a_tag_before_other_formats_is_no_sound(originals: dict[str, bytes], tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(originals[name])
    want = audio.load(tmp_path / name)
    (tmp_path / name).write_bytes(ID3 + originals[name])
    found = audio.load(tmp_path / name)
    np.testing.assert_array_equal(found[0], want[0])
    assert found[1] == want[1]
    (tmp_path / name).write_bytes(ID3 + originals[name][: len(originals[name]) // 2])
    assert reason_of(tmp_path / name) == RejectReason.TRUNCATED


def test_a_length_that_is_a_little_short_is_said(tmp_path: Path) -> None:
    """Less than what makes a file truncated, more than 50 ms: it used to pass in silence."""
    root = tmp_path / "in"
    root.mkdir()
    encode(root / "a.mka", tone(8 * RATE_HZ), RATE_HZ, "flac")
    content = (root / "a.mka").read_bytes()
    (root / "a.mka").write_bytes(content[: len(content) * 98 // 100])
    doubts: list[str] = []
    lost_s = 8 - audio.probe(root / "a.mka", "a", doubts).num_samples / RATE_HZ
    assert 0.05 < lost_s < 0.4 and doubts == [f"8.00 s are promised, the file holds {8 - lost_s:.2f} s"]
    report = import_corpus(root, tmp_path / "meta", ImportOptions(executor="serial"))
    assert report.num_rows == 1 and report.notes == ["1 recording: length_differs, see notes.jsonl"]
