"""Vocos (Siuzdak 2023, https://arxiv.org/abs/2306.00814): another decoder for the codes of EnCodec 24 kHz.

`charactr/vocos-encodec-24khz` has codebooks of its own, for 2, 4, 8 and 16 levels; a bandwidth id tells the network how
many it sees. The package's class for these features fetches an EnCodec as soon as it is made; it isn't used here, so to
decode takes Vocos' weights only. To encode takes EnCodec's as well, those of the codec `encodec`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from vall_e.emb.codecs import checkpoints
from vall_e.emb.codecs.batching import Output, frames_of_reach, on_device, windows
from vall_e.emb.codecs.registry import CodecOptions
from vall_e.emb.codecs.rvq import CodeSpace, dequantize
from vall_e.executor import devices
from vall_e.types import BackendError, CodecSpec

if TYPE_CHECKING:
    from vall_e.emb.codecs.encodec import EncodecCodec

REPOSITORY = "charactr/vocos-encodec-24khz"
STATES = ("model.safetensors", "pytorch_model.bin")
HOP = 320
CODEBOOK_SIZE = 1024
ENCODEC_FILES = ("encodec_24khz*.th", "encodec_24khz*.safetensors")


class VocosCodec(CodeSpace):
    """Its codes are EnCodec's, and so is its `encode`. Each item is decoded alone, long ones in windows."""

    def __init__(
        self,
        *,
        weights: Path | None = None,
        num_levels: int = 8,
        device: str = "cpu",
        dtype: str = "float32",
        window_s: float = 30.0,
    ) -> None:
        """Load the weights: a folder with config.yaml and model.safetensors or pytorch_model.bin, else the hub's cache,
        else the hub. The folder may hold EnCodec's file as well, under the name that it has in its own cache.

        Raises:
            BackendError: package or weights are missing or do not fit. UsageError: levels or dtype that it lacks.
        """
        for package in ("vocos", "encodec"):
            checkpoints.require("vocos", package=package, extra="vocos")
        self._dtype = checkpoints.place("vocos", device, dtype)
        config_path, path = _files(weights)
        state = checkpoints.read("vocos", path)
        self._model, self._codebooks, self._bandwidth_levels = _build(config_path, path, state)
        checkpoints.check_levels("vocos", num_levels, len(self._codebooks))
        self._model.to(device, self._dtype)
        self._codebooks = self._codebooks[:num_levels].to(device).double()
        self._options: dict[str, Any] = {"num_levels": num_levels, "device": device, "dtype": dtype}
        self._folder = path.parent
        self._encodec: EncodecCodec | None = None
        self._window_frames = max(1, round(window_s * 75))
        self.spec = CodecSpec(
            name="vocos",
            weights_sha256=checkpoints.digest(config_path, path),
            sample_rate_hz=24_000,
            hop_samples=HOP,
            num_levels=num_levels,
            codebook_size=CODEBOOK_SIZE,
        )

    def encode(self, audio: Sequence[np.ndarray]) -> list[np.ndarray]:
        """float32 [n] each → uint16 [K, ceil(n / 320)] each, by EnCodec.

        Raises:
            BackendError: EnCodec's weights are missing or do not fit.
        """
        if self._encodec is None:
            from vall_e.emb.codecs.encodec import EncodecCodec

            beside = [path for pattern in ENCODEC_FILES for path in sorted(self._folder.glob(pattern))]
            self._encodec = EncodecCodec(weights=beside[0] if beside else None, **self._options)
        return self._encodec.encode(audio)

    def scales(self, audio: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Nothing is normalised: float32 [0] each."""
        return [np.zeros(0, np.float32) for _ in audio]

    def decode(self, codes: Sequence[np.ndarray], scales: Sequence[np.ndarray] | None = None) -> list[np.ndarray]:
        """[K,T] each → float32 [320 · T] each. K between two bandwidths counts as the wider one."""
        sounds = Output([item.shape[1] * HOP for item in codes], self._codebooks.device)
        head, backbone = self._model["head"].float(), self._model["backbone"]
        context = frames_of_reach(backbone, 1) + -(-head.istft.win_length // (2 * HOP))
        with checkpoints.inference(self._dtype):
            for item, own in enumerate(codes):
                wide = sum(len(own) > levels for levels in self._bandwidth_levels[:-1])
                bandwidth = torch.tensor([wide], device=self._codebooks.device)
                for start, stop, low, high in windows(own.shape[1], self._window_frames, context):
                    indices = on_device(own[:, low:high], self._codebooks.device, torch.int64)
                    frames = dequantize(indices, self._codebooks).T[None].to(self._dtype)
                    # the inverse Fourier transform knows float32 only
                    sound = head(backbone(frames, bandwidth_id=bandwidth).float())[0]
                    sounds.write(item, start * HOP, sound[(start - low) * HOP : (stop - low) * HOP])
        return sounds.arrays()


def _files(weights: Path | None) -> tuple[Path, Path]:
    """(config.yaml, the file of weights).

    Raises:
        BackendError: not there, and no hub to fetch them from.
    """
    if weights is not None:
        folder = weights if weights.is_dir() else weights.parent
        named = [weights] if weights.is_file() else [folder / name for name in STATES if (folder / name).is_file()]
        if not named or not (folder / "config.yaml").is_file():
            raise BackendError(f"vocos: {weights} is no folder with config.yaml and {' or '.join(STATES)}")
        return folder / "config.yaml", named[0]
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        config = huggingface_hub.hf_hub_download(REPOSITORY, "config.yaml")
        return Path(config), Path(huggingface_hub.hf_hub_download(REPOSITORY, "pytorch_model.bin"))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise BackendError(
            f"vocos: {REPOSITORY} is not in the hub's cache and can't be fetched ({reason}); "
            "give --weights FOLDER with config.yaml and pytorch_model.bin, or use the codec encodec or tiny"
        ) from None


def _build(config_path: Path, path: Path, state: Mapping[str, Any]) -> tuple[Any, torch.Tensor, list[int]]:
    """(backbone and head, codebooks [K,C,D], levels of each bandwidth).

    Raises:
        BackendError: files of another model.
    """
    import yaml

    from vall_e.compat import install_shim

    install_shim()
    from vocos.heads import ISTFTHead
    from vocos.models import VocosBackbone

    known = {"backbone": VocosBackbone, "head": ISTFTHead}
    try:
        config = yaml.safe_load(config_path.read_text(encoding="utf-8"))
        features = config["feature_extractor"]
        for part, cls in (*known.items(), ("feature_extractor", None)):
            wanted = cls.__name__ if cls else "EncodecFeatures"
            if config[part]["class_path"].rpartition(".")[2] != wanted:
                raise ValueError(f"its {part} is {config[part]['class_path']}, not {wanted}")
        model = torch.nn.ModuleDict({part: cls(**config[part].get("init_args", {})) for part, cls in known.items()})
        bandwidths = features.get("init_args", {}).get("bandwidths", [1.5, 3.0, 6.0, 12.0])
        levels = [round(float(bandwidth) / 0.75) for bandwidth in bandwidths]
        codebooks = state["feature_extractor.codebook_weights"].float().view(max(levels), CODEBOOK_SIZE, -1)
        if _hop(model["head"]) != HOP or codebooks.shape[2] != model["backbone"].input_channels:
            raise ValueError("its sizes are not those of EnCodec 24 kHz")
    except (OSError, yaml.YAMLError, UnicodeDecodeError, *checkpoints.DAMAGED) as error:
        reason = " ".join(str(error).split())[:200]
        raise BackendError(
            f"vocos: {path} with {config_path.name} is no Vocos of EnCodec codes: {type(error).__name__}: {reason}"
        ) from None
    own = {name: value for name, value in state.items() if not name.startswith("feature_extractor.")}
    checkpoints.fill("vocos", "this Vocos", model, own, path)
    return model.eval().requires_grad_(False), codebooks, levels


def _hop(head: Any) -> int:
    return int(head.istft.hop_length)


def load(options: CodecOptions) -> VocosCodec:
    return VocosCodec(
        weights=options.weights,
        num_levels=options.levels,
        device=devices.kind_of(options.device),
        dtype=options.dtype,
    )
