"""DAC, the Descript Audio Codec (Kumar et al. 2023, https://arxiv.org/abs/2306.06546), at 16, 24 and 44.1 kHz.

The plain way codes a recording as a whole: every started hop is a frame, 862 of them for 10 s at 44.1 kHz. Long ones go
in windows that overlap by all that a frame can see, so they come out as the whole would. The package's own files (.dac)
are made another way, in chunks without padding: `chunk_s` gives exactly those codes, a few more frames per second.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vall_e.emb.codecs import checkpoints
from vall_e.emb.codecs.registry import CodecOptions
from vall_e.executor import devices
from vall_e.types import BackendError, CodecSpec, UsageError

if TYPE_CHECKING:
    import torch

    from vall_e.emb.codecs.dac_net import DacConfig

RELEASES = "https://github.com/descriptinc/descript-audio-codec/releases/download/"


@dataclass(frozen=True)
class Published:
    """A checkpoint of the authors', and where the package keeps it."""

    sample_rate_hz: int
    url: str
    cached: str


PUBLISHED = {
    "dac": Published(44_100, RELEASES + "0.0.1/weights.pth", "weights_44khz_8kbps_0.0.1.pth"),
    "dac_24khz": Published(24_000, RELEASES + "0.0.4/weights_24khz.pth", "weights_24khz_8kbps_0.0.4.pth"),
    "dac_16khz": Published(16_000, RELEASES + "0.0.5/weights_16khz.pth", "weights_16khz_8kbps_0.0.5.pth"),
}


@dataclass(frozen=True)
class _Window:
    """Frames start..stop of an item, made from low..high."""

    item: int
    start: int
    stop: int
    low: int
    high: int


