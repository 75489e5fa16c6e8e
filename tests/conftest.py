"""What many tests share: the demo corpus, and an EnCodec with random weights whose codes mean something."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: two threads in small models are slower than one
os.environ["HF_HUB_OFFLINE"] = "1"  # a test that needs a hub is a broken test

from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
DEMO = REPOSITORY / "data" / "demo" / "voices"


@pytest.fixture(scope="session")
def demo() -> Path:
    return DEMO


@pytest.fixture(scope="session")
def demo_speech() -> np.ndarray:
    """About 40 s of demo speech of several speakers at 24 kHz, float32 [n]."""
    from vall_e import audio

    parts, seconds = [], 0.0
    for path in audio.find_files(DEMO):
        samples, rate_hz = audio.load(path)
        parts.append(audio.resample(samples[: 4 * rate_hz], rate_hz, 24_000))
        seconds += len(parts[-1]) / 24_000
        if seconds > 40:
            break
    return np.concatenate(parts)


@pytest.fixture(scope="session")
def encodec_weights(tmp_path_factory: pytest.TempPathFactory, demo_speech: np.ndarray) -> Path:
    """A file of random EnCodec 24 kHz weights with codebooks drawn from what its encoder gives for speech."""
    import codec_models

    return codec_models.encodec(tmp_path_factory.mktemp("weights") / "encodec_random.th", demo_speech)


@pytest.fixture(scope="session")
def encodec_48khz_weights(tmp_path_factory: pytest.TempPathFactory, demo_speech: np.ndarray) -> Path:
    import codec_models

    path = tmp_path_factory.mktemp("weights") / "encodec_48khz_random.th"
    return codec_models.encodec(path, demo_speech, kind="48khz", seconds=4.0)


@pytest.fixture(scope="session")
def dac_weights(tmp_path_factory: pytest.TempPathFactory, demo_speech: np.ndarray) -> Path:
    """A folder of small random DACs: dac.pth, dac_24khz.pth, dac_16khz.pth."""
    import codec_models

    folder = tmp_path_factory.mktemp("dac")
    for name, rate in (("dac", 44_100), ("dac_24khz", 24_000), ("dac_16khz", 16_000)):
        codec_models.dac(folder / f"{name}.pth", demo_speech, codec_models.dac_config(rate))
    return folder


@pytest.fixture(scope="session")
def vocos_weights(tmp_path_factory: pytest.TempPathFactory, encodec_weights: Path) -> Path:
    """A folder with a small random Vocos, and the EnCodec that it decodes the codes of."""
    import codec_models

    return codec_models.vocos(tmp_path_factory.mktemp("vocos"), encodec_weights)


@pytest.fixture(scope="session")
def funcodec_weights(tmp_path_factory: pytest.TempPathFactory, demo_speech: np.ndarray) -> Path:
    """A folder with a small random FunCodec of 8 levels of 64."""
    import funcodec_models

    from vall_e import audio

    speech = audio.resample(demo_speech[: 24_000 * 8], 24_000, 16_000)
    return funcodec_models.save(tmp_path_factory.mktemp("funcodec"), "time_ds320", speech)


@pytest.fixture(scope="session")
def whisper_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders of a tiny random Whisper and of a tiny random alignment model, as options of the transcribe stage."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("whisper_model", REPOSITORY / "tests" / "whisper_model.py")
    assert spec is not None and spec.loader is not None
    builder = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(builder)
    folder = tmp_path_factory.mktemp("whisper")
    return {"model_name": str(builder.build_whisper(folder)), "align_model": str(builder.build_aligner(folder))}
