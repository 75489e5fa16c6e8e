"""A SEANet over an input of any length in bounded memory, equal to running it at once but for rounding.

The layers run over windows that overlap by what a layer can look at. Group norm over all of time is the obstacle: each
norm needs the mean and variance of its whole input. So the windows run once for each depth at which norms stand, each
pass gathering the statistics of one depth with those before it known, and once more for the output. Memory is bounded
by the window and time grows by the number of passes; a network without such norms takes one pass.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vall_e.emb.codecs.batching import frames_of_reach, windows

Source = Callable[[int, int], Tensor]  # frames [start, end) of the input; the last frame may be short
Moments = tuple[Tensor, Tensor]  # mean and variance, float64


@dataclass(frozen=True)
class Window:
    """Frames [low, high) of an input, of which [start, stop) are its own."""

    start: int
    stop: int
    low: int
    high: int
    is_last: bool

    def own(self, x: Tensor, steps: int) -> Tensor:
        """Its own part of x [..., T], of `steps` steps a frame; the last window's runs to the end."""
        first = (self.start - self.low) * steps
        return x[..., first:] if self.is_last else x[..., first : first + (self.stop - self.start) * steps]


def run_windows(
    layers: nn.Sequential, source: Source, num_frames: int, *, size: int, num_steps: int, hop: int = 1, keep: int = 0
) -> Iterator[tuple[Tensor, Window]]:
    """Output of the layers over each window of `size` frames, borders included: `Window.own` cuts them off.

    Args:
        num_steps: length of the whole input, of which `hop` steps are a frame.
        keep: frames to each side of a window whose output is right as well, for who needs neighbours.
    """
    context = frames_of_reach(layers, hop) + keep
    places = [Window(*place, place[1] == num_frames) for place in windows(num_frames, size, context)]
    with _Windowed(layers, num_steps, hop) as windowed:
        for index, norms in _depths(layers):
            windowed.gather(norms)
            for windowed.window in places:
                layers[: index + 1](source(windowed.window.low, windowed.window.high))
            windowed.finish()
        for windowed.window in places:
            yield layers(source(windowed.window.low, windowed.window.high)), windowed.window


def _depths(layers: nn.Sequential) -> Iterator[tuple[int, list[nn.GroupNorm]]]:
    """(index of the layer, its norms whose inputs depend on no norm that isn't known by then)."""
    layer: Any
    for index, layer in enumerate(layers):
        is_block = hasattr(layer, "shortcut")
        parts = [[layer.block[1], layer.shortcut], [layer.block[3]]] if is_block else [[layer]]
        for group in parts:
            norms = [norm for part in group for norm in part.modules() if isinstance(norm, nn.GroupNorm)]
            if norms:
                yield index, norms


class _Windowed:
    """Takes the place of the norms while windows run: gathers the statistics of some, applies those of others."""

    window: Window

    def __init__(self, layers: nn.Module, num_steps: int, hop: int) -> None:
        self._known: dict[nn.GroupNorm, Moments] = {}
        self._sums: dict[nn.GroupNorm, list[Any]] = {}  # count, sum, sum of squares
        self._undo = contextlib.ExitStack()
        steps = hop
        layer: Any
        for layer in layers.modules():
            if isinstance(layer, nn.modules.conv._ConvTransposeNd):
                steps *= layer.stride[-1]
            elif isinstance(layer, nn.modules.conv._ConvNd):
                steps //= layer.stride[-1]
            elif isinstance(layer, nn.GroupNorm):
                self._replace(layer, "forward", functools.partial(self._normalise, layer, steps))
            elif hasattr(layer, "whole_length"):
                self._replace(layer, "whole_length", -(-num_steps * steps // hop))

    def _replace(self, owner: Any, name: str, value: Any) -> None:
        before = owner.__dict__.get(name)
        setattr(owner, name, value)
        restore = delattr if before is None and name == "forward" else functools.partial(setattr)
        self._undo.callback(*((restore, owner, name) if restore is delattr else (restore, owner, name, before)))

    def __enter__(self) -> _Windowed:
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def gather(self, norms: list[nn.GroupNorm]) -> None:
        self._sums = {norm: [0, 0.0, 0.0] for norm in norms}

    def finish(self) -> None:
        for norm, (count, total, squares) in self._sums.items():
            mean = total / count
            self._known[norm] = mean, (squares / count - mean.square()).clamp(min=0.0)
        self._sums = {}

    def _normalise(self, norm: nn.GroupNorm, steps: int, x: Tensor) -> Tensor:
        if norm in self._known:
            return normalised(norm, x, *self._known[norm])
        if norm in self._sums:
            own, sums = self.window.own(x, steps).double(), self._sums[norm]
            sums[0], sums[1], sums[2] = sums[0] + own.numel(), sums[1] + own.sum(), sums[2] + own.square().sum()
        return x  # of a later depth: nothing after it is used in this pass


def normalised(norm: nn.GroupNorm, x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """`x` [1, C, …] as a norm of one group makes it, by the moments of the whole of which it is a part."""
    scale = norm.weight.double() * (variance + norm.eps).rsqrt()
    shift = norm.bias.double() - mean * scale
    shape = (1, -1, *[1] * (x.ndim - 2))
    return torch.addcmul(shift.to(x).view(shape), x, scale.to(x).view(shape))


def run_pieces(layers: nn.Sequential, pieces: Iterator[Tensor]) -> Tensor:
    """Activation, then a convolution without stride and its norm, over columns that come piece by piece → [D, T].

    The activation and the convolution see a piece with its neighbours; the norm sees all of it.
    """
    conv: Any
    (*before, conv) = layers
    norm = conv.conv.norm
    conv.conv.norm = nn.Identity()
    reach = (conv.conv.conv.kernel_size[0] - 1) * conv.conv.conv.dilation[0]
    kept: Tensor | None = None
    done, first, parts = 0, 0, []
    apply = nn.Sequential(*before, conv)
    try:
        for piece in pieces:
            kept = piece if kept is None else torch.cat([kept, piece], -1)
            end = first + kept.shape[-1]
            sure = max(done, end - reach)  # the columns after it see what is still to come
            parts.append(apply(kept[None])[0, :, done - first : sure - first])
            kept, first, done = kept[:, max(0, sure - reach - first) :], max(first, sure - reach), sure
        assert kept is not None
        parts.append(apply(kept[None])[0, :, done - first :])
    finally:
        conv.conv.norm = norm
    y: Tensor = norm(torch.cat(parts, -1)[None])[0]
    return y
