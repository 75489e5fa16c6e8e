"""Random FunCodec checkpoints, folders as published: config.yaml and model.pth under the package's own names.

And the package itself, to compare with.
"""

from __future__ import annotations

import contextlib
import importlib.machinery
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from vall_e.emb.codecs import funcodec_weights
from vall_e.emb.codecs.funcodec import FuncodecCodec
from vall_e.emb.codecs.funcodec_config import read_config

SEANET_KINDS = ("time_ds320", "time_ds640", "causal", "chunked", "halved")
FREQ_KINDS = ("mag_angle", "mag_phase")
KINDS = (*SEANET_KINDS, *FREQ_KINDS)


def config(kind: str) -> dict[str, Any]:
    """As the recipes of the package have it, narrower and with 8 levels of 64."""
    quantizer: dict[str, Any] = {"codebook_size": 64, "num_quantizers": 8, "kmeans_init": True}
    quantizer |= {"sampling_rate": 16_000, "use_ddp": True}
    model: dict[str, Any] = {"target_sample_hz": 16_000, "audio_normalize": True, "segment_dur": None}
    model |= {"overlap_ratio": None, "multi_spectral_window_powers_of_two": [5, 6]}
    common: dict[str, Any] = {"n_filters": 8, "norm": "time_group_norm", "causal": False}
    if kind in FREQ_KINDS:
        channels = 2 if kind == "mag_angle" else 3
        ratios = [[4, 1], [4, 1], [4, 2], [4, 1]] if kind == "mag_angle" else [[4, 2], [4, 1], [4, 2], [4, 1]]
        common |= {"ratios": ratios, "norm_params": {"num_groups": 1}, "dilation_base": 1}
        encoder, decoder = common | {}, common | {"channels": channels}
        if kind == "mag_phase":  # as the published models of few parameters
            encoder |= {"conv_group_ratio": 1}
            decoder |= {"conv_group_ratio": 1, "tr_conv_group_ratio": 1}
        return {
            "input_size": channels,
            "encoder": "encodec_seanet_encoder_2d",
            "encoder_conf": encoder,
            "quantizer_conf": quantizer,
            "decoder": "encodec_seanet_decoder_2d",
            "decoder_conf": decoder,
            "model": "freq_codec",
            "model_conf": model | {"codec_domain": [kind, kind]},
        }
    if kind == "time_ds640":
        common |= {"ratios": [8, 5, 4, 2, 2]}
        quantizer |= {"encoder_hop_length": 640}
    elif kind == "causal":
        common |= {"norm": "weight_norm", "causal": True, "n_residual_layers": 3, "seq_model": "none"}
        quantizer |= {"codec_dim": 16, "codec_range": 4.0}
    elif kind == "chunked":
        model |= {"segment_dur": 1.0, "overlap_ratio": 0.01}
    elif kind == "halved":
        quantizer |= {"q0_ds_ratio": 2}
    parts = {"encoder_conf": common, "quantizer_conf": quantizer, "decoder_conf": dict(common), "model_conf": model}
    return {"input_size": 1} | parts


def published(kind: str) -> dict[str, Any]:
    """`config` as wide as the published models, with their 32 levels of 1024."""
    wide = config(kind)
    wide["quantizer_conf"] |= {"codebook_size": 1024, "num_quantizers": 32}
    for part in ("encoder_conf", "decoder_conf"):
        wide[part] = wide[part] | {"n_filters": 32}
    return wide


def save(folder: Path, kind: str, speech_16khz: np.ndarray, *, full_size: bool = False) -> Path:
    """`folder`, with a model of random weights and codebooks that fit what its encoder gives for the speech [n]."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(published(kind) if full_size else config(kind)))
    model = read_config(folder / "config.yaml")
    torch.manual_seed(0)
    state: dict[str, torch.Tensor] = {"discriminator.left.out": torch.zeros(3)}
    for name, build, part in (
        ("encoder", funcodec_weights.build_encoder, model.encoder),
        ("decoder", funcodec_weights.build_decoder, model.decoder),
    ):
        state |= _named(name, build(part))
    if model.projected:
        width = model.encoder.dimension
        layers = torch.nn.Linear(width, model.code_dim), torch.nn.Linear(model.code_dim, width)
        for side, layer in zip(("input", "output"), layers, strict=True):
            state |= {f"quantizer.{side}_proj.{key}": value for key, value in layer.state_dict().items()}
    shape = (model.num_levels, model.codebook_size, model.code_dim)
    books = {"embed": torch.zeros(shape), "embed_avg": torch.zeros(shape)}
    books |= {"inited": torch.ones(shape[0], 1), "cluster_size": torch.ones(shape[:2])}
    state |= {f"quantizer.rq.model.{key}": value for key, value in books.items()}
    torch.save(state, folder / "model.pth")
    state["quantizer.rq.model.embed"] = _fitted(FuncodecCodec(weights=folder), model.code_range, shape, speech_16khz)
    torch.save(state, folder / "model.pth")
    return folder


def _named(name: str, net: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Parameters under the package's names, which are those of the package `encodec`."""
    generator = torch.Generator().manual_seed(1)
    state = {}
    for key, value in net.state_dict().items():
        if ".norm." in key:  # away from 1 and 0, which would hide a mistake
            spread = torch.randn(value.shape, generator=generator)
            value = 1 + 0.3 * spread if key.endswith("weight") else 0.2 * spread
        elif key.endswith("weight_g"):  # strong, lest all sounds come out alike
            value = 1.6 * value
        state[f"{name}.{key}"] = value
    return state


