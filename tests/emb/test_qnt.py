"""Editing of codes and audio, and the command that turns one file into the other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vall_e import audio
from vall_e.emb import qnt
from vall_e.types import ContractError

LENGTHS = st.integers(0, 50)


def ramp(levels: int, length: int) -> np.ndarray:
    return (np.arange(levels * length) % 1024).astype(np.uint16).reshape(levels, length)


@given(length=LENGTHS, want=LENGTHS, seed=st.none() | st.integers(0, 2**32), is_codes=st.booleans())
def test_trim_is_a_stretch_of_the_input(length: int, want: int, seed: int | None, is_codes: bool) -> None:
    x = ramp(3, length) if is_codes else np.arange(length, dtype=np.float32)
    cut = qnt.trim(x, want, seed=seed)
    assert cut.shape[:-1] == x.shape[:-1]
    assert cut.shape[-1] == min(length, want)
    starts = range(x.shape[-1] - cut.shape[-1] + 1) if seed is not None else [0]
    assert any(np.array_equal(cut, x[..., start : start + cut.shape[-1]]) for start in starts)
    np.testing.assert_array_equal(cut, qnt.trim(x, want, seed=seed))


def test_random_trim_reaches_every_place() -> None:
    x = np.arange(10)
    starts = {int(qnt.trim(x, 4, seed=seed)[0]) for seed in range(200)}
    assert starts == set(range(7))


@given(lengths=st.lists(LENGTHS, min_size=1, max_size=5))
def test_concat_keeps_every_part_in_its_place(lengths: list[int]) -> None:
    parts = [ramp(4, length) for length in lengths]
    whole = qnt.concat(parts)
    assert whole.shape == (4, sum(lengths))
    position = 0
    for part in parts:
        np.testing.assert_array_equal(whole[:, position : position + part.shape[1]], part)
        position += part.shape[1]


def test_concat_of_unequal_levels() -> None:
    with pytest.raises(ValueError, match="concatenate"):
        qnt.concat([ramp(2, 3), ramp(3, 3)])


@given(length=st.integers(1, 20), want=LENGTHS)
def test_repeat_extend_goes_round(length: int, want: int) -> None:
    x = ramp(2, length)
    extended = qnt.repeat_extend(x, want)
    assert extended.shape == (2, want)
    for frame in range(want):
        np.testing.assert_array_equal(extended[:, frame], x[:, frame % length])


def test_nothing_can_not_be_extended() -> None:
    with pytest.raises(ValueError, match="empty"):
        qnt.repeat_extend(ramp(2, 0), 5)


def test_mix_adds_with_gains_and_keeps_the_longest() -> None:
    merged = qnt.mix([np.ones(3, np.float32), np.ones(5, np.float32)], [0.0, 20.0])
    np.testing.assert_allclose(merged, [11, 11, 11, 10, 10])
    with pytest.raises(ValueError, match="gains"):
        qnt.mix([np.ones(3, np.float32)], [])


@given(before=LENGTHS, after=LENGTHS)
def test_pad_silence(before: int, after: int) -> None:
    padded = qnt.pad_silence(np.ones(4, np.float32), before, after)
    assert padded.tolist() == [0.0] * before + [1.0] * 4 + [0.0] * after


@given(
    codes=st.lists(st.integers(0, 1023), max_size=30),
    num_fine_bits=st.integers(0, 10),
    dtype=st.sampled_from([np.uint16, np.int64, np.int32]),
)
def test_bits_split_and_join(codes: list[int], num_fine_bits: int, dtype: type) -> None:
    array: np.ndarray = np.array(codes, dtype)
    coarse, fine = qnt.split_bits(array, num_fine_bits)
    assert [divmod(code, 2**num_fine_bits) for code in codes] == list(zip(coarse.tolist(), fine.tolist(), strict=True))
    joined = qnt.join_bits(coarse, fine, num_fine_bits)
    assert joined.dtype == array.dtype
    np.testing.assert_array_equal(joined, array)


def test_bits_that_are_no_two_halves() -> None:
    one = np.array([1, 2], np.uint16)
    with pytest.raises(ValueError, match="halves"):
        qnt.join_bits(one, one[:1], 5)
    with pytest.raises(ValueError, match="hold 1"):
        qnt.join_bits(one, one, 1)
    with pytest.raises(ValueError, match="wider"):
        qnt.split_bits(one, 16)
    with pytest.raises(ValueError, match="integers"):
        qnt.split_bits(one.astype(np.float32), 2)


def test_decode_cuts_to_the_original_length(demo_speech: np.ndarray) -> None:
    codec = qnt.load_codec(qnt.CodecOptions(audio_backend="tiny"))
    codes = qnt.encode(codec, demo_speech[:1_000], 24_000)
    assert len(qnt.decode(codec, codes)) == 1_280
    np.testing.assert_array_equal(qnt.decode(codec, codes, num_samples=1_000), qnt.decode(codec, codes)[:1_000])
    for wrong in (960, 1_281):
        with pytest.raises(ContractError, match="frames are not those"):
            qnt.decode(codec, codes, num_samples=wrong)


def run(*args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vall_e.emb.qnt", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_there_and_back(tmp_path: Path, demo_speech: np.ndarray) -> None:
    source, codes_path, back = tmp_path / "my voice.wav", tmp_path / "a.npy", tmp_path / "b.flac"
    audio.write(source, demo_speech[:50_000], 24_000)
    done = run("--input", source, "--output", codes_path, "--audio-backend", "tiny", "--levels", 4)
    assert done.returncode == 0, done.stderr
    codes = np.load(codes_path, allow_pickle=False)
    assert codes.shape == (4, 157)
    assert codes.dtype == np.uint16
    done = run("--input", codes_path, "--output", back, "--audio-backend", "tiny")
    assert done.returncode == 0, done.stderr
    decoded, rate_hz = audio.load(back)
    assert (len(decoded), rate_hz) == (157 * 320, 24_000)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--input", "none.wav", "--output", "a.npy"), "none.wav: no such file"),
        (("--input", "text.wav", "--output", "a.npy"), "text.wav"),
        (("--input", "text.wav", "--output", "b.wav"), "ends in .npy"),
        (("--input", "floats.npy", "--output", "b.wav"), "floats.npy"),
        (("--input", "objects.npy", "--output", "b.wav"), "objects.npy"),
        (("--input", "big.npy", "--output", "b.wav"), "1024"),
        (("--input", "tone.wav", "--output", "a.npy", "--levels", "9"), "levels"),
        (("--input", "tone.wav", "--output", "a.npy", "--weights", "text.wav"), "text.wav"),
        (("--input", "tone.wav", "--output", "a.npy", "--audio-backend", "tony"), "did you mean 'tiny'"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.wav").write_text("this is no audio")
    np.save(tmp_path / "floats.npy", np.zeros((8, 3)))
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "big.npy", np.full((8, 3), 1024, np.uint16))
    audio.write(tmp_path / "tone.wav", np.sin(np.arange(2_400, dtype=np.float32)), 24_000)
    before = sorted(tmp_path.iterdir())
    args = args if "--audio-backend" in args else (*args, "--audio-backend", "tiny")
    done = run(*args)
    assert done.returncode in (1, 2)
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert sorted(tmp_path.iterdir()) == before
