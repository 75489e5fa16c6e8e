"""FunCodec from small random checkpoints: its own package's codes, any length, scales, and what is no such model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import funcodec_models
import numpy as np
import pytest
import torch
import yaml
from funcodec_models import FREQ_KINDS, KINDS, save, their_model

from vall_e import audio
from vall_e.emb.codecs.funcodec import FuncodecCodec
from vall_e.types import BackendError, UsageError

RATE_HZ = 16_000


@pytest.fixture(scope="module")
def speech(demo_speech: np.ndarray) -> np.ndarray:
    return audio.resample(demo_speech, 24_000, RATE_HZ)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, speech: np.ndarray) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("funcodec")
    return {kind: save(root / kind, kind, speech[: 8 * RATE_HZ]) for kind in KINDS}


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def codec(kind: str, folders: dict[str, Path]) -> FuncodecCodec:
    return FuncodecCodec(weights=folders[kind])


def test_codes_of_every_length(codec: FuncodecCodec, speech: np.ndarray) -> None:
    hop = codec.spec.hop_samples
    for length in (1, 159, hop - 1, hop, hop + 1, 5 * hop + 160, 15_900, 16_001, 30_000):
        item = speech[30_000 : 30_000 + length]
        (codes,), (scales,) = codec.encode([item]), codec.scales([item])
        assert codes.dtype == np.uint16
        assert codes.shape == (8, codec.spec.num_frames(length))
        (sound,) = codec.decode([codes], [scales])
        assert len(sound) >= length
        if not codec.spec.chunk_samples:
            assert len(sound) == codes.shape[1] * hop
        assert np.isfinite(sound).all()
    assert len(np.unique(codes[0])) > 5  # else nothing is proved here


def test_frame_rates(kind: str, codec: FuncodecCodec) -> None:
    assert codec.spec.frame_rate_hz == (25 if kind in ("time_ds640", "mag_phase") else 50)
    assert codec.spec.sample_rate_hz == RATE_HZ


def test_long_audio_in_windows_equals_the_whole(
    kind: str, codec: FuncodecCodec, folders: dict[str, Path], speech: np.ndarray
) -> None:
    in_windows = FuncodecCodec(weights=folders[kind], at_once_s=0.5, window_s=0.8)
    # spectra of an odd and of an even number of columns are padded differently
    for length in (2 * RATE_HZ + 77, 2 * RATE_HZ + 160 * 3)[: 2 if kind in FREQ_KINDS else 1]:
        item = speech[:length]
        (whole,) = codec.encode([item])
        (sound,) = codec.decode([whole])
        (windowed,) = in_windows.encode([item])
        (long_sound,) = in_windows.decode([whole])
        assert windowed.shape == whole.shape
        assert (windowed != whole).mean() <= 0.001
        np.testing.assert_allclose(long_sound, sound, atol=2e-5 * np.abs(sound).max())


def test_loudness_comes_back(kind: str, codec: FuncodecCodec, speech: np.ndarray) -> None:
    item = speech[:20_000]
    (codes,), (scales,) = codec.encode([item]), codec.scales([item])
    (quiet,), (quiet_scales,) = codec.encode([item * 0.125]), codec.scales([item * 0.125])
    # phases of bins without sound turn at the last digit, and the loudness has a floor of 1e-8
    assert (quiet != codes).mean() < (0.4 if kind in FREQ_KINDS else 0.01)
    np.testing.assert_allclose(quiet_scales, scales * 0.125, rtol=1e-5)
    chunks = [item[:16_000], item[15_840:]] if codec.spec.chunk_samples else [item]
    np.testing.assert_allclose(scales, [np.sqrt(np.mean(chunk**2.0)) for chunk in chunks], rtol=1e-4)
    if len(scales) == 1:
        (plain,), (scaled,) = codec.decode([codes]), codec.decode([codes], [scales])
        np.testing.assert_allclose(scaled, plain * scales[0], rtol=1e-5, atol=1e-7)


def test_scales_of_another_number_of_chunks(folders: dict[str, Path]) -> None:
    codec = FuncodecCodec(weights=folders["chunked"])
    with pytest.raises(ValueError, match="scales"):
        codec.decode([np.zeros((8, 103), np.uint16)], [np.ones(5, np.float32)])


def test_silence(codec: FuncodecCodec) -> None:
    (codes,) = codec.encode([np.zeros(5_000, np.float32)])
    assert np.isfinite(codec.decode([codes], codec.scales([np.zeros(5_000, np.float32)]))[0]).all()


@pytest.mark.parametrize(("bits", "levels"), [(300, 1), (599, 1), (600, 2), (2_400, 8)])
def test_bit_width(folders: dict[str, Path], bits: int, levels: int) -> None:
    codec = FuncodecCodec(weights=folders["time_ds320"], bit_width=bits)  # 6 bits, 50 times a second
    assert codec.spec.num_levels == levels
    assert FuncodecCodec(weights=folders["time_ds640"], bit_width=1_200).spec.num_levels == 8


@pytest.mark.parametrize("bits", [0, 299, 2_700, -5])
def test_bit_width_it_has_not(folders: dict[str, Path], bits: int) -> None:
    with pytest.raises(UsageError, match="bits/s"):
        FuncodecCodec(weights=folders["time_ds320"], bit_width=bits)


@pytest.mark.parametrize("kind", ["time_ds320", "mag_phase"])
def test_lower_precision_runs(folders: dict[str, Path], kind: str, speech: np.ndarray) -> None:
    exact, rough = (FuncodecCodec(weights=folders[kind], dtype=dtype) for dtype in ("float32", "bfloat16"))
    (codes,), (near) = exact.encode([speech[:16_000]]), rough.encode([speech[:16_000]])[0]
    assert near.shape == codes.shape
    assert (codes[0] == near[0]).mean() > (0.9 if kind == "time_ds320" else 0.8)  # angles turn on little
    assert rough.decode([codes])[0].dtype == np.float32
    with pytest.raises(UsageError, match="dtype"):
        FuncodecCodec(weights=folders[kind], dtype="int8")


def test_path_of_the_weights_themselves(folders: dict[str, Path]) -> None:
    folder = folders["time_ds320"]
    assert FuncodecCodec(weights=folder / "model.pth").spec == FuncodecCodec(weights=folder).spec


def test_caches_are_used_and_the_hub_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folders: dict[str, Path]
) -> None:
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path))
    with pytest.raises(BackendError, match=r"nq32ds640.*--weights DIR.*--audio-backend tiny") as error:
        FuncodecCodec()
    assert "\n" not in str(error.value)
    named = Path("alibaba-damo/audio_codec-freqcodec_magphase-en-libritts-16k-gr1nq32ds320-pytorch")
    with pytest.raises(BackendError, match="gr1nq32ds320"):
        FuncodecCodec(weights=named)
    (tmp_path / "damo").mkdir()
    (tmp_path / "damo" / named.name).symlink_to(folders["mag_angle"])
    assert FuncodecCodec(weights=named).spec == FuncodecCodec(weights=folders["mag_angle"]).spec


@pytest.mark.parametrize("damage", ["missing", "empty", "text", "truncated", "pickle", "other model", "not a state"])
def test_weights_that_are_none(tmp_path: Path, folders: dict[str, Path], damage: str) -> None:
    (tmp_path / "config.yaml").write_bytes((folders["time_ds320"] / "config.yaml").read_bytes())
    path = tmp_path / "model.pth"
    if damage == "truncated":
        path.write_bytes((folders["time_ds320"] / "model.pth").read_bytes()[:50_000])
    elif damage == "pickle":
        torch.save({"x": Path("an object, not a tensor")}, path)
    elif damage == "other model":
        path.write_bytes((folders["time_ds640"] / "model.pth").read_bytes())
    elif damage == "not a state":
        torch.save([torch.zeros(2)], path)
    elif damage != "missing":
        path.write_text("" if damage == "empty" else "hello")
    with pytest.raises(BackendError, match="model.pth") as error:
        FuncodecCodec(weights=tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("encoder", "conformer_encoder", "conformer_encoder"),
        ("decoder", "transformer", "transformer"),
        ("quantizer", "identity_quantizer", "identity_quantizer"),
        ("model", "codec_semantic_aug", "codec_semantic_aug"),
        ("input_size", "one", "input_size"),
        ("encoder_conf.norm", "spectral_norm", "spectral_norm"),
        ("encoder_conf.seq_model", "transformer", "transformer"),
        ("encoder_conf.activation", "snake", "snake"),
        ("encoder_conf.wings", 2, "wings"),
        ("encoder_conf.ratios", [8, 0], "ratios"),
        ("encoder_conf.ratios", [8, 5], "ratios"),
        ("encoder_conf.n_filters", "many", "n_filters"),
        ("encoder_conf", 3, "encoder_conf"),
        ("model_conf.codec_domain", "stft", "stft"),
        ("model_conf.bypass_quantizer", True, "bypass_quantizer"),
        ("model_conf.segment_dur", "short", "segment_dur"),
        ("quantizer_conf.codebook_size", -1, "codebook_size"),
    ],
)
def test_networks_that_are_not_built_here(
    tmp_path: Path, folders: dict[str, Path], path: str, value: Any, message: str
) -> None:
    config = yaml.safe_load((folders["time_ds320"] / "config.yaml").read_text())
    section, _, key = path.rpartition(".")
    (config[section] if section else config)[key] = value
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "model.pth").symlink_to(folders["time_ds320"] / "model.pth")
    with pytest.raises(BackendError, match=message) as error:
        FuncodecCodec(weights=tmp_path)
    assert "config.yaml" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["[", "- 1", "!!python/object:os.system {}", "\xff"])
def test_configs_that_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_bytes(text.encode("latin-1"))
    (tmp_path / "model.pth").write_text("")
    with pytest.raises(BackendError, match="config.yaml"):
        FuncodecCodec(weights=tmp_path)


# --- against the published package ---


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Modules of the package `funcodec`, installed apart."""
    with funcodec_models.package(tmp_path_factory.mktemp("package")) as modules:
        yield modules


