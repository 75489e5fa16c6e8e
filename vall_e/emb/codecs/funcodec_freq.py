"""FreqCodec: FunCodec's SEANet over frequency × time, and the spectra that it codes.

Parameters carry the names of the published package, so that its `model.pth` loads. Layers over time alone are those of
the package `encodec`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from encodec.modules.conv import NormConv2d, NormConvTranspose2d, SConv1d
from encodec.modules.lstm import SLSTM
from torch import Tensor, nn

from vall_e.emb.codecs.funcodec_config import Model, Seanet

MIN_LOG_MAGNITUDE = 1e-6


class SConv2d(nn.Module):
    """Reflecting pad → convolution → norm, over [B,C,F,T]."""

    def __init__(
        self, net: Seanet, c_in: int, c_out: int, kernel: tuple[int, int], *,
        stride: tuple[int, int] = (1, 1), dilation: tuple[int, int] = (1, 1), groups: int = 1,
    ) -> None:  # fmt: skip
        super().__init__()
        options: dict[str, Any] = {"stride": stride, "dilation": dilation, "groups": groups}
        self.conv = NormConv2d(c_in, c_out, kernel, norm=net.norm, **options)
        self.causal = net.causal
        self.whole_length: int | None = None  # steps of the whole input, where only a window of it runs
        self._totals = [(k - 1) * d - (s - 1) for k, s, d in zip(kernel, stride, dilation, strict=True)]
        self._span, self._stride = (kernel[1] - 1) * dilation[1] + 1, stride[1]

    def forward(self, x: Tensor) -> Tensor:
        height, total = self._totals
        pads = (*self._time_pads(x.shape[-1], total), height - height // 2, height // 2)
        y: Tensor = self.conv(_reflected(x, pads))
        return y

    def _time_pads(self, length: int, total: int) -> tuple[int, int]:
        """As the package pads: filled up to whole strides, at the end where causal and at the start where not."""
        extra = -(length - self._span + total) % self._stride
        if self.causal:
            return total, extra
        whole = length if self.whole_length is None else self.whole_length
        shift = -(whole - self._span + total) % self._stride
        return total - total // 2 + shift, max(0, total // 2 + extra - shift)


def _reflected(x: Tensor, pads: tuple[int, int, int, int]) -> Tensor:
    """Reflection of the last two axes; one too short to reflect is lengthened by zeros first, as in EnCodec."""
    left, right, above, below = pads
    short = max(0, max(left, right) + 1 - x.shape[-1])
    low = max(0, max(above, below) + 1 - x.shape[-2])
    x = F.pad(F.pad(x, (0, short, 0, low)), pads, "reflect") if any(pads) else x
    return x[..., : x.shape[-2] - low, : x.shape[-1] - short]


class SConvTranspose2d(nn.Module):
    """Transposed convolution → norm, trimmed to whole strides. `more`: steps of frequency kept at the end."""

    def __init__(
        self, net: Seanet, c_in: int, c_out: int, stride: tuple[int, int], *, groups: int = 1, more: int = 0
    ) -> None:
        super().__init__()
        kernel = (2 * stride[0], 2 * stride[1])
        self.convtr = NormConvTranspose2d(c_in, c_out, kernel, norm=net.norm, stride=stride, groups=groups)
        right = math.ceil(stride[1] * net.trim_right_ratio) if net.causal else stride[1] // 2
        high = max(0, stride[0] // 2 - more)
        self._cuts = ((stride[0] - stride[0] // 2, high), (stride[1] - right, right))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.convtr(x)
        for axis, (before, after) in zip((-2, -1), self._cuts, strict=True):
            y = y.narrow(axis, before, y.shape[axis] - before - after)
        return y


class Residual2d(nn.Module):
    """x → shortcut(x) + block(x)."""

    def __init__(self, net: Seanet, channels: int, dilation: int) -> None:
        super().__init__()
        hidden, size = channels // net.compress, net.residual_kernel_size
        narrow, wide = (_groups(n, net.conv_group_ratio) for n in (hidden, channels))
        self.block = nn.Sequential(
            nn.ELU(net.alpha),
            SConv2d(net, channels, hidden, (size, size), dilation=(1, dilation), groups=narrow),
            nn.ELU(net.alpha),
            SConv2d(net, hidden, channels, (1, 1), groups=narrow),
        )
        self.shortcut: nn.Module = nn.Identity()
        if not net.true_skip:
            self.shortcut = SConv2d(net, channels, channels, (1, 1), groups=wide)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.shortcut(x) + self.block(x)
        return y


def _groups(width: int, ratio: int) -> int:
    return width // 2 // ratio if ratio > 0 else 1


class _Squeeze(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.squeeze(2)


class _Unsqueeze(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.unsqueeze(2)


def _conv1d(net: Seanet, c_in: int, c_out: int, kernel: int) -> Any:
    return SConv1d(c_in, c_out, kernel, norm=net.norm, causal=net.causal)


def _lstm(net: Seanet, width: int) -> list[nn.Module]:
    return [SLSTM(width, net.seq_layer_num, net.res_seq)] if net.seq_model == "lstm" else []


def _residuals(net: Seanet, width: int) -> Iterator[nn.Module]:
    return (Residual2d(net, width, net.dilation_base**n) for n in range(net.n_residual_layers))


class Encoder2d(nn.Module):
    """[B,C,F,T] → [B,D,T / hop]."""

    def __init__(self, net: Seanet) -> None:
        super().__init__()
        width, size = net.n_filters, net.kernel_size
        layers: list[nn.Module] = [SConv2d(net, net.input_size, width, (size, size))]
        for freq, time in reversed(net.ratios):
            groups, kernel = _groups(width, net.conv_group_ratio), (2 * freq, 2 * time)
            layers += [*_residuals(net, width), nn.ELU(net.alpha)]
            layers += [SConv2d(net, width, 2 * width, kernel, stride=(freq, time), groups=groups)]
            width *= 2
        layers += [_Squeeze(), *_lstm(net, width), nn.ELU(net.alpha)]
        self.model = nn.Sequential(*layers, _conv1d(net, width, net.dimension, net.last_kernel_size))


class Decoder2d(nn.Module):
    """[B,D,T] → [B,C,F,T · hop]."""

    def __init__(self, net: Seanet) -> None:
        super().__init__()
        width, size = net.n_filters * 2 ** len(net.ratios), net.last_kernel_size
        layers = [_conv1d(net, net.input_size, width, net.kernel_size), *_lstm(net, width), _Unsqueeze()]
        for index, stride in enumerate(net.ratios):
            more = 1 if index == len(net.ratios) - 1 else 0  # the bin of the highest frequency
            groups = _groups(width, net.tr_conv_group_ratio)
            up = SConvTranspose2d(net, width, width // 2, stride, groups=groups, more=more)
            width //= 2
            layers += [nn.ELU(net.alpha), up, *_residuals(net, width)]
        self.model = nn.Sequential(*layers, nn.ELU(net.alpha), SConv2d(net, net.n_filters, net.channels, (size, size)))


def mirrored(model: Model, x: Tensor) -> Tensor:
    """Samples [n] with what the first and the last window of a spectrum need around them."""
    half = model.n_fft // 2
    x = F.pad(x, (0, max(0, half + 1 - len(x))))  # a reflection needs more than it reflects
    return F.pad(x[None], (half, half), "reflect")[0]


def spectra(model: Model, samples: Tensor) -> Tensor:
    """`mirrored` samples, or a part of them → what the network sees, float32 [C,F,columns]."""
    window = torch.hann_window(model.n_fft, device=samples.device)
    spectrum = torch.stft(samples, model.n_fft, model.stft_hop, window=window, center=False, return_complex=True)
    magnitude = spectrum.abs()
    channels = [magnitude.clamp(min=MIN_LOG_MAGNITUDE).log()]
    if model.domain == "mag_angle":
        channels += [spectrum.angle()]
    else:
        phase = spectrum / magnitude.clamp(min=MIN_LOG_MAGNITUDE)
        channels += [phase.real, phase.imag]
    return torch.stack(channels)


def samples(model: Model, y: Tensor) -> Tensor:
    """What the network makes of codes, float32 [1,C,F,columns] → [n], a whole number of hops."""
    magnitude = F.softplus(y[:, 0])
    if model.domain == "mag_angle":
        spectrum = torch.polar(magnitude, torch.sin(y[:, 1]) * torch.pi)
    else:
        spectrum = magnitude * torch.complex(y[:, 1], y[:, 2])
    window = torch.hann_window(model.n_fft, device=y.device)
    return torch.istft(spectrum, model.n_fft, model.stft_hop, window=window, length=y.shape[-1] * model.stft_hop)[0]
