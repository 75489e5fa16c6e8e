"""DAC, the Descript Audio Codec (Kumar et al. 2023, https://arxiv.org/abs/2306.06546), at 16, 24 and 44.1 kHz.

The model is that of the package `descript-audio-codec`; the nearest entry is searched in float64. The plain way codes
a recording as a whole: every started hop is a frame, 862 of them for 10 s at 44.1 kHz. Long ones go in windows that
overlap by all that a frame can see, so they come out as the whole would. The package's own files (.dac) are made
another way, in chunks without padding: `chunk_s` returns exactly those codes, a few more frames per second.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from vall_e.emb.codecs import checkpoints
from vall_e.emb.codecs.batching import (
    MOST_TOGETHER,
    Codes,
    Output,
    each,
    fold_weight_norm,
    frames_of_reach,
    on_device,
    windows,
)
from vall_e.emb.codecs.registry import CodecOptions
from vall_e.emb.codecs.rvq import nearest
from vall_e.executor import devices
from vall_e.types import BackendError, CodecSpec, UsageError

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
Place = tuple[int, int, int, int, int]  # item, and start, stop, low, high of a window


class DacCodec:
    """DAC. Each window runs alone on a CPU, so the others of a list change no bit; elsewhere equal ones together."""

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
            weights: a checkpoint as the package saves it.
            num_levels: how many levels `encode` returns.
            device: where torch computes.
            dtype: in what the networks compute.
            window_s: how much is coded at once the plain way; changes speed and memory only.
            chunk_s: the package's `win_duration`, to code as its `compress` does (without its change of loudness). The
                spec's name then ends in `_chunked`.

        Raises:
            BackendError: package or weights are missing, damaged, or of another model. UsageError: levels, dtype or
                chunks that it can't have.
        """
        published = PUBLISHED[name]
        self._device, self._dtype = device, checkpoints.place(name, device, dtype)
        checkpoints.require(name, package="dac", extra="dac")
        path = weights or checkpoints.fetched(
            name, Path.home() / ".cache" / "descript" / "dac" / published.cached, published.url
        )
        self._model = model = _load(name, path, published.sample_rate_hz)
        checkpoints.check_levels(name, num_levels, model.n_codebooks)
        for part in (model.encoder, model.decoder):
            part.to(device, self._dtype)
        self._levels = list(model.quantizer.to(device).quantizers)
        self._entries = [level.codebook.weight for level in self._levels[:num_levels]]
        self._hop, self._chunk_s = int(model.hop_length), chunk_s
        self._window = max(1, round(window_s * model.sample_rate / self._hop))
        self.spec = CodecSpec(
            name=name if chunk_s is None else f"{name}_chunked",
            weights_sha256=checkpoints.digest(path),
            sample_rate_hz=model.sample_rate,
            hop_samples=self._hop,
            num_levels=num_levels,
            codebook_size=model.codebook_size,
            **({} if chunk_s is None else self._chunking(name, chunk_s)),
        )

    def _chunking(self, name: str, chunk_s: float) -> dict[str, int]:
        """What the spec says of chunks."""
        longest = int(chunk_s * self._model.sample_rate)
        self._fed = -(-longest // self._hop) * self._hop
        frames = _unpadded_length(self._model.encoder, self._fed)
        stride = _unpadded_length(self._model.decoder, frames)
        if stride < 1 or 2 * frames <= -(-longest // self._hop):
            raise UsageError(f"{name}: chunks of {chunk_s:g} s are too short for what a frame sees; take a longer one")
        return {"chunk_samples": longest, "stride_samples": stride, "chunk_frames": frames}

    def encode(self, audio: Sequence[np.ndarray]) -> list[np.ndarray]:
        """float32 [n] each, n ≥ 1 → uint16 [K, spec.num_frames(n)] each."""
        counts = [self.spec.num_frames(len(samples)) for samples in audio]
        codes = Codes(counts, self._device, self.spec.num_levels)
        is_chunked = [self._is_chunked(count) for count in counts]
        plain = [0 if chunked else count for chunked, count in zip(is_chunked, counts, strict=True)]
        with checkpoints.inference(self._dtype):
            for batch in self._batches(plain, frames_of_reach(self._model.encoder, self._hop)):
                spans = ((item, low * self._hop, high * self._hop) for item, _, _, low, high in batch)
                pieces = [self._samples(audio[item], first, last) for item, first, last in spans]
                for (item, start, stop, low, _), z in zip(batch, each(self._model.encoder, pieces), strict=True):
                    codes.write(item, start, self._quantized(z[:, start - low : stop - low]))
            for item, chunked in enumerate(is_chunked):
                if chunked:
                    self._encode_chunks(item, audio[item], codes)
        return codes.arrays()

    def scales(self, audio: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Nothing is normalised: float32 [0] each."""
        return [np.zeros(0, np.float32) for _ in audio]

    def decode(self, codes: Sequence[np.ndarray], scales: Sequence[np.ndarray] | None = None) -> list[np.ndarray]:
        """[K,T] each → float32 [hop · T] each (in chunks: stride · T / chunk_frames).

        With an odd stride (16 and 24 kHz) the network returns a few samples less, 8 for hops of 320; the rest is zero.

        Raises:
            ValueError: frames that are no whole number of chunks.
        """
        is_chunked = [self._is_chunked(item.shape[1]) for item in codes]
        lengths = [self._num_samples(item.shape[1], chunked) for item, chunked in zip(codes, is_chunked, strict=True)]
        plain = [0 if chunked else item.shape[1] for item, chunked in zip(codes, is_chunked, strict=True)]
        sounds, hop = Output(lengths, self._device), self._hop
        with checkpoints.inference(self._dtype):
            for batch in self._batches(plain, frames_of_reach(self._model.decoder, 1)):
                latents = [self._latents(codes[item][:, low:high]) for item, _, _, low, high in batch]
                for (item, start, stop, low, _), sound in zip(batch, each(self._model.decoder, latents), strict=True):
                    sounds.write(item, start * hop, sound[0, (start - low) * hop : (stop - low) * hop].float())
            for item, chunked in enumerate(is_chunked):
                if chunked:
                    self._decode_chunks(item, codes[item], sounds)
        return sounds.arrays()

    @property
    def codebooks(self) -> np.ndarray:
        """What each entry adds to the latents, float32 [K, C, D]."""
        with torch.inference_mode():
            pairs = zip(self._levels, self._entries, strict=False)
            return torch.stack([_rows(level.out_proj, entries) for level, entries in pairs]).cpu().numpy()

    def dequantize(self, codes: np.ndarray, first_level: int = 0) -> np.ndarray:
        """Codes [K', T] of the levels from `first_level` on → float32 [T, D], the sum of their entries."""
        with torch.inference_mode():
            return self._sum(codes, first_level).T.cpu().numpy()

    def quantize(self, latents: np.ndarray, first_level: int = 0) -> np.ndarray:
        """What is left of frames at `first_level`, float32 [T, D] → uint16 [K - first_level, T]."""
        with torch.inference_mode():
            rest = on_device(latents.T, self._device, torch.float32)
            return self._quantized(rest, first_level).cpu().numpy().astype(np.uint16)

    def _quantized(self, rest: Tensor, first_level: int = 0) -> Tensor:
        """[D, T] → int64 [K, T]: at each level the entry of nearest angle to what is left.

        Both sides are of unit length, and the length of what is coded changes no order.
        """
        rest, codes = rest.float(), []
        for level, entries in zip(self._levels[first_level:], self._entries[first_level:], strict=False):
            inner = normalize(level.in_proj(rest[None])[0].T.double())
            codes.append(nearest(inner, normalize(entries.double())))
            rest = rest - level.out_proj(entries[codes[-1]].T[None])[0]
        return torch.stack(codes)

    def _sum(self, codes: np.ndarray, first_level: int = 0) -> Tensor:
        """[K', T] → float32 [D, T]."""
        indices = on_device(codes, self._device, torch.int64)
        levels = self._levels[first_level:]
        total = torch.zeros((), device=self._device)
        for level, own in zip(levels, indices, strict=False):
            total = total + level.out_proj(level.codebook.weight[own].T[None])[0]
        return total

    def _latents(self, codes: np.ndarray) -> Tensor:
        return self._sum(codes).to(self._dtype)

    def _samples(self, audio: np.ndarray, start: int, stop: int) -> Tensor:
        """Samples start … stop of audio [n] → [1, stop - start], zeros where it has none."""
        inner = audio[max(0, start) : max(0, stop)].astype(np.float32, copy=False)
        inner = np.pad(inner, (max(0, -start), stop - max(0, start) - len(inner)))
        return on_device(inner, self._device, self._dtype)[None]

    def _batches(self, counts: Sequence[int], reach: int) -> list[list[Place]]:
        """Windows over items of these many frames: one at a time on a CPU, several of like length elsewhere."""
        places = [(item, *place) for item, count in enumerate(counts) for place in windows(count, self._window, reach)]
        if torch.device(self._device).type == "cpu":
            return [[place] for place in places]
        places.sort(key=lambda place: place[4] - place[3])
        return [places[first : first + MOST_TOGETHER] for first in range(0, len(places), MOST_TOGETHER)]

    def _num_samples(self, num_frames: int, is_chunked: bool) -> int:
        spec = self.spec
        return num_frames // spec.chunk_frames * spec.stride_samples if is_chunked else num_frames * spec.hop_samples

    def _is_chunked(self, num_frames: int) -> bool:
        """True of what is longer than a chunk, where the codec has chunks."""
        spec = self.spec
        if not spec.chunk_frames or num_frames <= -(-spec.chunk_samples // spec.hop_samples):
            return False
        if num_frames % spec.chunk_frames:
            raise ValueError(f"{num_frames} frames; {spec.name} makes chunks of {spec.chunk_frames}")
        return True

    def _encode_chunks(self, item: int, audio: np.ndarray, codes: Codes) -> None:
        starts = range(0, len(audio), self.spec.stride_samples)
        self._model.padding = False
        try:
            for index, start in enumerate(start - self._model.delay for start in starts):
                z = self._model.encoder(self._samples(audio, start, start + self._fed)[None])[0]
                codes.write(item, index * self.spec.chunk_frames, self._quantized(z))
        finally:
            self._model.padding = True

    def _decode_chunks(self, item: int, codes: np.ndarray, sounds: Output) -> None:
        frames, stride = self.spec.chunk_frames, self.spec.stride_samples
        self._model.padding = False
        try:
            for index, start in enumerate(range(0, codes.shape[1], frames)):
                sound = self._model.decoder(self._latents(codes[:, start : start + frames])[None])
                sounds.write(item, index * stride, sound[0, 0].float())
        finally:
            self._model.padding = True


def _rows(projection: Any, rows: Tensor) -> Tensor:
    """[N, c] → [N, D]."""
    projected: Tensor = projection(rows.T[None])[0].T
    return projected


def _unpadded_length(part: Any, length: int) -> int:
    """How many columns the encoder or the decoder returns for `length` without padding."""
    for layer in part.modules():
        if isinstance(layer, torch.nn.modules.conv._ConvNd):
            span = (layer.kernel_size[0] - 1) * layer.dilation[0]
            is_up = isinstance(layer, torch.nn.ConvTranspose1d)
            length = (length - 1) * layer.stride[0] + span + 1 if is_up else (length - span - 1) // layer.stride[0] + 1
    return length


def _load(name: str, path: Path, sample_rate_hz: int) -> Any:
    """The model of a checkpoint of the package, {"state_dict": …, "metadata": {"kwargs": …}}, without weight norm.

    Raises:
        BackendError: the file is none, or holds another model.
    """
    content = checkpoints.read(name, path)
    from vall_e.compat import install_shim

    install_shim()
    with warnings.catch_warnings():  # the package builds on torch's older weight norm, which says so at each layer
        warnings.simplefilter("ignore", FutureWarning)
        from dac.model import DAC

        try:
            state, kwargs = content["state_dict"], dict(content["metadata"]["kwargs"])
            known = DAC.__init__.__annotations__.keys()
            with torch.device("meta"):  # shapes only: the checkpoint brings the numbers
                model = DAC(**{key: value for key, value in kwargs.items() if key in known})
        except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
            reason = " ".join(repr(error).split())[:200]
            raise BackendError(f"{name}: {path} is no checkpoint of DAC: {reason}") from None
    if model.sample_rate != sample_rate_hz:
        right = {entry.sample_rate_hz: key for key, entry in PUBLISHED.items()}.get(model.sample_rate, "none of ours")
        raise BackendError(f"{name}: {path} holds DAC for {model.sample_rate} Hz, which is codec {right}")
    checkpoints.fill(name, "DAC", model, state, path, assign=True)
    fold_weight_norm(model.eval().requires_grad_(False))
    return model


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
