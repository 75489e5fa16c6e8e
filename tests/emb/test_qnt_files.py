"""From file to codes and back, from outside: both sides of a stereo recording, any length, and what can't be taken."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from vall_e.emb import qnt
from vall_e.types import VallEError

STEREO = "encodec_48khz"


def run(*args: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vall_e.emb.qnt", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


def done(*args: object, cwd: Path) -> None:
    """The command in this process, which has torch loaded already; it must succeed."""
    with contextlib.chdir(cwd):
        assert qnt.main([*map(str, args)]) == 0


@pytest.fixture(scope="module")
def two_voices(demo_speech: np.ndarray) -> np.ndarray:
    """Float32 [n,2] at 24 kHz: speech on the left, other speech, louder, on the right; a bit over a second."""
    left, right = demo_speech[:30_000], demo_speech[200_000:230_000]
    return np.stack([0.3 * left, right], axis=1)


@pytest.fixture
def stereo_files(tmp_path: Path, two_voices: np.ndarray) -> Path:
    """A folder with stereo.wav, its downmix mono.wav, swapped.wav, and a wav.scp of the three."""
    mono = two_voices.mean(axis=1)
    files = {"stereo": two_voices, "mono": mono, "swapped": two_voices[:, ::-1]}
    for name, samples in files.items():
        soundfile.write(tmp_path / f"{name}.wav", samples, 24_000, subtype="FLOAT")
    (tmp_path / "wav.scp").write_text("".join(f"{name} {name}.wav\n" for name in files))
    return tmp_path


def test_both_sides_of_a_stereo_file_are_coded(encodec_48khz_weights: Path, stereo_files: Path) -> None:
    options = ["--audio-backend", STEREO, "--weights", encodec_48khz_weights]
    codes, sides = {}, {}
    for name in ("stereo", "mono", "swapped"):
        done("--input", f"{name}.wav", "--output", f"{name}.npy", *options, cwd=stereo_files)
        done("--input", f"{name}.npy", "--output", f"{name}.back.wav", *options, cwd=stereo_files)
        codes[name] = np.load(stereo_files / f"{name}.npy")
        sides[name], rate_hz = soundfile.read(stereo_files / f"{name}.back.wav")
        assert rate_hz == 48_000
        assert sides[name].shape[1] == 2
    assert codes["stereo"].shape == codes["mono"].shape
    assert (codes["stereo"] != codes["mono"]).mean() > 0.1
    assert (codes["stereo"] != codes["swapped"]).mean() > 0.1

    codec = qnt.load_codec(qnt.CodecOptions(audio_backend=STEREO, weights=encodec_48khz_weights))
    samples, rate_hz = soundfile.read(stereo_files / "stereo.wav", dtype="float32")
    np.testing.assert_array_equal(codes["stereo"], qnt.encode(codec, samples.T, rate_hz))
    both = qnt.prepare(codec.spec, samples.T, rate_hz)
    assert both.shape == (2, 60_000)
    expected = qnt.decode(codec, codes["stereo"], scales=codec.scales([both])[0])
    np.testing.assert_allclose(sides["stereo"], expected.T.clip(-1, 1), atol=2**-15)


def test_stereo_in_a_list(encodec_48khz_weights: Path, stereo_files: Path) -> None:
    options = ["--audio-backend", STEREO, "--weights", encodec_48khz_weights]
    done("--wav-scp", "wav.scp", "--output", "codes/codecs.txt", *options, cwd=stereo_files)
    done("--codecs-txt", "codes/codecs.txt", "--output", "out", *options, cwd=stereo_files)
    lines = dict(line.split(" ", 1) for line in (stereo_files / "codes" / "codecs.txt").read_text().splitlines())
    for name, text in lines.items():
        done("--input", f"{name}.wav", "--output", f"{name}.npy", *options, cwd=stereo_files)
        np.testing.assert_array_equal(np.array(json.loads(text))[0], np.load(stereo_files / f"{name}.npy"))
        samples, rate_hz = soundfile.read(stereo_files / "out" / f"{name}.wav")
        assert (samples.shape, rate_hz) == ((60_000, 2), 48_000)
    assert len(lines) == 3


@pytest.mark.parametrize("num_channels", [1, 2, 3])
def test_a_mono_codec_gets_the_mean_and_a_stereo_codec_that_of_more_than_two(
    encodec_48khz_weights: Path, tmp_path: Path, demo_speech: np.ndarray, num_channels: int
) -> None:
    starts = range(0, 50_000 * num_channels, 50_000)
    samples = np.stack([demo_speech[start : start + 9_000] for start in starts], axis=1)
    soundfile.write(tmp_path / "many.wav", samples, 24_000, subtype="FLOAT")
    mean = samples.mean(axis=1, dtype=np.float32)
    for name, weights in (("tiny", None), (STEREO, encodec_48khz_weights)):
        codec = qnt.load_codec(qnt.CodecOptions(audio_backend=name, weights=weights))
        codes = qnt.encode(codec, samples.T, 24_000)
        is_downmixed = num_channels != codec.spec.num_channels or num_channels == 1
        assert np.array_equal(codes, qnt.encode(codec, mean, 24_000)) == is_downmixed
        place = ["--weights", str(weights)] if weights else []
        target = tmp_path / f"{name}.npy"
        qnt.main(["--input", str(tmp_path / "many.wav"), "--output", str(target), "--audio-backend", name, *place])
        np.testing.assert_array_equal(np.load(target), codes)


def all_files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def bad_files(tmp_path: Path, demo_speech: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with recordings and codes that can't be taken beside ok.wav and good.npy that can."""
    monkeypatch.chdir(tmp_path)
    speech = demo_speech[:24_000].copy()
    soundfile.write("ok.wav", speech, 24_000)
    (tmp_path / "cut.wav").write_bytes((tmp_path / "ok.wav").read_bytes()[:20_000])
    (tmp_path / "zero.wav").write_bytes(b"")
    (tmp_path / "text.wav").write_text("no audio")
    soundfile.write("none.wav", speech[:0], 24_000)
    speech[777] = np.nan
    soundfile.write("nan.wav", speech, 24_000, subtype="FLOAT")
    good = np.zeros((8, 100), np.uint16)
    codes: dict[str, np.ndarray] = {
        "good": good,
        "high": good + 1024,
        "many": good.repeat(5, axis=0),
        "empty": good[:, :0],
        "real": good / 2,
    }
    for name, array in codes.items():
        np.save(f"{name}.npy", array)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "good.npy").read_bytes()[:150])
    for name, scales in (("few", np.ones(7, np.float32)), ("odd", np.array([np.nan], np.float32))):
        np.save(f"{name}.npy", good)
        np.save(f"{name}.scales.npy", scales)
    np.save("torn.npy", good)
    (tmp_path / "torn.scales.npy").write_text("torn")
    lines = [f"{name} {json.dumps([array.tolist()])}\n" for name, array in codes.items()]
    (tmp_path / "codecs.txt").write_text("".join(lines))
    (tmp_path / "wav.scp").write_text("ok ok.wav\n")
    return tmp_path


