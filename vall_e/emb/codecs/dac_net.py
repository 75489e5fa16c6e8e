"""The network of DAC (Kumar et al. 2023, https://arxiv.org/abs/2306.06546) over time-major blocks (`timeconv`).

The layers carry the names of the published checkpoints, so a checkpoint fits in whole or not at all. What the package
needs beside torch (audiotools and its pins) is not needed here. A frame sees only so far to either side, `reach`, so
windows with that much around them give what the whole would.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vall_e.emb.codecs.timeconv import LEAST_ROWS, Conv, ConvTranspose, blocks, rows_per_block

_DILATIONS = (1, 3, 9)


@dataclass(frozen=True, kw_only=True)
class DacConfig:
    """What the checkpoint's metadata calls kwargs, with the package's defaults."""

    encoder_dim: int = 64
    encoder_rates: tuple[int, ...] = (2, 4, 8, 8)
    latent_dim: int | None = None
    decoder_dim: int = 1536
    decoder_rates: tuple[int, ...] = (8, 8, 4, 2)
    n_codebooks: int = 9
    codebook_size: int = 1024
    codebook_dim: tuple[int, ...] = field(default=(8,))
    sample_rate: int = 44_100

    @classmethod
    def from_kwargs(cls, kwargs: Mapping[str, Any]) -> DacConfig:
        """Raises ValueError: a value of the wrong kind, or rates of encoder and decoder that differ."""
        values: dict[str, Any] = {}
        for name in cls.__dataclass_fields__:
            value = kwargs.get(name)
            if value is None:
                continue
            many = name in ("encoder_rates", "decoder_rates", "codebook_dim")
            items = tuple(value) if isinstance(value, (list, tuple)) else (value,)
            if not all(type(item) is int and item > 0 for item in items) or (not many and len(items) != 1):
                raise ValueError(f"{name} is {value!r}")
            values[name] = items if many else items[0]
        config = cls(**values)
        if prod(config.encoder_rates) != prod(config.decoder_rates) or len(config.codebook_dim) not in (
            1,
            config.n_codebooks,
        ):
            raise ValueError("its encoder, codebooks and decoder are of different sizes")
        return config

    @property
    def hop(self) -> int:
        return prod(self.encoder_rates)


class _Alpha(nn.Module):
    """Holds the numbers of a Snake activation, x + sin²(αx) / α."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, channels, 1))


def _conv(c_in: int, c_out: int, kernel: int, stride: int = 1, dilation: int = 1) -> nn.Module:
    return nn.utils.weight_norm(nn.Conv1d(c_in, c_out, kernel, stride, dilation=dilation))


