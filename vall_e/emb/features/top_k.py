"""Nearest neighbours by cosine: one blocked matrix product, exact, and independent of the size of the blocks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SCORE_DECIMALS = 6
BLOCK_SCORES = 1 << 22  # float32 scores held at once: 16 MiB, so that caches still help
MAX_BLOCK_ROWS = 1024
RESCORE_NUMBERS = 1 << 22  # float64 numbers per side while candidates are scored again


def top_k(
    features: np.ndarray, k: int, *, excluded: Sequence[np.ndarray] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k other rows with the largest scalar product, for each row.

    Float32 products find the candidates with a margin for their rounding; these are scored again in float64. So
    the result does not depend on the size of blocks, and equal scores (to 6 decimals) always go to the lower index.

    Args:
        features: float32 [N,D], rows of norm 1 or 0.
        k: at least 1.
        excluded: for each row, indices that its list must not hold; a row itself is never in it.

    Returns:
        Indices, int64 [N,k], best first, and scores, float64 [N,k], rounded to 6 decimals. Where fewer are left,
        -1 and -inf fill the rest.
    """
    num_rows, num_dims = features.shape
    indices = np.full((num_rows, k), -1, np.int64)
    scores = np.full((num_rows, k), -np.inf)
    step = max(1, min(MAX_BLOCK_ROWS, BLOCK_SCORES // max(1, num_rows)))
    buffer = np.empty((min(step, num_rows), num_rows), np.float32)
    # the bound on a float32 scalar product of unit vectors (Higham 2002, 3.1) for both sides of a comparison, and what
    # 6 decimals round away
    margin = 2 * num_dims * 2.0**-24 + 10.0**-SCORE_DECIMALS
    for start in range(0, num_rows, step):
        stop = min(start + step, num_rows)
        block = np.matmul(features[start:stop], features.T, out=buffer[: stop - start])
        block[np.arange(stop - start), np.arange(start, stop)] = -np.inf
        for row, banned in enumerate(excluded[start:stop] if excluded is not None else ()):
            if len(banned):
                block[row, banned] = -np.inf
        rows, columns = _candidates(block, k, margin)
        exact = _exact_scores(features, rows + start, columns)
        order = np.lexsort((columns, -exact, rows))
        rows, columns, exact = rows[order], columns[order], exact[order]
        rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
        best = rank < k
        indices[rows[best] + start, rank[best]] = columns[best]
        scores[rows[best] + start, rank[best]] = exact[best]
    return indices, scores


def _candidates(block: np.ndarray, k: int, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """(row, column) of all scores of a block [B,N] that are at most `margin` below their row's k-th best; -inf is none.

    Columns go into groups, column c into group c mod C. The k-th largest of the groups' maxima is at most the k-th
    largest of the row, so only groups that reach it are looked into: one pass of maxima instead of a partial sort.
    """
    num_rows, num_columns = block.shape
    num_groups = min(num_columns, max(1024, 8 * k))
    depth = num_columns // num_groups
    whole = depth * num_groups
    maxima = block[:, :whole].reshape(num_rows, depth, num_groups).max(axis=1)
    rest = num_columns - whole
    np.maximum(maxima[:, :rest], block[:, whole:], out=maxima[:, :rest])
    lowest = np.full(num_rows, -np.inf, np.float32)
    if k < num_groups:
        lowest = np.partition(maxima, num_groups - k, axis=1)[:, num_groups - k] - np.float32(margin)
    rows, groups = np.nonzero((maxima >= lowest[:, None]) & (maxima > -np.inf))
    columns = groups[:, None] + num_groups * np.arange(depth + 1)
    values = block[rows[:, None], np.minimum(columns, num_columns - 1)]
    found = (columns < num_columns) & (values >= lowest[rows][:, None]) & (values > -np.inf)
    return np.broadcast_to(rows[:, None], columns.shape)[found], columns[found]


def _exact_scores(features: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Scalar products of pairs of rows in float64, rounded."""
    exact = np.empty(len(rows))
    step = max(1, RESCORE_NUMBERS // max(1, features.shape[1]))
    for start in range(0, len(rows), step):
        pair = slice(start, start + step)
        left, right = features[rows[pair]].astype(np.float64), features[columns[pair]].astype(np.float64)
        exact[pair] = np.einsum("nd,nd->n", left, right)
    return np.round(exact, SCORE_DECIMALS) + 0.0  # no -0.0
