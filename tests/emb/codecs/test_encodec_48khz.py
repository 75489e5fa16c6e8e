"""EnCodec 48 kHz against its own package: chunks, scales, both sides."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vall_e.compat import install_shim
from vall_e.emb.codecs.encodec_48khz import Encodec48Codec, chunk_frames
from vall_e.types import BackendError, CodecSpec

SPEC = CodecSpec(
    name="", weights_sha256="", sample_rate_hz=48_000, hop_samples=320, num_levels=8, codebook_size=1024,
    num_channels=2, chunk_samples=48_000, stride_samples=47_520,
)  # fmt: skip
LENGTHS = [1, 300, 47_520, 47_521, 48_000, 48_001, 100_000]


@pytest.fixture(scope="module")
def codec(encodec_48khz_weights: Path) -> Encodec48Codec:
    return Encodec48Codec(weights=encodec_48khz_weights)


@pytest.fixture(scope="module")
def package(encodec_48khz_weights: Path) -> Any:
    install_shim()
    from encodec.model import EncodecModel

    model = EncodecModel.encodec_model_48khz(pretrained=False)
    model.load_state_dict(torch.load(encodec_48khz_weights, weights_only=True))
    model.set_target_bandwidth(12.0)
    return model


@pytest.fixture(scope="module")
def stereo(demo_speech: np.ndarray) -> list[np.ndarray]:
    two = np.stack([demo_speech[:200_000], 0.5 * demo_speech[100_000:300_000]])
    return [two[:, 3_000 : 3_000 + length] for length in LENGTHS]


def test_codes_scales_and_sound_are_the_packages(codec: Encodec48Codec, package: Any, stereo: list[np.ndarray]) -> None:
    codes, scales = codec.encode(stereo), codec.scales(stereo)
    differ = 0
    for samples, ours, scale, sound in zip(stereo, codes, scales, codec.decode(codes, scales), strict=True):
        with torch.inference_mode():
            frames = package.encode(torch.from_numpy(samples)[None])
            shares = [part.shape[-1] for part, _ in frames]
            assert chunk_frames(codec.spec, ours.shape[1]) == shares
            ends = [0, *itertools.accumulate(shares)]
            parts = [torch.from_numpy(ours[:, a:b].astype(np.int64))[None] for a, b in itertools.pairwise(ends)]
            theirs = package.decode([(part, torch.tensor([[float(s)]])) for part, s in zip(parts, scale, strict=True)])
        differ += int((torch.cat([part[0] for part, _ in frames], 1).numpy() != ours).sum())
        np.testing.assert_allclose(scale, [float(s) for _, s in frames], rtol=1e-6)
        np.testing.assert_allclose(sound, theirs[0].numpy(), atol=1e-5 * np.abs(sound).max())
    assert differ <= 0.01 * sum(item.size for item in codes)  # its float32 distance cancels, see test_encodec


def test_a_batch_changes_no_bit(codec: Encodec48Codec, stereo: list[np.ndarray]) -> None:
    together = codec.encode(stereo)
    assert all(np.array_equal(codec.encode([item])[0], codes) for item, codes in zip(stereo, together, strict=True))
    sounds = codec.decode(together)
    assert all(np.array_equal(codec.decode([item])[0], sound) for item, sound in zip(together, sounds, strict=True))


def test_mono_is_both_sides_alike(codec: Encodec48Codec, stereo: list[np.ndarray]) -> None:
    mono = stereo[4][0]
    np.testing.assert_array_equal(codec.encode([mono])[0], codec.encode([np.stack([mono, mono])])[0])


def test_scales_carry_the_loudness(codec: Encodec48Codec, stereo: list[np.ndarray]) -> None:
    loud, quiet = stereo[6], 0.25 * stereo[6]
    np.testing.assert_allclose(codec.scales([quiet])[0], 0.25 * codec.scales([loud])[0], rtol=1e-5)
    (codes,) = codec.encode([quiet])
    one, half = (codec.decode([codes], [np.full(3, gain, np.float32)])[0] for gain in (1.0, 0.5))
    np.testing.assert_allclose(half, 0.5 * one, atol=1e-6)
    np.testing.assert_array_equal(codec.decode([codes])[0], one)
    with pytest.raises(ValueError, match="2 scales for 3 chunks"):
        codec.decode([codes], [np.ones(2, np.float32)])


@given(st.integers(1, 500_000))
def test_the_number_of_frames_tells_the_chunks(num_samples: int) -> None:
    shares = [-(-min(48_000, num_samples - start) // 320) for start in range(0, num_samples, 47_520)]
    assert sum(shares) == SPEC.num_frames(num_samples)
    assert chunk_frames(SPEC, sum(shares)) == shares


def test_weights_of_the_other_encodec(encodec_weights: Path) -> None:
    with pytest.raises(BackendError, match="EnCodec 48 kHz"):
        Encodec48Codec(weights=encodec_weights)