class _Block(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.block = nn.Sequential(*layers)


def _residuals(width: int) -> list[nn.Module]:
    return [
        _Block(_Alpha(width), _conv(width, width, 7, dilation=dilation), _Alpha(width), _conv(width, width, 1))
        for dilation in _DILATIONS
    ]


def _encoder(config: DacConfig, latent_dim: int) -> _Block:
    width, layers = config.encoder_dim, [_conv(1, config.encoder_dim, 7)]
    for rate in config.encoder_rates:
        layers.append(_Block(*_residuals(width), _Alpha(width), _conv(width, 2 * width, 2 * rate, rate)))
        width *= 2
    return _Block(*layers, _Alpha(width), _conv(width, latent_dim, 3))


def _decoder(config: DacConfig, latent_dim: int) -> nn.Module:
    width, layers = config.decoder_dim, [_conv(latent_dim, config.decoder_dim, 7)]
    for rate in config.decoder_rates:
        up = nn.utils.weight_norm(nn.ConvTranspose1d(width, width // 2, 2 * rate, rate))
        width //= 2
        layers.append(_Block(_Alpha(2 * width), up, *_residuals(width)))
    decoder = nn.Module()
    decoder.model = nn.Sequential(*layers, _Alpha(width), _conv(width, 1, 7))
    return decoder


class _Level(nn.Module):
    def __init__(self, latent_dim: int, size: int, width: int) -> None:
        super().__init__()
        self.in_proj, self.out_proj = _conv(latent_dim, width, 1), _conv(width, latent_dim, 1)
        self.codebook = nn.Embedding(size, width)


class DacWeights(nn.Module):
    """Only holds the weights, under the names of the checkpoints."""

    def __init__(self, config: DacConfig) -> None:
        super().__init__()
        latent_dim = config.latent_dim or config.encoder_dim * 2 ** len(config.encoder_rates)
        with warnings.catch_warnings():  # the names of the checkpoints are those of torch's older weight norm
            warnings.simplefilter("ignore", FutureWarning)
            self.encoder, self.decoder = _encoder(config, latent_dim), _decoder(config, latent_dim)
            widths = config.codebook_dim * (config.n_codebooks if len(config.codebook_dim) == 1 else 1)
            self.quantizer = nn.Module()
            self.quantizer.quantizers = nn.ModuleList(_Level(latent_dim, config.codebook_size, w) for w in widths)


def _rows(x: Tensor, start: int, stop: int) -> Tensor:
    """Rows start..stop of x [B, T, C], zeros where it has none."""
    inner = x[:, max(start, 0) : min(stop, x.shape[1])]
    left, right = max(0, -start), max(0, stop - x.shape[1])
    return functional.pad(inner, (0, 0, left, right)) if left or right else inner


class _Snake:
    def __init__(self, module: nn.Module, dtype: torch.dtype, device: str) -> None:
        alpha = module.get_parameter("alpha").detach()[0, :, 0]
        self._alpha, self._inverse = alpha.to(device, dtype), (alpha + 1e-9).reciprocal().to(device, dtype)

    def __call__(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        return torch.addcmul(x, (x * self._alpha).sin_().square_(), self._inverse, out=out)


class _Layer:
    """Snake, then a convolution, over blocks; `padding` rows of zeros at both ends, or none where not `padded`."""

    def __init__(self, snake: nn.Module | None, module: Any, padding: int, dtype: torch.dtype, device: str) -> None:
        self._snake = None if snake is None else _Snake(snake, dtype, device)
        self.padding = padding
        self.up = isinstance(module, nn.ConvTranspose1d)
        self.kernel, self.stride, self.dilation = module.kernel_size[0], module.stride[0], module.dilation[0]
        self._channels = max(module.in_channels, module.out_channels * (self.stride if self.up else 1))
        self._conv = ConvTranspose(module, dtype=dtype, device=device) if self.up else None
        self.conv = None if self.up else Conv(module, dtype=dtype, device=device)
        self._out_channels = module.out_channels

    def active(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        return x if self._snake is None else self._snake(x, out)

    def __call__(self, x: Tensor, padded: bool) -> Tensor:
        size = rows_per_block(self._channels, x.device)
        if self.conv is None:
            return self._upsampled(x, padded, size)
        conv, padding = self.conv, self.padding if padded else 0
        num = (x.shape[1] + 2 * padding - conv.reach) // conv.stride + 1

        def work(start: int, stop: int, out: Tensor) -> None:
            first = start * conv.stride - padding
            conv(self.active(_rows(x, first, first + (stop - start - 1) * conv.stride + conv.reach)), out)

        return blocks(max(LEAST_ROWS, size // conv.stride), work, x.new_empty(len(x), num, self._out_channels))

    def _upsampled(self, x: Tensor, padded: bool, size: int) -> Tensor:
        assert self._conv is not None
        transposed = self._conv
        out = x.new_empty(len(x), x.shape[1] + 1, self.stride * self._out_channels)

        def work(start: int, stop: int, out: Tensor) -> None:
            transposed(self.active(_rows(x, start - 1, stop)), out)

        rows = blocks(size, work, out).view(len(x), -1, self._out_channels)
        return rows[:, self.padding : rows.shape[1] - self.padding] if padded else rows


class _Residual:
    """x + conv1(snake(conv7(snake(x)))), all four on a block before the next block is touched."""

    def __init__(self, module: Any, dtype: torch.dtype, device: str) -> None:
        first, second = module.block[:2], module.block[2:]
        self.wide = _Layer(first[0], first[1], 3 * first[1].dilation[0], dtype, device)
        self._point = _Layer(second[0], second[1], 0, dtype, device)

    def __call__(self, x: Tensor, padded: bool) -> Tensor:
        wide, point = self.wide.conv, self._point.conv
        assert wide is not None and point is not None
        side = self.wide.padding
        offset = 0 if padded else side
        num = x.shape[1] - 2 * offset

        def work(start: int, stop: int, out: Tensor) -> None:
            piece = _rows(x, start + offset - side, stop + offset + side)
            inner = wide(self.wide.active(piece))
            point.plus(self._point.active(inner, out=inner), x[:, start + offset : stop + offset], out)

        return blocks(rows_per_block(x.shape[2], x.device), work, x.new_empty(len(x), num, x.shape[2]))


class Chain:
    """The encoder or the decoder: float [B, T, C] → [B, T', C'], all items of one length."""

    def __init__(self, module: nn.Sequential, *, dtype: torch.dtype, device: str) -> None:
        self._steps = list(_steps(list(module), dtype, device))
        self._layers = [step.wide if isinstance(step, _Residual) else step for step in self._steps]

    def __call__(self, x: Tensor, *, padded: bool = True) -> Tensor:
        for step in self._steps:
            x = step(x, padded)
        return x

    def needs(self, first: int, last: int) -> tuple[int, int]:
        """Of which input rows the output rows first..last are made, with padding; both ends included."""
        for layer in reversed(self._layers):
            if layer.up:
                first = -((layer.kernel - 1 - first - layer.padding) // layer.stride)
                last = (last + layer.padding) // layer.stride
            else:
                first = first * layer.stride - layer.padding
                last = last * layer.stride - layer.padding + (layer.kernel - 1) * layer.dilation
        return first, last

    def unpadded_length(self, length: int) -> int:
        """Rows given for `length` rows without padding."""
        for layer in self._layers:
            span = (layer.kernel - 1) * layer.dilation
            length = (length - 1) * layer.stride + span + 1 if layer.up else (length - span - 1) // layer.stride + 1
        return length

    def unpadded_need(self, length: int) -> int:
        """Rows it takes without padding to give `length` rows."""
        for layer in reversed(self._layers):
            span = (layer.kernel - 1) * layer.dilation
            length = -((span + 1 - length) // layer.stride) + 1 if layer.up else (length - 1) * layer.stride + span + 1
        return length


def _steps(modules: list[Any], dtype: torch.dtype, device: str) -> Iterator[_Layer | _Residual]:
    snake = None
    for module in modules:
        if isinstance(module, _Alpha):
            snake = module
        elif isinstance(module, _Block) and len(module.block) == 4 and isinstance(module.block[2], _Alpha):
            yield _Residual(module, dtype, device)
        elif isinstance(module, _Block):
            yield from _steps(list(module.block), dtype, device)
        else:
            stride = module.stride[0]
            padding = -(-stride // 2) if stride > 1 else (module.kernel_size[0] - 1) // 2
            yield _Layer(snake, module, padding, dtype, device)
            snake = None


class Codebooks:
    """DAC's residual quantiser: a level projects what is left to a few numbers and takes the entry of nearest angle."""

    def __init__(self, levels: Any, *, device: str) -> None:
        self._in = [Conv(level.in_proj, dtype=torch.float32, device=device) for level in levels]
        self._out = [Conv(level.out_proj, dtype=torch.float32, device=device) for level in levels]
        self._entries = [level.codebook.weight.detach().float().to(device) for level in levels]
        # Both sides are of unit length, so the nearest is the one of largest product; in float64 nothing cancels. The
        # length of what is coded changes no order.
        self._angles = [functional.normalize(entries.double()) for entries in self._entries]

    def quantize(self, latents: Tensor) -> Tensor:
        """float32 [N, D] → int64 [K, N]."""
        rest, codes = latents[None], []
        for inner, outer, entries, angles in zip(self._in, self._out, self._entries, self._angles, strict=True):
            indices = (inner(rest)[0].double() @ angles.T).argmax(1)
            rest = rest - outer(entries[indices][None])
            codes.append(indices)
        return torch.stack(codes)

    def dequantize(self, codes: Tensor) -> Tensor:
        """Integer [K', N], K' at most K → float32 [N, D]."""
        parts = zip(codes.long(), self._out, self._entries, strict=False)
        return sum((outer(entries[indices][None])[0] for indices, outer, entries in parts), torch.zeros(()))
