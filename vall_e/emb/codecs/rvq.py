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
    parts = x.float().split(max(1, values // codebooks.shape[1]))
    return torch.cat([_quantize_chunk(part, codebooks.float()) for part in parts], dim=1)


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
    codes = []
    for codebook in codebooks:
        indices, x = _nearest(x, codebook)
        codes.append(indices)
    return torch.stack(codes)


def _nearest(x: Tensor, codebook: Tensor) -> tuple[Tensor, Tensor]:
    """Index of the row of codebook [C, D] nearest to each row of x [n, D], int64 [n], and what it leaves, [n, D]."""
    size, width = codebook.shape
    # |x|^2 is the same for every entry, so it can't change the order
    rough = torch.addmm(codebook.square().sum(1), x, codebook.T, alpha=-2.0)
    indices = _lowest(rough)
    rest = x - codebook[indices]
    if size > 1:
        first = rough.gather(1, indices[:, None])[:, 0]
        second = rough.scatter_(1, indices[:, None], torch.inf).amin(1)
        # What rounding can add to a rough distance, by the usual bound on a sum of products. The nearest entry is no
        # farther from x than the one found, hence no longer than `reach`. Where the sum could have hidden it, look on.
        length, distance = x.norm(dim=1), rest.norm(dim=1)
        reach = length + distance
        error = (width + 8) * torch.finfo(torch.float32).eps / 2 * reach * (reach + 2 * length)
        doubtful = (second <= first + 2 * error).nonzero()[:, 0]
        if len(doubtful):
            indices[doubtful] = _nearest_in_float64(x[doubtful].double(), codebook.double())
            rest[doubtful] = x[doubtful] - codebook[indices[doubtful]]
    return indices, rest


def _lowest(x: Tensor) -> Tensor:
    """Index of the first lowest of each row [n, C], int64 [n]; torch's own is many times slower on a CPU."""
    return torch.from_numpy(x.detach().numpy().argmin(1)) if x.device.type == "cpu" else x.argmin(1)


def _nearest_in_float64(x: Tensor, codebook: Tensor) -> Tensor:
    """As `_nearest`, of float64: the lowest index among all that even float64 can't tell apart."""
    rough = torch.addmm(codebook.square().sum(1), x, codebook.T, alpha=-2.0)
    reach = x.norm(dim=1) + codebook.norm(dim=1).max()
    error = (x.shape[1] + 4) * torch.finfo(torch.float64).eps * reach.square()
    farther = rough > (rough.amin(1) + 2 * error)[:, None]
    return _lowest(farther.view(torch.uint8))
