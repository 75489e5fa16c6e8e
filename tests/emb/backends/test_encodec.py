"""EnCodec against its own package, and what a person is told when its weights are not there or not its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from vall_e.emb.backends._torchaudio import install_shim
from vall_e.emb.backends.encodec import EncodecCodec
from vall_e.types import BackendError


def test_codes_are_at_least_as_near_as_the_packages_own(encodec_weights: Path, demo_speech: np.ndarray) -> None:
    """Where a code differs from the package's, ours is the nearer one in float64: its float32 distance cancels."""
    install_shim()
    from encodec.model import EncodecModel

    model = EncodecModel.encodec_model_24khz(pretrained=False)
    model.load_state_dict(torch.load(encodec_weights, weights_only=True))
    model.set_target_bandwidth(6.0)
    audio = demo_speech[: 24_000 * 6]
    with torch.inference_mode():
        theirs = model.encode(torch.from_numpy(audio)[None, None])[0][0][0].numpy()
        frames = model.encoder(torch.from_numpy(audio)[None, None])[0].T.double()
        codebooks = [layer._codebook.embed.double() for layer in model.quantizer.vq.layers[:8]]
    (ours,) = EncodecCodec(weights=encodec_weights).encode([audio])
    assert ours.shape == theirs.shape
    assert (ours != theirs).mean() < 0.02
    for frame in range(ours.shape[1]):
        residual = frames[frame]
        for level, codebook in enumerate(codebooks):
            one, other = int(ours[level, frame]), int(theirs[level, frame])
            if one != other:
                distances = (codebook[[one, other]] - residual).square().sum(1)
                assert distances[0] <= distances[1] * (1 + 1e-5)
                break  # from here on the residuals are of two different paths
            residual = residual - codebook[one]


def test_decodes_like_the_package(encodec_weights: Path, demo_speech: np.ndarray) -> None:
    install_shim()
    from encodec.model import EncodecModel

    model = EncodecModel.encodec_model_24khz(pretrained=False)
    model.load_state_dict(torch.load(encodec_weights, weights_only=True))
    codec = EncodecCodec(weights=encodec_weights)
    (codes,) = codec.encode([demo_speech[:48_000]])
    with torch.inference_mode():
        theirs = model.decode([(torch.from_numpy(codes.astype(np.int64))[None], None)])[0, 0].numpy()
    np.testing.assert_allclose(codec.decode([codes])[0], theirs, atol=1e-4 * np.abs(theirs).max())


def test_right_padding_changes_no_code_before_it(encodec_weights: Path, demo_speech: np.ndarray) -> None:
    codec = EncodecCodec(weights=encodec_weights)
    assert codec.causal
    audio = demo_speech[: 320 * 60]
    short, padded = codec.encode([audio, np.pad(audio, (0, 320 * 20))])
    assert (short[:, :-1] != padded[:, : short.shape[1] - 1]).mean() < 0.001


def test_safetensors_hold_the_same_weights(encodec_weights: Path, tmp_path: Path, demo_speech: np.ndarray) -> None:
    path = tmp_path / "weights.safetensors"
    state = {key: value.contiguous() for key, value in torch.load(encodec_weights, weights_only=True).items()}
    safetensors.torch.save_file(state, path)
    one, other = EncodecCodec(weights=path), EncodecCodec(weights=encodec_weights)
    np.testing.assert_array_equal(one.encode([demo_speech[:9_999]])[0], other.encode([demo_speech[:9_999]])[0])


def test_without_weights_the_error_names_the_embedded_codec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens there: the hub is out of reach anywhere
    with pytest.raises(BackendError, match=r"--weights FILE.*--audio-backend tiny") as error:
        EncodecCodec()
    assert "\n" not in str(error.value)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_weights_in_the_cache_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encodec_weights: Path) -> None:
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    (cache / "encodec_24khz-d7cc33bc.th").symlink_to(encodec_weights)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert EncodecCodec().spec == EncodecCodec(weights=encodec_weights).spec


@pytest.mark.parametrize("damage", ["missing", "empty", "text", "truncated", "pickle", "other model", "not a state"])
def test_weights_that_are_none(tmp_path: Path, encodec_weights: Path, damage: str) -> None:
    path = tmp_path / "weights.th"
    if damage == "truncated":
        path.write_bytes(encodec_weights.read_bytes()[:100_000])
    elif damage == "pickle":
        torch.save({"x": Path("an object, not a tensor")}, path)
    elif damage == "other model":
        torch.save(torch.nn.Linear(2, 2).state_dict(), path)
    elif damage == "not a state":
        torch.save([torch.zeros(2)], path)
    elif damage != "missing":
        path.write_text("" if damage == "empty" else "hello")
    with pytest.raises(BackendError, match="weights.th") as error:
        EncodecCodec(weights=path)
    assert "\n" not in str(error.value)
