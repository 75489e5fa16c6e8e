"""Vocos against its own package, and that it fetches nothing that it does not need."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from vall_e.compat import install_shim
from vall_e.emb.codecs.encodec import EncodecCodec
from vall_e.emb.codecs.vocos import VocosCodec
from vall_e.types import BackendError, UsageError


@pytest.fixture
def package(vocos_weights: Path, encodec_weights: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package's own model, its EnCodec made from our file instead of a download."""
    install_shim()
    import vocos
    from encodec.model import EncodecModel

    def ours(pretrained: bool = True) -> Any:
        model = EncodecModel._get_model([1.5, 3.0, 6, 12.0, 24.0], 24_000, 1, causal=True, name="encodec_24khz")
        model.load_state_dict(torch.load(encodec_weights, weights_only=True))
        return model.eval()

    monkeypatch.setattr(EncodecModel, "encodec_model_24khz", staticmethod(ours))
    model = vocos.Vocos.from_hparams(str(vocos_weights / "config.yaml"))
    state = torch.load(vocos_weights / "pytorch_model.bin", weights_only=True)
    assert not model.load_state_dict(state, strict=False).unexpected_keys
    return model.eval()


@pytest.mark.parametrize(("levels", "bandwidth"), [(2, 0), (4, 1), (8, 2), (16, 3)])
def test_sounds_like_the_package(
    package: Any, vocos_weights: Path, demo_speech: np.ndarray, levels: int, bandwidth: int
) -> None:
    codec = VocosCodec(weights=vocos_weights, num_levels=16)
    codes = codec.encode([demo_speech[:20_000], demo_speech[50_000:50_100]])
    for item, ours in zip(codes, codec.decode([item[:levels] for item in codes]), strict=True):
        features = package.codes_to_features(torch.from_numpy(item[:levels].astype(np.int64)))
        theirs = package.decode(features, bandwidth_id=torch.tensor([bandwidth]))[0].numpy()
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())


def test_levels_between_two_bandwidths(vocos_weights: Path, demo_speech: np.ndarray) -> None:
    codec = VocosCodec(weights=vocos_weights, num_levels=16)
    (codes,) = codec.encode([demo_speech[:9_600]])
    with_zero_ids = [codec.decode([codes[:levels]])[0] for levels in (1, 3, 5, 9)]
    assert all(sound.shape == (9_600,) and np.isfinite(sound).all() for sound in with_zero_ids)
    with pytest.raises(UsageError, match="1 to 16"):
        VocosCodec(weights=vocos_weights, num_levels=17)


def test_encodes_as_encodec(vocos_weights: Path, encodec_weights: Path, demo_speech: np.ndarray) -> None:
    audio = [demo_speech[:30_000], demo_speech[40_000:40_001]]
    ours, theirs = VocosCodec(weights=vocos_weights).encode(audio), EncodecCodec(weights=encodec_weights).encode(audio)
    assert all(np.array_equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_windows_change_nothing(vocos_weights: Path) -> None:
    whole, cut = VocosCodec(weights=vocos_weights), VocosCodec(weights=vocos_weights, window_s=0.3)
    codes = np.random.default_rng(0).integers(0, 1024, (8, 301)).astype(np.uint16)
    one, other = whole.decode([codes])[0], cut.decode([codes])[0]
    np.testing.assert_allclose(other, one, atol=1e-5 * np.abs(one).max())


def test_decodes_without_any_encodec(
    vocos_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, demo_speech: np.ndarray
) -> None:
    """No file of EnCodec, no hub: it decodes all the same, and only to encode says what is missing."""
    for file in ("config.yaml", "pytorch_model.bin"):
        shutil.copy(vocos_weights / file, tmp_path / file)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    codec = VocosCodec(weights=tmp_path)
    assert codec.decode([np.zeros((4, 3), np.uint16)])[0].shape == (960,)
    with pytest.raises(BackendError, match="encodec: no weights"):
        codec.encode([demo_speech[:320]])


def test_without_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BackendError, match=r"charactr/vocos-encodec-24khz.*--weights FOLDER") as error:
        VocosCodec()  # tests run with the hub switched off
    assert "\n" not in str(error.value)
    with pytest.raises(BackendError, match="is no folder with config.yaml"):
        VocosCodec(weights=tmp_path)


@pytest.mark.parametrize("damage", ["other class", "no codebooks", "other sizes", "truncated", "not yaml"])
def test_weights_that_are_none(vocos_weights: Path, tmp_path: Path, damage: str) -> None:
    config = yaml.safe_load((vocos_weights / "config.yaml").read_text())
    state = torch.load(vocos_weights / "pytorch_model.bin", weights_only=True)
    if damage == "other class":
        config["backbone"]["class_path"] = "os.system"
    elif damage == "no codebooks":
        del state["feature_extractor.codebook_weights"]
    elif damage == "other sizes":
        config["backbone"]["init_args"]["dim"] = 40
    (tmp_path / "config.yaml").write_text("[" if damage == "not yaml" else yaml.safe_dump(config))
    torch.save(state, tmp_path / "pytorch_model.bin")
    if damage == "truncated":
        (tmp_path / "pytorch_model.bin").write_bytes((tmp_path / "pytorch_model.bin").read_bytes()[:50_000])
    with pytest.raises(BackendError, match=r"pytorch_model.bin") as error:
        VocosCodec(weights=tmp_path)
    assert "\n" not in str(error.value)
