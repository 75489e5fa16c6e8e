"""Random weights for every codec, in the files that its authors' checkpoints come in.

A random codec proves nothing as it is: its codebooks are zero and its encoder gives nearly the same for any sound. So
the layers are made lively, and every codebook is drawn from what its level is given for speech.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vall_e.compat import install_shim

LEVEL_LEFT = 0.9  # the entry of a picked frame is nearly that frame: later levels get something to do


def _seed(seed: int) -> torch.Generator:
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    return torch.Generator().manual_seed(seed)


def _enliven(model: torch.nn.Module, gain: float) -> None:
    for name, parameter in model.named_parameters():
        if name.endswith("weight_g"):
            parameter.mul_(gain)
        elif name.endswith("alpha"):
            parameter.uniform_(0.5, 1.5)
        elif name.endswith("bias") and "lstm" not in name:
            parameter.uniform_(-0.02, 0.02)


def _pick(rows: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
    """`size` rows of [N,D], each only about as it is, so that none is there twice."""
    picks = torch.randint(len(rows), (size,), generator=generator)
    noise = 0.05 * rows.std() * torch.randn(size, rows.shape[1], generator=generator)
    return LEVEL_LEFT * rows[picks] + noise


@torch.no_grad()
def encodec(path: Path, speech: np.ndarray, *, kind: str = "24khz", seconds: float = 12.0) -> Path:
    """The package's own size: it knows no other. `speech` is float32 [n] at 24 kHz, which does at 48 kHz as well."""
    install_shim()
    from encodec.model import EncodecModel

    generator = _seed(0)
    model: Any = getattr(EncodecModel, f"encodec_model_{kind}")(pretrained=False)
    _enliven(model, 1.0 if kind == "48khz" else 1.6)  # where a norm follows, gain does nothing
    chunk = model.sample_rate if model.segment else len(speech)
    sound = torch.from_numpy(speech[: int(seconds * model.sample_rate)])
    frames = []
    for piece in sound.split(chunk):
        loudness = piece.square().mean().sqrt().clamp(min=1e-3) if model.normalize else 1.0
        frames.append(model.encoder((piece / loudness)[None, None].repeat(1, model.channels, 1))[0].T)
    rest = torch.cat(frames)
    for layer in model.quantizer.vq.layers:
        entries = _pick(rest, 1024, generator)
        layer._codebook.embed.copy_(entries)
        layer._codebook.inited.fill_(True)
        rest = rest - entries[torch.cdist(rest, entries).argmin(1)]
    torch.save(model.state_dict(), path)
    return path


def dac_config(sample_rate: int) -> dict[str, Any]:
    """A small DAC at one of its rates; hops as published."""
    rates = [2, 4, 8, 8] if sample_rate == 44_100 else [2, 4, 5, 8]
    return {
        "encoder_dim": 8,
        "encoder_rates": rates,
        "decoder_dim": 64,
        "decoder_rates": rates[::-1],
        "n_codebooks": 9,
        "sample_rate": sample_rate,
    }


@torch.no_grad()
def dac(path: Path, speech: np.ndarray, config: Mapping[str, Any], *, seconds: float = 6.0) -> Path:
    """A checkpoint as the package saves it, of a model of that configuration."""
    install_shim()
    import dac as package

    generator = _seed(0)
    model = package.model.DAC(**config).eval()
    _enliven(model, 1.5)
    sound = torch.from_numpy(speech[: int(seconds * config["sample_rate"])])[None, None]
    rest = model.encoder(model.preprocess(sound, config["sample_rate"]))
    for level in model.quantizer.quantizers:
        level.codebook.weight.copy_(_pick(level.in_proj(rest)[0].T, model.codebook_size, generator))
        rest = rest - level(rest)[0]
    last = model.decoder.model[-2]
    last.weight_g.mul_(0.3 / model.decoder.model[:-1](model.quantizer(rest)[0]).std())  # clear of the tanh's ends
    model.save(str(path), package=False)
    return path


@torch.no_grad()
def vocos(folder: Path, encodec_weights: Path, *, width: int = 48, layers: int = 3) -> Path:
    """A small Vocos with the codebooks of that EnCodec, which lies beside it."""
    install_shim()
    import yaml
    from vocos.heads import ISTFTHead
    from vocos.models import VocosBackbone

    _seed(0)
    backbone = {
        "input_channels": 128,
        "dim": width,
        "intermediate_dim": 3 * width,
        "num_layers": layers,
        "adanorm_num_embeddings": 4,
    }
    head = {"dim": width, "n_fft": 1280, "hop_length": 320, "padding": "same"}
    features = {"encodec_model": "encodec_24khz", "bandwidths": [1.5, 3.0, 6.0, 12.0], "train_codebooks": True}
    config = {
        "feature_extractor": {"class_path": "vocos.feature_extractors.EncodecFeatures", "init_args": features},
        "backbone": {"class_path": "vocos.models.VocosBackbone", "init_args": backbone},
        "head": {"class_path": "vocos.heads.ISTFTHead", "init_args": head},
    }
    parts = torch.nn.ModuleDict({"backbone": VocosBackbone(**backbone), "head": ISTFTHead(**head)})
    for name, parameter in parts.named_parameters():
        if "scale" in name or "shift" in name:  # else all bandwidths sound the same
            parameter.add_(0.3 * torch.randn_like(parameter))
        elif "weight" in name:
            parameter.mul_(3)
    state = torch.load(encodec_weights, weights_only=True)
    codebooks = [state[f"quantizer.vq.layers.{level}._codebook.embed"] for level in range(16)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    own = {"feature_extractor.codebook_weights": torch.cat(codebooks)}
    torch.save({**parts.state_dict(), **own}, folder / "pytorch_model.bin")
    (folder / "encodec_24khz-random.th").symlink_to(encodec_weights)
    return folder
