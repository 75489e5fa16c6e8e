"""Kaldi lists to codes and back: FunCodec's own format, bad entries, resume after a kill."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from vall_e import audio
from vall_e.emb import qnt
from vall_e.types import UsageError

TINY = ["--audio-backend", "tiny"]


@pytest.fixture
def wavs(tmp_path: Path, demo_speech: np.ndarray) -> Path:
    """A folder with a.wav, b.flac at another rate, 'with space.wav', broken.wav, and a wav.scp of good and bad."""
    folder = tmp_path / "wavs"
    folder.mkdir()
    audio.write(folder / "a.wav", demo_speech[:20_000], 24_000)
    audio.write(folder / "b.flac", demo_speech[40_000:50_001], 16_000)
    audio.write(folder / "with space.wav", demo_speech[60_000:61_000], 24_000)
    (folder / "broken.wav").write_text("no audio")
    lines = [
        f"a {folder}/a.wav",
        "",
        f"bad-pipe touch {folder}/run.wav; cat {folder}/a.wav |",
        f"b\t{folder}/b.flac",
        f"bad-broken {folder}/broken.wav",
        f"space  {folder}/with space.wav",
        "bad-missing /nowhere/x.wav",
        f"bad-folder {folder}",
        "bad-alone",
        f"a {folder}/b.flac",
    ]
    (folder / "wav.scp").write_text("\n".join(lines) + "\n")
    return folder


def lines_of(path: Path) -> dict[str, list[list[list[int]]]]:
    return {line.split(" ", 1)[0]: json.loads(line.split(" ", 1)[1]) for line in path.read_text().splitlines()}


def test_both_ways(wavs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    codes_txt, out = tmp_path / "codes" / "codecs.txt", tmp_path / "out"
    assert qnt.main(["--wav-scp", str(wavs / "wav.scp"), "--output", str(codes_txt), *TINY]) == 0
    found = lines_of(codes_txt)
    assert list(found) == ["a", "b", "space"]
    codec = qnt.load_codec(qnt.CodecOptions(audio_backend="tiny"))
    for name, file in (("a", "a.wav"), ("b", "b.flac"), ("space", "with space.wav")):
        np.testing.assert_array_equal(np.array(found[name]), qnt.encode(codec, *audio.load(wavs / file))[None])
    rejects = [json.loads(line) for line in (codes_txt.parent / "codecs.rejects.jsonl").read_text().splitlines()]
    bad = ["bad-pipe", "bad-broken", "bad-missing", "bad-folder", "bad-alone", "a"]
    assert [reject["id"] for reject in rejects] == bad
    assert "commands are not run" in rejects[0]["detail"]
    assert not (wavs / "run.wav").exists()
    message = capsys.readouterr()
    assert len(message.err.splitlines()) == 6
    assert "3 utterances, 6 rejects" in message.out

    assert qnt.main(["--codecs-txt", str(codes_txt), "--output", str(out), *TINY]) == 0
    assert sorted(path.name for path in out.glob("*.wav")) == ["a.wav", "b.wav", "space.wav"]
    samples, rate_hz = audio.load(out / "a.wav")
    assert (len(samples), rate_hz) == (20_000, 24_000)  # cut to the original's length
    np.testing.assert_allclose(samples, qnt.decode(codec, np.array(found["a"][0]))[:20_000].clip(-1, 1), atol=2**-15)


def test_loudness_comes_back(funcodec_weights: Path, wavs: Path, tmp_path: Path) -> None:
    options = ["--audio-backend", "funcodec", "--weights", str(funcodec_weights), "--bit-width", "1200"]
    codes_txt = tmp_path / "codecs.txt"
    assert qnt.main(["--wav-scp", str(wavs / "wav.scp"), "--output", str(codes_txt), *options]) == 0
    assert {len(chunks[0]) for chunks in lines_of(codes_txt).values()} == {4}
    assert qnt.main(["--codecs-txt", str(codes_txt), "--output", str(tmp_path / "out"), *options]) == 0
    codec = qnt.load_codec(qnt.CodecOptions(audio_backend="funcodec", weights=funcodec_weights, bit_width=1_200))
    item = audio.resample(audio.load(wavs / "a.wav")[0], 24_000, 16_000)
    expected = codec.decode(codec.encode([item]), codec.scales([item]))[0][: len(item)]
    np.testing.assert_allclose(audio.load(tmp_path / "out" / "a.wav")[0], expected.clip(-1, 1), atol=2**-15)


def test_resumes_after_a_kill(wavs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--wav-scp", str(wavs / "wav.scp"), "--output", str(tmp_path / "codecs.txt"), *TINY]
    qnt.main(command)
    whole = (tmp_path / "codecs.txt").read_bytes()
    first = whole.index(b"\n") + 1
    (tmp_path / "codecs.txt").write_bytes(whole[: first + 40])  # the second line was torn
    assert qnt.main(command) == 0
    assert (tmp_path / "codecs.txt").read_bytes() == whole
    assert "1 were done before" in capsys.readouterr().out
    qnt.main(["--codecs-txt", str(tmp_path / "codecs.txt"), "--output", str(tmp_path / "out"), *TINY])
    (tmp_path / "out" / "a.wav").write_text("mine")
    (tmp_path / "out" / "b.wav").unlink()
    qnt.main(["--codecs-txt", str(tmp_path / "codecs.txt"), "--output", str(tmp_path / "out"), *TINY])
    assert (tmp_path / "out" / "a.wav").read_text() == "mine"
    assert audio.load(tmp_path / "out" / "b.wav")[1] == 24_000


def test_codes_of_other_makers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As FunCodec writes them, and as nobody should."""
    row = [1, 2, 3]
    lines = [
        f"good {json.dumps([[row, row]])}",
        f"flat {json.dumps([row, row])}",
        f"chunks {json.dumps([[row, row], [[4], [5]]])}",
        f"sub/good {json.dumps([[row]])}",
        f"../out {json.dumps([[row]])}",
        f"/abs {json.dumps([[row]])}",
        f"ragged {json.dumps([[row, [1]]])}",
        f"real {json.dumps([[[0.5]]])}",
        f"true {json.dumps([[[True]]])}",
        f"high {json.dumps([[[70_000]]])}",
        f"huge {json.dumps([[[10**30]]])}",
        f"low {json.dumps([[[-1]]])}",
        f"levels {json.dumps([[row] * 9])}",
        "none []",
        "hollow [[[]]]",
        "torn [[[1, 2",
        "deep " + "[" * 100_000,
        "word x",
        "object {}",
        "alone",
    ]
    (tmp_path / "codecs.txt").write_text("\n".join(lines) + "\n")
    assert qnt.main(["--codecs-txt", str(tmp_path / "codecs.txt"), "--output", str(tmp_path / "out"), *TINY]) == 0
    assert sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.wav")) == [
        "chunks.wav",
        "flat.wav",
        "good.wav",
        "sub/good.wav",
    ]
    assert len(audio.load(tmp_path / "out" / "chunks.wav")[0]) == 4 * 320
    assert len(capsys.readouterr().err.splitlines()) == 16
    assert not (tmp_path / "out.wav").exists()


def test_codes_of_another_codec(wavs: Path, tmp_path: Path) -> None:
    command = ["--wav-scp", str(wavs / "wav.scp"), "--output", str(tmp_path / "codecs.txt"), *TINY]
    qnt.main(command)
    with pytest.raises(UsageError, match="num_levels"):
        qnt.main([*command, "--levels", "4"])
    (tmp_path / "other.txt").write_text("a [[[1]]]\n")
    with pytest.raises(UsageError, match="not written by this program"):
        qnt.main([*command[:3], str(tmp_path / "other.txt"), *TINY])


def test_usage(wavs: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        qnt.main(["--wav-scp", str(tmp_path / "none.scp"), "--output", str(tmp_path / "codecs.txt"), *TINY])
    with pytest.raises(UsageError, match="bit-width is for funcodec"):
        qnt.load_codec(qnt.CodecOptions(audio_backend="tiny", bit_width=1_000))
    (tmp_path / "empty.scp").write_text("\n")
    assert qnt.main(["--wav-scp", str(tmp_path / "empty.scp"), "--output", str(tmp_path / "codecs.txt"), *TINY]) == 1
