"""FunCodec's checkpoints: found, fetched, read without running anything that is in them, and put into the networks."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vall_e.compat import install_shim
from vall_e.emb.codecs.batching import fold_weight_norm
from vall_e.emb.codecs.checkpoints import read_tensors
from vall_e.emb.codecs.funcodec_config import Model, Seanet
from vall_e.types import BackendError

if TYPE_CHECKING:
    from torch import Tensor

HUB_NAME = "alibaba-damo/audio_codec-encodec-en-libritts-16k-nq32ds640-pytorch"
FILES = ("config.yaml", "model.pth")


def folder(weights: Path | None) -> Path:
    """The folder of config.yaml and model.pth: given, in ModelScope's cache, or in Hugging Face's, fetched if need be.

    `weights` is a folder, the model.pth in it, or the name of a published model, `alibaba-damo/audio_codec-…`.

    Raises:
        BackendError: a file is missing, or the hub is out of reach.
    """
    if weights is not None and weights.is_file() and weights.name == FILES[1]:
        weights = weights.parent
    name = HUB_NAME if weights is None else weights.as_posix()
    if weights is not None and (weights.exists() or not re.fullmatch(r"[\w-]+/audio_codec-[\w.-]+", name)):
        for file in FILES:
            if not (weights / file).is_file():
                need = f"--weights is a folder with {FILES[0]} and {FILES[1]}"
                raise BackendError(f"funcodec: {weights / file} is missing; {need}")
        return weights
    cache = Path(os.environ.get("MODELSCOPE_CACHE", "~/.cache/modelscope/hub")).expanduser()
    for parent in (cache / "damo", cache / "models" / "damo"):
        found = parent / name.partition("/")[2]
        if all((found / file).is_file() for file in FILES):
            return found
    return _from_hub(name)


def _from_hub(name: str) -> Path:
    fix = f"give --weights DIR with {FILES[0]} and {FILES[1]}, or use the embedded codec: --audio-backend tiny"
    try:
        import huggingface_hub
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError:
        package = 'no huggingface_hub to fetch them with; pip install "vall-e[funcodec]"'
        raise BackendError(f"funcodec: no weights, and {package}, or {fix}") from None
    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=list(FILES)))
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        problem = f"{name} is not in the cache and its hub can't be reached ({reason})"
        raise BackendError(f"funcodec: {problem}; {fix}") from None


def read_state(path: Path) -> dict[str, Tensor]:
    """Tensors of the networks and the quantizer, under the package's names; discriminators are left out.

    Raises:
        BackendError: not such a file.
    """
    import torch

    found = read_tensors("funcodec", path)
    if not isinstance(found, dict):
        raise BackendError(f"funcodec: {path} does not hold weights by name; is it FunCodec's model.pth?")
    state = {}
    for key, value in found.items():
        if isinstance(key, str) and key.startswith(("encoder.", "decoder.", "quantizer.")):
            if not isinstance(value, torch.Tensor):
                raise BackendError(f"funcodec: {path} holds no tensor at {key}; is it FunCodec's model.pth?")
            state[key] = value.float()
    return state


def networks(model: Model, state: dict[str, Tensor], path: Path) -> tuple[Any, Any]:
    """Encoder and decoder with their weights; weight norm, which recomputes them at every call, is folded in.

    Raises:
        BackendError: weights of another network.
    """
    nets = build_encoder(model.encoder), build_decoder(model.decoder)
    for name, net in zip(("encoder.", "decoder."), nets, strict=True):
        own = {key.removeprefix(name): value for key, value in state.items() if key.startswith(name)}
        try:
            net.load_state_dict(own)
        except (RuntimeError, TypeError, AttributeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise BackendError(f"funcodec: {path} does not fit its {FILES[0]}, {name[:-1]}: {reason}") from None
        fold_weight_norm(net.eval().requires_grad_(False))
    return nets


def build_encoder(net: Seanet) -> Any:
    install_shim()
    from encodec.modules.seanet import SEANetEncoder

    if net.is_2d:
        from vall_e.emb.codecs.funcodec_freq import Encoder2d

        return Encoder2d(net)
    return _skipping(SEANetEncoder(channels=net.input_size, dimension=net.dimension, **_options(net)), net)


def build_decoder(net: Seanet) -> Any:
    install_shim()
    from encodec.modules.seanet import SEANetDecoder

    if net.is_2d:
        from vall_e.emb.codecs.funcodec_freq import Decoder2d

        return Decoder2d(net)
    options = _options(net) | {"trim_right_ratio": net.trim_right_ratio if net.causal else 1.0}
    return _skipping(SEANetDecoder(channels=net.channels, dimension=net.input_size, **options), net)


def _options(net: Seanet) -> dict[str, Any]:
    """The config in the words of the package `encodec`."""
    sizes = ("n_filters", "n_residual_layers", "kernel_size", "last_kernel_size", "residual_kernel_size", "compress")
    return {name: getattr(net, name) for name in (*sizes, "norm", "dilation_base", "causal", "true_skip")} | {
        "ratios": [time for _, time in net.ratios],
        "activation_params": {"alpha": net.alpha},
        "lstm": net.seq_layer_num if net.seq_model == "lstm" else 0,
    }


def _skipping(network: Any, net: Seanet) -> Any:
    for layer in network.model:
        if hasattr(layer, "lstm"):
            layer.skip = net.res_seq
    return network


def codebooks(model: Model, state: dict[str, Tensor], path: Path) -> Tensor:
    """[levels, entries, width], kept as one tensor or, in older checkpoints, one for each level."""
    import torch

    name = "quantizer.rq.model."
    single = [state.get(f"{name}layers.{level}._codebook.embed") for level in range(model.num_levels)]
    entries = state.get(name + "embed")
    if entries is None and all(item is not None for item in single):
        entries = torch.stack([item for item in single if item is not None])
    expected = (model.num_levels, model.codebook_size, model.code_dim)
    if entries is None or tuple(entries.shape) != expected:
        found = "none" if entries is None else str(tuple(entries.shape))
        raise BackendError(f"funcodec: {path} does not fit its {FILES[0]}: codebooks {found}, expected {expected}")
    return entries.contiguous()


def projections(model: Model, state: dict[str, Tensor], path: Path, device: str) -> list[tuple[Tensor, Tensor]]:
    """(weight, bias) into the codes' space and out of it; none where codes live in the encoder's own."""
    if not model.projected:
        return []
    keys = [(f"quantizer.{side}_proj.weight", f"quantizer.{side}_proj.bias") for side in ("input", "output")]
    missing = [key for pair in keys for key in pair if key not in state]
    if missing:
        raise BackendError(f"funcodec: {path} does not fit its {FILES[0]}: {missing[0]} is missing")
    return [(state[weight].to(device), state[bias].to(device)) for weight, bias in keys]
