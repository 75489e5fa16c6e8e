"""Residual vector quantisation with an exact nearest neighbour.

The usual expanded distance |x|² - 2xe + |e|² loses digits to cancellation in float32, so the code that it picks depends
on the size of the batch, the BLAS and the number of threads. Here it is computed in float64, and among entries that
even float64 can't tell apart the lowest index wins: the same frame gets the same codes however it is batched.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_CHUNK_VALUES = 1 << 20  # bounds the [frames, C] table of distances: 8 MB
_CHUNK_VALUES_ON_DEVICE = 1 << 26


def quantize(x: Tensor, codebooks: Tensor) -> Tensor:
    """Quantise frames level by level, each level coding what the levels before it left over.

    Args:
        x: float [N, D], one row per frame.
        codebooks: float [K, C, D]; float64 saves a conversion.

    Returns:
        int64 [K, N]; the lowest index wins a tie.

    Raises:
        ValueError: frames and entries of different widths.
    """
    if x.ndim != 2 or codebooks.ndim != 3 or x.shape[1] != codebooks.shape[2]:
        raise ValueError(f"expected frames [N, D] and codebooks [K, C, D], got {[*x.shape]} and {[*codebooks.shape]}")
    values = _CHUNK_VALUES if x.device.type == "cpu" else _CHUNK_VALUES_ON_DEVICE
    parts = x.float().split(max(1, values // codebooks.shape[1]))
    return torch.cat([_quantize_chunk(part, codebooks.double()) for part in parts], dim=1)


def dequantize(codes: Tensor, codebooks: Tensor) -> Tensor:
    """Sum the entries that the codes name.

    Args:
        codes: integer [K', N] with K' ≤ K, all inside the codebooks; missing levels add nothing.
        codebooks: float [K, C, D].

    Returns:
        float32 [N, D].
    """
    total = codebooks.new_zeros(codes.shape[1], codebooks.shape[2], dtype=torch.float32)
    for codebook, indices in zip(codebooks, codes.long(), strict=False):
        total += codebook[indices].float()
    return total


class CodeSpace:
    """What a codec's codes mean: its codebooks, and the ways into and out of them.

    Mixed into the codecs whose entries add up; they set `_codebooks`, float64 [K, C, D].
    """

    _codebooks: Tensor

    @property
    def codebooks(self) -> np.ndarray:
        """The entries of each level, float32 [K, C, D]."""
        return self._codebooks.float().cpu().numpy()

    def dequantize(self, codes: np.ndarray, first_level: int = 0) -> np.ndarray:
        """Codes [K', T] of the levels from `first_level` on → float32 [T, D], the sum of their entries."""
        indices = torch.from_numpy(codes.astype(np.int64)).to(self._codebooks.device)
        return dequantize(indices, self._codebooks[first_level:]).cpu().numpy()

    def quantize(self, latents: np.ndarray, first_level: int = 0) -> np.ndarray:
        """What is left of frames at `first_level`, float32 [T, D] → uint16 [K - first_level, T]."""
        rest = torch.from_numpy(np.ascontiguousarray(latents, np.float32)).to(self._codebooks.device)
        return quantize(rest, self._codebooks[first_level:]).cpu().numpy().astype(np.uint16)


def _quantize_chunk(x: Tensor, codebooks: Tensor) -> Tensor:
    """float32 [n, D] and float64 [K, C, D] → int64 [K, n]."""
    codes = []
    for codebook in codebooks:
        codes.append(nearest(x.double(), codebook))
        x = x - codebook[codes[-1]].float()
    return torch.stack(codes)


def nearest(x: Tensor, codebook: Tensor) -> Tensor:
    """Index of the row of codebook [C, D] nearest to each row of x [n, D], both float64 → int64 [n]."""
    lengths = codebook.square().sum(1)
    # |x|² is the same for every entry, so it can't change the order
    rough = torch.addmm(lengths, x, codebook.T, alpha=-2.0)
    reach = x.norm(dim=1) + lengths.max().sqrt()
    error = (x.shape[1] + 4) * torch.finfo(torch.float64).eps * reach.square()
    is_near = rough <= (rough.amin(1) + 2 * error)[:, None]
    if x.device.type == "cpu":  # torch's own is many times slower there
        return torch.from_numpy(is_near.numpy().argmax(1))
    return is_near.to(torch.uint8).argmax(1)
