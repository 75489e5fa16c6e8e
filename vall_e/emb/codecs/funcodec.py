"""FunCodec (Du et al. 2023, https://arxiv.org/abs/2309.07405), built from a checkpoint's own `config.yaml`.

Time-domain SEANet codecs, and FreqCodec over the magnitude-angle or magnitude-phase spectrum; 16 kHz, 32 levels of 1024
entries, 50 or 25 frames/s in the published ones. The published package cannot be installed beside current libraries, so
the networks are built here; `tests/emb/codecs/test_funcodec.py` holds them against it. docs/funcodec.md tells more.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from vall_e.emb.codecs import funcodec_weights as checkpoint
from vall_e.emb.codecs.checkpoints import prepare_device
from vall_e.emb.codecs.funcodec_config import Model, read_config
from vall_e.emb.codecs.registry import CodecOptions
from vall_e.executor import devices
from vall_e.types import CodecSpec, ContractError, UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from vall_e.emb.codecs.funcodec_long import Place
    from vall_e.emb.codecs.funcodec_net import Conv, Layer, Recurrent

WHOLE_S = 120.0  # longer items run in windows, which costs time but bounds the memory
WINDOW_S = 20.0
COPY_SAMPLES = 1 << 24
DTYPES = ("float32", "bfloat16", "float16")
SCALE_FLOOR = 1e-8
MIN_LOG_MAGNITUDE = 1e-6


class FuncodecCodec:
    """Runs each item alone, but for the LSTM: norms and loudness are taken over all of an item, so nothing is padded.

    `causal` is true of causal models that do not scale their input, of which none is published.
    """

    def __init__(
        self,
        *,
        weights: Path | None = None,
        num_levels: int | None = None,
        bit_width: int | None = None,
        device: str = "cpu",
        dtype: str = "float32",
    ) -> None:
        """`bit_width` in bits/s, instead of `num_levels`: as many whole levels as fit into it.

        Raises:
            UsageError: levels or bits that the model has not. BackendError: no weights, or not of such a model.
        """
        if dtype not in DTYPES:
            raise UsageError(f"funcodec: dtype {dtype!r}; known: {', '.join(DTYPES)}")
        folder = checkpoint.folder(weights)
        path = folder / checkpoint.FILES[1]
        self._model = read_config(folder / checkpoint.FILES[0])
        num_levels = _levels(self._model, num_levels, bit_width)
        import torch

        from vall_e.emb.codecs.funcodec_net import prepare
        from vall_e.emb.codecs.timeconv import Lstm

        prepare_device("funcodec", device)
        self._device, self._dtype = device, getattr(torch, dtype)
        state = checkpoint.read_state(path)
        self._encoder, self._decoder = checkpoint.networks(self._model, state, path)
        self._in_rows = True
        for net in (self._encoder, self._decoder):
            self._in_rows &= prepare(net.eval().requires_grad_(False).to(device, self._dtype))
        self._codebooks = checkpoint.codebooks(self._model, state, path)[:num_levels].to(device)
        self._lanes = Lstm.LANES if torch.device(device).type == "cpu" else Lstm.LANES_ON_DEVICE
        self._maps = checkpoint.projections(self._model, state, path, device)
        self.causal = self._model.encoder.causal and not (self._model.normalize or self._model.chunk_samples)
        self.causal = self.causal and not self._model.n_fft
        self.spec = CodecSpec(
            name="funcodec",
            weights_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            sample_rate_hz=self._model.sample_rate_hz,
            hop_samples=self._model.hop_samples,
            num_levels=num_levels,
            codebook_size=self._model.codebook_size,
            chunk_samples=self._model.chunk_samples,
            stride_samples=self._model.stride_samples,
        )

    def encode(self, audio: Sequence[np.ndarray]) -> list[np.ndarray]:
        """float32 [n] each → uint16 [K, spec.num_frames(n)] each."""
        import torch

        found: list[list[np.ndarray]] = [[] for _ in audio]
        chunks = ((index, x) for index, item in enumerate(audio) for x in self._chunks(item))
        with torch.inference_mode(), self._safe_kernels():
            while batch := list(itertools.islice(chunks, self._lanes)):
                for (index, _), codes in zip(batch, self._encode([x for _, x in batch]), strict=True):
                    found[index].append(codes)
        return [np.concatenate(parts, axis=1) for parts in found]

    def scales(self, audio: Sequence[np.ndarray]) -> list[np.ndarray]:
        """float32 [S] each: the root mean square of each chunk, one where the model does not chunk."""
        if not self._model.normalize:
            return [np.zeros(0, np.float32) for _ in audio]
        import torch

        with torch.inference_mode():
            return [np.array([_loudness(x).item() for x in self._chunks(item)], np.float32) for item in audio]

    def decode(self, codes: Sequence[np.ndarray], scales: Sequence[np.ndarray] | None = None) -> list[np.ndarray]:
        """[K,T] each → float32 [hop · T] each; chunks that overlap are faded into each other."""
        import torch

        found = [np.zeros(0, np.float32)] * len(codes) if scales is None else scales
        sounds: list[list[np.ndarray]] = [[] for _ in codes]
        parts = ((index, part) for index, item in enumerate(codes) for part in self._parts(item, found[index]))
        with torch.inference_mode(), self._safe_kernels():
            while batch := list(itertools.islice(parts, self._lanes)):
                for (index, _), sound in zip(batch, self._decode([part for _, part in batch]), strict=True):
                    scaled = sound * found[index][len(sounds[index])] if len(found[index]) else sound
                    sounds[index].append(scaled)
        return [item[0] if len(item) == 1 else _overlap(item, self._model.stride_samples) for item in sounds]

    def _safe_kernels(self) -> contextlib.AbstractContextManager[None]:
        """oneDNN (torch 2.13) was seen to convolve 16 channels by a kernel of 8 wrongly in bfloat16 and float16.

        On one processor, not on all: it is kept out wherever it would convolve.
        """
        import torch

        if self._dtype == torch.float32 or self._in_rows:
            return contextlib.nullcontext()
        kernels: contextlib.AbstractContextManager[None] = torch.backends.mkldnn.flags(enabled=False)
        return kernels

    def _chunks(self, item: np.ndarray) -> list[Tensor]:
        import torch

        x = torch.from_numpy(np.ascontiguousarray(item, dtype=np.float32)).to(self._device)
        chunk, stride = self._model.chunk_samples, self._model.stride_samples
        return [x[start : start + chunk] for start in range(0, len(x), stride)] if chunk else [x]

    def _encode(self, chunks: Sequence[Tensor]) -> list[np.ndarray]:
        """[n_i] each → uint16 [K, ceil(n_i / hop)] each."""
        found = []
        for x, frames in zip(chunks, self._frames(chunks), strict=True):
            # a spectrum has one column more than hops, and the package's own files of codes leave out what comes of it
            codes = self._quantize(frames.float())[:, : -(-len(x) // self._model.hop_samples)]
            found.append(codes.cpu().numpy().astype(np.uint16))
        return found

    def _frames(self, chunks: Sequence[Tensor]) -> list[Tensor]:
        """[n_i] each → encoder output [T_i, D] each. They share the LSTM, which costs the same for one as for many."""
        import torch

        from vall_e.emb.codecs.funcodec_long import run_pieces, run_windows

        hop, has_lstm = self._model.encoder.hop, self._model.encoder.seq_model == "lstm"
        tail = len(self._encoder) - 2 - has_lstm  # the LSTM and the last convolution
        front, last = _layers(self._encoder[:tail]), cast("Conv", self._encoder[-1])
        recurrent = cast("Recurrent", self._encoder[tail]).fast if has_lstm else None
        short: dict[int, Tensor] = {}
        found = [torch.empty(0)] * len(chunks)
        for index, x in enumerate(chunks):
            length, source = self._source(x)
            num_frames = -(-length // hop)
            if len(x) <= WHOLE_S * self._model.sample_rate_hz:
                short[index] = _run(front, source(0, num_frames))[0].T
                continue
            windows = run_windows(front, source, num_frames, size=self._window(), num_steps=length, hop=hop)
            pieces = (place.core(part, 1)[0].T for part, place in windows)
            found[index] = run_pieces(last, pieces if recurrent is None else recurrent.stream(pieces))
        mixed = list(short.values())
        for index, rows in zip(short, recurrent.whole(mixed) if recurrent and mixed else mixed, strict=True):
            found[index] = last(rows.T[None])[0].T
        return found

    def _source(self, x: Tensor) -> tuple[int, functools.partial[Tensor]]:
        """(steps, frames [start, end) of the network's input): samples [1,1,n], or spectra [1,C,F,columns]."""
        model = self._model
        scale = _loudness(x) if model.normalize else None
        if not model.n_fft:
            return len(x), functools.partial(self._samples, x, scale)
        half = model.n_fft // 2
        x = _lengthen(x, half + 1)  # a reflection needs more than it reflects
        import torch

        mirrored = torch.nn.functional.pad(x[None], (half, half), "reflect")[0]
        num_columns = len(x) // model.stft_hop + 1
        return num_columns, functools.partial(self._spectra, mirrored, scale, num_columns)

    def _samples(self, x: Tensor, scale: Tensor | None, start: int, end: int) -> Tensor:
        piece = x[None, None, start * self._model.encoder.hop : end * self._model.encoder.hop]
        return (piece if scale is None else piece / scale).to(self._dtype)

    def _spectra(self, mirrored: Tensor, scale: Tensor | None, num_columns: int, start: int, end: int) -> Tensor:
        import torch

        model, hop = self._model, self._model.stft_hop
        first, last = start * model.encoder.hop, min(num_columns, end * model.encoder.hop)
        piece = mirrored[first * hop : (last - 1) * hop + model.n_fft]
        piece = piece if scale is None else piece / scale
        window = torch.hann_window(model.n_fft, device=piece.device)
        spectrum = torch.stft(piece, model.n_fft, hop, window=window, center=False, return_complex=True)
        magnitude = spectrum.abs()
        channels = [magnitude.clamp(min=MIN_LOG_MAGNITUDE).log()]
        if model.domain == "mag_angle":
            channels += [spectrum.angle()]
        else:
            phase = spectrum / magnitude.clamp(min=MIN_LOG_MAGNITUDE)
            channels += [phase.real, phase.imag]
        return torch.stack(channels)[None].to(self._dtype)

    def _quantize(self, frames: Tensor) -> Tensor:
        """Encoder output [T, D] → codes [K, T]."""
        import torch

        from vall_e.emb.codecs.rvq import quantize

        if self._maps:
            frames = torch.nn.functional.linear(frames, *self._maps[0])
        if self._model.code_range is not None:
            frames = torch.tanh(frames) * self._model.code_range
        if not self._model.first_level_halved:
            return quantize(frames, self._codebooks)
        length = len(frames)
        few = max(1, length // 2)
        picked = torch.arange(few, device=frames.device) * length // few
        spread = torch.arange(length, device=frames.device) * few // length
        first = quantize(frames[picked], self._codebooks[:1])[:, spread]
        if len(self._codebooks) == 1:
            return first
        return torch.cat([first, quantize(frames - self._codebooks[0][first[0]], self._codebooks[1:])])

    def _parts(self, codes: np.ndarray, scales: np.ndarray) -> list[np.ndarray]:
        """[K,T] → [K,T_i] of each chunk."""
        splits = _splits(self.spec, codes.shape[1])
        if len(scales) not in (0, len(splits)):
            raise ContractError(f"{len(scales)} scales for codes of {len(splits)} chunks")
        return np.split(codes, np.cumsum(splits)[:-1], axis=1)

    def _decode(self, parts: Sequence[np.ndarray]) -> list[np.ndarray]:
        """[K,T_i] of each chunk → float32 [hop · T_i] each; they share the LSTM, as in `_frames`."""
        rows = [self._decoder[0](self._entries(codes))[0].T for codes in parts]
        if self._model.decoder.seq_model == "lstm":
            rows = cast("Recurrent", self._decoder[1]).fast.whole(rows)
        return [self._sound(part.T[None]) for part in rows]

    def _entries(self, codes: np.ndarray) -> Tensor:
        """[K,T] → what the decoder takes, [1, D, T]."""
        import torch

        from vall_e.emb.codecs.rvq import dequantize

        x = dequantize(torch.from_numpy(codes.astype(np.int64)).to(self._device), self._codebooks)
        if self._maps:
            x = torch.nn.functional.linear(x, *self._maps[1])
        return x.T[None].to(self._dtype)

    def _sound(self, y: Tensor) -> np.ndarray:
        """What the LSTM gives, [1, D, T] → float32 [hop · T]."""
        from vall_e.emb.codecs.funcodec_long import run_windows

        net, num_frames = self._model.decoder, y.shape[-1]
        tail = _layers(self._decoder[1 + (net.seq_model == "lstm") :])
        if num_frames * self._model.hop_samples <= WHOLE_S * self._model.sample_rate_hz:
            return self._audio(_run(tail, y).float()).cpu().numpy()
        source = functools.partial(_columns, y)
        keep = 1 if net.is_2d else 0
        windows = run_windows(tail, source, num_frames, size=self._window(), num_steps=num_frames, keep=keep)
        return np.concatenate([self._core_audio(part, place) for part, place in windows])

    def _core_audio(self, part: Tensor, place: Place) -> np.ndarray:
        """A window's own audio; the frame to each side is there for spectra, which overlap."""
        hop = self._model.hop_samples
        audio = self._audio(part.float())
        return audio[place.left * hop :][: place.count * hop].cpu().numpy()

    def _audio(self, y: Tensor) -> Tensor:
        """Decoder output, [1,1,n] or [1,C,F,columns] → [n], a whole number of hops."""
        import torch

        model = self._model
        if not model.n_fft:
            return y[0, 0]
        magnitude = torch.nn.functional.softplus(y[:, 0])
        if model.domain == "mag_angle":
            spectrum = torch.polar(magnitude, torch.sin(y[:, 1]) * torch.pi)
        else:
            spectrum = magnitude * torch.complex(y[:, 1], y[:, 2])
        window = torch.hann_window(model.n_fft, device=y.device)
        length = y.shape[-1] * model.stft_hop
        return torch.istft(spectrum, model.n_fft, model.stft_hop, window=window, length=length)[0]

    def _window(self) -> int:
        return max(1, int(WINDOW_S * self._model.sample_rate_hz) // self._model.hop_samples)


def _layers(net: nn.ModuleList) -> list[Layer]:
    return cast("list[Layer]", list(net))


def _run(layers: Sequence[Layer], x: Tensor) -> Tensor:
    for layer in layers:
        x = layer(x)
    return x


def _loudness(x: Tensor) -> Tensor:
    """As the package computes it, to the last bit: an angle near ±π turns on it. Without its copy where x is long."""
    if len(x) <= COPY_SAMPLES:
        return x.square().mean().sqrt() + SCALE_FLOOR
    from vall_e.emb.codecs.timeconv import moments

    mean, variance = moments(x[None])
    return (variance + mean.square()).sqrt()[0].float() + SCALE_FLOOR


def _lengthen(x: Tensor, length: int) -> Tensor:
    import torch

    return torch.nn.functional.pad(x, (0, max(0, length - len(x))))


def _columns(x: Tensor, start: int, end: int) -> Tensor:
    return x[..., start:end]


def _splits(spec: CodecSpec, num_frames: int) -> list[int]:
    """Frames of each chunk of an item of `num_frames`: those of the shortest audio that has so many frames."""
    if not spec.chunk_samples:
        return [num_frames]
    low, high = 1, num_frames * spec.hop_samples
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if spec.num_frames(middle) >= num_frames else (middle + 1, high)
    lengths = [min(spec.chunk_samples, low - start) for start in range(0, low, spec.stride_samples)]
    counts = [-(-length // spec.hop_samples) for length in lengths]
    counts[-1] -= sum(counts) - num_frames  # codes that were cut need not be those of any audio
    return [count for count in counts if count > 0]


def _overlap(parts: Sequence[np.ndarray], stride: int) -> np.ndarray:
    """Audio of chunks `stride` samples apart, weighted by triangles where they overlap."""
    size = max(len(parts[0]), max(stride * index + len(part) for index, part in enumerate(parts)))
    total, weights = np.zeros(size, np.float32), np.zeros(size, np.float32)
    ramp = np.linspace(0.0, 1.0, len(parts[0]) + 2, dtype=np.float32)[1:-1]
    weight = 0.5 - np.abs(ramp - 0.5)
    for index, part in enumerate(parts):
        place = slice(stride * index, stride * index + len(part))
        total[place] += weight[: len(part)] * part
        weights[place] += weight[: len(part)]
    covered: np.ndarray = total / np.maximum(weights, np.finfo(np.float32).tiny)
    return covered


def _levels(model: Model, num_levels: int | None, bit_width: int | None) -> int:
    """The number of levels that is asked for, by count or by bits per second."""
    if bit_width is not None:
        num_levels = int(bit_width // model.bits_per_level)
        if not 1 <= num_levels <= model.num_levels:
            most = model.bits_per_level * model.num_levels
            raise UsageError(
                f"funcodec: bit width {bit_width}; this model's levels take {model.bits_per_level:g} bits/s each, "
                f"from {model.bits_per_level:g} to {most:g} in all"
            )
    num_levels = model.num_levels if num_levels is None else num_levels
    if not 1 <= num_levels <= model.num_levels:
        raise UsageError(f"funcodec: {num_levels} levels; this model has 1 to {model.num_levels}")
    return num_levels


def load(options: CodecOptions) -> FuncodecCodec:
    return FuncodecCodec(
        weights=options.weights,
        num_levels=options.levels,
        device=devices.kind_of(options.device),
        dtype=options.dtype,
        bit_width=options.bit_width,
    )
