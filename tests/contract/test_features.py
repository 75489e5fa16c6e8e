"""One suite for every feature extractor of `similar`: each alone = all together, unit rows, only finite numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vall_e.emb.features.base import FeatureExtractor
from vall_e.emb.features.registry import FEATURES, FeatureOptions, load_features
from vall_e.emb.features.vectors import Tables
from vall_e.types import CodecSpec, ContractError, UsageError

SPEC = CodecSpec(
    name="test", weights_sha256="0" * 64, sample_rate_hz=24_000, hop_samples=320, num_levels=4, codebook_size=32
)


@pytest.fixture
def extractor(request: pytest.FixtureRequest) -> FeatureExtractor:
    extractor = load_features(FeatureOptions(similarity_backend=request.param, model="tiny"), SPEC)
    if hasattr(extractor, "vectors_of"):  # of a codec or model, which the command gives
        extractor.vectors = Tables(  # type: ignore[attr-defined]
            np.random.default_rng(1).standard_normal((4, 32, 6)).astype(np.float32)
        )
    return extractor


every_extractor = pytest.mark.parametrize("extractor", list(FEATURES), indirect=True)


def inputs_of(extractor: FeatureExtractor) -> list[Any]:
    """Several lengths, from the shortest on."""
    rng = np.random.default_rng(0)
    if extractor.needs_audio:
        cases = [(1, 16_000), (100, 8_000), (511, 16_000), (512, 16_000), (9_000, 22_050), (48_000, 48_000)]
        return [((rng.standard_normal(length) * 0.1).astype(np.float32), rate_hz) for length, rate_hz in cases]
    return [rng.integers(0, 32, (4, length)).astype(np.uint16) for length in (1, 2, 75, 300, 10)]


def empty_of(extractor: FeatureExtractor) -> list[Any]:
    if extractor.needs_audio:
        return [(np.zeros(8_000, np.float32), 16_000), (np.zeros(1, np.float32), 44_100)]
    return [np.zeros((4, 0), np.uint16)]


@every_extractor
def test_each_alone_equals_all_together(extractor: FeatureExtractor) -> None:
    inputs = inputs_of(extractor)
    together = extractor.extract(inputs)
    assert together.dtype == np.float32
    assert together.ndim == 2
    np.testing.assert_array_equal(together, np.concatenate([extractor.extract([value]) for value in inputs]))


@every_extractor
def test_no_inputs_give_no_rows(extractor: FeatureExtractor) -> None:
    some = extractor.extract(inputs_of(extractor))
    none = extractor.extract([])
    assert none.shape == (0, some.shape[1])
    assert extractor.normalise(none).shape == (0, extractor.normalise(some).shape[1])


@every_extractor
def test_rows_have_unit_norm_and_empty_inputs_are_zero(extractor: FeatureExtractor) -> None:
    inputs = inputs_of(extractor) + empty_of(extractor)
    features = extractor.normalise(extractor.extract(inputs))
    assert features.dtype == np.float32
    norms = np.linalg.norm(features, axis=1)
    num_full = len(inputs_of(extractor))
    np.testing.assert_allclose(norms[:num_full], 1.0, atol=1e-6)
    np.testing.assert_array_equal(features[num_full:], 0.0)


@every_extractor
def test_silence_alone_gives_zeros(extractor: FeatureExtractor) -> None:
    features = extractor.normalise(extractor.extract(empty_of(extractor)))
    np.testing.assert_array_equal(features, 0.0)


@every_extractor
def test_inputs_are_left_as_they_are(extractor: FeatureExtractor) -> None:
    inputs = inputs_of(extractor)
    raw = extractor.extract(inputs)
    kept = raw.copy()
    extractor.normalise(raw)
    np.testing.assert_array_equal(raw, kept)
    for value, fresh in zip(inputs, inputs_of(extractor), strict=True):
        np.testing.assert_array_equal(value[0], fresh[0])


@pytest.mark.parametrize("extractor", ["mfcc"], indirect=True)
@pytest.mark.parametrize("gain", [1e-4, 0.1, 0.5, 8.0])
def test_mfcc_does_not_hear_the_level(extractor: FeatureExtractor, gain: float) -> None:
    audio = voice(np.random.default_rng(1))
    loud, soft = extractor.extract([(audio, 16_000), (audio * np.float32(gain), 16_000)])
    np.testing.assert_allclose(soft, loud, atol=2e-3)


@pytest.mark.parametrize("extractor", ["mfcc"], indirect=True)
def test_mfcc_of_a_group_loses_its_channel(extractor: FeatureExtractor) -> None:
    """A filter is a constant in the cepstrum, so the group's mean takes it away with the group's own."""
    rng = np.random.default_rng(2)
    plain = [voice(rng) for _ in range(4)]
    # a first difference: a microphone without bass
    filtered = [np.diff(audio, append=audio[-1:]) for audio in plain]
    before = extractor.normalise(extractor.extract([(audio, 16_000) for audio in plain]))
    after = extractor.normalise(extractor.extract([(audio, 16_000) for audio in filtered]))
    assert (before * after).sum(axis=1).min() > 0.97


@pytest.mark.parametrize("extractor", ["mfcc"], indirect=True)
def test_mfcc_mean_is_weighted_by_frames(extractor: FeatureExtractor) -> None:
    """Cutting an utterance in two must not move the group's mean: each frame counts once."""
    raw = np.zeros((3, 41), np.float32)
    raw[:, 0] = [100, 100, 300]
    raw[:, 1] = [6.0, 3.0, 8.0]
    features = extractor.normalise(raw)
    # 6.6 is their mean by frames, 5.7 by utterances
    np.testing.assert_array_equal(np.sign(features[:, 0]), [-1, -1, 1])


