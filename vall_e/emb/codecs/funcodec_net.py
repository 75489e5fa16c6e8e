"""SEANet encoders and decoders as FunCodec builds them, in time and in frequency × time, for running only.

Names of parameters follow the published package's after `rename`, so that its `model.pth` loads; weight norm is folded
in. An activation is fused with the padding of the convolution after it: the padded copy is written once.

A network may also run over a window of its input, with the statistics of its norms given (`_funcodec_long`): that is
what the `Window` that every module passes on is for.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vall_e.emb.codecs import timeconv
from vall_e.emb.codecs.funcodec_config import Seanet
from vall_e.emb.codecs.timeconv import Lstm, moments

Pads = tuple[tuple[int, int], ...]  # (before, after) of the last axes, in their order
_GROUP_WIDTH = 4  # channels; oneDNN is several times slower on groups of fewer


class Window(Protocol):
    """Stands in for the norms while only a window of the input is run."""

    def normalize(self, norm: Norm, x: Tensor) -> Tensor: ...

    def whole_length(self, steps: int) -> int:
        """Length of the whole input of which this is a window, at `steps` steps a frame."""
        ...


class Layer(nn.Module):
    """`steps`: steps of its output for each frame; `reach`: frames of its input to either side that it may look at."""

    steps: int = 0
    reach: float = 0.0

    def forward(self, x: Tensor, window: Window | None = None) -> Tensor:
        return x


class Norm(nn.GroupNorm):
    """Group norm over channels and all of time; `steps` as in Layer."""

    steps: int = 0

    def run(self, x: Tensor, window: Window | None) -> Tensor:
        if window is not None:
            return window.normalize(self, x)
        one = x if self.num_groups > 1 or x.is_contiguous() else x.mT  # as it lies, so that it isn't copied
        return self.applied(*moments(one.reshape(self.num_groups, -1)), x)

    def applied(self, mean: Tensor, variance: Tensor, x: Tensor) -> Tensor:
        """`x` [1, C, …] normed by the moments [groups] of the whole of which it may be a window."""
        members = self.num_channels // self.num_groups
        scale = self.weight.double() * (variance + self.eps).rsqrt().repeat_interleave(members)
        shift = self.bias.double() - mean.repeat_interleave(members) * scale
        shape = (1, -1, *[1] * (x.ndim - 2))
        return torch.addcmul(shift.to(x).view(shape), x, scale.to(x).view(shape))


class Conv(Layer):
    """[ELU →] reflecting pad → convolution [→ norm]; 1-d over [1,C,T] or 2-d over [1,C,F,T]."""

    def __init__(
        self,
        net: Seanet,
        in_channels: int,
        out_channels: int,
        kernel: tuple[int, ...],
        *,
        steps: int,
        stride: tuple[int, ...] | None = None,
        dilation: tuple[int, ...] | None = None,
        groups: int = 1,
        act: bool = True,
    ) -> None:
        super().__init__()
        stride = stride or (1,) * len(kernel)
        dilation = dilation or (1,) * len(kernel)
        kind = nn.Conv1d if len(kernel) == 1 else nn.Conv2d
        self.conv: Any = kind(in_channels, out_channels, kernel, stride, dilation=dilation, groups=groups)  # type: ignore[arg-type]
        self.norm = _norm(net, out_channels, steps // stride[-1])
        self.causal, self.is_2d, self.alpha = net.causal, net.is_2d and len(kernel) == 2, net.alpha if act else None
        self.totals = tuple((k - 1) * d - (s - 1) for k, s, d in zip(kernel, stride, dilation, strict=True))
        self.span, self.stride = (kernel[-1] - 1) * dilation[-1] + 1, stride[-1]
        self.is_pointwise = max(kernel) == max(stride) == 1
        self.in_rows = False  # see `prepare`
        self.steps, self.steps_in = steps // stride[-1], steps
        self.reach = (self.span + self.stride) / steps

    def forward(self, x: Tensor, window: Window | None = None) -> Tensor:
        whole = x.shape[-1] if window is None else window.whole_length(self.steps_in)
        x = padded(x, self._pads(x.shape[-1], whole), self.alpha, self.in_rows)
        if self.in_rows:
            y = self.conv(x.mT.contiguous()).mT
        else:
            y = self._pointwise(x) if self.is_pointwise else self.conv(x)
        return y if self.norm is None else self.norm.run(y, window)

    def _pointwise(self, x: Tensor) -> Tensor:
        """A kernel of 1 is a product of matrices, which torch's convolution of few channels makes a detour to."""
        groups = self.conv.groups
        weight = self.conv.weight.reshape(groups, self.conv.out_channels // groups, -1)
        assert self.conv.bias is not None
        y = torch.baddbmm(self.conv.bias.view(groups, -1, 1), weight, x.reshape(groups, x.shape[1] // groups, -1))
        return y.view(1, -1, *x.shape[2:])

    def _pads(self, length: int, whole: int) -> Pads:
        """As the package pads: the longer half before. So that the last started stride counts, time is filled up to
        whole strides: at its end, but in 2-d layers that see the future at its start."""
        total = self.totals[-1]
        extra = -(length - self.span + total) % self.stride
        left, right = (total, extra) if self.causal else (total - total // 2, total // 2 + extra)
        if self.is_2d and not self.causal:
            shift = -(whole - self.span + total) % self.stride
            left, right = left + shift, max(0, right - shift)
        return (*((total - total // 2, total // 2) for total in self.totals[:-1]), (left, right))


class ConvTranspose(Layer):
    """ELU → transposed convolution → [norm →] trimmed to whole strides. `more`: steps of frequency kept at the end."""

    def __init__(
        self,
        net: Seanet,
        in_channels: int,
        out_channels: int,
        stride: tuple[int, ...],
        *,
        steps: int,
        groups: int = 1,
        more: int = 0,
    ) -> None:
        super().__init__()
        kind = nn.ConvTranspose1d if len(stride) == 1 else nn.ConvTranspose2d
        kernel = tuple(2 * n for n in stride)
        self.conv: Any = kind(in_channels, out_channels, kernel, stride, groups=groups)  # type: ignore[arg-type]
        self.in_rows = False  # see `prepare`
        self.norm = _norm(net, out_channels, steps * stride[-1])
        self.alpha, self.steps, self.reach = net.alpha, steps * stride[-1], 2.0 / steps
        right = math.ceil(stride[-1] * net.trim_right_ratio) if net.causal else stride[-1] // 2
        cuts = [(n - n // 2, max(0, n // 2 - more)) for n in stride[:-1]] + [(stride[-1] - right, right)]
        self.cuts = tuple(cuts)

    def forward(self, x: Tensor, window: Window | None = None) -> Tensor:
        if self.in_rows:
            y = timeconv.active(x.mT, 1, 1, self.alpha)
            y[:, 0] = y[:, -1] = 0.0
            y = self.conv(y).mT
        else:
            y = self.conv(F.elu(x, self.alpha))
        if self.norm is not None:  # before the trim, so what is trimmed counts in the statistics
            y = self.norm.run(y, window)
        for axis, (before, after) in enumerate(self.cuts, start=y.ndim - len(self.cuts)):
            y = y.narrow(axis, before, y.shape[axis] - before - after)
        return y


class Residual(Layer):
    """x → shortcut(x) + block(x)."""

    def __init__(self, net: Seanet, channels: int, dilation: int, *, steps: int) -> None:
        super().__init__()
        hidden, size = channels // net.compress, net.residual_kernel_size
        groups = (hidden // 2 // net.conv_group_ratio, channels // 2 // net.conv_group_ratio)
        first, second = groups if net.conv_group_ratio > 0 else (1, 1)
        wide, one = ((size, size), (1, 1)) if net.is_2d else ((size,), (1,))
        spread = (1, dilation) if net.is_2d else (dilation,)
        block = [
            Layer(),
            Conv(net, channels, hidden, wide, dilation=spread, steps=steps, groups=first),
            Layer(),
            Conv(net, hidden, channels, one, steps=steps, groups=first),
        ]
        self.block = nn.ModuleList(block)
        self.shortcut = Layer()
        if not net.true_skip:
            self.shortcut = Conv(net, channels, channels, one, steps=steps, groups=second, act=False)
        self.steps, self.reach = steps, block[1].reach

    def forward(self, x: Tensor, window: Window | None = None) -> Tensor:
        y = x
        for layer in self.block:
            y = layer(y, window)
        return y.add_(self.shortcut(x, window))


class Recurrent(Layer):
    """LSTM over time. `fast` runs it over several sequences at once, or from piece to piece."""

    def __init__(self, width: int, num_layers: int, skip: bool) -> None:
        super().__init__()
        self.lstm, self.skip = nn.LSTM(width, width, num_layers), skip

    @functools.cached_property
    def fast(self) -> Lstm:
        weight = next(self.lstm.parameters())
        return Lstm(self.lstm, dtype=weight.dtype, device=str(weight.device), skip=self.skip)

    def forward(self, x: Tensor, window: Window | None = None) -> Tensor:
        return self.fast.whole([x[0].T])[0].T[None]


class Squeeze(Layer):
    def forward(self, x: Tensor, window: Window | None = None) -> Tensor:
        return x.squeeze(2)


class Unsqueeze(Layer):
    def forward(self, x: Tensor, window: Window | None = None) -> Tensor:
        return x.unsqueeze(2)


def encoder(net: Seanet) -> nn.ModuleList:
    """[1,C,T] or [1,C,F,T] → [1,D,T / hop]. Indices are those of the package, hence the empty layers."""
    width, steps, size = net.n_filters, net.hop, net.kernel_size
    start = (size, size) if net.is_2d else (size,)
    layers: list[Layer] = [Conv(net, net.input_size, width, start, steps=steps, act=False)]
    for freq, time in reversed(net.ratios):
        layers += _residuals(net, width, steps)
        wider = 2 * width if net.double_filters or net.is_2d else width
        stride, kernel = ((freq, time), (2 * freq, 2 * time)) if net.is_2d else ((time,), (2 * time,))
        groups = width // 2 // net.conv_group_ratio if net.is_2d and net.conv_group_ratio > 0 else 1
        layers += [Layer(), Conv(net, width, wider, kernel, stride=stride, steps=steps, groups=groups)]
        width, steps = wider, steps // time
    layers += [Squeeze()] if net.is_2d else []
    layers += [Recurrent(width, net.seq_layer_num, net.res_seq)] if net.seq_model == "lstm" else []
    layers += [Layer(), Conv(net, width, net.dimension, (net.last_kernel_size,), steps=1)]
    return nn.ModuleList(layers)


def decoder(net: Seanet) -> nn.ModuleList:
    """[1,D,T] → [1,C,T · hop] or [1,C,F,T · hop]."""
    doubles = net.double_filters or net.is_2d
    width, steps = net.n_filters * (2 ** len(net.ratios) if doubles else 1), 1
    layers: list[Layer] = [Conv(net, net.input_size, width, (net.kernel_size,), steps=1, act=False)]
    layers += [Recurrent(width, net.seq_layer_num, net.res_seq)] if net.seq_model == "lstm" else []
    layers += [Unsqueeze()] if net.is_2d else []
    for index, (freq, time) in enumerate(net.ratios):
        narrower = width // 2 if doubles else width
        groups = width // 2 // net.tr_conv_group_ratio if net.is_2d and net.tr_conv_group_ratio > 0 else 1
        more = 1 if index == len(net.ratios) - 1 else 0  # the bin of the highest frequency
        stride = (freq, time) if net.is_2d else (time,)
        layers += [Layer(), ConvTranspose(net, width, narrower, stride, steps=steps, groups=groups, more=more)]
        width, steps = narrower, steps * time
        layers += _residuals(net, width, steps)
    size = net.last_kernel_size
    last = (size, size) if net.is_2d else (size,)
    layers += [Layer(), Conv(net, net.n_filters, net.channels, last, steps=steps)]
    return nn.ModuleList(layers)


def _residuals(net: Seanet, width: int, steps: int) -> Iterator[Residual]:
    return (Residual(net, width, net.dilation_base**n, steps=steps) for n in range(net.n_residual_layers))


def prepare(net: nn.Module) -> bool:
    """Makes the convolutions fast on a CPU, once they are loaded and there; what they give changes by rounding only.

    In time alone those without groups become products of rows, and what they give lies time-major. Over a spectrum,
    narrow groups are put together, with zeros where they do not meet; transposed ones stay, as it makes them slower.

    Returns:
        Whether all of them became products.
    """
    layers = [layer for layer in net.modules() if isinstance(layer, Conv | ConvTranspose)]
    for layer in layers:
        conv = layer.conv
        if conv.weight.device.type != "cpu":
            return False
        if isinstance(conv, nn.Conv2d):
            _widen_groups(conv)
        elif timeconv.fits(conv):
            kind: Any = timeconv.Conv if isinstance(conv, nn.Conv1d) else timeconv.ConvTranspose
            del layer.conv  # nothing but a module can replace a module
            layer.conv = kind(conv, dtype=conv.weight.dtype, device="cpu")
            layer.in_rows = True
    return all(layer.in_rows for layer in layers)


def _widen_groups(conv: nn.Conv2d) -> None:
    if math.prod(conv.kernel_size) == 1:
        return  # a product of matrices, which is fast
    width = min(conv.in_channels, conv.out_channels) // conv.groups
    together = math.gcd(conv.groups, -(-_GROUP_WIDTH // width))
    parts = conv.weight.detach().unflatten(0, (conv.groups // together, together, -1))
    wide = parts.new_zeros(*parts.shape[:3], together, *parts.shape[3:])
    for index in range(together):
        wide[:, index, :, index] = parts[:, index]
    conv.weight = nn.Parameter(wide.flatten(3, 4).flatten(0, 2), requires_grad=False)
    conv.groups //= together


def _norm(net: Seanet, channels: int, steps: int) -> Norm | None:
    if net.norm != "time_group_norm":
        return None
    norm = Norm(net.num_groups, channels)
    norm.steps = steps
    return norm


def padded(x: Tensor, pads: Pads, alpha: float | None, in_rows: bool) -> Tensor:
    """[ELU and] reflection of the last axes; one too short to reflect is lengthened by zeros first, as in EnCodec.

    `in_rows`: what is made of [1,C,T] lies time-major.
    """
    sizes = x.shape[-len(pads) :]
    short = [max(0, max(pair) + 1 - size) for pair, size in zip(pads, sizes, strict=True)]
    if not any(map(any, pads)):
        return x if alpha is None else F.elu(x, alpha)
    if any(short):
        x = x if alpha is None else F.elu(x, alpha)
        x = F.pad(x, _flat([(0, n) for n in short]))
        y = F.pad(x, _flat(list(pads)), "reflect")
        for axis, n in enumerate(short, start=y.ndim - len(pads)):
            y = y.narrow(axis, 0, y.shape[axis] - n)
        return y
    whole = [before + size + after for (before, after), size in zip(pads, sizes, strict=True)]
    shape = *x.shape[: -len(pads)], *whole
    y = x.new_empty(shape[0], shape[2], shape[1]).mT if in_rows else x.new_empty(shape)
    inner = y
    for axis, ((before, _), size) in enumerate(zip(pads, sizes, strict=True), start=y.ndim - len(pads)):
        inner = inner.narrow(axis, before, size)
    if alpha is None:
        inner.copy_(x)
    else:
        torch.ops.aten.elu.out(x, alpha, 1, 1, out=inner)
    _reflect(y, pads)
    return y


def _reflect(y: Tensor, pads: Pads) -> None:
    """Fills the borders of `y`; the last axis first, over whatever the others hold, so that corners come out right."""
    for axis in range(y.ndim - 1, y.ndim - 1 - len(pads), -1):
        before, after = pads[axis - y.ndim]
        end = y.shape[axis] - after
        if before:
            y.narrow(axis, 0, before).copy_(y.narrow(axis, before + 1, before).flip(axis))
        if after:
            y.narrow(axis, end, after).copy_(y.narrow(axis, end - 1 - after, after).flip(axis))


def _flat(pads: list[tuple[int, int]]) -> list[int]:
    return [n for pair in reversed(pads) for n in pair]
