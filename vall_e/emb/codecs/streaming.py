"""EnCodec's causal SEANet run piece by piece with its state carried, so that any length fits in memory.

The layers are those of the package `encodec`; only its padding is replaced: a convolution keeps the columns that it
needs again, a transposed one the last column, the LSTM its state. A sequence is always cut at the same places, so on a
CPU not a bit of its result depends on the others of a list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vall_e.emb.codecs.batching import MOST_TOGETHER, Split
from vall_e.emb.codecs.batching import State as LstmState

State = dict[nn.Module, Tensor]  # what each layer keeps, [B, C, n]
Source = Callable[[int, int], Tensor]  # columns [start, stop) of a sequence, [C, stop - start]
PIECE_FRAMES = 150  # 2 s
PIECE_FRAMES_ON_DEVICE = 750
LEAST_FRAMES = 8  # fewer are not enough for what is mirrored before the first piece


def run(layer: Any, x: Tensor, lengths: list[int], state: State) -> tuple[Tensor, list[int]]:
    """The next piece of each sequence through a layer, or a stack of them, of the package.

    Args:
        x: float [B, C, T]; each sequence is padded at its right, where values count for nothing.
        lengths: of each sequence. One shorter than T, or than whole strides, ends with this piece.
        state: of this call's predecessor, empty at first; updated.

    Returns:
        The output, padded likewise, and its lengths.
    """
    if isinstance(layer, nn.Sequential):
        for part in layer:
            x, lengths = run(part, x, lengths, state)
        return x, lengths
    if hasattr(layer, "shortcut"):
        y, _ = run(layer.shortcut, x, lengths, state)
        z, _ = run(layer.block, x, lengths, state)
        return z.add_(y), lengths
    if hasattr(layer, "convtr"):
        return _transposed(layer, x, lengths, state)
    if hasattr(layer, "conv"):
        return _convolved(layer, x, lengths, state)
    return layer(x), lengths


def _convolved(layer: Any, x: Tensor, lengths: list[int], state: State) -> tuple[Tensor, list[int]]:
    conv = layer.conv.conv
    (stride,), (dilation,), (kernel,) = conv.stride, conv.dilation, conv.kernel_size
    total = (kernel - 1) * dilation - (stride - 1)
    known = state.get(layer)
    extras = [-length % stride for length in lengths]
    if known is None:
        x = _mirrored(x, lengths, extras, total)
        ends = x.shape[-1] - max(extras)
    else:
        x = torch.cat([known[: len(x)], x], -1)
        ends = x.shape[-1]
        x = _mirrored(x, [total + length for length in lengths], extras, 0)
    if total:
        state[layer] = x[..., ends - total : ends].clone()  # a view would keep all of it
    return conv(x), [-(-length // stride) for length in lengths]


def _mirrored(x: Tensor, lengths: list[int], extras: list[int], left: int) -> Tensor:
    """Each sequence of x [B, C, T] reflected at its ends, `left` columns before it and `extras` after it.

    As the package does it: beyond a sequence too short to reflect there are zeros.
    """
    right = max(extras)
    if not left and not right:
        return x
    if min(lengths) > max(left, right) and (len(x) == 1 or not right):
        return torch.cat([x[..., 1 : left + 1].flip(-1), x, x[..., -right - 1 : -1].flip(-1)], -1)
    ends = torch.tensor(lengths, device=x.device)[:, None]
    place = torch.arange(-left, x.shape[-1] + right, device=x.device).abs().expand(len(x), -1)
    is_beyond = place >= ends
    place = torch.where(is_beyond, 2 * (ends - 1) - place, place)
    # a sequence no longer than what is put before it is zeros beyond its end, at both sides
    zeros = (place < 0) | (is_beyond & (ends <= left))
    y = x.gather(2, place.clamp(0, x.shape[-1] - 1)[:, None].expand(-1, x.shape[1], -1))
    return y.masked_fill_(zeros[:, None], 0.0)


def _transposed(layer: Any, x: Tensor, lengths: list[int], state: State) -> tuple[Tensor, list[int]]:
    conv = layer.convtr.convtr
    (stride,), known = conv.stride, state.get(layer)
    state[layer] = x[..., -1:].clone()
    if known is not None:  # its sound reaches into this piece
        x = torch.cat([known[: len(x)], x], -1)
    y = conv(x)
    start = 0 if known is None else stride
    return y[..., start : y.shape[-1] - stride], [length * stride for length in lengths]


class Stream:
    """A causal encoder or decoder over several sequences, piece by piece."""

    def __init__(self, network: Any, *, columns_per_frame: int, on_cpu: bool, piece_frames: int | None = None) -> None:
        """`columns_per_frame` of the input: 320 of an encoder, 1 of a decoder."""
        for layer in network.modules():
            if isinstance(layer, nn.ELU):
                layer.inplace = True  # its input is used nowhere else
        self._split, self._on_cpu = Split(network), on_cpu
        frames = piece_frames or (PIECE_FRAMES if on_cpu else PIECE_FRAMES_ON_DEVICE)
        self._columns = max(LEAST_FRAMES, frames) * columns_per_frame

    def __call__(self, items: Sequence[Source], lengths: Sequence[int]) -> Iterator[list[tuple[int, Tensor]]]:
        """(item, columns [C,n] of its result), each item's in order, those that run together in one list.

        Args:
            items: how to get the columns of each item.
            lengths: columns of each item, at least 1.
        """
        order = sorted(range(len(items)), key=lambda index: -lengths[index])
        for first in range(0, len(order), MOST_TOGETHER):
            yield from self._together(order[first : first + MOST_TOGETHER], items, lengths)

    def _together(
        self, group: list[int], items: Sequence[Source], lengths: Sequence[int]
    ) -> Iterator[list[tuple[int, Tensor]]]:
        shares = len(group) if self._on_cpu else 1
        front, back = ([State() for _ in range(shares)] for _ in range(2))
        lstm_state: LstmState | None = None
        assert self._split.lstm is not None
        for start in range(0, lengths[group[0]], self._columns):
            running = [index for index in group if lengths[index] > start]
            pieces = [items[index](start, min(start + self._columns, lengths[index])) for index in running]
            rows = self._run(self._split.front, pieces, front)
            rows, lstm_state = self._split.lstm.step(rows, lstm_state)
            yield list(zip(running, self._run(self._split.back, rows, back), strict=True))

    def _run(self, part: nn.Sequential, xs: list[Tensor], states: list[State]) -> list[Tensor]:
        """Each alone on a CPU, all in one padded batch elsewhere."""
        if self._on_cpu:
            return [run(part, x[None], [x.shape[-1]], state)[0][0] for x, state in zip(xs, states, strict=False)]
        x = nn.utils.rnn.pad_sequence([x.T for x in xs], batch_first=True).mT
        y, ends = run(part, x, [x.shape[-1] for x in xs], states[0])
        return [row[..., :end] for row, end in zip(y, ends, strict=True)]
