"""EnCodec's SEANet, run piece by piece with its state carried, so that any length fits in memory.

Built from the layers of the `encodec` package with their weights; the numbers are the package's up to the rounding of
float32. The causal network (24 kHz) streams: every convolution keeps the rows it will need again, the LSTM its state.
The other one (48 kHz) sees its second of sound at once. An item is always cut at the same places whoever is beside it,
and only the LSTM is shared between items (see `timeconv.Lstm`): on a CPU a batch changes not a single bit.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vall_e.emb.codecs.timeconv import Conv, ConvTranspose, Lstm, active, moments

State = dict[int, Tensor]  # rows to come back to, by number of the layer


def one_by_one(x: Tensor) -> bool:
    """True where convolutions of several items at once gain nothing."""
    return x.device.type == "cpu"


def reflect(x: Tensor, left: int, right: int) -> Tensor:
    """Rows [B, T, C] mirrored at both ends, the ends not repeated → [B, left + T + right, C].

    As the package does it: what is too short is first extended with zeros on the right, which are cut again.
    """
    extra = max(0, max(left, right) - x.shape[1] + 1)
    if extra:
        x = functional.pad(x, (0, 0, 0, extra))
    padded = torch.cat([x[:, 1 : left + 1].flip(1), x, x[:, -right - 1 : -1].flip(1)], 1)
    return padded[:, : padded.shape[1] - extra]


def _normalised(x: Tensor, norm: nn.GroupNorm) -> Tensor:
    """x [B, T, C] normed over all of an item, as a group norm of one group does."""
    mean, variance = moments(x.reshape(len(x), -1))
    scale = (variance + norm.eps).rsqrt()[:, None] * norm.weight  # [B, C], float64
    return torch.addcmul((norm.bias - mean[:, None] * scale).to(x)[:, None], x, scale.to(x)[:, None])


class _SConv:
    """The package's SConv1d: padding by reflection, before the sound where causal; norm over an item where not.

    `elu`: the activation before it, written straight to where the padding goes round it.
    """

    def __init__(self, number: Iterator[int], module: Any, elu: bool = False, **where: Any) -> None:
        self._elu = elu
        self._key = next(number)
        self._conv = Conv(module.conv.conv, **where)
        norm = module.conv.norm
        self._norm = norm.to(where["device"], where["dtype"]) if isinstance(norm, nn.GroupNorm) else None
        self._causal = module.causal
        self._total = self._conv.reach - self._conv.stride

    def __call__(self, x: Tensor, state: State | None, last: bool) -> Tensor:
        y = self._conv(self._padded(x, state, last))
        return y if self._norm is None else _normalised(y, self._norm)

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        """Of a kernel of one row: what it gives for x, added to `other` in place."""
        return self._conv.plus(x, other, other) if self._norm is None else other.add_(self(x, None, True))

    def _padded(self, x: Tensor, state: State | None, last: bool) -> Tensor:
        extra = -x.shape[1] % self._conv.stride if last else 0
        known = None if state is None else state.get(self._key)
        right = 0 if self._causal else self._total // 2
        left, right = self._total - right, right + extra
        if left + right:
            x = self._with_ends(x, left, right, known)
        elif self._elu:
            x = functional.elu(x)
        if state is not None and self._causal and self._total and not last:
            state[self._key] = x[:, x.shape[1] - self._total :].clone()  # a view would hold all of it
        return x

    def _with_ends(self, x: Tensor, left: int, right: int, known: Tensor | None) -> Tensor:
        """As `reflect`; on the left the `known` rows, if any."""
        length = x.shape[1]
        if length <= max(left if known is None else 0, right):
            x = functional.elu(x) if self._elu else x
            return reflect(x, left, right) if known is None else torch.cat([known, reflect(x, 0, right)], 1)
        y = active(x, left, right) if self._elu else functional.pad(x, (0, 0, left, right))
        y[:, :left] = y[:, left + 1 : 2 * left + 1].flip(1) if known is None else known
        y[:, left + length :] = y[:, left + length - 1 - right : left + length - 1].flip(1)
        return y


class _SConvTranspose:
    """The package's SConvTranspose1d; a causal one keeps its last row, whose sound reaches into the next piece."""

    def __init__(self, number: Iterator[int], module: Any, elu: bool = False, **where: Any) -> None:
        self._elu = elu
        self._key = next(number)
        self._conv = ConvTranspose(module.convtr.convtr, **where)
        norm = module.convtr.norm
        self._norm = norm.to(where["device"], where["dtype"]) if isinstance(norm, nn.GroupNorm) else None
        self._causal = module.causal

    def __call__(self, x: Tensor, state: State | None, last: bool) -> Tensor:
        right = 0 if self._causal else 1
        x = active(x, 1, right) if self._elu else functional.pad(x, (0, 0, 1, right))
        x[:, 0] = 0.0 if state is None or self._key not in state else state[self._key]
        if self._causal:
            if state is not None:
                state[self._key] = x[:, -1].clone()
            return self._conv(x)
        x[:, -1] = 0.0
        y = self._conv(x)
        if self._norm is not None:  # over all that it gives, before it is trimmed
            y = _normalised(y, self._norm)
        right = self._conv.stride // 2
        return y[:, self._conv.stride - right : y.shape[1] - right].contiguous()


