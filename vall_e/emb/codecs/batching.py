"""Networks over lists of sequences, so that what stands beside a sequence never changes its result on a CPU.

Convolutions run one sequence at a time on a CPU, where a batch gains nothing; on an accelerator sequences of one length
share a batch. An LSTM takes little longer for several sequences than for one, so they share it everywhere. A product of
one row is summed in another order than one of more rows: an LSTM never runs on fewer than two sequences, and then
`nn.LSTM` returns the same bits for a sequence whatever the others are.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

LSTM_STEPS = 256  # at once, which bounds the memory of the gates
MOST_TOGETHER = 8  # sequences that share a batch: with more, an LSTM's step costs as much for each on a CPU
State = tuple[Tensor, Tensor]


def fold_weight_norm(network: nn.Module) -> None:
    """Computes each weight once; with weight norm it is recomputed at every call."""
    for module in network.modules():
        if hasattr(module, "weight_g"):
            nn.utils.remove_weight_norm(module)


def each(part: Callable[[Tensor], Tensor], xs: Sequence[Tensor]) -> list[Tensor]:
    """`part` of each sequence [C,T], batched with those of its length where that gains anything."""
    if not xs or xs[0].device.type == "cpu":
        return [part(x[None])[0] for x in xs]
    found = dict[int, Tensor]()
    order = sorted(range(len(xs)), key=lambda index: xs[index].shape[-1])
    for _, group in itertools.groupby(order, key=lambda index: xs[index].shape[-1]):
        indices = list(group)
        for first in range(0, len(indices), MOST_TOGETHER):
            some = indices[first : first + MOST_TOGETHER]
            found |= zip(some, part(torch.stack([xs[index] for index in some])), strict=True)
    return [found[index] for index in range(len(xs))]


def windows(num_frames: int, size: int, context: int) -> Iterator[tuple[int, int, int, int]]:
    """(start, stop) of each window of `size` frames and (low, high) of what it needs, `context` more at both sides."""
    for start in range(0, num_frames, size):
        stop = min(start + size, num_frames)
        yield start, stop, max(0, start - context), min(num_frames, stop + context)


class SharedLstm:
    """A package's LSTM with its skip connection (`lstm`, `skip`), over several sequences [D,T]."""

    def __init__(self, module: Any) -> None:
        self._lstm, self._skip = module.lstm, module.skip

    def step(self, xs: Sequence[Tensor], state: State | None = None) -> tuple[list[Tensor], State]:
        """Sequences that follow on `state`, longest first, and the state after them.

        One that ends may be left out of later calls, with all after it.
        """
        rows = nn.utils.rnn.pad_sequence([x.T for x in xs])  # [T, B, D]
        if len(xs) == 1:
            rows = nn.functional.pad(rows, (0, 0, 0, 1))
        if state is not None:
            state = state[0][:, : rows.shape[1]].contiguous(), state[1][:, : rows.shape[1]].contiguous()
        out, state = self._lstm(rows, state)
        out = out + rows if self._skip else out
        return [out[: x.shape[1], index].T for index, x in enumerate(xs)], state

    def __call__(self, xs: Sequence[Tensor]) -> list[Tensor]:
        """Whole sequences of any lengths."""
        order = sorted(range(len(xs)), key=lambda index: -xs[index].shape[1])
        found = [torch.empty_like(x) for x in xs]
        state: State | None = None
        for start in range(0, xs[order[0]].shape[1], LSTM_STEPS):
            running = [index for index in order if xs[index].shape[1] > start]
            ys, state = self.step([xs[index][:, start : start + LSTM_STEPS] for index in running], state)
            for index, y in zip(running, ys, strict=True):
                found[index][:, start : start + LSTM_STEPS] = y
        return found


class Split:
    """A SEANet encoder or decoder of the package `encodec`: the layers before its LSTM, the LSTM, those after it."""

    def __init__(self, network: Any) -> None:
        layers: list[nn.Module] = list(network.model)
        middle = next((index for index, layer in enumerate(layers) if hasattr(layer, "lstm")), None)
        self.lstm = None if middle is None else SharedLstm(layers[middle])
        self.front = nn.Sequential(*layers[:middle]) if middle is not None else nn.Sequential(*layers)
        self.back = nn.Sequential(*layers[middle + 1 :]) if middle is not None else nn.Sequential()

    def __call__(self, xs: Iterable[Tensor]) -> Iterator[Tensor]:
        """Sequences [C,T], each seen as a whole → [C',T'] each."""
        remaining = iter(xs)
        while group := list(itertools.islice(remaining, MOST_TOGETHER)):
            rows = each(self.front, group)
            yield from each(self.back, rows if self.lstm is None else self.lstm(rows))


class Output:
    """Results of a list of items on the device, to be copied to the host all at once."""

    def __init__(
        self, lengths: Sequence[int], device: Any, *, rows: int = 0, dtype: torch.dtype = torch.float32
    ) -> None:
        self._starts = [0, *itertools.accumulate(lengths)]
        shape = (rows, self._starts[-1]) if rows else (self._starts[-1],)
        self._values = torch.zeros(shape, dtype=dtype, device=device)

    def write(self, item: int, start: int, values: Tensor) -> None:
        """`values` [rows, n] or [n] to the places from `start` on, those beyond the item's end left out."""
        first = self._starts[item] + start
        n = min(values.shape[-1], self._starts[item + 1] - first)
        self._values[..., first : first + n] = values[..., :n]

    def arrays(self) -> list[np.ndarray]:
        """The items, [rows, length] or [length] each."""
        host = self._values.cpu().numpy()
        if len(self._starts) == 1:
            return []
        return [np.ascontiguousarray(part) for part in np.split(host, self._starts[1:-1], axis=-1)]


class Codes(Output):
    """Codes [K, T] of a list of items."""

    def __init__(self, lengths: Sequence[int], device: Any, num_levels: int) -> None:
        super().__init__(lengths, device, rows=num_levels, dtype=torch.int16)

    def arrays(self) -> list[np.ndarray]:
        """uint16 [K, T] each."""
        return [part.view(np.uint16) for part in super().arrays()]


def on_device(array: np.ndarray, device: Any, dtype: torch.dtype) -> Tensor:
    """Audio, or codes as int64, where a network is."""
    if dtype == torch.int64:
        return torch.from_numpy(array.astype(np.int64)).to(device)
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)).to(device, dtype)


def frames_of_reach(network: nn.Module, steps: int) -> int:
    """How many frames to either side a network looks at; `steps` of its input are a frame at its first layer."""
    reach = 0.0
    for layer in network.modules():
        if not isinstance(layer, nn.modules.conv._ConvNd):
            continue
        span, stride = (layer.kernel_size[-1] - 1) * layer.dilation[-1] + 1, layer.stride[-1]
        if isinstance(layer, nn.modules.conv._ConvTransposeNd):
            reach, steps = reach + (span // stride) / steps, steps * stride
        else:
            reach, steps = reach + (span + stride) / steps, steps // stride
    return math.ceil(reach) + 1
