"""FunCodec (Du et al. 2023, https://arxiv.org/abs/2309.07405), built from a checkpoint's own `config.yaml`.

Time-domain SEANet codecs, and FreqCodec over the magnitude-angle or magnitude-phase spectrum; 16 kHz, 32 levels of 1024
entries, 50 or 25 frames/s in the published ones. The published package can't be installed beside current libraries, so
its weights go into the SEANet of the package `encodec`, from which it stems; `tests/emb/codecs/test_funcodec.py`
compares them. docs/funcodec.md has more.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear

from vall_e.emb.codecs import checkpoints
from vall_e.emb.codecs import funcodec_weights as checkpoint
from vall_e.emb.codecs.batching import LSTM_STEPS, MOST_TOGETHER, Codes, Split, each, on_device
from vall_e.emb.codecs.funcodec_config import Model, read_config
from vall_e.emb.codecs.registry import CodecOptions
from vall_e.emb.codecs.rvq import CodeSpace, dequantize, quantize
from vall_e.executor import devices
from vall_e.types import CodecSpec, UsageError

AT_ONCE_S = 120.0  # longer items run in windows, which costs time but bounds the memory
WINDOW_S = 20.0
SCALE_FLOOR = 1e-8
COPY_SAMPLES = 1 << 24


class FuncodecCodec(CodeSpace):
    """FunCodec. Norms and loudness are taken over all of an item, so items are never padded to share a batch."""

    def __init__(
        self,
        *,
        weights: Path | None = None,
        num_levels: int | None = None,
        bit_width: int | None = None,
        device: str = "cpu",
        dtype: str = "float32",
        at_once_s: float = AT_ONCE_S,
        window_s: float = WINDOW_S,
    ) -> None:
        """Load the weights: a folder, else the hubs' caches, else a hub.

        Args:
            weights: a folder with config.yaml and model.pth, or the name of a published model.
            num_levels: how many levels `encode` returns; all of them if None.
            bit_width: in bits/s, instead of `num_levels`: as many whole levels as fit into it.
            device: where torch computes.
            dtype: in what the networks compute.
            at_once_s: what is longer runs in windows of `window_s`, which changes speed and memory only.
            window_s: see `at_once_s`.

        Raises:
            UsageError: levels or bits that the model lacks. BackendError: no weights, or not of such a model.
        """
        self._device, self._dtype = device, checkpoints.place("funcodec", device, dtype)
        folder = checkpoint.folder(weights)
        path = folder / checkpoint.FILES[1]
        self._model = model = read_config(folder / checkpoint.FILES[0])
        num_levels = _levels(model, num_levels, bit_width)
        checkpoints.require("funcodec", package="encodec", extra="funcodec")
        state = checkpoint.read_state(path)
        networks = [network.to(device, self._dtype) for network in checkpoint.networks(model, state, path)]
        self._encoder, self._decoder = (Split(network) for network in networks)
        self._codebooks = checkpoint.codebooks(model, state, path)[:num_levels].to(device).double()
        self._maps = checkpoint.projections(model, state, path, device)
        self._at_once, self._window = at_once_s * model.sample_rate_hz, max(1, int(window_s * model.frames_per_s))
        self.spec = CodecSpec(
            name="funcodec",
            weights_sha256=checkpoints.digest(path),
            sample_rate_hz=model.sample_rate_hz,
            hop_samples=model.hop_samples,
            num_levels=num_levels,
            codebook_size=model.codebook_size,
            chunk_samples=model.chunk_samples,
            stride_samples=model.stride_samples,
        )

    def encode(self, audio: Sequence[np.ndarray]) -> list[np.ndarray]:
        """float32 [n] each → uint16 [K, spec.num_frames(n)] each."""
        codes = Codes([self.spec.num_frames(len(item)) for item in audio], self._device, self.spec.num_levels)
        done = [0] * len(audio)
        owned = ((index, x) for index, item in enumerate(audio) for x in self._chunks(item))
        with checkpoints.inference(self._dtype):
            while group := list(itertools.islice(owned, MOST_TOGETHER)):
                chunks = [x for _, x in group]
                for (item, x), frames in zip(group, self._frames(chunks), strict=True):
                    # a spectrum has one column more than hops; the package's own files leave out what comes of it
                    own = self._quantized(frames.float())[:, : -(-len(x) // self._model.hop_samples)]
                    codes.write(item, done[item], own)
                    done[item] += own.shape[1]
        return codes.arrays()

    def scales(self, audio: Sequence[np.ndarray]) -> list[np.ndarray]:
        """float32 [S] each: the root mean square of each chunk, one where the model does not chunk."""
        if not self._model.normalize:
            return [np.zeros(0, np.float32) for _ in audio]
        with torch.inference_mode():
            return [np.array([_loudness(x).item() for x in self._chunks(item)], np.float32) for item in audio]

    def decode(self, codes: Sequence[np.ndarray], scales: Sequence[np.ndarray] | None = None) -> list[np.ndarray]:
        """[K,T] each → float32 [hop · T] each; chunks that overlap are faded into each other.

        Raises:
            ValueError: scales of another number of chunks.
        """
        gains = [np.zeros(0, np.float32)] * len(codes) if scales is None else scales
        parts = ((index, part) for index, item in enumerate(codes) for part in self._parts(item, gains[index]))
        sounds: list[list[np.ndarray]] = [[] for _ in codes]
        with checkpoints.inference(self._dtype):
            while group := list(itertools.islice(parts, MOST_TOGETHER)):
                for (index, _), sound in zip(group, self._sounds([part for _, part in group]), strict=True):
                    gain = gains[index][len(sounds[index])] if len(gains[index]) else np.float32(1)
                    sounds[index].append(sound * gain)
        return [item[0] if len(item) == 1 else _overlap(item, self._model.stride_samples) for item in sounds]

    def _chunks(self, item: np.ndarray) -> list[Tensor]:
        x = on_device(item, self._device, torch.float32)
        chunk, stride = self._model.chunk_samples, self._model.stride_samples
        return [x[start : start + chunk] for start in range(0, len(x), stride)] if chunk else [x]

    def _frames(self, chunks: Sequence[Tensor]) -> list[Tensor]:
        """[n_i] each → encoder output [T_i, D] each; those that run at once share the LSTM."""
        short = [x for x in chunks if len(x) <= self._at_once]
        found = iter(self._encoder(self._inputs(x) for x in short))
        return [next(found).T if len(x) <= self._at_once else self._long_frames(x) for x in chunks]

    def _inputs(self, x: Tensor) -> Tensor:
        length, source = self._source(x)
        return source(0, -(-length // self._model.encoder.hop))[0]

    def _long_frames(self, x: Tensor) -> Tensor:
        """[n] → encoder output [T, D], in windows."""
        from vall_e.emb.codecs.funcodec_windows import run_pieces, run_windows

        hop = self._model.encoder.hop
        length, source = self._source(x)
        front, back, num_frames = self._encoder.front, self._encoder.back, -(-length // hop)
        if self._encoder.lstm is None:
            layers = list(front)
            front, back = torch.nn.Sequential(*layers[:-2]), torch.nn.Sequential(*layers[-2:])
        windows = run_windows(front, source, num_frames, size=self._window, num_steps=length, hop=hop)
        pieces = (window.own(part, 1)[0] for part, window in windows)
        return run_pieces(back, self._recurrent(pieces)).T

    def _recurrent(self, pieces: Iterator[Tensor]) -> Iterator[Tensor]:
        """[D,T_i] each, one after the other, through the LSTM, if there is one."""
        lstm, state = self._encoder.lstm, None
        for piece in pieces:
            for part in piece.split(LSTM_STEPS, -1):
                if lstm is None:
                    yield part
                else:
                    (row,), state = lstm.step([part], state)
                    yield row

    def _source(self, x: Tensor) -> tuple[int, functools.partial[Tensor]]:
        """(steps, frames [start, end) of the network's input): samples [1,1,n], or spectra [1,C,F,columns]."""
        scale = _loudness(x) if self._model.normalize else None
        if not self._model.n_fft:
            return len(x), functools.partial(self._samples, x, scale)
        from vall_e.emb.codecs.funcodec_freq import mirrored

        padded = mirrored(self._model, x)
        num_columns = (len(padded) - self._model.n_fft) // self._model.stft_hop + 1
        return num_columns, functools.partial(self._spectra, padded, scale, num_columns)

    def _samples(self, x: Tensor, scale: Tensor | None, start: int, end: int) -> Tensor:
        piece = x[None, None, start * self._model.encoder.hop : end * self._model.encoder.hop]
        return (piece if scale is None else piece / scale).to(self._dtype)

    def _spectra(self, padded: Tensor, scale: Tensor | None, num_columns: int, start: int, end: int) -> Tensor:
        from vall_e.emb.codecs.funcodec_freq import spectra

        model, hop = self._model, self._model.stft_hop
        first, last = start * model.encoder.hop, min(num_columns, end * model.encoder.hop)
        piece = padded[first * hop : (last - 1) * hop + model.n_fft]
        return spectra(model, piece if scale is None else piece / scale)[None].to(self._dtype)

    def _quantized(self, frames: Tensor) -> Tensor:
        """Encoder output [T, D] → codes [K, T]."""
        if self._maps:
            frames = linear(frames, *self._maps[0])
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
        rest = frames - self._codebooks[0][first[0]].float()
        return torch.cat([first, quantize(rest, self._codebooks[1:])])

    def _parts(self, codes: np.ndarray, scales: np.ndarray) -> list[np.ndarray]:
        """[K,T] → [K,T_i] of each chunk."""
        splits = _splits(self.spec, codes.shape[1])
        if len(scales) not in (0, len(splits)):
            raise ValueError(f"{len(scales)} scales for codes of {len(splits)} chunks")
        return np.split(codes, np.cumsum(splits)[:-1], axis=1)

    def _sounds(self, parts: Sequence[np.ndarray]) -> list[np.ndarray]:
        """[K,T_i] of each chunk → float32 [hop · T_i] each; they share the LSTM, as in `_frames`."""
        inputs = [self._entries(codes) for codes in parts]
        if self._decoder.lstm is None:
            return [self._sound(self._decoder.front, x) for x in inputs]
        rows = self._decoder.lstm(each(self._decoder.front, inputs))
        if len({row.shape for row in rows}) == 1 and rows[0].device.type != "cpu" and not self._is_long(rows[0]):
            return [self._audio(y[None].float()).cpu().numpy() for y in each(self._decoder.back, rows)]
        return [self._sound(self._decoder.back, row) for row in rows]

    def _is_long(self, y: Tensor) -> bool:
        return y.shape[-1] * self._model.hop_samples > self._at_once

    def _entries(self, codes: np.ndarray) -> Tensor:
        """[K,T] → what the decoder takes, [D, T]."""
        x = dequantize(on_device(codes, self._device, torch.int64), self._codebooks)
        if self._maps:
            x = linear(x, *self._maps[1])
        return x.T.to(self._dtype)

    def _sound(self, layers: torch.nn.Sequential, y: Tensor) -> np.ndarray:
        """[D, T] → float32 [hop · T] by the layers after the LSTM, in windows if it is long."""
        from vall_e.emb.codecs.funcodec_windows import run_windows

        if not self._is_long(y):
            return self._audio(layers(y[None]).float()).cpu().numpy()
        num_frames, hop = y.shape[-1], self._model.hop_samples
        # spectra overlap: their windows are right one frame to each side as well
        windows = run_windows(
            layers, lambda low, high: y[None, :, low:high], num_frames,
            size=self._window, num_steps=num_frames, keep=1 if self._model.n_fft else 0,
        )  # fmt: skip
        parts = []
        for part, window in windows:
            audio = self._audio(part.float())[(window.start - window.low) * hop :]
            parts.append(audio[: (window.stop - window.start) * hop].cpu().numpy())
        return np.concatenate(parts)

    def _audio(self, y: Tensor) -> Tensor:
        """Decoder output, [1,1,n] or [1,C,F,columns] → [n], a whole number of hops."""
        if not self._model.n_fft:
            return y[0, 0]
        from vall_e.emb.codecs.funcodec_freq import samples

        return samples(self._model, y)


def _loudness(x: Tensor) -> Tensor:
    """As the package computes it, to the last bit: an angle near ±π turns on it. Without its copy where x is long."""
    if len(x) <= COPY_SAMPLES:
        return x.square().mean().sqrt() + SCALE_FLOOR
    total = torch.stack([part.square().sum(dtype=torch.float64) for part in x.split(COPY_SAMPLES)]).sum()
    return (total / len(x)).sqrt().float() + SCALE_FLOOR


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
    """The number of levels asked for, by count or by bits per second."""
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
