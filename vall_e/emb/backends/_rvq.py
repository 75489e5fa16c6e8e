"""Residual vector quantisation with an exact nearest neighbour.

The usual expanded distance |x|^2 - 2xe + |e|^2 in float32 loses digits to cancellation, so the code it picks depends on
the size of the batch, the BLAS and the number of threads. Here it decides only where the runner-up is farther away than
rounding can reach; everywhere else float64 looks at all entries. The same frames then get the same codes however they
are batched.
"""

import torch
from torch import Tensor

_CHUNK_VALUES = 1 << 20  # bounds the [frames, C] table of rough distances: 4 MB, which a processor's cache holds
_CHUNK_VALUES_ON_DEVICE = 1 << 26
_PAIR_VALUES = 1 << 22  # bounds what is compared in float64 at once, where every entry is as near as every other


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
    values = _CHUNK_VALUES if x.device.type == "cpu" else _CHUNK_VALUES_ON_DEVICE
    parts, codebooks = x.float().split(max(1, values // codebooks.shape[1])), codebooks.float()
    squares = codebooks.square().sum(2)
    return torch.cat([_quantize_chunk(part, codebooks, squares) for part in parts], dim=1)


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


def _quantize_chunk(x: Tensor, codebooks: Tensor, squares: Tensor) -> Tensor:
    """float32 [n, D], [K, C, D] and the entries' squared lengths [K, C] -> int64 [K, n]."""
    codes = []
    for codebook, square in zip(codebooks, squares, strict=True):
        indices, x = _nearest(x, codebook, square)
        codes.append(indices)
    return torch.stack(codes)


def _nearest(x: Tensor, codebook: Tensor, square: Tensor) -> tuple[Tensor, Tensor]:
    """Index of the row of codebook [C, D] nearest to each row of x [n, D], int64 [n], and what it leaves, [n, D]."""
    # |x|^2 is the same for every entry, so it can't change the order
    rough = torch.addmm(square, x, codebook.T, alpha=-2.0)
    indices = _lowest(rough)
    first = rough.gather(1, indices[:, None])
    others = rough.scatter_(1, indices[:, None], torch.inf)
    # What rounding can add to a rough distance, by the usual bound on a sum of products. The nearest entry is no
    # farther from x than the one found, hence no longer than `reach`. Where the sum could have hidden it, look on.
    rest, length = x - codebook[indices], x.norm(dim=1)
    reach = length + rest.norm(dim=1)
    error = (codebook.shape[1] + 8) * torch.finfo(torch.float32).eps / 2 * reach * (reach + 2 * length)
    limit = first + 2 * error[:, None]
    doubtful = (others.amin(1, keepdim=True) <= limit).nonzero()[:, 0]
    size = max(1, _PAIR_VALUES // codebook.numel())
    for start in range(0, len(doubtful), size):
        rows = doubtful[start : start + size]
        near = (others[rows] <= limit[rows]).scatter_(1, indices[rows, None], True)
        indices[rows] = _nearest_in_float64(x[rows].double(), codebook, near)
        rest[rows] = x[rows] - codebook[indices[rows]]
    return indices, rest


def _nearest_in_float64(x: Tensor, codebook: Tensor, near: Tensor) -> Tensor:
    """As `_nearest`, among the entries that are near each row, bool [n, C]; the lowest index wins a tie."""
    rows, entries = near.nonzero(as_tuple=True)
    distances = torch.full(near.shape, torch.inf, dtype=torch.float64, device=x.device)
    distances[rows, entries] = (x[rows] - codebook[entries]).square().sum(1)
    return _lowest(distances)


def _lowest(x: Tensor) -> Tensor:
    """Index of the lowest number of each row [n, C], int64 [n]; torch's own is many times slower on a CPU."""
    return torch.from_numpy(x.detach().numpy().argmin(1)) if x.device.type == "cpu" else x.argmin(1)