class DacCodec:
    """Not causal. On a CPU each window runs alone, so no bit depends on the company; elsewhere equal ones together."""


    def __init__(
        self,
        *,
        name: str = "dac",
        weights: Path | None = None,
        num_levels: int = 8,
        device: str = "cpu",
        dtype: str = "float32",
        window_s: float = 5.0,
        chunk_s: float | None = None,
    ) -> None:
        """Load the weights: a file, else the package's cache, else the authors' release.

        Args:
            name: one of PUBLISHED.
            window_s: how much is coded at once the plain way; changes speed and memory only.
            chunk_s: the package's `win_duration`, to code as its `compress` does (without its change of loudness).

        Raises:
            BackendError: weights are missing, damaged, or of another model. UsageError: levels, dtype or chunks it
                can't have.
        """
        import torch

        from vall_e.emb.codecs.dac_net import Chain, Codebooks

        published = PUBLISHED[name]
        self._dtype = checkpoints.place(name, device, dtype)
        path = weights or checkpoints.fetched(
            name, Path.home() / ".cache" / "descript" / "dac" / published.cached, published.url
        )
        config, model = _load(name, path, published.sample_rate_hz)
        checkpoints.check_levels(name, num_levels, config.n_codebooks)
        self._encoder = Chain(model.encoder.block, dtype=self._dtype, device=device)
        self._decoder = Chain(model.decoder.model, dtype=self._dtype, device=device)
        self._codebooks = Codebooks(list(model.quantizer.quantizers)[:num_levels], device=device)
        self._device = device
        self._hop = config.hop
        self._window_frames = max(1, round(window_s * config.sample_rate / config.hop))
        self._batch = 1 if torch.device(device).type == "cpu" else 16
        first, last = self._encoder.needs(0, 0)
        self._encoder_reach = max(-(first // self._hop), last // self._hop)
        first, last = self._decoder.needs(0, self._hop - 1)
        self._decoder_reach = max(-first, last)
        self.spec = CodecSpec(
            name=name,
            weights_sha256=checkpoints.digest(path),
            sample_rate_hz=config.sample_rate,
            hop_samples=config.hop,
            num_levels=num_levels,
            codebook_size=config.codebook_size,
            **({} if chunk_s is None else self._chunking(name, chunk_s, config)),
        )

    def _chunking(self, name: str, chunk_s: float, config: DacConfig) -> dict[str, int]:
        """What the spec says of chunks, and what coding them needs."""
        longest = int(chunk_s * config.sample_rate)
        self._fed = -(-longest // self._hop) * self._hop
        stride = self._decoder.unpadded_length(self._encoder.unpadded_length(self._fed))
        frames = self._encoder.unpadded_length(self._fed)
        if stride < 1 or 2 * frames <= -(-longest // self._hop):
            raise UsageError(f"{name}: chunks of {chunk_s:g} s are too short for what a frame sees; take a longer one")
        none = self._decoder.unpadded_length(self._encoder.unpadded_length(0))
        self._delay = (self._encoder.unpadded_need(self._decoder.unpadded_need(none)) - none) // 2
        return {"chunk_samples": longest, "stride_samples": stride, "chunk_frames": frames}

    def encode(self, audio: Sequence[np.ndarray]) -> list[np.ndarray]:
        """float32 [n] each, n ≥ 1 → uint16 [K, spec.num_frames(n)] each."""
        import torch

        if any(samples.ndim != 1 or len(samples) == 0 for samples in audio):
            raise ValueError("expected audio [n], n at least 1")
        num_frames = [self.spec.num_frames(len(samples)) for samples in audio]
        codes = [np.zeros((self.spec.num_levels, num), np.uint16) for num in num_frames]
        in_chunks = [self._is_chunked(num) for num in num_frames]
        lengths = [0 if chunked else num for num, chunked in zip(num_frames, in_chunks, strict=True)]
        with torch.inference_mode():
            for batch in self._windows(lengths, self._encoder_reach):
                pieces = [_samples(audio[w.item], w.low * self._hop, w.high * self._hop) for w in batch]
                latents = self._encoder(self._tensor(np.stack(pieces))).float()
                for window, rows in zip(batch, latents, strict=True):
                    found = self._codebooks.quantize(rows[window.start - window.low : window.stop - window.low])
                    codes[window.item][:, window.start : window.stop] = found.cpu().numpy()
            for item in itertools.compress(range(len(audio)), in_chunks):
                self._encode_chunks(audio[item], codes[item])
        return codes

    def scales(self, audio: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Nothing is normalised: float32 [0] each."""
        return [np.zeros(0, np.float32) for _ in audio]

    def decode(self, codes: Sequence[np.ndarray], scales: Sequence[np.ndarray] | None = None) -> list[np.ndarray]:
        """[K,T] each → float32 [hop · T] each (in chunks: stride · T / chunk_frames).

        With an odd stride (16 and 24 kHz) the network gives a few samples less, 8 for hops of 320; the rest is zero.
        """
        import torch

        in_chunks = [self._is_chunked(item.shape[1]) for item in codes]
        audio = [np.zeros(item.shape[1] * self._hop, np.float32) for item in codes]
        lengths = [0 if chunked else item.shape[1] for item, chunked in zip(codes, in_chunks, strict=True)]
        with torch.inference_mode():
            for batch in self._windows(lengths, self._decoder_reach):
                latents = torch.stack([self._latents(codes[w.item][:, w.low : w.high]) for w in batch])
                sounds = torch.tanh(self._decoder(latents)).float()[..., 0].cpu().numpy()
                for window, sound in zip(batch, sounds, strict=True):
                    part = sound[(window.start - window.low) * self._hop :][: (window.stop - window.start) * self._hop]
                    audio[window.item][window.start * self._hop :][: len(part)] = part
            for item in itertools.compress(range(len(codes)), in_chunks):
                audio[item] = self._decode_chunks(codes[item])
        return audio

    def _windows(self, lengths: Sequence[int], reach: int) -> Iterator[list[_Window]]:
        """Windows over items of these many frames; several in a list are of one length."""
        size = self._window_frames
        windows = [
            _Window(item, start, min(start + size, num), max(0, start - reach), min(num, start + size + reach))
            for item, num in enumerate(lengths)
            for start in range(0, num, size)
        ]
        if self._batch == 1:
            yield from ([window] for window in windows)
            return
        windows.sort(key=lambda window: window.high - window.low)
        for _, group in itertools.groupby(windows, key=lambda window: window.high - window.low):
            alike = list(group)
            yield from (alike[first : first + self._batch] for first in range(0, len(alike), self._batch))

    def _is_chunked(self, num_frames: int) -> bool:
        """True of what is longer than a chunk, where the codec has chunks.

        Raises:
            ValueError: frames that are no whole number of chunks.
        """
        spec = self.spec
        if not spec.chunk_frames or num_frames <= -(-spec.chunk_samples // spec.hop_samples):
            return False
        if num_frames % spec.chunk_frames:
            raise ValueError(f"{num_frames} frames; {spec.name} makes chunks of {spec.chunk_frames}")
        return True

    def _encode_chunks(self, audio: np.ndarray, codes: np.ndarray) -> None:
        for index, start in enumerate(range(0, len(audio), self.spec.stride_samples)):
            piece = _samples(audio, start - self._delay, start - self._delay + self._fed)
            latents = self._encoder(self._tensor(piece[None]), padded=False).float()[0]
            first = index * self.spec.chunk_frames
            codes[:, first : first + self.spec.chunk_frames] = self._codebooks.quantize(latents).cpu().numpy()

    def _decode_chunks(self, codes: np.ndarray) -> np.ndarray:
        import torch

        frames = self.spec.chunk_frames
        latents = (self._latents(codes[:, start : start + frames]) for start in range(0, codes.shape[1], frames))
        sounds = [torch.tanh(self._decoder(part[None], padded=False)).float()[0, :, 0] for part in latents]
        return torch.cat(sounds).cpu().numpy()

    def _tensor(self, audio: np.ndarray) -> torch.Tensor:
        """float32 [B,n] → [B,n,1] where the model is."""
        import torch

        return torch.from_numpy(audio)[..., None].to(self._device, self._dtype)

    def _latents(self, codes: np.ndarray) -> torch.Tensor:
        """[K,T] → [T,D]."""
        import torch

        indices = torch.from_numpy(codes.astype(np.int64)).to(self._device)
        return self._codebooks.dequantize(indices).to(self._dtype)


def _samples(audio: np.ndarray, start: int, stop: int) -> np.ndarray:
    """float32 [stop - start] of audio [n], zeros where it has none."""
    inner = audio[max(0, start) : max(0, stop)]
    return np.pad(inner.astype(np.float32, copy=False), (max(0, -start), stop - max(0, start) - len(inner)))


def _load(name: str, path: Path, sample_rate_hz: int) -> tuple[DacConfig, Any]:
    """(config, weights) of a checkpoint of the package, {"state_dict": …, "metadata": {"kwargs": …}}.

    Raises:
        BackendError: the file is none, or holds another model.
    """
    import torch

    from vall_e.emb.codecs.dac_net import DacConfig, DacWeights

    content = checkpoints.read(name, path)
    try:
        state, kwargs = content["state_dict"], content["metadata"]["kwargs"]
        config = DacConfig.from_kwargs(kwargs)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BackendError(f"{name}: {path} is no checkpoint of DAC: {error!r}") from None
    if config.sample_rate != sample_rate_hz:
        known = {entry.sample_rate_hz: key for key, entry in PUBLISHED.items()}
        right = known.get(config.sample_rate, "none of ours")
        raise BackendError(f"{name}: {path} holds DAC for {config.sample_rate} Hz, which is codec {right}")
    with torch.device("meta"):  # shapes only: the checkpoint brings the numbers
        model = DacWeights(config)
    checkpoints.fill(name, "DAC", model, state, path, assign=True)
    return config, model.eval().requires_grad_(False)


def load(options: CodecOptions) -> DacCodec:
    is_chunked = options.audio_backend == "dac_chunked"  # chunks of 1 s, as its package's compress() takes them
    return DacCodec(
        name="dac" if is_chunked else options.audio_backend,
        chunk_s=1.0 if is_chunked else None,
        weights=options.weights,
        num_levels=options.levels,
        device=devices.kind_of(options.device),
        dtype=options.dtype,
    )
