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
    for _, path in audio.scan(DEMO, "test").found:
        samples, rate_hz = audio.load(path)
        parts.append(audio.resample(samples[: 4 * rate_hz], rate_hz, 24_000))
        seconds += len(parts[-1]) / 24_000
        if seconds > 40:
            break
    return np.concatenate(parts)


@pytest.fixture(scope="session")
def encodec_weights(tmp_path_factory: pytest.TempPathFactory, demo_speech: np.ndarray) -> Path:
    """A file of random EnCodec 24 kHz weights with codebooks drawn from what its encoder gives for speech.

    Codebooks of a random model are all zero, so that every code is 0 and nothing is proved.
    """
    import torch

    from vall_e.emb.backends._torchaudio import install_shim

    install_shim()
    from encodec.model import EncodecModel

    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = EncodecModel.encodec_model_24khz(pretrained=False)
    with torch.inference_mode():
        residual = model.encoder(torch.from_numpy(demo_speech[: 24_000 * 30])[None, None])[0].T
        generator = torch.Generator().manual_seed(0)
        for layer in model.quantizer.vq.layers:
            picks = torch.randperm(len(residual), generator=generator)[:1024]
            layer._codebook.embed.copy_(residual[picks])
            layer._codebook.inited.fill_(True)
            # the entry of a picked frame is that frame: leave it out half-way, so that later levels have work
            layer._codebook.embed.mul_(0.9)
            residual = residual - layer._codebook.embed[torch.cdist(residual, layer._codebook.embed).argmin(1)]
    path = tmp_path_factory.mktemp("weights") / "encodec_random.th"
    torch.save(model.state_dict(), path)
    return path


@pytest.fixture(scope="session")
def whisper_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders of a tiny random Whisper and of a tiny random alignment model, as options of the transcribe stage."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("whisper_model", REPOSITORY / "tests" / "emb" / "whisper_model.py")
    assert spec is not None and spec.loader is not None
    builder = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(builder)
    folder = tmp_path_factory.mktemp("whisper")
    return {"model_name": str(builder.build_whisper(folder)), "align_model": str(builder.build_aligner(folder))}
