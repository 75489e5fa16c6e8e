"""The tiny codec on its shipped weights."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from vall_e.emb.codecs.tiny import WEIGHTS, TinyCodec, TinyConfig, TinyModel, load_model
from vall_e.types import BackendError, UsageError

HOP = 320


@pytest.fixture(scope="module")
def codec() -> TinyCodec:
    torch.set_num_threads(1)
    return TinyCodec()


def voiced(num_samples: int, seed: int = 0) -> np.ndarray:
    """A buzz whose pitch and loudness wander, and some noise: float32 [n] at 24 kHz."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(num_samples) / 24_000
    pitch_hz = 140 + 40 * np.sin(2 * np.pi * 1.3 * time_s + rng.uniform(0, 6))
    phase = 2 * np.pi * np.cumsum(pitch_hz) / 24_000
    buzz = sum(np.sin(number * phase) / number for number in range(1, 20))
    loudness = 0.15 * (1 + np.sin(2 * np.pi * 3.1 * time_s))
    return (loudness * buzz + 0.01 * rng.standard_normal(num_samples)).astype(np.float32)


def test_publishes_what_it_is(codec: TinyCodec) -> None:
    spec = codec.spec
    assert (spec.name, spec.sample_rate_hz, spec.hop_samples) == ("tiny", 24_000, 320)
    assert (spec.num_levels, spec.codebook_size) == (8, 1024)
    assert spec.weights_sha256 == hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()


def test_the_weights_are_small_enough_to_ship() -> None:
    assert WEIGHTS.stat().st_size <= 8_000_000


