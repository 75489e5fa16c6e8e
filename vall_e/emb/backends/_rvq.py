"""Residual vector quantisation with an exact nearest neighbour.

The usual expanded distance |x|^2 - 2xe + |e|^2 in float32 loses digits to cancellation, so the code it picks depends on the
batch, the BLAS and the number of threads. Here it only nominates candidates; a float64 distance without cancellation
decides. Codes are then the same however frames are batched.
"""

import torch
from torch import Tensor

_CANDIDATES = 4
_CHUNK_FRAMES = 8192  # bounds the [frames, C] distance table to 32 MB for 1024 entries


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
    chunks = [_quantize_chunk(part, codebooks) for part in x.float().split(_CHUNK_FRAMES)]
    return torch.cat(chunks, dim=1)


def dequantize(codes: Tensor, codebooks: Tensor) -> Tensor:
    """Sum the entries that the codes name.

    Args:
        codes: integer [K', N] with K' <= K; missing levels add nothing.
        codebooks: float [K, C, D].

    Returns:
        float32 [N, D].
    """
    levels, size = codebooks.shape[:2]
    if codes.ndim != 2 or not 1 <= codes.shape[0] <= levels:
        raise ValueError(f"expected codes [K', N] with 1 <= K' <= {levels}, got {[*codes.shape]}")
    if codes.numel() and (int(codes.min()) < 0 or int(codes.max()) >= size):
        raise ValueError(f"codes must lie in 0..{size - 1}, got {int(codes.min())}..{int(codes.max())}")
    total = codebooks.new_zeros(codes.shape[1], codebooks.shape[2], dtype=torch.float32)
    for level, indices in enumerate(codes.long()):
        total = total + codebooks[level].float()[indices]
    return total


def _quantize_chunk(x: Tensor, codebooks: Tensor) -> Tensor:
    """float32 [n, D] -> int64 [K, n]."""
    residual = x
    codes = []
    for codebook in codebooks.float():
        indices = _nearest(residual, codebook)
        residual = residual - codebook[indices]
        codes.append(indices)
    return torch.stack(codes)


def _nearest(x: Tensor, codebook: Tensor) -> Tensor:
    """Index of the nearest row of codebook [C, D] for each row of x [n, D] -> int64 [n]."""
    # |x|^2 is the same for every entry, so it can't change the order
    rough = codebook.square().sum(1) - 2.0 * (x @ codebook.T)
    count = min(_CANDIDATES, codebook.shape[0])
    # sorted by index, so that argmin's first minimum is the lowest index
    candidates = rough.topk(count, dim=1, largest=False).indices.sort(dim=1).values
    exact = (x.double()[:, None, :] - codebook.double()[candidates]).square().sum(2)
    # argmin need not return the first of equal minima on every device: pick it explicitly
    is_best = exact == exact.min(dim=1, keepdim=True).values
    first = is_best.to(torch.int8).argmax(dim=1) if x.device.type == "cpu" else _first_true(is_best)
    return candidates.gather(1, first[:, None])[:, 0]


def _first_true(mask: Tensor) -> Tensor:
    """Position of the first True in each row of a bool [n, m] mask -> int64 [n]."""
    positions = torch.arange(mask.shape[1], device=mask.device).expand_as(mask)
    return positions.masked_fill(~mask, mask.shape[1]).min(dim=1).values