def complaint(*args: object) -> str:
    """The one line that the command ends with."""
    with pytest.raises(VallEError) as caught:
        qnt.main(list(map(str, args)))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("nan.wav", "NaN"),
        ("none.wav", "no samples"),
        ("zero.wav", "0 bytes"),
        ("text.wav", "no decoder"),
        ("cut.wav", "the file holds"),
        ("gone.wav", "no such file"),
    ],
)
def test_audio_that_can_not_be_coded(bad_files: Path, source: str, reason: str) -> None:
    before = all_files(bad_files)
    message = complaint("--input", source, "--output", "o.npy", "--audio-backend", "tiny")
    assert message.startswith(f"{source}: ")
    assert reason in message
    assert all_files(bad_files) == before


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("high.npy", "its codebooks have 1024 entries; decode with"),
        ("many.npy", "1 to 8 levels and at least a frame; decode with"),
        ("empty.npy", "shape"),
        ("real.npy", "uint16"),
        ("cut.npy", "can't be read"),
        ("torn.npy", "torn.scales.npy"),
        ("odd.npy", "odd.scales.npy"),
    ],
)
def test_codes_that_can_not_be_decoded(bad_files: Path, source: str, reason: str) -> None:
    before = all_files(bad_files)
    message = complaint("--input", source, "--output", "o.wav", "--audio-backend", "tiny")
    assert message.count(source.removesuffix(".npy")) == 1
    assert reason in message
    assert all_files(bad_files) == before


