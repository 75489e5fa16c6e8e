"""Audio files of every kind in: found, probed, sliced exactly, resampled, in bounded memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from audio_files import RATE_HZ, encode, reason_of, tone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vall_e import audio
from vall_e.types import RejectReason, UsageError

SUBTYPES = {"u8": "PCM_U8", "s16": "PCM_16", "s24": "PCM_24", "s32": "PCM_32", "f32": "FLOAT", "f64": "DOUBLE"}
LIBSNDFILE = {"a.flac": None, "vorbis.ogg": "VORBIS", "opus.ogg": "OPUS", "a.mp3": None, "a.aiff": None, "a.au": None}
LIBAV = {"a.opus": "libopus", "a.m4a": "aac", "a.m4b": "aac", "a.3gp": "aac", "a.mp4": "aac", "a.mp2": "mp2"}
LIBAV |= {"a.mka": "flac", "a.aac": "aac", "a.mpga": "mp2", "a.webm": "libopus", "a.wma": "wmav2", "a.mkv": "flac"}
LOSSLESS = {"s16.wav", "s24.wav", "s32.wav", "f32.wav", "f64.wav", "a.flac", "a.aiff", "a.au", "a.mkv", "a.mka"}
NAMES = [*(f"{key}.wav" for key in SUBTYPES), *LIBSNDFILE, *LIBAV]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """2 s of the same glide in every format."""
    folder = tmp_path_factory.mktemp("formats")
    samples, fast = tone(2 * RATE_HZ), tone(2 * 48_000, 48_000)
    for key, subtype in SUBTYPES.items():
        soundfile.write(folder / f"{key}.wav", samples, RATE_HZ, subtype=subtype)
    for name, format_ in LIBSNDFILE.items():
        soundfile.write(folder / name, samples, RATE_HZ, subtype=format_)
    for name, codec in LIBAV.items():
        encode(folder / name, fast, 48_000, codec)
    return {name: folder / name for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_every_format_is_read(files: dict[str, Path], name: str) -> None:
    recording = audio.probe(files[name], name)
    samples, rate_hz = audio.load(files[name])
    assert samples.dtype == np.float32 and samples.ndim == 1
    assert (recording.num_samples, recording.sample_rate_hz) == (len(samples), rate_hz)
    assert recording.num_channels == 1
    want = tone(2 * rate_hz, rate_hz)
    if name in LOSSLESS:
        np.testing.assert_allclose(samples, want, atol=2**-15)
    else:  # encoders pad, or leave out a last frame that isn't full
        assert abs(len(samples) - len(want)) <= 6_000
        level = np.sqrt(np.square(samples[rate_hz // 2 : rate_hz]).mean())
        assert level == pytest.approx(0.4 / np.sqrt(2), rel=0.1)


@pytest.mark.parametrize("name", NAMES)
def test_slices_are_exact_in_every_format(files: dict[str, Path], name: str) -> None:
    whole, _ = audio.load(files[name])
    slices = [(0, 100), (0, len(whole)), (50, 7), (777, 0), (777, 12_345), (20_001, 3), (len(whole) - 5, 5)]
    for (start, num), piece in zip(slices, audio.iter_slices(files[name], slices), strict=True):
        np.testing.assert_array_equal(piece, whole[start : start + num])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    slices=st.lists(st.tuples(st.integers(0, 2 * RATE_HZ), st.integers(0, 2 * RATE_HZ)), max_size=8),
    block=st.sampled_from([1, 7, 1_000, 4_096, audio.BLOCK_SAMPLES]),
)
def test_any_slices_are_those_of_the_whole(files: dict[str, Path], slices: list[tuple[int, int]], block: int) -> None:
    whole, _ = audio.load(files["s16.wav"])
    inside = sorted((start, min(num, len(whole) - start)) for start, num in slices)
    pieces = list(audio.iter_slices(files["s16.wav"], inside))
    assert len(pieces) == len(inside)
    for (start, num), piece in zip(inside, pieces, strict=True):
        np.testing.assert_array_equal(piece, whole[start : start + num])
    if block >= 1_000:
        np.testing.assert_array_equal(np.concatenate(list(audio.blocks(files["s16.wav"], block))), whole)


def test_slices_that_cannot_be(files: dict[str, Path]) -> None:
    with pytest.raises(audio.AudioError) as error:
        list(audio.iter_slices(files["s16.wav"], [(0, 2 * RATE_HZ + 1)]))
    assert error.value.reason == RejectReason.BAD_TIMES
    with pytest.raises(ValueError, match="sorted"):
        list(audio.iter_slices(files["s16.wav"], [(5, 1), (4, 1)]))


def test_an_mp3_without_a_count_is_read_to_its_end(tmp_path: Path) -> None:
    """libsndfile guesses its length from the first frame's bit rate: of these 10 s, loud after quiet, 2 s were left."""
    samples = np.concatenate([tone(RATE_HZ) * np.float32(level) for level in (0.001, *[1.0] * 9)])
    soundfile.write(tmp_path / "counted.mp3", samples, RATE_HZ)
    content = (tmp_path / "counted.mp3").read_bytes()
    (tmp_path / "tagged.mp3").write_bytes(b"ID3\x04\0\0\0\0\x40\0" + bytes(64 * 128) + content)
    (tmp_path / "bare.mp3").write_bytes(content.replace(b"Xing", b"XXXX").replace(b"Info", b"XXXX"))
    for name in ("counted.mp3", "tagged.mp3", "bare.mp3"):
        num_samples = audio.probe(tmp_path / name, name).num_samples
        assert num_samples == len(audio.load(tmp_path / name)[0]) == pytest.approx(10 * RATE_HZ, abs=3_000)


