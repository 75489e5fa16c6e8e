"""A small neural codec whose weights ship with the package: for demos and tests, not for results.

24 kHz, 75 frames/s, 8 levels of 1024 codes. A log-mel spectrogram goes through a Vocos backbone to 64 numbers per
frame, a residual vector quantiser codes them, and a second backbone with an inverse STFT head turns them into audio.
docs/tiny.md says how it was trained and what it measures.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from vall_e.compat import install_shim
from vall_e.emb.codecs.batching import Codes, Output, on_device, windows
from vall_e.emb.codecs.checkpoints import check_levels, digest, prepare_device
from vall_e.emb.codecs.registry import CodecOptions
from vall_e.emb.codecs.rvq import CodeSpace, dequantize, quantize
from vall_e.executor import devices
from vall_e.types import BackendError, CodecSpec, UsageError

install_shim()  # before torchaudio, and vocos imports it
try:
    from torchaudio.functional import melscale_fbanks
    from vocos.heads import ISTFTHead
    from vocos.models import VocosBackbone
except ModuleNotFoundError as error:
    _package = (error.name or "").partition(".")[0]
    raise BackendError(f'tiny: the package {_package} is missing; pip install "vall-e[tiny]"') from error

WEIGHTS = Path(__file__).with_name("tiny.safetensors")
_LOG_FLOOR = 1e-4  # of a mel magnitude: about -80 dB below a loud voice


@dataclasses.dataclass(frozen=True)
class TinyConfig:
    """Shape of the model; stored as JSON in the metadata of the weights."""

    sample_rate_hz: int = 24_000
    hop_samples: int = 320
    window_samples: int = 1280
    num_mels: int = 100
    width: int = 192
    inner_width: int = 576
    encoder_layers: int = 4
    decoder_layers: int = 6
    latent_size: int = 64
    num_levels: int = 8
    codebook_size: int = 1024

    @property
    def encoder_context_frames(self) -> int:
        """How many frames to either side a latent depends on: a kernel of 7 per layer, and the STFT window."""
        return 3 * (self.encoder_layers + 1) + self._window_reach_frames

    @property
    def decoder_context_frames(self) -> int:
        """How many frames to either side a decoded sample depends on."""
        return 3 * (self.decoder_layers + 1) + self._window_reach_frames

    @property
    def _window_reach_frames(self) -> int:
        return -(-self.window_samples // (2 * self.hop_samples))


class TinyModel(nn.Module):
    """Encoder, codebooks and decoder. Holds no policy about batches or windows; `TinyCodec` does."""

    codebooks: Tensor
    mel_weights: Tensor
    window: Tensor

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.config = config
        width, inner = config.width, config.inner_width
        self.encoder = VocosBackbone(config.num_mels, width, inner, config.encoder_layers)
        self.to_latents = nn.Linear(width, config.latent_size)
        self.decoder = VocosBackbone(config.latent_size, width, inner, config.decoder_layers)
        self.head = ISTFTHead(width, config.window_samples, config.hop_samples, padding="same")
        # The head clips magnitudes at 100, which a loud vowel under a window of 1280 exceeds: it works on quiet audio.
        self.output_gain = 4.0
        shape = (config.num_levels, config.codebook_size, config.latent_size)
        self.register_buffer("codebooks", torch.zeros(shape))
        bins = config.window_samples // 2 + 1
        mels = melscale_fbanks(bins, 0.0, config.sample_rate_hz / 2, config.num_mels, config.sample_rate_hz)
        self.register_buffer("mel_weights", mels, persistent=False)
        self.register_buffer("window", torch.hann_window(config.window_samples), persistent=False)

    def log_mel(self, audio: Tensor) -> Tensor:
        """float32 [B, T * hop] -> natural log of mel magnitudes, [B, mels, T]."""
        size, hop = self.config.window_samples, self.config.hop_samples
        side = (size - hop) // 2
        padded = nn.functional.pad(audio, (side, side))
        spectrum = torch.stft(padded, size, hop, size, self.window, center=False, return_complex=True).abs()
        return torch.log((self.mel_weights.T @ spectrum).clamp(min=_LOG_FLOOR))

    def latents(self, audio: Tensor) -> Tensor:
        """float32 [B, T * hop] -> [B, T, latent_size], not yet quantised."""
        return self.to_latents(self.encoder(self.log_mel(audio)))

    def synthesise(self, latents: Tensor) -> Tensor:
        """[B, T, latent_size] -> float32 [B, T * hop]."""
        return self.output_gain * self.head(self.decoder(latents.transpose(1, 2)))


class TinyCodec(CodeSpace):
    """The codec of this module as the quantising stage wants it; deterministic, on the weights beside this file.

    Each item is coded alone, and long ones in windows with as much context as the network can see, so that neither a
    batch nor a window changes the result and memory stays bounded.
    """

    def __init__(
        self, *, weights: Path | None = None, num_levels: int = 8, device: str = "cpu", window_s: float = 60.0
    ) -> None:
        """Load the weights.

        Args:
            weights: file to read instead of the shipped one.
            num_levels: how many levels `encode` returns, 1 up to what the weights hold.
            device: where torch computes.
            window_s: length of audio that is coded at once.

        Raises:
            BackendError: the file is missing or not this codec's. UsageError: a number of levels that it lacks.
        """
        prepare_device("tiny", device)
        path = WEIGHTS if weights is None else weights
        model = load_model(path)
        config = model.config
        check_levels("tiny", num_levels, config.num_levels)
        self._window_frames = round(window_s * config.sample_rate_hz / config.hop_samples)
        if self._window_frames < 1:
            raise ValueError(f"window_s must hold at least one frame, got {window_s}")
        self._model, self._device = model.to(device), device
        self._all_codebooks = self._model.codebooks.double()
        self._codebooks = self._all_codebooks[:num_levels]
        self.spec = CodecSpec(
            name="tiny",
            weights_sha256=digest(path),
            sample_rate_hz=config.sample_rate_hz,
            hop_samples=config.hop_samples,
            num_levels=num_levels,
            codebook_size=config.codebook_size,
        )

    @torch.inference_mode()
    def encode(self, audio: Sequence[np.ndarray]) -> list[np.ndarray]:
        """float32 [n] at 24 kHz each → uint16 [K, T] each, T = ceil(n / hop)."""
        hop, counts = self.spec.hop_samples, [self.spec.num_frames(len(samples)) for samples in audio]
        codes, context = Codes(counts, self._device, self.spec.num_levels), self._model.config.encoder_context_frames
        for item, (samples, count) in enumerate(zip(audio, counts, strict=True)):
            for start, stop, low, high in windows(count, self._window_frames, context):
                piece = samples[low * hop : high * hop]
                piece = np.pad(piece, (0, (high - low) * hop - len(piece)))  # only the last can be short
                latents = self._model.latents(on_device(piece, self._device, torch.float32)[None])[0]
                codes.write(item, start, quantize(latents[start - low : stop - low], self._codebooks))
        return codes.arrays()

    def scales(self, audio: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Nothing is normalised: float32 [0] each."""
        return [np.zeros(0, np.float32) for _ in audio]

    @torch.inference_mode()
    def decode(self, codes: Sequence[np.ndarray], scales: Sequence[np.ndarray] | None = None) -> list[np.ndarray]:
        """Integer [K', T] each, of any 1..8 levels → float32 [T * hop] each."""
        hop, context = self.spec.hop_samples, self._model.config.decoder_context_frames
        sounds = Output([item.shape[1] * hop for item in codes], self._device)
        for item, own in enumerate(codes):
            for start, stop, low, high in windows(own.shape[1], self._window_frames, context):
                latents = dequantize(on_device(own[:, low:high], self._device, torch.int64), self._all_codebooks)
                decoded = self._model.synthesise(latents[None])[0]
                sounds.write(item, start * hop, decoded[(start - low) * hop : (stop - low) * hop])
        return sounds.arrays()


