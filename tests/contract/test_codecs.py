"""One suite for every codec: lengths, ranges, determinism, each alone = all together. A new codec adds one line."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vall_e.emb import qnt
from vall_e.emb.codecs.registry import CODECS as REGISTERED
from vall_e.emb.qnt import Codec, CodecOptions
from vall_e.types import CodecSpec, ContractError, UsageError

# name → (fixture with small weights and the file below it, highest number of levels)
CODECS: dict[str, tuple[str, str, int]] = {
    "tiny": ("", "", 8),
    "encodec": ("encodec_weights", "", 32),
    "encodec_48khz": ("encodec_48khz_weights", "", 16),
    "vocos": ("vocos_weights", "", 16),
    "dac": ("dac_weights", "dac.pth", 9),
    "dac_chunked": ("dac_weights", "dac.pth", 9),
    "dac_24khz": ("dac_weights", "dac_24khz.pth", 9),
    "dac_16khz": ("dac_weights", "dac_16khz.pth", 9),
    "funcodec": ("funcodec_weights", "", 8),
}


@pytest.fixture(scope="module", params=CODECS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def load(request: pytest.FixtureRequest, name: str) -> Callable[[int], Codec]:
    """number of levels → codec."""
    fixture, file, _ = CODECS[name]
    weights = request.getfixturevalue(fixture) / file if fixture else None
    return lambda levels: qnt.load_codec(CodecOptions(audio_backend=name, weights=weights, levels=levels))


@pytest.fixture(scope="module")
def codec(load: Callable[[int], Codec]) -> Codec:
    return load(8)


def sound_samples(spec: CodecSpec, num_frames: int) -> int:
    """The least that the codec gives back for so many frames: the longest recording that has them."""
    low, high = 1, num_frames * spec.hop_samples
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if spec.num_frames(middle) <= num_frames else (low, middle - 1)
    return low


@pytest.fixture(scope="module")
def speech(demo_speech: np.ndarray) -> list[np.ndarray]:
    """Pieces of several lengths, whole and broken hops among them."""
    lengths = [24_000, 1, 319, 320, 321, 7_777, 24_000, 640]
    starts = np.cumsum([30_000] * len(lengths))
    return [demo_speech[start : start + length] for start, length in zip(starts, lengths, strict=True)]


def test_every_registered_codec_is_in_this_suite() -> None:
    assert set(CODECS) == set(REGISTERED)


def test_satisfies_the_protocol(codec: Codec) -> None:
    assert isinstance(codec, qnt.Codec)
    assert len(codec.spec.weights_sha256) == 64


def test_shapes_types_and_ranges(codec: Codec, speech: list[np.ndarray]) -> None:
    for audio, codes in zip(speech, codec.encode(speech), strict=True):
        assert codes.dtype == np.uint16
        assert codes.shape == (8, codec.spec.num_frames(len(audio)))
        assert codes.max() < codec.spec.codebook_size
        (decoded,) = codec.decode([codes])
        assert decoded.dtype == np.float32
        assert decoded.shape[:-1] == (() if codec.spec.num_channels == 1 else (codec.spec.num_channels,))
        assert decoded.shape[-1] >= sound_samples(codec.spec, codes.shape[1])
        if not codec.spec.chunk_samples:
            assert decoded.shape[-1] == codes.shape[1] * codec.spec.hop_samples
        assert np.isfinite(decoded).all()


def test_codes_carry_the_sound(codec: Codec, speech: list[np.ndarray]) -> None:
    """Guards the suite itself: with dead codebooks all else would hold as well."""
    first, last = codec.encode([speech[0], speech[6]])
    assert len(np.unique(first[0])) > 5
    assert (first != last).mean() > 0.5


def test_each_alone_equals_all_together(codec: Codec, speech: list[np.ndarray]) -> None:
    together = codec.encode(speech)
    alone = [codec.encode([audio])[0] for audio in speech]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(codec.decode(together), [codec.decode([codes])[0] for codes in alone], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_second_load_gives_the_same(codec: Codec, load: Callable[[int], Codec], speech: list[np.ndarray]) -> None:
    again = load(8)
    assert again.spec == codec.spec
    np.testing.assert_array_equal(again.encode(speech[:1])[0], codec.encode(speech[:1])[0])


def test_fewer_levels_are_a_prefix(codec: Codec, load: Callable[[int], Codec], speech: list[np.ndarray]) -> None:
    for levels in (1, 2, 5):
        small = load(levels)
        assert small.spec.num_levels == levels
        np.testing.assert_array_equal(small.encode(speech[:1])[0], codec.encode(speech[:1])[0][:levels])
        assert codec.decode([codec.encode(speech[:1])[0][:levels]])[0].shape[-1] >= 24_000


def test_a_number_of_levels_it_has_not(load: Callable[[int], Codec], name: str) -> None:
    for levels in (0, CODECS[name][2] + 1, -1):
        with pytest.raises(UsageError, match="levels"):
            load(levels)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(length=st.integers(1, 6_000), rate_hz=st.sampled_from([8_000, 16_000, 22_050, 44_100, 48_000]))
def test_any_rate_and_length(codec: Codec, demo_speech: np.ndarray, length: int, rate_hz: int) -> None:
    codes = qnt.encode(codec, demo_speech[40_000 : 40_000 + length], rate_hz)
    samples = -(-length * codec.spec.sample_rate_hz // rate_hz)
    if codec.spec.chunk_samples == 0 or samples <= codec.spec.stride_samples:
        assert codes.shape == (8, -(-samples // codec.spec.hop_samples))
    assert codes.shape == (8, codec.spec.num_frames(samples))


def test_stereo_is_downmixed_for_a_mono_codec(codec: Codec, speech: list[np.ndarray]) -> None:
    stereo = np.stack([speech[0] * 0.5, speech[6] * 1.5])
    mono = qnt.encode(codec, stereo.mean(axis=0, dtype=np.float32), 24_000)
    assert np.array_equal(qnt.encode(codec, stereo, 24_000), mono) == (codec.spec.num_channels == 1)


@pytest.mark.parametrize("bad", [np.zeros(0, np.float32), np.full(100, np.nan, np.float32), np.zeros((2, 2, 2))])
def test_audio_that_is_none(codec: Codec, bad: np.ndarray) -> None:
    with pytest.raises(ContractError, match="audio to encode"):
        qnt.encode(codec, bad, 24_000)


@pytest.mark.parametrize(
    "bad",
    [
        np.full((8, 3), 1024, np.uint16),
        np.full((8, 3), -1, np.int64),
        np.zeros((33, 3), np.uint16),
        np.zeros((0, 3), np.uint16),
        np.zeros((8, 0), np.uint16),
        np.zeros((8, 3), np.float32),
        np.zeros(8, np.uint16),
    ],
)
def test_codes_that_do_not_fit(codec: Codec, bad: np.ndarray) -> None:
    with pytest.raises(ContractError, match="codes"):
        qnt.decode(codec, bad)


def test_silence_is_padded_with_the_codes_of_silence(codec: Codec, speech: list[np.ndarray]) -> None:
    codes = codec.encode([speech[0]])[0]
    padded = qnt.pad_codes_with_silence(codec, codes, 3, 5)
    assert padded.shape == (8, 3 + codes.shape[1] + 5)
    np.testing.assert_array_equal(padded[:, 3:-5], codes)
    silence = np.zeros(5 * codec.spec.hop_samples, np.float32)
    np.testing.assert_array_equal(padded[:, -5:], codec.encode([silence])[0][:, :5])
    np.testing.assert_array_equal(qnt.pad_codes_with_silence(codec, codes, 0, 0), codes)


@pytest.mark.parametrize(("before", "after"), [(300, 300), (0, 601), (1, 0)])
def test_padding_adds_exactly_the_frames_asked_for(
    codec: Codec, speech: list[np.ndarray], before: int, after: int
) -> None:
    """A codec of overlapping chunks has more frames than hops: 607 came out where 605 were asked for."""
    codes = codec.encode([speech[0]])[0]
    padded = qnt.pad_codes_with_silence(codec, codes, before, after)
    assert padded.shape == (8, before + codes.shape[1] + after) and padded.dtype == codes.dtype


def bad_audio(spec: CodecSpec) -> list[np.ndarray]:
    good = np.full(2_000, 0.1, np.float32)
    wrong_channels = np.zeros((2, 2_000) if spec.num_channels == 1 else (3, 2_000), np.float32)
    single = np.array(0.1, np.float32)
    return [good[:0], good.astype(np.float64), good[None, None], wrong_channels, good[:, None], single]


def test_audio_of_the_wrong_form_is_the_same_error_from_every_codec(codec: Codec, speech: list[np.ndarray]) -> None:
    for bad in bad_audio(codec.spec):
        for work in (codec.encode, codec.scales):
            with pytest.raises(ValueError, match=f"^{codec.spec.name}: item 1: audio is float32 .*; found .*$"):
                work([speech[0], bad])


def test_codes_of_the_wrong_form_are_the_same_error_from_every_codec(codec: Codec) -> None:
    good = codec.encode([np.full(2_000, 0.1, np.float32)])[0]
    bad = [good[0], good[:, :0], good[:0], good.astype(np.float32), good * 0 + codec.spec.codebook_size]
    bad += [np.concatenate([good] * 5), good.astype(np.int64) * 0 - 1]
    for item in bad:
        with pytest.raises(ValueError, match=f"^{codec.spec.name}: item 1: codes .*$"):
            codec.decode([good, item])


def test_scales_that_it_never_made_are_the_same_error_from_every_codec(codec: Codec, speech: list[np.ndarray]) -> None:
    codes, scales = codec.encode([speech[0]])[0], codec.scales([speech[0]])[0]
    np.testing.assert_array_equal(codec.decode([codes], [scales])[0].shape, codec.decode([codes])[0].shape)
    longer = np.append(scales, np.float32(1))
    for bad in (longer, longer * np.nan, longer * 0, longer[None], longer.astype(np.float64), longer * -1):
        with pytest.raises(ValueError, match="^[^\n]*scale[^\n]*$"):
            codec.decode([codes], [bad])
    with pytest.raises(ValueError, match="2 arrays of scales for 1 of codes"):
        codec.decode([codes], [scales, scales])


def test_nothing_in_gives_nothing_out(codec: Codec) -> None:
    assert codec.encode([]) == codec.scales([]) == codec.decode([]) == []


def test_mixing_codes_is_mixing_their_sound(codec: Codec, speech: list[np.ndarray]) -> None:
    codes = codec.encode([speech[0], speech[5]])
    mixed = qnt.mix_codes(codec, codes, [0.0, -6.0])
    one, other = codec.decode(codes)
    mix = one.copy()
    mix[..., : other.shape[-1]] += other * np.float32(10 ** (-6 / 20))
    np.testing.assert_array_equal(mixed, codec.encode([mix])[0])
