"""Convolutions over time as matrix products, for codecs whose own packages run them slower.

Everything is time-major, [B, T, C]: a tap of a kernel is then one product of consecutive rows with a [C_in, C_out]
matrix, a stride is a reshape, and nothing is copied. Work goes block by block, so that a block stays in the processor's
cache from the activation to the last tap. Padding is the caller's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

_CACHE_VALUES = 393_216  # float32 values of one block of rows: a megabyte and a half
LEAST_ROWS = 1024  # with fewer, large kernels are read from memory more often than the rows are
_STRETCH = 256
_PANEL = 256  # columns of a recurrent matrix that lie together: it is read faster than row by row
_FEW_CHANNELS = 8  # below it, a product per tap is all overhead


def plain_weights(module: nn.Module) -> tuple[Tensor, Tensor | None]:
    """(weight, bias) of a convolution; weight norm, which recomputes the weight at every call, is folded in."""
    layer: Any = module
    if hasattr(layer, "weight_g"):
        nn.utils.remove_weight_norm(layer)
    return layer.weight.detach(), None if layer.bias is None else layer.bias.detach()


def fits(module: nn.Module) -> bool:
    """Whether it is what `Conv` (a kernel of whole strides) or `ConvTranspose` (a kernel of two strides) stands for.

    No groups, no padding, and a dilation only without a stride.
    """
    if not isinstance(module, nn.Conv1d | nn.ConvTranspose1d) or module.groups != 1 or module.padding != (0,):
        return False
    (kernel,), (stride,), (dilation,) = module.kernel_size, module.stride, module.dilation
    if isinstance(module, nn.ConvTranspose1d):
        return kernel == 2 * stride and dilation == 1 and module.output_padding == (0,)
    return kernel % stride == 0 and (stride == 1 or dilation == 1)


def rows_per_block(channels: int, device: torch.device) -> int:
    """How many rows of `channels` values to work on at once; on an accelerator all of them."""
    return max(LEAST_ROWS, _CACHE_VALUES // channels) if device.type == "cpu" else 1 << 40


class Conv:
    """A valid convolution: [B, T, C_in] → [B, n, C_out]."""

    def __init__(self, module: nn.Conv1d, *, dtype: torch.dtype, device: str) -> None:
        weight, bias = plain_weights(module)
        self.kernel, self.stride, self.dilation = module.kernel_size[0], module.stride[0], module.dilation[0]
        if not fits(module):
            raise ValueError(f"not a convolution that these networks have: {module}")
        self.reach = (self.kernel - 1) * self.dilation + 1
        out_channels, in_channels, _ = weight.shape
        taps = weight.permute(2, 1, 0)  # [k, C_in, C_out]
        rows = self.stride * in_channels
        self._few = in_channels < _FEW_CHANNELS and self.stride == 1 and self.dilation == 1
        shape = (1, self.kernel * in_channels) if self._few else (self.kernel // self.stride, rows)
        self._taps = taps.reshape(*shape, out_channels).to(device, dtype).contiguous()
        self._bias = (weight.new_zeros(out_channels) if bias is None else bias).to(device, dtype)
        self.out_channels = out_channels

    def num_out(self, length: int) -> int:
        """Rows given for `length` rows."""
        return (length - self.reach) // self.stride + 1

    def plus(self, x: Tensor, other: Tensor, out: Tensor | None = None) -> Tensor:
        """Of a kernel of one row: what it gives for x [B, n, C_in], and `other` [B, n, C_out] added."""
        out = torch.add(other, self._bias, out=out)
        tap = self._taps[0]
        if len(x) > 1:
            return out.baddbmm_(x, tap.expand(len(x), -1, -1))
        out[0].addmm_(x[0], tap)
        return out

    def __call__(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """`out`: where to write what it gives, if not to memory of its own."""
        batch, length, channels = x.shape
        n, step = self.num_out(length), self.dilation
        if self._few:
            x = x.unfold(1, self.kernel, 1).transpose(2, 3).reshape(batch, n, self.kernel * channels)
        elif self.stride > 1:
            x = x[:, : length // self.stride * self.stride].reshape(batch, length // self.stride, -1)
        if out is None:
            out = x.new_empty(batch, n, self.out_channels)
        if batch == 1:
            self._one(x[0], out[0], step)
            return out
        out.copy_(self._bias)
        for index, tap in enumerate(self._taps):
            out.baddbmm_(x[:, index * step : index * step + n], tap.expand(batch, -1, -1))
        return out

    def _one(self, x: Tensor, out: Tensor, step: int) -> None:
        block = rows_per_block(max(x.shape[1], self.out_channels), x.device)
        for start in range(0, len(out), block):
            stop = min(start + block, len(out))
            part = out[start:stop]
            torch.addmm(self._bias, x[start:stop], self._taps[0], out=part)
            for index, tap in enumerate(self._taps[1:], 1):
                part.addmm_(x[start + index * step : stop + index * step], tap)


class ConvTranspose:
    """A transposed convolution: [B, n + 1, C_in] → [B, n · stride, C_out].

    Row 0 is the row before the first one to give sound; a zero row where there is none.
    """

    def __init__(self, module: nn.ConvTranspose1d, *, dtype: torch.dtype, device: str) -> None:
        weight, bias = plain_weights(module)  # [C_in, C_out, k]
        self.stride = module.stride[0]
        if not fits(module):
            raise ValueError(f"not a transposed convolution that these networks have: {module}")
        in_channels, self.out_channels, _ = weight.shape
        taps = weight.permute(0, 2, 1).reshape(in_channels, 2, self.stride * self.out_channels)
        self._taps = taps.transpose(0, 1).to(device, dtype).contiguous()  # [now and before, C_in, s · C_out]
        plain_bias = weight.new_zeros(self.out_channels) if bias is None else bias
        self._bias = plain_bias.to(device, dtype).repeat(self.stride)

    def __call__(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """`out` [B, n, stride · C_out]: where to write what it gives, if not to memory of its own."""
        batch, n = len(x), x.shape[1] - 1
        if out is None:
            out = x.new_empty(batch, n, self.stride * self.out_channels)
        if batch == 1:
            self._one(x[0], out[0])
        else:
            out.copy_(self._bias)
            out.baddbmm_(x[:, 1:], self._taps[0].expand(batch, -1, -1))
            out.baddbmm_(x[:, :-1], self._taps[1].expand(batch, -1, -1))
        return out.view(batch, n * self.stride, self.out_channels)

    def _one(self, x: Tensor, out: Tensor) -> None:
        block = rows_per_block(max(x.shape[1], out.shape[1]), x.device)
        for start in range(0, len(out), block):
            stop = min(start + block, len(out))
            part = out[start:stop]
            torch.addmm(self._bias, x[start + 1 : stop + 1], self._taps[0], out=part)
            part.addmm_(x[start:stop], self._taps[1])


def active(x: Tensor, left: int, right: int, alpha: float = 1.0) -> Tensor:
    """ELU of x [B, T, C] with room at both ends → [B, left + T + right, C], the room not filled."""
    out = x.new_empty(x.shape[0], left + x.shape[1] + right, x.shape[2])
    torch.ops.aten.elu.out(x, alpha, out=out[:, left : left + x.shape[1]])
    return out


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each row of x [N, M], float64 [N] both.

    Short stretches are summed in float32 and these in float64, which is as fast as one pass and errs less.
    """
    cut = x.shape[1] // _STRETCH * _STRETCH
    parts = x[:, :cut].unflatten(1, (-1, _STRETCH)) if cut else x[:, None, :0], x[:, None, cut:]
    sums = [part.sum(2, dtype=torch.float32).double().sum(1) for part in parts]
    squares = [torch.linalg.vector_norm(part, dim=2, dtype=torch.float32).double().square().sum(1) for part in parts]
    mean = (sums[0] + sums[1]) / x.shape[1]
    return mean, ((squares[0] + squares[1]) / x.shape[1] - mean.square()).clamp(min=0.0)