def test_opus_does_not_depend_on_the_size_of_the_blocks(demo: Path) -> None:
    """Just opened, libsndfile gave something else for every size, for large ones garbage as loud as the speech."""
    path = demo / "english" / "rms" / "interview.ogg"
    assert soundfile.info(path).subtype == "OPUS"
    want = np.concatenate(list(audio.blocks(path, 480)))
    for size in (12_000, 100_000, audio.BLOCK_SAMPLES, 1 << 22):
        np.testing.assert_array_equal(np.concatenate(list(audio.blocks(path, size))), want)


def test_a_streamed_flac_whose_header_has_no_length(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", tone(RATE_HZ), RATE_HZ)
    content = bytearray((tmp_path / "a.flac").read_bytes())
    content[21] &= 0xF0  # 36 bits of STREAMINFO hold the number of samples; 0 is unknown
    content[22:26] = bytes(4)
    (tmp_path / "streamed.flac").write_bytes(content)
    assert audio.probe(tmp_path / "streamed.flac", "streamed.flac").num_samples == RATE_HZ
    np.testing.assert_array_equal(audio.load(tmp_path / "streamed.flac")[0], audio.load(tmp_path / "a.flac")[0])


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = tone(1_000), np.zeros(1_000, np.float32)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), RATE_HZ, subtype="FLOAT")
    np.testing.assert_allclose(audio.load(tmp_path / "a.wav")[0], left / 2, atol=1e-7)
    assert audio.probe(tmp_path / "a.wav", "a.wav").num_channels == 2