@pytest.mark.slow
def test_codes_and_audio_are_the_packages_own(
    package: Any, kind: str, folders: dict[str, Path], codec: FuncodecCodec, speech: np.ndarray
) -> None:
    model = their_model(package, folders[kind])
    for length in (321, 640, 1_999, 16_000, 32_333, 48_000):
        item = speech[10_000 : 10_000 + length]
        with torch.inference_mode():
            found = model.inference(torch.from_numpy(item)[None], need_recon=False)
        theirs = np.concatenate([codes[:, 0].numpy() for codes in found["code_indices"]], axis=1)
        (ours,), (scales,) = codec.encode([item]), codec.scales([item])
        # a spectrum has a column more than hops: the package's files of codes leave out what it adds, and so do we
        assert 0 <= theirs.shape[1] - ours.shape[1] <= 1
        assert (ours != theirs[:, : ours.shape[1]]).mean() <= 0.001
        with torch.inference_mode():
            frames, start = [], 0
            for (embedding, scale), own in zip(found["code_embeddings"], scales, strict=True):
                count = min(embedding.shape[1], ours.shape[1] - start)
                piece = torch.from_numpy(ours[:, None, start : start + count].astype(np.int64))
                np.testing.assert_allclose(own, scale.item(), rtol=1e-5)
                frames.append((model.quantizer.decode(piece).transpose(1, 2), scale))
                start += count
            sound = model._decode(frames).reshape(-1).numpy()
        (own_sound,) = codec.decode([ours], [scales])
        assert 0 <= len(own_sound) - len(sound) <= codec.spec.hop_samples // 2
        np.testing.assert_allclose(own_sound[: len(sound)], sound, atol=1e-4 * np.abs(sound).max())


@pytest.mark.slow
def test_codes_that_differ_are_nearer(package: Any, folders: dict[str, Path], speech: np.ndarray) -> None:
    """Over much speech some codes differ, as the package's float32 distance cancels; ours are then the nearer ones."""
    model = their_model(package, folders["time_ds320"])
    item = speech[: 30 * RATE_HZ]
    with torch.inference_mode():
        theirs = model.inference(torch.from_numpy(item)[None], need_recon=False)["code_indices"][0][:, 0].numpy()
        frames = model._encode(torch.from_numpy(item)[None, None])[0][0][0].double()
    books = model.quantizer.rq.model.embed.double()
    (ours,) = FuncodecCodec(weights=folders["time_ds320"]).encode([item])
    for frame in range(ours.shape[1]):
        rest = frames[frame]
        for level, book in enumerate(books):
            one, other = int(ours[level, frame]), int(theirs[level, frame])
            if one != other:
                near, far = (book[[one, other]] - rest).square().sum(1)
                assert near <= far * (1 + 1e-5)
                break
            rest = rest - book[one]