class Lstm:
    """Layers of an LSTM over lanes, [T, D] each → the same, with `skip` their input added.

    On a CPU reading the matrix of the recurrent product is what costs: several sequences take little more than one. A
    product of one row is summed in another order than one of more rows, so there are never fewer than two: where D is a
    multiple of 32, a sequence gets the same bits alone and in company.
    """

    LANES = 16  # with more, a step costs as much for each lane
    LANES_ON_DEVICE = 64
    PIECE = 256  # steps at once; their gates are kept, [steps, lanes, 4D]

    def __init__(self, module: nn.LSTM, *, dtype: torch.dtype, device: str, skip: bool = True) -> None:
        self._module = module.to(device, dtype)
        self.size = module.hidden_size
        self._width = math.gcd(self.size, _PANEL)
        self.num_layers = module.num_layers
        self._layers = [self._weights(module, index) for index in range(module.num_layers)]
        self._on_cpu = torch.device(device).type == "cpu"
        self._skip = skip
        self.lanes = self.LANES if self._on_cpu else self.LANES_ON_DEVICE

    def _weights(self, module: nn.LSTM, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """([D, 4D] of the input, [panels, D, width] of the state, [4D]), gates in the order i, f, o, g."""

        def arranged(weight: Tensor) -> Tensor:
            i, f, g, o = weight.detach().chunk(4)
            return torch.cat([i, f, o, g])

        of_input, of_state = (arranged(getattr(module, f"weight_{name}_l{index}")) for name in ("ih", "hh"))
        bias = arranged(getattr(module, f"bias_ih_l{index}") + getattr(module, f"bias_hh_l{index}"))
        panels = of_state.unflatten(0, (-1, self._width)).transpose(1, 2)
        return of_input.T.contiguous(), panels.contiguous(), bias

    def new_state(self, like: Tensor, lanes: int) -> tuple[Tensor, Tensor]:
        """(h, c), float [layers, lanes, D] of zeros, to be handed on; on a CPU c lies in panels."""
        zeros = like.new_zeros(self.num_layers, max(2, lanes), self.size)
        return zeros, zeros.clone()

    def __call__(self, xs: list[Tensor], state: tuple[Tensor, Tensor]) -> list[Tensor]:
        """[T_i, D] per lane, longest first, and the state, which is advanced in place, → [T_i, D] per lane."""
        ys = self._layered(xs, state) if self._on_cpu else self._on_device(xs, state)
        return [y + x for x, y in zip(xs, ys, strict=True)] if self._skip else ys

    def whole(self, xs: Sequence[Tensor]) -> list[Tensor]:
        """Sequences [T_i, D] of any number and lengths → [T_i, D] each."""
        order = sorted(range(len(xs)), key=lambda index: -len(xs[index]))
        found = [xs[0].new_empty(len(x), self.size) for x in xs]
        for first in range(0, len(order), self.lanes):
            group = order[first : first + self.lanes]
            state = self.new_state(xs[0], len(group))
            for start in range(0, len(xs[group[0]]), self.PIECE):
                going = [index for index in group if len(xs[index]) > start]
                pieces = self([xs[index][start : start + self.PIECE] for index in going], state)
                for index, piece in zip(going, pieces, strict=True):
                    found[index][start : start + self.PIECE] = piece
        return found

    def stream(self, pieces: Iterable[Tensor]) -> Iterator[Tensor]:
        """One sequence, piece by piece: [T_i, D] → [T_i, D]."""
        state = None
        for piece in pieces:
            state = state or self.new_state(piece, 1)
            yield self([piece], state)[0]

    def _layered(self, xs: list[Tensor], state: tuple[Tensor, Tensor]) -> list[Tensor]:
        ys = xs
        for index, weights in enumerate(self._layers):
            cell = state[1][index].view(self.size // self._width, -1, self._width)
            ys = self._layer(ys, weights, state[0][index], cell)
        return ys

    def _layer(
        self, xs: list[Tensor], weights: tuple[Tensor, Tensor, Tensor], state_h: Tensor, c: Tensor
    ) -> list[Tensor]:
        of_input, of_state, bias = weights
        ready = [torch.addmm(bias, x, of_input).unflatten(1, (len(of_state), -1)) for x in xs]
        out = xs[0].new_empty(len(xs[0]), max(2, len(xs)), self.size)
        start, h = 0, state_h
        for lanes in range(len(xs), 0, -1):  # from where one ends to where the next one does
            stop, rows = len(xs[lanes - 1]), max(2, lanes)
            if stop > start:
                gates = xs[0].new_zeros(stop - start, len(of_state), rows, self._width)
                for lane in range(lanes):
                    gates[:, :, lane] = ready[lane][start:stop]
                h = self._steps(gates, of_state, h[:rows], c[:, :lanes], out[start:stop, :rows])
                start = stop
        state_h[: len(h)] = h
        return [out[: len(x), lane] for lane, x in enumerate(xs)]

    def _steps(self, gates: Tensor, of_state: Tensor, h: Tensor, c: Tensor, out: Tensor) -> Tensor:
        """Fills out [T, rows, D] and c [D / width, lanes, width] from gates [T, panels, rows, width]; gives the last h.

        Views are made once, as making them costs like computing.
        """
        out[:, c.shape[1] :] = 0.0  # rows without a lane
        fresh = torch.empty_like(c)
        active, split = gates[:, :, : c.shape[1]], 3 * len(c)
        sigmoids, candidates = active[:, :split].unbind(), active[:, split:].unbind()
        i, f, o = (part.unbind() for part in active[:, :split].chunk(3, 1))
        ys = out[:, : c.shape[1]].unflatten(2, (len(c), -1)).transpose(1, 2).unbind()
        for step, (a, row) in enumerate(zip(gates.unbind(), out.unbind(), strict=True)):
            a.baddbmm_(h.expand(len(of_state), -1, -1), of_state)
            sigmoids[step].sigmoid_()
            c.mul_(f[step]).addcmul_(i[step], candidates[step].tanh_())
            torch.mul(o[step], torch.tanh(c, out=fresh), out=ys[step])
            h = row
        return h

    def _on_device(self, xs: list[Tensor], state: tuple[Tensor, Tensor]) -> list[Tensor]:
        """The library's own; lanes that end early run on over zeros, and their state is no longer of use."""
        x = nn.utils.rnn.pad_sequence(xs)  # [T, lanes, D]
        lanes = len(xs)
        h, c = (part[:, :lanes].contiguous() for part in state)
        y, (h, c) = self._module(x, (h, c))
        state[0][:, :lanes], state[1][:, :lanes] = h, c
        return [y[: len(item), lane] for lane, item in enumerate(xs)]


def blocks(size: int, work: Callable[[int, int, Tensor], object], out: Tensor) -> Tensor:
    """Fills out [B, n, C], `size` rows at a time: `work(start, stop, rows)` writes the rows start..stop."""
    for start in range(0, out.shape[1], size):
        stop = min(start + size, out.shape[1])
        work(start, stop, out[:, start:stop])
    return out
