"""EnCodec against its own package, and the errors when its weights are missing or not its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from vall_e.compat import install_shim
from vall_e.emb.codecs import streaming
from vall_e.emb.codecs.encodec import EncodecCodec
from vall_e.emb.codecs.rvq import quantize
from vall_e.types import BackendError, UsageError


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
    assert (ours != theirs).mean() < 0.01
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
    audio = demo_speech[: 320 * 60]
    short, padded = codec.encode([audio, np.pad(audio, (0, 320 * 20))])
    assert (short[:, :-1] != padded[:, : short.shape[1] - 1]).mean() < 0.001


@pytest.fixture(scope="module")
def package(encodec_weights: Path) -> Any:
    install_shim()
    from encodec.model import EncodecModel

    model = EncodecModel.encodec_model_24khz(pretrained=False)
    model.load_state_dict(torch.load(encodec_weights, weights_only=True))
    return model


# every way in which a length can meet hops, pieces of 2 s, and what the reflection reaches, in a piece and past its end
LENGTHS = [1, 2, 6, 7, 319, 320, 321, 2_241, 7_999, 8_000, 8_001, 24_001, 24_319, 48_000, 48_001, 48_003, 100_003]


def test_streams_what_the_package_sees_at_once(package: Any, encodec_weights: Path, demo_speech: np.ndarray) -> None:
    """Latents and sound of the whole network, whatever the length; the package has all of it in memory at once."""
    codec = EncodecCodec(weights=encodec_weights)
    items = [demo_speech[5_000 : 5_000 + length] for length in LENGTHS]
    codes, differ = codec.encode(items), 0
    with torch.inference_mode():
        for samples, ours, sound in zip(items, codes, codec.decode(codes), strict=True):
            frames = package.encoder(torch.from_numpy(samples)[None, None])[0].T
            differ += int((quantize(frames, torch.from_numpy(codec.codebooks)).numpy() != ours).sum())
            theirs = package.decode([(torch.from_numpy(ours.astype(np.int64))[None], None)])[0, 0].numpy()
            np.testing.assert_allclose(sound, theirs, atol=1e-5 * np.abs(theirs).max())
    assert differ <= 0.001 * sum(item.size for item in codes)


def test_a_batch_changes_no_bit(encodec_weights: Path, demo_speech: np.ndarray) -> None:
    codec = EncodecCodec(weights=encodec_weights, num_levels=32)
    items = [demo_speech[7 * length :][:length] for length in LENGTHS[:-1]]
    together = codec.encode(items)
    assert all(np.array_equal(codec.encode([item])[0], codes) for item, codes in zip(items, together, strict=True))
    backwards = codec.encode(items[::-1])[::-1]
    assert all(np.array_equal(one, other) for one, other in zip(together, backwards, strict=True))
    sounds = codec.decode(together)
    assert all(np.array_equal(codec.decode([item])[0], sound) for item, sound in zip(together, sounds, strict=True))


def test_pieces_do_not_matter(encodec_weights: Path, demo_speech: np.ndarray) -> None:
    """As on an accelerator, where other sizes are right."""
    codec, other = EncodecCodec(weights=encodec_weights), EncodecCodec(weights=encodec_weights, piece_s=0.53)
    audio = demo_speech[: 24_000 * 30 + 77]
    (codes,) = codec.encode([audio])
    (sound,) = codec.decode([codes])
    assert (other.encode([audio])[0] != codes).mean() <= 0.001
    np.testing.assert_allclose(other.decode([codes])[0], sound, atol=1e-5 * np.abs(sound).max())


def test_a_padded_batch_is_each_alone(package: Any) -> None:
    """The way of an accelerator: sequences of all lengths in one batch, each with its own end, in two pieces."""
    generator = torch.Generator().manual_seed(0)
    for network, width, hop in ((package.encoder, 1, 320), (package.decoder, 128, 1)):
        lengths = [7, 21 * hop, 16 * hop + hop // 3, 16 * hop, 8 * hop + 1, 5 * hop - 1, 2, 1]
        xs = [torch.randn(width, length, generator=generator) for length in lengths]
        stream = streaming.Stream(network, columns_per_frame=hop, on_cpu=False, piece_frames=8)
        sources = [lambda start, stop, x=x: x[:, start:stop] for x in xs]
        parts: list[list[torch.Tensor]] = [[] for _ in xs]
        with torch.inference_mode():
            for some in stream(sources, lengths):
                for item, part in some:
                    parts[item].append(part)
            for x, own in zip(xs, parts, strict=True):
                theirs = network(x[None])[0]
                np.testing.assert_allclose(torch.cat(own, -1), theirs, atol=1e-5 * float(theirs.abs().max()))


def test_the_code_space(encodec_weights: Path, demo_speech: np.ndarray) -> None:
    """Latents are sums of entries; quantising what the first levels left finds the codes of the levels after them."""
    codec = EncodecCodec(weights=encodec_weights)
    (codes,) = codec.encode([demo_speech[:9_000]])
    latents = codec.dequantize(codes)
    assert latents.shape == (29, 128) and codec.codebooks.shape == (8, 1024, 128)
    entries = sum(book[own] for book, own in zip(codec.codebooks, codes, strict=True))
    np.testing.assert_allclose(latents, entries, atol=1e-4)
    found = codec.quantize(latents)
    np.testing.assert_array_equal(codec.quantize(latents - codec.dequantize(found[:3]), 3)[0], found[3])


def test_memory_does_not_grow_with_length(encodec_weights: Path) -> None:
    """Ten times the length, in a process of its own whose peak it measures."""
    script = (
        "import resource, sys, numpy as np\n"
        "from pathlib import Path\n"
        "from vall_e.emb.codecs.encodec import EncodecCodec\n"
        "codec = EncodecCodec(weights=Path(sys.argv[1]))\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "codec.decode(codec.encode([np.zeros(24_000 * 4, np.float32)])); short = peak()\n"
        "codec.decode(codec.encode([np.zeros(24_000 * 40, np.float32)])); print(peak() - short)\n"
    )
    command = [sys.executable, "-c", script, str(encodec_weights)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 32_000  # kB; the sound itself is 4 MB, the package's activations are 600 MB


def test_lower_precision_is_near(encodec_weights: Path, demo_speech: np.ndarray) -> None:
    codec = EncodecCodec(weights=encodec_weights, dtype="bfloat16")
    (codes,) = codec.encode([demo_speech[:24_000]])
    exact = EncodecCodec(weights=encodec_weights)
    assert 0.3 < (codes[0] == exact.encode([demo_speech[:24_000]])[0][0]).mean() < 1
    one, other = codec.decode([codes])[0], exact.decode([codes])[0]
    assert one.dtype == np.float32
    assert np.abs(one - other).max() < 0.1 * np.abs(other).max()


def test_what_it_refuses(encodec_weights: Path) -> None:
    with pytest.raises(UsageError, match="float64"):
        EncodecCodec(weights=encodec_weights, dtype="float64")
    assert EncodecCodec(weights=encodec_weights).encode([]) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_without_the_device(encodec_weights: Path) -> None:
    with pytest.raises(BackendError, match="--device cpu"):
        EncodecCodec(weights=encodec_weights, device="cuda")


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
    assert "weights_only" not in str(error.value), "no advice to run what a file holds"