def _fitted(codec: FuncodecCodec, code_range: float | None, shape: tuple[int, ...], speech: np.ndarray) -> torch.Tensor:
    """Codebooks [K,C,D] that spread as what the levels before them left over."""
    generator = torch.Generator().manual_seed(2)
    with torch.inference_mode():
        rest = torch.cat(codec._frames(codec._chunks(speech))).float()
        rest = torch.nn.functional.linear(rest, *codec._maps[0]) if codec._maps else rest
        rest = rest if code_range is None else torch.tanh(rest) * code_range
        books = []
        for level in range(shape[0]):
            entries = 0.5 * rest.std(0) * torch.randn(shape[1:], generator=generator)
            if level == 0:
                entries = entries + rest.mean(0)
            rest = rest - entries[torch.cdist(rest, entries).argmin(1)]
            books.append(entries)
    return torch.stack(books)


@contextlib.contextmanager
def package(target: Path) -> Iterator[Any]:
    """Modules of the package `funcodec`, installed apart and without its dependencies, which can't be had.

    Raises:
        RuntimeError: it can't be installed.
    """
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target)]
    done = subprocess.run([*command, "funcodec==0.2.0"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    checks = types.ModuleType("typeguard")  # all it needs beyond what is installed: two functions that do nothing
    checks.__dict__.update(check_argument_types=lambda: True, check_return_type=lambda *_: True)
    checks.__spec__ = importlib.machinery.ModuleSpec("typeguard", None)
    before = sys.modules.get("typeguard")
    from vall_e.compat import install_shim

    install_shim()
    sys.modules["typeguard"] = checks
    sys.path.insert(0, str(target))
    try:
        from funcodec.models import codec_basic, codec_freq
        from funcodec.models.decoder import seanet_decoder
        from funcodec.models.encoder import seanet_encoder
        from funcodec.models.quantizer.costume_quantizer import CostumeQuantizer

        yield types.SimpleNamespace(
            encoders=(seanet_encoder.SEANetEncoder, seanet_encoder.SEANetEncoder2d),
            decoders=(seanet_decoder.SEANetDecoder, seanet_decoder.SEANetDecoder2d),
            models=(codec_basic.Encodec, codec_freq.FreqCodec),
            quantizer=CostumeQuantizer,
        )
    finally:
        sys.path.remove(str(target))
        for name in [name for name in sys.modules if name.partition(".")[0] == "funcodec"]:
            del sys.modules[name]
        if before is None:
            del sys.modules["typeguard"]
        else:
            sys.modules["typeguard"] = before


def their_model(modules: Any, folder: Path) -> Any:
    """The model of that folder as the package (`package`) builds it."""
    content = yaml.safe_load((folder / "config.yaml").read_text())
    is_freq = content.get("model") == "freq_codec"
    encoder = modules.encoders[is_freq](input_size=content["input_size"], **content["encoder_conf"])
    quantizer = modules.quantizer(input_size=encoder.output_size(), **content["quantizer_conf"])
    decoder = modules.decoders[is_freq](input_size=quantizer.output_size(), **content["decoder_conf"])
    parts = {"encoder": encoder, "quantizer": quantizer, "decoder": decoder, "discriminator": None}
    # losses want a GPU at construction
    options = content["model_conf"] | {"multi_spectral_window_powers_of_two": ()}
    model = modules.models[is_freq](input_size=content["input_size"], **parts, **options)
    result = model.load_state_dict(torch.load(folder / "model.pth", weights_only=True), strict=False)
    assert all(key.endswith("_func.window") for key in result.missing_keys)  # those of the spectra are made, not learnt
    assert result.unexpected_keys == ["discriminator.left.out"]
    return model.eval()