@settings(max_examples=25, deadline=None)
@given(num_samples=st.integers(0, 4000))
def test_every_started_hop_is_a_frame(codec: TinyCodec, num_samples: int) -> None:
    (codes,) = codec.encode([voiced(num_samples)])
    assert codes.dtype == np.uint16
    assert codes.shape == (8, -(-num_samples // HOP)) == (8, codec.spec.num_frames(num_samples))
    (audio,) = codec.decode([codes])
    assert audio.dtype == np.float32
    assert audio.shape == (codes.shape[1] * HOP,)
    assert np.isfinite(audio).all()


def test_a_batch_equals_its_items_alone(codec: TinyCodec) -> None:
    items = [voiced(count, seed) for seed, count in enumerate([9600, 9600, 5000, 12_345])]
    together = codec.encode(items)
    for item, codes in zip(items, together, strict=True):
        np.testing.assert_array_equal(codes, codec.encode([item])[0])
    for audio, codes in zip(codec.decode(together), together, strict=True):
        np.testing.assert_array_equal(audio, codec.decode([codes])[0])


@pytest.mark.parametrize("window_s", [0.1, 0.5, 1.7])
def test_windows_equal_the_whole(codec: TinyCodec, window_s: float) -> None:
    audio = voiced(24_000 * 5 + 17)
    windowed = TinyCodec(window_s=window_s)
    (codes,) = codec.encode([audio])
    # other shapes may round otherwise in the last bit, which can turn a near tie; a missing context turns many more
    assert (windowed.encode([audio])[0] != codes).mean() < 1e-3
    np.testing.assert_allclose(windowed.decode([codes])[0], codec.decode([codes])[0], atol=1e-4)


def test_the_contexts_are_exactly_as_wide_as_the_model_sees() -> None:
    """By gradients: frame 40 depends on `context` frames to either side and on nothing beyond."""
    torch.manual_seed(0)
    model = TinyModel(TinyConfig()).double().eval()
    audio = (0.1 * torch.randn(1, 80 * HOP, dtype=torch.float64)).requires_grad_()
    model.latents(audio)[0, 40].square().sum().backward()
    assert audio.grad is not None
    seen = audio.grad.reshape(80, HOP).abs().sum(1).nonzero()[:, 0]
    context = model.config.encoder_context_frames
    assert (int(seen.min()), int(seen.max())) == (40 - context, 40 + context)

    latents = torch.randn(1, 80, model.config.latent_size, dtype=torch.float64).requires_grad_()
    model.synthesise(latents)[0, 40 * HOP : 41 * HOP].square().sum().backward()
    assert latents.grad is not None
    seen = latents.grad[0].abs().sum(1).nonzero()[:, 0]
    context = model.config.decoder_context_frames
    assert (int(seen.min()), int(seen.max())) == (40 - context, 40 + context)


def test_it_is_deterministic(codec: TinyCodec) -> None:
    audio = voiced(24_000)
    first, second = codec.encode([audio])[0], TinyCodec().encode([audio])[0]
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(codec.decode([first])[0], TinyCodec().decode([second])[0])


def test_fewer_levels_are_the_first_levels(codec: TinyCodec) -> None:
    audio = voiced(24_000)
    three = TinyCodec(num_levels=3)
    assert three.spec.num_levels == 3
    np.testing.assert_array_equal(three.encode([audio])[0], codec.encode([audio])[0][:3])
    # it decodes more than it encodes
    codes = codec.encode([audio])[0]
    np.testing.assert_array_equal(three.decode([codes])[0], codec.decode([codes])[0])


def test_every_number_of_levels_decodes_and_more_come_closer(codec: TinyCodec) -> None:
    audio = voiced(48_000)
    (codes,) = codec.encode([audio])
    latents = load_model(WEIGHTS).latents(torch.from_numpy(audio)[None])[0].detach().numpy()
    distances = []
    for levels in range(1, 9):
        (decoded,) = codec.decode([codes[:levels]])
        assert decoded.shape == (48_000,)
        distances.append(float(np.square(latents - codec.dequantize(codes[:levels])).mean()))
    assert distances == sorted(distances, reverse=True)


def test_codes_carry_the_sound(codec: TinyCodec) -> None:
    """Loudness over time survives the round trip, and does not when the codes are another sound's."""

    def loudness(audio: np.ndarray) -> np.ndarray:
        return np.log(np.sqrt(np.mean(audio.reshape(-1, HOP) ** 2, axis=1)) + 1e-3)

    one, other = voiced(48_000, 1), np.roll(voiced(48_000, 2), 4000)
    (decoded,) = codec.decode(codec.encode([one]))
    assert np.corrcoef(loudness(one), loudness(decoded))[0, 1] > 0.9
    assert np.corrcoef(loudness(other), loudness(decoded))[0, 1] < 0.9


def test_silence_stays_quiet(codec: TinyCodec) -> None:
    (decoded,) = codec.decode(codec.encode([np.zeros(24_000, np.float32)]))
    assert np.abs(decoded).max() < 0.02


def test_codes_of_any_integer_type_decode_alike(codec: TinyCodec) -> None:
    codes = codec.encode([voiced(9600)])[0]
    np.testing.assert_array_equal(codec.decode([codes.astype(np.int64)])[0], codec.decode([codes])[0])


@pytest.mark.parametrize("num_levels", [0, 9, -1])
def test_levels_out_of_range_are_refused(num_levels: int) -> None:
    with pytest.raises(UsageError, match="1 to 8"):
        TinyCodec(num_levels=num_levels)


def test_a_window_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="window_s"):
        TinyCodec(window_s=0.0)


def assert_refused_in_one_line(path: Path, *words: str) -> None:
    """The error names the file, the trouble and the way out."""
    with pytest.raises(BackendError) as caught:
        TinyCodec(weights=path)
    message = str(caught.value)
    assert "\n" not in message
    for word in (str(path), "data/train_tiny.py", *words):
        assert word in message


def test_missing_weights(tmp_path: Path) -> None:
    assert_refused_in_one_line(tmp_path / "none.safetensors", "no such weights file")


@pytest.mark.parametrize("content", [b"", b"not weights at all", b"\xff" * 64])
def test_weights_that_are_no_safetensors(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    assert_refused_in_one_line(path, "not a safetensors file")


def test_weights_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(WEIGHTS.read_bytes()[:100_000])
    assert_refused_in_one_line(path, "not a safetensors file")


@pytest.mark.parametrize("metadata", [None, {"config": "{"}, {"config": '{"colour": 1}'}, {"config": "[1]"}])
def test_weights_of_something_else(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(2)}, path, metadata)
    assert_refused_in_one_line(path, "configuration")


def test_weights_of_another_shape(tmp_path: Path) -> None:
    tensors = load_file(WEIGHTS)
    tensors["codebooks"] = tensors["codebooks"][:4].contiguous()
    path = tmp_path / "four.safetensors"
    save_file(tensors, path, {"config": json.dumps(TinyConfig().__dict__)})
    assert_refused_in_one_line(path, "codebooks", "[4, 1024, 64]")


def test_the_module_imports_in_a_fresh_process_and_twice() -> None:
    """The stand-in for torchaudio's extension is there before anything needs it."""
    code = (
        "from vall_e.compat import install_shim; install_shim(); install_shim(); "
        "import vall_e.emb.codecs.tiny, torchaudio, torch; "
        "x = torchaudio.functional.resample(torch.ones(160), 16000, 8000); print(len(x))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "80"


@pytest.mark.skipif(torch.version.cuda is not None, reason="a CUDA torch needs no stand-in")
def test_what_the_stand_in_cannot_do_fails_when_called() -> None:
    import torchaudio

    with pytest.raises(RuntimeError, match="forced_align"):
        torchaudio.functional.forced_align(torch.zeros(1, 4, 3), torch.ones(1, 2, dtype=torch.int32))


def test_a_missing_package_names_the_extra_to_install() -> None:
    code = "import sys; sys.modules['vocos'] = None\nimport vall_e.emb.codecs.tiny"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().endswith('tiny: the package vocos is missing; pip install "vall-e[tiny]"')


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_device_that_is_not_there_is_one_line() -> None:
    """It was torch's traceback, after all of the transcription."""
    with pytest.raises(BackendError, match=r"tiny: no CUDA device.*--device cpu"):
        TinyCodec(device="cuda")
