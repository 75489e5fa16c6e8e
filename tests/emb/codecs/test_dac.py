"""DAC against its own package, the plain way and in chunks, on small models of its three rates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vall_e.compat import install_shim
from vall_e.emb.codecs.dac import PUBLISHED, DacCodec
from vall_e.types import BackendError, UsageError

LENGTHS = [1, 5, 319, 320, 321, 511, 512, 513, 7_000, 30_011]


@pytest.fixture(scope="module", params=PUBLISHED)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def weights(name: str, dac_weights: Path) -> Path:
    return dac_weights / f"{name}.pth"


@pytest.fixture(scope="module")
def package(weights: Path) -> Any:
    install_shim()
    import dac

    content = torch.load(weights, weights_only=True)
    model = dac.model.DAC(**content["metadata"]["kwargs"]).eval()
    model.load_state_dict(content["state_dict"])
    return model


def pieces(speech: np.ndarray) -> list[np.ndarray]:
    return [speech[9_000 : 9_000 + length] for length in LENGTHS]


def test_codes_and_sound_are_the_packages(name: str, weights: Path, package: Any, demo_speech: np.ndarray) -> None:
    codec = DacCodec(name=name, weights=weights, num_levels=9)
    items, differ = pieces(demo_speech), 0
    codes = codec.encode(items)
    for samples, ours, sound in zip(items, codes, codec.decode(codes), strict=True):
        with torch.inference_mode():
            padded = package.preprocess(torch.from_numpy(samples)[None, None], codec.spec.sample_rate_hz)
            differ += int((package.encode(padded)[1][0].numpy() != ours).sum())
            indices = torch.from_numpy(ours.astype(np.int64))[None]
            theirs = package.decode(package.quantizer.from_codes(indices)[0])[0, 0]
        short = len(sound) - len(theirs)
        assert short == (8 if codec.spec.hop_samples == 320 else 0)  # odd strides: the package gives as much less
        np.testing.assert_allclose(sound[: len(theirs)], theirs.numpy(), atol=2e-4 * np.abs(sound).max())
        assert not sound[len(theirs) :].any()
    assert differ <= 0.001 * sum(item.size for item in codes)
    assert len(np.unique(codes[-1][0])) > 20


def test_the_entry_is_the_nearest_by_angle(name: str, weights: Path, package: Any, demo_speech: np.ndarray) -> None:
    """Level by level in float64, on what our own codes leave over: no entry is nearer than the one chosen."""
    codec = DacCodec(name=name, weights=weights, num_levels=9)
    audio = demo_speech[: codec.spec.hop_samples * 40]
    codes = torch.from_numpy(codec.encode([audio])[0].astype(np.int64))
    with torch.inference_mode():
        rest = package.encoder(torch.from_numpy(audio)[None, None]).double()
        for level, chosen in zip(package.quantizer.quantizers, codes, strict=True):
            level = level.double()
            inner = torch.nn.functional.normalize(level.in_proj(rest)[0].T)
            entries = torch.nn.functional.normalize(level.codebook.weight)
            distances = (inner[:, None] - entries).square().sum(2)
            assert (distances.gather(1, chosen[:, None])[:, 0] <= distances.min(1).values + 1e-5).all()
            rest = rest - level.out_proj(level.codebook.weight[chosen].T[None])
            level.float()


def test_windows_and_other_items_change_nothing(name: str, weights: Path, demo_speech: np.ndarray) -> None:
    whole = DacCodec(name=name, weights=weights, window_s=60.0)
    cut = DacCodec(name=name, weights=weights, window_s=0.21)
    audio = demo_speech[: 3 * whole.spec.sample_rate_hz + 11]
    (codes,) = whole.encode([audio])
    assert (cut.encode([audio])[0] != codes).mean() <= 0.001
    (sound,) = whole.decode([codes])
    np.testing.assert_allclose(cut.decode([codes])[0], sound, atol=1e-4 * np.abs(sound).max())
    items = [audio, *pieces(demo_speech)]
    for item, together in zip(items, cut.encode(items), strict=True):
        np.testing.assert_array_equal(cut.encode([item])[0], together)


def test_the_code_space_of_its_levels(weights: Path, name: str, demo_speech: np.ndarray) -> None:
    """Latents are the sum of the entries, and quantising what a level left finds the codes of the levels after it."""
    codec = DacCodec(name=name, weights=weights, num_levels=4)
    (codes,) = codec.encode([demo_speech[:9_000]])
    latents = codec.dequantize(codes)
    entries = sum(book[own] for book, own in zip(codec.codebooks, codes, strict=True))
    np.testing.assert_allclose(latents, entries, atol=1e-5 * np.abs(latents).max())
    first = codec.quantize(latents)
    rest = latents - codec.dequantize(first[:2])
    np.testing.assert_array_equal(codec.quantize(rest, 2), first[2:])
    parts = codec.dequantize(first[:2]) + codec.dequantize(first[2:], 2)
    np.testing.assert_allclose(parts, codec.dequantize(first), atol=1e-5 * np.abs(latents).max())


def test_chunks_are_those_of_compress(name: str, weights: Path, package: Any, demo_speech: np.ndarray) -> None:
    from audiotools import AudioSignal

    codec = DacCodec(name=name, weights=weights, num_levels=9, chunk_s=1.0)
    rate = codec.spec.sample_rate_hz
    for length in (700, rate, rate + 1, 2 * rate + 17):
        samples = demo_speech[5_000 : 5_000 + length]
        file = package.compress(AudioSignal(samples[None, None], rate), win_duration=1.0, normalize_db=None)
        (codes,) = codec.encode([samples])
        assert codes.shape == (9, codec.spec.num_frames(length))
        assert (codes != file.codes[0].numpy()).mean() <= 0.001
        package.padding = file.padding
        with torch.inference_mode():  # what decompress does before it sets the loudness
            parts = [package.quantizer.from_codes(part)[0] for part in file.codes.split(file.chunk_length, -1)]
            theirs = torch.cat([package.decode(part) for part in parts], -1)[0, 0].numpy()
        package.padding = True
        (sound,) = codec.decode([file.codes[0].numpy()])
        np.testing.assert_allclose(sound[: len(theirs)], theirs, atol=2e-4 * np.abs(sound).max())


def test_the_law_of_frames(dac_weights: Path) -> None:
    assert DacCodec(weights=dac_weights / "dac.pth").spec.num_frames(441_000) == 862
    assert DacCodec(weights=dac_weights / "dac.pth", chunk_s=1.0).spec.name == "dac_chunked"


def test_chunks_that_can_not_be(dac_weights: Path) -> None:
    with pytest.raises(UsageError, match="too short"):
        DacCodec(weights=dac_weights / "dac.pth", chunk_s=0.1)
    with pytest.raises(ValueError, match="chunks of"):
        DacCodec(weights=dac_weights / "dac.pth", chunk_s=1.0).decode([np.zeros((8, 145), np.uint16)])


def test_the_cache_of_the_package_is_used(dac_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens there: the hub is out of reach anywhere
    with pytest.raises(BackendError, match=r"dac_16khz.*--weights FILE") as error:
        DacCodec(name="dac_16khz")
    assert "\n" not in str(error.value)
    cached = tmp_path / ".cache" / "descript" / "dac" / "weights_16khz_8kbps_0.0.5.pth"
    cached.symlink_to(dac_weights / "dac_16khz.pth")
    assert DacCodec(name="dac_16khz").spec == DacCodec(name="dac_16khz", weights=dac_weights / "dac_16khz.pth").spec


DAMAGES = ["missing", "truncated", "pickle", "no metadata", "other sizes", "other rate", "part"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_weights_that_are_none(tmp_path: Path, dac_weights: Path, damage: str) -> None:
    path, good = tmp_path / "weights.pth", dac_weights / "dac.pth"
    content: Any = torch.load(good, weights_only=True)
    if damage == "truncated":
        path.write_bytes(good.read_bytes()[:100_000])
    elif damage == "other rate":
        path = dac_weights / "dac_24khz.pth"
    elif damage != "missing":
        if damage == "pickle":
            content = {"state_dict": Path("an object, not a tensor")}
        elif damage == "no metadata":
            del content["metadata"]
        elif damage == "other sizes":
            content["metadata"]["kwargs"]["decoder_dim"] = 96
        else:
            content["state_dict"].pop("encoder.block.0.bias")
        torch.save(content, path)
    with pytest.raises(BackendError, match=path.name) as error:
        DacCodec(weights=path)
    assert "\n" not in str(error.value)


def test_metadata_with_more_keys_than_the_model_takes(dac_weights: Path, tmp_path: Path) -> None:
    """As the authors' training leaves it; and a value of the wrong kind is one line."""
    content: Any = torch.load(dac_weights / "dac.pth", weights_only=True)
    kwargs = content["metadata"]["kwargs"]
    kwargs |= {"quantizer_dropout": 0.5, "latent_dim": None, "codebook_dim": [8] * 9, "epochs": 3}
    torch.save(content, tmp_path / "weights.pth")
    assert DacCodec(weights=tmp_path / "weights.pth").spec.hop_samples == 512
    kwargs["encoder_dim"] = "64"
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(BackendError, match="no checkpoint of DAC") as error:
        DacCodec(weights=tmp_path / "weights.pth")
    assert "\n" not in str(error.value)
