"""Ids, units and paths from data."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vall_e.types import (
    AUDIO_EXTENSIONS,
    CodecSpec,
    ContractError,
    has_audio_extension,
    recording_id_of,
    safe_path,
    seconds_to_samples,
    speaker_of,
    utterance_id,
)

# what people call files: dots, dashes, digits that look like an utterance's number, other scripts
part = st.text(st.sampled_from("ab-_. 0159é話"), min_size=1, max_size=12).filter(lambda name: name not in (".", ".."))
recording_ids = st.builds(
    lambda folders, stem, extension: "/".join([*folders, stem + extension]),
    st.lists(part, max_size=3),
    part,
    st.sampled_from(sorted(AUDIO_EXTENSIONS) + [".WAV", ".Flac"]),
)


@given(recording_ids, st.one_of(st.none(), st.integers(0, 99_999)))
def test_an_utterance_knows_its_recording(recording_id: str, index: int | None) -> None:
    assert recording_id_of(utterance_id(recording_id, index)) == recording_id


@given(st.lists(st.tuples(recording_ids, st.one_of(st.none(), st.integers(0, 99_999))), unique=True))
def test_utterances_never_collide(pairs: list[tuple[str, int | None]]) -> None:
    assert len({utterance_id(*pair) for pair in pairs}) == len(pairs)


@pytest.mark.parametrize("name", ["a.wav-00001.wav", "x-00001.flac", "g/s.wav-00000/b.ogg", "-00000.wav"])
def test_a_recording_named_like_an_utterance_stays_itself(name: str) -> None:
    assert recording_id_of(name) == name
    assert recording_id_of(f"{name}-00007") == name


@pytest.mark.parametrize("index", [-1, 100_000])
def test_a_slice_number_needs_five_digits(index: int) -> None:
    with pytest.raises(ContractError, match="a.wav: slice number"):
        utterance_id("a.wav", index)


def test_the_number_of_a_slice_has_ascii_digits() -> None:
    assert recording_id_of("a.wav-٠٠٠٠١") == "a.wav-٠٠٠٠١"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("en/ann/x.wav", ("en", "ann")),
        ("en/ann/2020/may/x.wav", ("en", "ann")),
        ("ann/x.wav", ("", "ann")),
        ("x.wav", ("", "unknown")),
    ],
)
def test_folders_name_group_and_speaker(name: str, expected: tuple[str, str]) -> None:
    assert speaker_of(name) == expected


@given(st.text(st.sampled_from("ab./\0\\~-é \n"), max_size=20))
def test_a_path_from_data_stays_below_its_root(relative: str) -> None:
    root = Path("/data/root")
    try:
        path = safe_path(root, relative)
    except ContractError:
        # nothing plain is refused
        assert any(p in ("", ".", "..") for p in relative.split("/")) or "\0" in relative
        return
    assert path.is_relative_to(root)
    assert path != root
    assert ".." not in path.parts
    assert path.relative_to(root).as_posix() == relative


@pytest.mark.parametrize(
    "relative", ["", ".", "..", "/a", "//a", "a/../b", "../a", "a/..", "a//b", "a/", "./a", "a\0b"]
)
def test_paths_that_climb_are_refused_by_name(relative: str) -> None:
    with pytest.raises(ContractError, match="not a path below"):
        safe_path(Path("/data"), relative)


@given(st.lists(st.floats(0, 1e6), min_size=2), st.sampled_from([8_000, 16_000, 22_050, 24_000, 44_100, 48_000]))
def test_samples_keep_the_order_of_seconds_and_round_to_the_nearest(times: list[float], rate_hz: int) -> None:
    samples = [seconds_to_samples(time_s, rate_hz) for time_s in sorted(times)]
    assert samples == sorted(samples)
    for time_s, sample in zip(sorted(times), samples, strict=True):
        assert abs(Fraction(time_s) * rate_hz - sample) <= Fraction(501, 1000)


@given(st.integers(0, 10**7), st.sampled_from([(24_000, 320), (44_100, 512), (16_000, 640)]))
def test_every_started_hop_is_a_frame(num_samples: int, rates: tuple[int, int]) -> None:
    spec = CodecSpec(
        name="x", weights_sha256="", sample_rate_hz=rates[0], hop_samples=rates[1], num_levels=8, codebook_size=1024
    )
    frames = spec.num_frames(num_samples)
    assert (frames - 1) * rates[1] < num_samples <= frames * rates[1] or num_samples == frames == 0
    assert spec.frame_rate_hz == Fraction(*rates)


@pytest.mark.parametrize(
    ("name", "is_audio"), [("a.WAV", True), ("a.b.opus", True), ("wav", False), (".wav", False), ("a.wav.txt", False)]
)
def test_audio_is_told_by_extension(name: str, is_audio: bool) -> None:
    assert has_audio_extension(name) is is_audio