def load_model(path: Path) -> TinyModel:
    """Read the weights that `data/train_tiny.py` wrote; the model is in evaluation mode, in float32.

    Raises:
        BackendError: the file is missing or holds something else.
    """
    if not path.is_file():
        raise BackendError(f"{path}: no such weights file; restore it from the repository or run data/train_tiny.py")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118  (not a dict)
    except SafetensorError as error:
        raise BackendError(f"{path}: not a safetensors file ({error}); restore it or run data/train_tiny.py") from error
    model = TinyModel(_read_config(path, metadata))
    expected = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: list(tensor.shape) for name, tensor in tensors.items()}
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if wrong:
        name = wrong[0]
        raise BackendError(
            f"{path}: {len(wrong)} tensors do not fit, first {name!r}: {found.get(name)} where the model "
            f"has {expected.get(name)}; restore the file or run data/train_tiny.py"
        )
    model.load_state_dict(tensors)
    return model.eval()


def _read_config(path: Path, metadata: dict[str, str]) -> TinyConfig:
    try:
        return TinyConfig(**json.loads(metadata["config"]))
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise BackendError(
            f"{path}: its metadata holds no configuration of this codec ({error!r}); "
            "restore it or run data/train_tiny.py"
        ) from error


def load(options: CodecOptions) -> TinyCodec:
    if options.dtype != "float32":
        raise UsageError(f"tiny: it computes with float32 only, not {options.dtype}")
    return TinyCodec(weights=options.weights, num_levels=options.levels, device=devices.kind_of(options.device))