@pytest.mark.parametrize("extractor", ["mfcc"], indirect=True)
def test_mfcc_in_chunks_equals_one_piece(extractor: FeatureExtractor, monkeypatch: pytest.MonkeyPatch) -> None:
    from vall_e.emb.features import mfcc

    audio = voice(np.random.default_rng(3))
    whole = extractor.extract([(audio, 16_000)])
    monkeypatch.setattr(mfcc, "CHUNK_FRAMES", 7)
    np.testing.assert_allclose(extractor.extract([(audio, 16_000)]), whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("extractor", ["mfcc"], indirect=True)
def test_mfcc_statistics_are_those_of_librosa(extractor: FeatureExtractor) -> None:
    """Against librosa's own centred frames, with the logs floored in float64: a slow reference."""
    import librosa

    audio = voice(np.random.default_rng(4)).astype(np.float64)
    mel = librosa.feature.melspectrogram(y=audio, sr=16_000, n_fft=512, win_length=400, hop_length=160, n_mels=40)
    voiced = mel.sum(axis=0) > mel.sum(axis=0).max() * 1e-6
    cepstra = librosa.feature.mfcc(S=np.log(np.maximum(mel, np.finfo(np.float32).tiny)), n_mfcc=21)[1:, voiced]
    expected = np.concatenate([[voiced.sum()], cepstra.mean(axis=1), cepstra.std(axis=1)])
    (found,) = extractor.extract([(audio.astype(np.float32), 16_000)])
    np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize("extractor", ["mfcc"], indirect=True)
def test_mfcc_takes_digital_silence_between_words(extractor: FeatureExtractor) -> None:
    """Zeros inside an utterance are pauses: they change neither its mean nor its deviation much, and are never -inf."""
    audio = voice(np.random.default_rng(5))
    paused = np.concatenate([audio, np.zeros(32_000, np.float32)])
    plain, with_pause = extractor.extract([(audio, 16_000), (paused, 16_000)])
    assert np.isfinite(with_pause).all()
    np.testing.assert_allclose(with_pause[1:], plain[1:], atol=1.0)
    assert abs(with_pause[0] - plain[0]) <= 3


@pytest.mark.parametrize("extractor", ["mfcc"], indirect=True)
@pytest.mark.parametrize("gain", [1e-18, 1e-20, 1e-22])
def test_mfcc_of_power_that_float32_cannot_hold(extractor: FeatureExtractor, gain: float) -> None:
    """A floor below float32's smallest number would be 0 there, and its log -inf in the bands that underflow."""
    raw = extractor.extract([(voice(np.random.default_rng(8)) * np.float32(gain), 16_000)])
    assert np.isfinite(raw).all()
    assert np.isfinite(extractor.normalise(raw)).all()


@pytest.mark.parametrize("extractor", ["codes"], indirect=True)
def test_histogram_is_the_bhattacharyya_coefficient(extractor: FeatureExtractor) -> None:
    rng = np.random.default_rng(6)
    one, two = (rng.integers(0, 32, (4, length)).astype(np.uint16) for length in (50, 70))
    left, right = extractor.extract([one, two])
    expected = 0.0
    for level in range(4):
        for code in range(32):
            expected += np.sqrt((one[level] == code).mean() * (two[level] == code).mean()) / 4
    assert float(left @ right) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("extractor", ["codes"], indirect=True)
def test_histogram_refuses_codes_of_another_codec(extractor: FeatureExtractor) -> None:
    with pytest.raises(ContractError, match="outside the codebook of 32"):
        extractor.extract([np.full((4, 3), 32, np.uint16)])
    with pytest.raises(ContractError, match="expected \\[4, frames\\]"):
        extractor.extract([np.zeros((3, 4), np.uint16)])


def test_histogram_of_the_first_levels() -> None:
    first = load_features(FeatureOptions(similarity_backend="codes", code_levels=2), SPEC)
    codes = np.random.default_rng(7).integers(0, 32, (4, 20)).astype(np.uint16)
    other = codes.copy()
    other[2:] = 31 - other[2:]
    rows = first.extract([codes, other])
    assert rows.shape == (2, 64)
    np.testing.assert_array_equal(rows[0], rows[1])
    with pytest.raises(UsageError, match="code_levels: 5"):
        load_features(FeatureOptions(similarity_backend="codes", code_levels=5), SPEC)


def voice(rng: np.random.Generator) -> np.ndarray:
    """2 s at 16 kHz: noise in changing colours, float32 [n]."""
    parts = []
    for _ in range(20):
        noise = np.fft.rfft(rng.standard_normal(1_600))
        frequency = np.fft.rfftfreq(1_600, 1 / 16_000)
        peaks = rng.uniform([300, 900, 2_200], [800, 2_000, 3_200])
        shape = sum(1 / (1 + ((frequency - peak) / 150) ** 2) for peak in peaks)
        parts.append(np.fft.irfft(noise * (shape + 1e-2)))
    return (np.concatenate(parts) * 0.1).astype(np.float32)


@pytest.mark.parametrize("length", [1, 159, 160, 320, 1000, 16_000])
def test_frames_of_lpcnet_are_those_of_scipy(length: int) -> None:
    """Without a window, frame t is the spectrum of samples 160 t … 160 t + 319, zeros behind the end."""
    import scipy.fft

    from vall_e.emb.features.lpcnet import frames_of, spectrum

    audio = np.random.default_rng(0).standard_normal(length)
    found = spectrum(frames_of(audio))
    padded = np.concatenate([audio, np.zeros(320)])
    expected = np.stack([scipy.fft.rfft(padded[start : start + 320]) for start in range(0, length, 160)])
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("length", [512, 671, 672, 16_000])
def test_frames_of_mfcc_are_those_of_scipy(length: int) -> None:
    """With a boxcar as window, frame t is the spectrum of samples 160 t + 56 … 160 t + 455 at their places in 512."""
    import scipy.fft

    from vall_e.emb.features.mfcc import spectra

    audio = np.random.default_rng(0).standard_normal(length)
    inside = np.pad(np.ones(400), 56)
    starts = range(0, length - 511, 160)
    expected = np.stack([scipy.fft.rfft(audio[start : start + 512] * inside) for start in starts], axis=1)
    found = spectra(audio, "boxcar")
    assert found.dtype == np.complex128
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("hertz", [80.0, 120.0, 210.0, 400.0])
def test_lpcnet_hears_the_pitch(hertz: float) -> None:
    from vall_e.emb.features.lpcnet import frames_of, pitch

    time_s = np.arange(8_000) / 16_000
    audio = np.sum([np.sin(2 * np.pi * hertz * n * time_s) / n for n in range(1, 8)], axis=0)
    lag, fit = pitch(frames_of(audio, 640)[:40])
    assert np.median(np.abs(16_000 / lag - hertz)) < 0.02 * hertz and np.median(fit) > 0.95


def test_bark_cepstra_of_a_flat_spectrum_have_the_shape_of_the_bands_alone() -> None:
    """Twice the power moves coefficient 0 alone, which is left out."""
    from vall_e.emb.features.lpcnet import bark_cepstra

    power = np.random.default_rng(0).random((3, 161))
    np.testing.assert_allclose(bark_cepstra(power), bark_cepstra(2 * power), atol=1e-9)


def test_whitening_makes_directions_alike(extractor_of_codec: FeatureExtractor) -> None:
    """A direction that varies ten times as much counts little more than the others."""
    rng = np.random.default_rng(0)
    raw = np.concatenate([np.full((400, 1), 50.0), rng.standard_normal((400, 6))], axis=1).astype(np.float32)
    raw[:, 1] *= 10
    features = extractor_of_codec.normalise(raw)
    spread = features.T @ features / len(features)
    values = np.linalg.eigvalsh(spread)
    assert values.max() / values.min() < 10, "of 100 before"


@pytest.fixture
def extractor_of_codec() -> FeatureExtractor:
    return load_features(FeatureOptions(similarity_backend="codec"), SPEC)
