"""A SEANet over an input of any length in bounded memory, equal to running it whole but for rounding.

The layers run over windows that overlap by what a layer can look at. Group norm over all of time is the obstacle: each
norm needs the mean and variance of its whole input. So the windows are run once for each depth at which norms stand,
each pass gathering the statistics of one depth with those before it known, and once more for the output. Memory is
bounded by the window and time grows by the number of passes; a network without such norms takes one pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vall_e.emb.codecs.funcodec_net import Conv, ConvTranspose, Layer, Norm, Residual


@dataclass(frozen=True)
class Place:
    """A window of frames [first - left, first + count + right), of which [first, first + count) are its own."""

    first: int
    count: int
    left: int
    right: int
    is_last: bool

    def core(self, x: Tensor, steps: int) -> Tensor:
        """The window's own part of x [..., T], of `steps` steps a frame; the last one's runs to the end."""
        start = self.left * steps
        return x[..., start:] if self.is_last else x[..., start : start + self.count * steps]


Source = Callable[[int, int], Tensor]  # frames [start, end) of the input; the last frame may be short


def run_windows(
    layers: Sequence[Layer], source: Source, num_frames: int, *, size: int, num_steps: int, hop: int = 1, keep: int = 0
) -> Iterator[tuple[Tensor, Place]]:
    """Output of the layers over each window of `size` frames, borders included: `Place.core` cuts them off.

    Args:
        num_steps: length of the whole input, of which `hop` steps are a frame.
        keep: frames to each side of a window whose output is right as well, for who needs neighbours.
    """
    halo = math.ceil(sum(layer.reach for layer in layers)) + 1 + keep
    places = []
    for first in range(0, num_frames, size):
        end = min(num_frames, first + size)
        left, right = min(first, halo), min(num_frames - end, halo)
        places.append(Place(first, end - first, left, right, end == num_frames))
    statistics = _Statistics(places[0], num_steps, hop)
    for depth, norms in _depths(layers):
        statistics.gather(norms)
        for place in places:
            _run(layers[: depth + 1], source, place, statistics)
        statistics.settle()
    for place in places:
        yield _run(layers, source, place, statistics), place


class _Bare:
    """Leaves out the norms."""

    def normalize(self, norm: Norm, x: Tensor) -> Tensor:
        return x

    def whole_length(self, steps: int) -> int:
        return 0  # of use to strides over a spectrum only


def run_pieces(conv: Conv, pieces: Iterable[Tensor]) -> Tensor:
    """A convolution without stride, and its norm, over rows that come piece by piece, [T_i, C] each → [T, D]."""
    reach, kept, done, parts = conv.span - 1, None, 0, []
    first = end = 0  # the rows that are kept are first … end
    for piece in pieces:
        kept = piece if kept is None else torch.cat([kept[max(0, done - reach) - first :], piece])
        first, end = max(0, done - reach), end + len(piece)
        sure = max(done, end - reach)  # the rows after it see what is still to come
        parts.append(conv(kept.T[None], _Bare())[..., done - first : sure - first])
        done = sure
    assert kept is not None
    parts.append(conv(kept.T[None], _Bare())[..., done - first :])
    y = torch.cat(parts, dim=-1)
    return (y if conv.norm is None else conv.norm.run(y, None))[0].T


def _run(layers: Sequence[Layer], source: Source, place: Place, statistics: _Statistics) -> Tensor:
    statistics.place = place
    x = source(place.first - place.left, place.first + place.count + place.right)
    for layer in layers:
        x = layer(x, statistics)
    return x


def _depths(layers: Sequence[Layer]) -> Iterator[tuple[int, list[Norm]]]:
    """(index of the layer, its norms whose inputs depend on no other norm that isn't known by then)."""
    for index, layer in enumerate(layers):
        groups: list[list[object]] = []
        if isinstance(layer, Conv | ConvTranspose):
            groups = [[layer.norm]]
        elif isinstance(layer, Residual):
            groups = [[getattr(layer.block[1], "norm", None), getattr(layer.shortcut, "norm", None)]]
            groups += [[getattr(layer.block[3], "norm", None)]]
        for group in groups:
            norms = [norm for norm in group if isinstance(norm, Norm)]
            if norms:
                yield index, norms


class _Statistics:
    """Takes the norms' place while windows run: gathers the statistics of some, applies those of others."""

    def __init__(self, place: Place, num_steps: int, hop: int) -> None:
        self.place, self._num_steps, self._hop = place, num_steps, hop
        self._known: dict[Norm, tuple[Tensor, Tensor]] = {}  # mean and variance, float64 [groups]
        self._sums: dict[Norm, tuple[int, Tensor, Tensor]] = {}  # count, sum, sum of squares, float64 [groups]

    def gather(self, norms: Sequence[Norm]) -> None:
        zero = torch.zeros((), dtype=torch.float64)
        self._sums = dict.fromkeys(norms, (0, zero, zero))

    def settle(self) -> None:
        for norm, (count, total, squares) in self._sums.items():
            mean = total / count
            self._known[norm] = mean, (squares / count - mean.square()).clamp(min=0.0)
        self._sums = {}

    def whole_length(self, steps: int) -> int:
        return -(-self._num_steps * steps // self._hop)

    def normalize(self, norm: Norm, x: Tensor) -> Tensor:
        if norm in self._known:
            return norm.applied(*self._known[norm], x)
        if norm in self._sums:
            own = self.place.core(x, norm.steps).reshape(norm.num_groups, -1).double()
            count, total, squares = self._sums[norm]
            self._sums[norm] = count + own.shape[1], total.to(own) + own.sum(1), squares.to(own) + own.square().sum(1)
        return x  # of a later depth: nothing after it is used in this pass