def test_codes_of_a_number_that_a_codec_can_not_have_made(
    bad_files: Path, dac_weights: Path, encodec_48khz_weights: Path
) -> None:
    before = all_files(bad_files)
    chunked = ["--audio-backend", "dac_chunked", "--weights", dac_weights / "dac.pth"]
    assert "good.npy: dac_chunked can't have made" in complaint("--input", "good.npy", "--output", "o.wav", *chunked)
    scaled = ["--audio-backend", STEREO, "--weights", encodec_48khz_weights]
    assert "few.npy: encodec_48khz can't have made" in complaint("--input", "few.npy", "--output", "o.wav", *scaled)
    assert all_files(bad_files) == before


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--input", "ok.wav", "--output", "no/o.npy"), "no/o.npy: no such folder"),
        (("--input", "good.npy", "--output", "no/o.wav"), "no/o.wav: no such folder"),
        (("--input", "good.npy", "--output", "o.mp4"), "o.mp4: audio is written as"),
        (("--codecs-txt", "codecs.txt", "--output", "ok.wav"), "ok.wav: is a file"),
        (("--wav-scp", "wav.scp", "--output", "."), ".: is a folder"),
        (("--wav-scp", "gone.scp", "--output", "c.txt"), "gone.scp: no such file"),
        (("--codecs-txt", "gone.txt", "--output", "out"), "gone.txt: no such file"),
    ],
)
def test_places_that_are_not_there(bad_files: Path, args: tuple[str, ...], message: str) -> None:
    before = all_files(bad_files)
    assert complaint(*args, "--audio-backend", "tiny").startswith(message)
    assert all_files(bad_files) == before


JOBS = {
    "input": ("--input", "ok.wav", "--output", "o.npy"),
    "codes": ("--input", "good.npy", "--output", "o.wav"),
    "wav.scp": ("--wav-scp", "wav.scp", "--output", "c/codecs.txt"),
    "codecs.txt": ("--codecs-txt", "codecs.txt", "--output", "out"),
}


@pytest.mark.parametrize("job", JOBS)
def test_weights_that_are_cut_foreign_or_out_of_reach(
    bad_files: Path, dac_weights: Path, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = (dac_weights / "dac_16khz.pth").read_bytes()
    (bad_files / "cut.pth").write_bytes(content[: len(content) // 2])
    before = all_files(bad_files)
    for weights in (bad_files / "cut.pth", dac_weights / "dac.pth", bad_files / "gone.pth", bad_files / "ok.wav"):
        assert str(weights) in complaint(*JOBS[job], "--audio-backend", "dac_16khz", "--weights", weights)
    for name in ("http_proxy", "https_proxy"):  # nobody listens there
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("HOME", str(bad_files))
    message = complaint(*JOBS[job], "--audio-backend", "dac_16khz")
    assert "hub can't be reached" in message
    assert "--weights FILE" in message
    assert "levels" in complaint(*JOBS[job], "--audio-backend", "tiny", "--levels", 9)
    assert all_files(bad_files) == before


def test_bad_entries_of_lists_leave_nothing(bad_files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["ok", "nan", "none", "zero", "text", "cut", "gone"]
    lines = [f"{name} {name}.wav\n" for name in names] + ["long " + "x" * 5_000 + "\n"]
    (bad_files / "wav.scp").write_text("".join(lines))
    assert qnt.main(["--wav-scp", "wav.scp", "--output", "c/codecs.txt", "--audio-backend", "tiny"]) == 0
    printed = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1] for line in printed] == [*names[1:], "long"]
    assert all(f"{name}.wav" in line for name, line in zip(names[1:], printed, strict=False))
    assert [line.split(" ")[0] for line in (bad_files / "c" / "codecs.txt").read_text().splitlines()] == ["ok"]

    assert qnt.main(["--codecs-txt", "codecs.txt", "--output", "out", "--audio-backend", "tiny"]) == 0
    printed = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1] for line in printed] == ["high", "many", "empty", "real"]
    assert all("decode with the codec that made them" in line for line in printed[:2])
    assert [path.name for path in (bad_files / "out").glob("*.wav")] == ["good.wav"]