class _Residual:
    """The package's SEANetResnetBlock."""

    def __init__(self, number: Iterator[int], module: Any, **where: Any) -> None:
        self._convs = _layers(number, module.block, **where)
        self._shortcut = None if isinstance(module.shortcut, nn.Identity) else _SConv(number, module.shortcut, **where)

    def __call__(self, x: Tensor, state: State | None, last: bool) -> Tensor:
        y = x
        for conv in self._convs:
            y = conv(y, state, last)
        return y.add_(x) if self._shortcut is None else self._shortcut.plus(x, y)


_Layer = Callable[[Tensor, State | None, bool], Tensor]
_Part = Callable[[Tensor, State, bool], Tensor]


def _layers(number: Iterator[int], modules: Iterable[nn.Module], **where: Any) -> list[_Layer]:
    """The modules as layers; an ELU belongs to the convolution after it."""
    layers: list[_Layer] = []
    elu = False
    for module in modules:
        if isinstance(module, nn.ELU):
            elu = True
            continue
        if hasattr(module, "shortcut"):
            assert not elu  # in these networks a convolution follows
            layers.append(_Residual(number, module, **where))
        else:
            kind = _SConvTranspose if hasattr(module, "convtr") else _SConv
            layers.append(kind(number, module, elu, **where))
        elu = False
    return layers


class Seanet:
    """An encoder or a decoder of the package, in three parts: layers before the LSTM, the LSTM, layers after it."""

    def __init__(self, module: Any, *, dtype: torch.dtype, device: str) -> None:
        layers = list(module.model)
        (middle,) = (index for index, layer in enumerate(layers) if hasattr(layer, "lstm"))
        number = itertools.count()
        self._before = _layers(number, layers[:middle], dtype=dtype, device=device)
        self.lstm = Lstm(layers[middle].lstm, dtype=dtype, device=device)
        self._after = _layers(number, layers[middle + 1 :], dtype=dtype, device=device)

    def before(self, x: Tensor, state: State | None = None, last: bool = True) -> Tensor:
        for layer in self._before:
            x = layer(x, state, last)
        return x

    def after(self, x: Tensor, state: State | None = None, last: bool = True) -> Tensor:
        for layer in self._after:
            x = layer(x, state, last)
        return x

    def together(self, xs: Sequence[Tensor]) -> list[Tensor]:
        """Items [T_i, C], each seen as a whole → [T_i', C'] each."""
        order = sorted(range(len(xs)), key=lambda index: -len(xs[index]))
        rows = _each(self.before, [xs[index] for index in order])
        rows = _each(self.after, self.lstm.whole(rows))
        return [row for _, row in sorted(zip(order, rows, strict=True), key=lambda pair: pair[0])]


def _each(part: Callable[[Tensor], Tensor], xs: Sequence[Tensor]) -> list[Tensor]:
    """Each alone on a CPU; on an accelerator those of one length, which are neighbours, together."""
    if one_by_one(xs[0]):
        return [part(x[None])[0] for x in xs]
    groups = (torch.stack(list(group)) for _, group in itertools.groupby(xs, key=len))
    return [y for group in groups for y in part(group)]


class Stream:
    """A causal Seanet over several items at once, a segment at a time.

    `in_rows` are the rows it takes for a frame (the rate of the LSTM): 320 of an encoder, 1 of a decoder.
    """

    def __init__(self, net: Seanet, *, in_rows: int, segment: int = 150) -> None:
        self._net = net
        self._in_rows, self._segment = in_rows, segment
        self.lanes = net.lstm.lanes

    def __call__(self, items: Sequence[Callable[[int, int], Tensor]], lengths: Sequence[int]) -> Iterator[list[Tensor]]:
        """Rows of each item segment by segment, until the longest ends; a list that gets shorter.

        Args:
            items: `item(start, stop)` gives rows [stop - start, C] of it; longest first.
            lengths: rows of each item, at least 1.
        """
        before: list[State] = [{} for _ in items]
        after: list[State] = [{} for _ in items]
        lstm_state: tuple[Tensor, Tensor] | None = None
        step = self._segment * self._in_rows
        for start in range(0, lengths[0], step):
            lanes = [lane for lane, length in enumerate(lengths) if length > start]
            ends = [min(start + step, lengths[lane]) for lane in lanes]
            last = [lengths[lane] <= start + step for lane in lanes]
            pieces = [items[lane](start, end) for lane, end in zip(lanes, ends, strict=True)]
            mixed = self._run(self._net.before, pieces, before, last)
            if lstm_state is None:
                lstm_state = self._net.lstm.new_state(mixed[0], len(items))
            mixed = self._net.lstm(mixed, lstm_state)
            yield self._run(self._net.after, mixed, after, last)

    def _run(self, part: _Part, xs: list[Tensor], states: list[State], last: list[bool]) -> list[Tensor]:
        """Each alone on a CPU. On an accelerator those that go on together, the ones that end alone."""
        if one_by_one(xs[0]):
            return [part(x[None], state, ends)[0] for x, state, ends in zip(xs, states, last, strict=False)]
        going = [lane for lane, ends in enumerate(last) if not ends]
        done = {lane: part(xs[lane][None], states[lane], True)[0] for lane, ends in enumerate(last) if ends}
        if going:
            shared: State = {key: torch.cat([states[lane][key] for lane in going]) for key in states[going[0]]}
            ys = part(torch.stack([xs[lane] for lane in going]), shared, False)
            for index, lane in enumerate(going):
                done[lane] = ys[index]
                states[lane].update({key: rows[index : index + 1] for key, rows in shared.items()})
        return [done[lane] for lane in range(len(xs))]
