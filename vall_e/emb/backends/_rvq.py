"""Residual vector quantisation with an exact nearest neighbour.

The usual expanded distance |x|^2 - 2xe + |e|^2 in float32 loses digits to cancellation, so the code it picks depends on
the size of the batch, the BLAS and the number of threads. Here it only nominates candidates; a float64 distance without
cancellation decides; where more entries than the candidates are that close, float64 looks at all of them. The same
frames then get the same codes however they are batched.
"""

import torch
from torch import Tensor

_CANDIDATES = 4
_CHUNK_FRAMES = 8192  # bounds the [frames, C] table of rough distances to 32 MB for 1024 entries


def quantize(x: Tensor, codebooks: Tensor) -> Tensor:
    """Quantise frames level by level, each level coding what the levels before it left over.

    Args:
        x: float [N, D], one row per frame.
        codebooks: float [K, C, D].

    Returns:
        int64 [K, N]; the lowest index wins a tie.
    """
    if x.ndim != 2 or codebooks.ndim != 3 or x.shape[1] != codebooks.shape[2]:
        raise ValueError(f"expected frames [N, D] and codebooks [K, C, D], got {[*x.shape]} and {[*codebooks.shape]}")
    chunks = [_quantize_chunk(part, codebooks.float()) for part in x.float().split(_CHUNK_FRAMES)]
    return torch.cat(chunks, dim=1)


def dequantize(codes: Tensor, codebooks: Tensor) -> Tensor:
    """Sum the entries that the codes name.

    Args:
        codes: integer [K', N] with 1 <= K' <= K; missing levels add nothing.
        codebooks: float [K, C, D].

    Returns:
        float32 [N, D].
    """
    levels, size = codebooks.shape[:2]
    if codes.ndim != 2 or not 1 <= codes.shape[0] <= levels:
        raise ValueError(f"expected codes [K, N] with 1 <= K <= {levels}, got {[*codes.shape]}")
    if codes.numel() and (int(codes.min()) < 0 or int(codes.max()) >= size):
        raise ValueError(f"codes must lie in 0..{size - 1}, got {int(codes.min())}..{int(codes.max())}")
    total = codebooks.new_zeros(codes.shape[1], codebooks.shape[2], dtype=torch.float32)
    for level, indices in enumerate(codes.long()):
        total = total + codebooks[level].float()[indices]
    return total


def _quantize_chunk(x: Tensor, codebooks: Tensor) -> Tensor:
    """float32 [n, D] and [K, C, D] -> int64 [K, n]."""
    residual = x
    codes = []
    for codebook in codebooks:
        indices = _nearest(residual, codebook)
        residual = residual - codebook[indices]
        codes.append(indices)
    return torch.stack(codes)


def _nearest(x: Tensor, codebook: Tensor) -> Tensor:
    """Index of the row of codebook [C, D] nearest to each row of x [n, D] -> int64 [n]."""
    size, width = codebook.shape
    # |x|^2 is the same for every entry, so it can't change the order
    rough = codebook.square().sum(1) - 2.0 * (x @ codebook.T)
    best = rough.topk(min(_CANDIDATES + 1, size), dim=1, largest=False)
    # in rising order, so that the first minimum is the lowest index
    candidates = best.indices[:, :_CANDIDATES].sort(dim=1).values
    indices = candidates.gather(1, _exact_argmin(x, codebook[candidates])[:, None])[:, 0]
    if size > _CANDIDATES:
        # What rounding can add to a rough distance. Where it could have hidden the nearest entry, compare with all.
        reach = x.norm(dim=1) + codebook.norm(dim=1).max()
        error = (width + 4) * torch.finfo(torch.float32).eps * reach.square()
        doubtful = (best.values[:, _CANDIDATES] - best.values[:, 0] <= 2 * error).nonzero()[:, 0]
        if len(doubtful):
            indices[doubtful] = _nearest_in_float64(x[doubtful].double(), codebook.double())
    return indices


def _nearest_in_float64(x: Tensor, codebook: Tensor) -> Tensor:
    """As `_nearest`, of float64: the lowest index among all that even float64 can't tell apart."""
    rough = codebook.square().sum(1) - 2.0 * (x @ codebook.T)
    reach = x.norm(dim=1) + codebook.norm(dim=1).max()
    error = (x.shape[1] + 4) * torch.finfo(torch.float64).eps * reach.square()
    near = rough <= (rough.min(1).values + 2 * error)[:, None]
    return near.int().argmax(1)


def _exact_argmin(x: Tensor, entries: Tensor) -> Tensor:
    """Position of the first nearest of entries [n or 1, M, D] for each row of x [n, D] -> int64 [n]."""
    return (x.double()[:, None, :] - entries.double()).square().sum(2).argmin(1)