def test_scales_of_what_was_there_before_are_gone(bad_files: Path, encodec_48khz_weights: Path) -> None:
    options = ["--audio-backend", STEREO, "--weights", str(encodec_48khz_weights)]
    qnt.main(["--input", "ok.wav", "--output", "a.npy", *options])
    assert (bad_files / "a.scales.npy").exists()
    qnt.main(["--input", "ok.wav", "--output", "a.npy", "--audio-backend", "tiny"])
    assert not (bad_files / "a.scales.npy").exists()


SMALL_DISK = """
import resource
from vall_e import config
from vall_e.emb import qnt
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))  # bytes that a file may have
config.run_main(qnt.main)
"""


@pytest.mark.parametrize("job", ["input", "wav.scp", "codes"])
def test_a_disk_that_is_too_small(bad_files: Path, job: str) -> None:
    """One second of float32 at 24 kHz, and of 16-bit audio as long as 300 frames, are more than fits."""
    np.save("good.npy", np.zeros((8, 300), np.uint16))
    before = all_files(bad_files)
    command = [sys.executable, "-c", SMALL_DISK, *JOBS[job], "--audio-backend", "tiny"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode in (1, 2)
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    left = {path: content for path, content in all_files(bad_files).items() if path.parent == bad_files}
    assert left == before
    assert not any((bad_files / "c").glob("*.npy"))
    assert (bad_files / "c" / "codecs.txt").read_text() == "" if job == "wav.scp" else True


HOUR = """
import resource, sys
import numpy as np, soundfile, soxr
from pathlib import Path
from vall_e.emb import qnt
from vall_e.emb.codecs import kaldi
from vall_e.types import CodecSpec

class Loudness:
    '''A frame is how loud 20 ms are; looks at a second at a time.'''
    spec = CodecSpec(name="loudness", weights_sha256="0" * 64, sample_rate_hz=24_000, hop_samples=480, num_levels=1,
                     codebook_size=256)
    def encode(self, audio):
        seconds = ([x[i : i + 24_000] for i in range(0, len(x), 24_000)] for x in audio)
        return [np.concatenate([self.frames(x) for x in parts], axis=1) for parts in seconds]
    def frames(self, x):
        x = np.pad(x, (0, -len(x) % 480)).reshape(-1, 480)
        return (255 * np.abs(x).max(axis=1).clip(0, 1)).astype(np.uint16)[None]
    def scales(self, audio):
        return [np.zeros(0, np.float32) for _ in audio]
    def decode(self, codes, scales=None):
        return [np.repeat(x[0] / np.float32(255), 480) for x in codes]

from vall_e.emb.codecs.registry import CODECS
CODECS.builtin["loudness"] = "__main__:load"
load = lambda options: Loudness()
limit = MEGABYTES * 2**20
if limit:
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    limit += int(status["VmData"].split()[0]) * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))  # memory of its own; that of mapped files is the kernel's
sys.exit(qnt.main([*sys.argv[1:], "--audio-backend", "loudness"]))
"""


def test_the_memory_for_an_hour_is_that_for_a_minute(tmp_path: Path, demo_speech: np.ndarray) -> None:
    """An hour at 24 kHz is 346 MB as float32; 80 MB are given, for the audio is never in memory as a whole."""
    minute = np.resize(demo_speech, 44_100 * 60)
    with soundfile.SoundFile(tmp_path / "hour.wav", "w", 44_100, 2, subtype="PCM_16") as file:
        for _ in range(60):
            file.write(np.stack([minute, minute], axis=1))
    (tmp_path / "wav.scp").write_text("hour hour.wav\n")
    for job in (["--input", "hour.wav", "--output", "hour.npy"], ["--wav-scp", "wav.scp", "--output", "codecs.txt"]):
        command = [sys.executable, "-c", HOUR.replace("MEGABYTES", "80"), *job]
        result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
    codes = np.load(tmp_path / "hour.npy")
    assert codes.shape == (1, 60 * 60 * 50)
    np.testing.assert_array_equal(codes[:, 100:2_900], codes[:, 3_100:5_900])  # the minute again
    assert json.loads((tmp_path / "codecs.txt").read_text().split(" ", 1)[1])[0] == codes.tolist()
    names = {"hour.wav", "wav.scp", "hour.npy", "codecs.txt", ".lock"}
    assert {path.name for path in tmp_path.iterdir() if ".tmp" not in path.name} == names | {
        "codecs.info.jsonl",
        "codecs.rejects.jsonl",
        "codecs.spec.json",
    }