@settings(max_examples=60, deadline=None)
@given(
    num=st.integers(1, 5_000),
    from_hz=st.sampled_from([8_000, 11_025, 16_000, 22_050, 44_100, 48_000]),
    to_hz=st.sampled_from([8_000, 16_000, 24_000, 44_100]),
)
def test_the_length_of_resampled_audio(num: int, from_hz: int, to_hz: int) -> None:
    out = audio.resample(tone(num, from_hz), from_hz, to_hz)
    assert len(out) == -(-num * to_hz // from_hz) == audio.resampled_length(num, from_hz, to_hz)
    assert out.dtype == np.float32


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("block_s", [0.01, 0.3, 10.0])
def test_blocks_of_a_source_are_the_resampled_whole(tmp_path: Path, rate_hz: int, block_s: float) -> None:
    samples = tone(rate_hz + 123, rate_hz)
    soundfile.write(tmp_path / "a.wav", samples, rate_hz, subtype="FLOAT")
    source = audio.Source(audio.probe(tmp_path / "a.wav", "a.wav"), tmp_path / "a.wav")
    joined = np.concatenate(list(source.blocks(RATE_HZ, block_s)))
    whole = audio.resample(samples, rate_hz, RATE_HZ)
    assert abs(len(joined) - len(whole)) <= 1
    num = min(len(joined), len(whole))
    np.testing.assert_allclose(joined[:num], whole[:num], atol=1e-3)


@pytest.mark.parametrize("extension", [".wav", ".flac", ".mp3"])
@pytest.mark.parametrize("rate_hz", [RATE_HZ, 22_050, 48_000])
@pytest.mark.parametrize("num_channels", [1, 2, 3])
def test_a_mapped_file_is_the_resampled_whole(tmp_path: Path, extension: str, rate_hz: int, num_channels: int) -> None:
    if extension == ".mp3" and num_channels == 3:
        pytest.skip("MP3 has two channels at most")
    path, scratch = tmp_path / f"a{extension}", tmp_path / "scratch"
    scratch.mkdir()
    sides = [tone(11 * RATE_HZ + 123) * share for share in (0.2, 0.5, 0.3)[:num_channels]]
    soundfile.write(path, np.stack(sides, axis=1), RATE_HZ)
    whole, own_hz = audio.load(path)
    with audio.mapped(path, rate_hz, scratch) as samples:
        np.testing.assert_array_equal(samples, audio.resample(whole, own_hz, rate_hz))
        assert list(scratch.iterdir()) == []  # a killed process leaves nothing
    with audio.mapped(path, rate_hz, scratch, keep_stereo=True) as samples:
        if num_channels == 2:
            both = np.concatenate(list(audio.blocks(path, keep_stereo=True)), axis=1)
            assert both.shape == (2, len(whole))
            np.testing.assert_allclose(both.mean(axis=0), whole, atol=1e-6)
            np.testing.assert_array_equal(samples, audio.resample(both, own_hz, rate_hz))
        else:
            np.testing.assert_array_equal(samples, audio.resample(whole, own_hz, rate_hz))


def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    """A 1-hour file, 230 MB as float32, is read, resampled and sliced by a process that stays small."""
    path = tmp_path / "hour.wav"
    with soundfile.SoundFile(path, "w", RATE_HZ, 1, subtype="PCM_U8") as file:
        minute = tone(60 * RATE_HZ) * 0.1
        for _ in range(60):
            file.write(minute)
    script = f"""
import resource
from pathlib import Path
from vall_e import audio
path = Path({str(path)!r})
source = audio.Source(audio.probe(path, "hour.wav"), path)
num = sum(len(block) for block in audio.blocks(path, 16000))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
num += sum(len(block) for block in source.blocks(8000, 20.0))
*_, piece = audio.iter_slices(path, [(0, 16000), (3599 * 16000, 16000)])
print(num, len(piece), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    num, length, grown_kb = map(int, done.stdout.split())
    assert (num, length) == (3_600 * (16_000 + 8_000), 16_000)
    assert grown_kb < 60_000


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2.0,\n{target}\n#EXT-X-ENDLIST\n",
    "ffconcat": "ffconcat version 1.0\nfile '{target}'\n",
    "dash": '<?xml version="1.0"?><MPD><Period><BaseURL>{target}</BaseURL></Period></MPD>',
    "pls": "[playlist]\nFile1={target}\n",
}


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("name", ["x.m4a", "x.mp4", "x.wav", "x.mp3"])
def test_a_playlist_opens_no_other_file(files: dict[str, Path], tmp_path: Path, kind: str, name: str) -> None:
    (tmp_path / name).write_text(PLAYLISTS[kind].format(target=files["a.m4a"]))
    with pytest.raises(audio.AudioError) as error:
        audio.probe(tmp_path / name, name)
    assert error.value.reason == RejectReason.UNREADABLE


def test_files_that_are_no_audio(tmp_path: Path) -> None:
    for name in ("a.wav", "a.m4a", "a.mp3"):
        (tmp_path / name).write_bytes(b"")
        assert reason_of(tmp_path / name) == RejectReason.EMPTY
        (tmp_path / name).write_text("a recipe for plum cake\n" * 100)
        assert reason_of(tmp_path / name) == RejectReason.UNREADABLE


def test_a_header_alone(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(0, np.float32), RATE_HZ)
    assert reason_of(tmp_path / "a.wav") == RejectReason.EMPTY


@pytest.mark.parametrize("name", [*(f"{key}.wav" for key in SUBTYPES), "a.flac", "a.aiff", "a.au"])
def test_a_file_cut_short_is_truncated(files: dict[str, Path], tmp_path: Path, name: str) -> None:
    content = files[name].read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    assert reason_of(tmp_path / name) == RejectReason.TRUNCATED


def test_a_wav_from_a_pipe_has_no_true_size(files: dict[str, Path], tmp_path: Path) -> None:
    content = bytearray(files["s16.wav"].read_bytes())
    content[4:8] = content[40:44] = b"\xff" * 4
    (tmp_path / "a.wav").write_bytes(content)
    np.testing.assert_array_equal(audio.load(tmp_path / "a.wav")[0], audio.load(files["s16.wav"])[0])


@pytest.mark.parametrize("name", NAMES)
def test_a_file_cut_short_never_gives_less_than_it_promises(files: dict[str, Path], tmp_path: Path, name: str) -> None:
    """Either it is refused, or what is read is as long as the probe says."""
    content = files[name].read_bytes()
    for share in (0.1, 0.5, 0.9):
        path = tmp_path / name
        path.write_bytes(content[: int(len(content) * share)])
        try:
            recording = audio.probe(path, name)
            samples = np.concatenate(list(audio.blocks(path)))
        except audio.AudioError as error:
            assert error.reason in (RejectReason.TRUNCATED, RejectReason.UNREADABLE, RejectReason.EMPTY)
        else:
            assert len(samples) == recording.num_samples


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite(tmp_path: Path, bad: float) -> None:
    samples = tone(1_000)
    samples[500] = bad
    soundfile.write(tmp_path / "a.wav", samples, RATE_HZ, subtype="FLOAT")
    assert reason_of(tmp_path / "a.wav") == RejectReason.NON_FINITE


def test_silence() -> None:
    assert audio.is_silent(np.zeros(10, np.float32)) and audio.is_silent(np.zeros(0, np.float32))
    assert audio.is_silent(np.full(10, 0.9 * audio.SILENCE_PEAK, np.float32))
    assert not audio.is_silent(np.array([0, -2 * audio.SILENCE_PEAK], np.float32))


def test_inside_follows_links(tmp_path: Path) -> None:
    root = tmp_path / "in"
    root.mkdir()
    (tmp_path / "o.txt").write_text("x")
    (root / "link.txt").symlink_to(tmp_path / "o.txt")
    assert not audio.is_inside(root, root / "link.txt")
    assert not audio.is_inside(root, root / ".." / "o.txt")
    assert audio.is_inside(root, root / "none.txt")


def test_what_is_written_is_clipped_and_read_back(tmp_path: Path) -> None:
    audio.write(tmp_path / "a.flac", np.array([0.5, 1.5, -2.0, 0.0], np.float32), RATE_HZ)
    samples, rate_hz = audio.load(tmp_path / "a.flac")
    np.testing.assert_allclose(samples, [0.5, 1.0, -1.0, 0.0], atol=1e-4)
    assert rate_hz == RATE_HZ


@pytest.mark.parametrize("extension", audio.WRITABLE_EXTENSIONS)
def test_every_extension_that_can_be_written(tmp_path: Path, extension: str) -> None:
    audio.write(tmp_path / f"a{extension}", tone(24_000, 24_000), 24_000)
    samples, rate_hz = audio.load(tmp_path / f"a{extension}")
    assert rate_hz == 24_000
    assert len(samples) == pytest.approx(24_000, abs=2_000)


@pytest.mark.parametrize("name", ["o.xyz", "o.mp4", "o"])
def test_what_can_not_be_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"\.wav \.flac"):
        audio.write(tmp_path / name, tone(100), RATE_HZ)
    assert not (tmp_path / name).exists()
    with pytest.raises(UsageError, match="12345 Hz"):
        audio.write(tmp_path / "o.mp3", tone(100), 12_345)
    with pytest.raises(FileNotFoundError):
        audio.write(tmp_path / "none" / "o.wav", tone(100), RATE_HZ)
