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
    books = [_distinct(codebook) for codebook in codebooks.float()]
    chunks = [_quantize_chunk(part, books) for part in x.float().split(_CHUNK_FRAMES)]
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


def _quantize_chunk(x: Tensor, books: list[tuple[Tensor, Tensor]]) -> Tensor:
    """float32 [n, D] -> int64 [K, n]."""
    residual = x
    codes = []
    for rows, first in books:
        nearest = _nearest(residual, rows, first)
        codes.append(first[nearest])
        residual = residual - rows[nearest]
    return torch.stack(codes)


def _distinct(codebook: Tensor) -> tuple[Tensor, Tensor]:
    """The different rows of codebook [C, D] and where each stands first: float32 [U, D], int64 [U].

    Without this, copies of one entry could fill all candidate places and the lowest index would be chance.
    """
    rows, which = torch.unique(codebook, dim=0, return_inverse=True)
    positions = torch.arange(len(codebook), device=codebook.device)
    first = torch.full((len(rows),), len(codebook), device=codebook.device)
    return rows, first.scatter_reduce(0, which, positions, "amin")


def _nearest(x: Tensor, rows: Tensor, first: Tensor) -> Tensor:
    """Position in rows [U, D] of the entry nearest to each row of x [n, D] -> int64 [n]; `first` [U] breaks ties."""
    # |x|^2 is the same for every entry, so it can't change the order
    rough = rows.square().sum(1) - 2.0 * (x @ rows.T)
    candidates = rough.topk(min(_CANDIDATES, len(rows)), dim=1, largest=False).indices
    # ordered by index, so that argmin's first minimum is the lowest index
    candidates = candidates.gather(1, first[candidates].argsort(dim=1))
    exact = (x.double()[:, None, :] - rows.double()[candidates]).square().sum(2)
    return candidates.gather(1, exact.argmin(dim=1, keepdim=True))[:, 0]
