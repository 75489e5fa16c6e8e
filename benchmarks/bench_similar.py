"""Search of speaker prompts against the bare matrix products it is made of: same features, same blocks, same run.

OMP_NUM_THREADS=1 python benchmarks/bench_similar.py
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before numpy is loaded

import numpy as np  # noqa: E402

from vall_e.emb.features.top_k import BLOCK_SCORES, MAX_BLOCK_ROWS, top_k  # noqa: E402


def bare_products(features: np.ndarray) -> None:
    """All scores, block by block into one buffer, and nothing done with them."""
    step = max(1, min(MAX_BLOCK_ROWS, BLOCK_SCORES // len(features)))
    buffer = np.empty((step, len(features)), np.float32)
    for start in range(0, len(features), step):
        block = features[start : start + step]
        np.matmul(block, features.T, out=buffer[: len(block)])


def seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def compare(num_rows: int, num_dims: int, k: int, rounds: int) -> None:
    features = np.random.default_rng(0).standard_normal((num_rows, num_dims)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    # slices of one long recording: each overlaps the next
    excluded = [np.array([n for n in (row - 1, row + 1) if 0 <= n < num_rows]) for row in range(num_rows)]
    pairs = [
        (seconds(lambda: bare_products(features)), seconds(lambda: top_k(features, k, excluded=excluded)))
        for _ in range(rounds)
    ]
    ratios = [ours / bare for bare, ours in pairs]
    bare, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
    spread = f"{min(ratios):.2f}..{max(ratios):.2f}"
    print(
        f"{num_rows} rows of {num_dims}, top {k}: products {bare:.2f} s, search {ours:.2f} s, "
        f"ratio {statistics.median(ratios):.2f} ({spread} in {rounds} rounds; wanted: below 3)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three rounds")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--dims", type=int, default=40, help="40: MFCC; 8192: histograms of 8 x 1024 codes")
    parser.add_argument("--top-k", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    compare(args.rows, args.dims, args.top_k, 3 if args.quick else args.rounds)


if __name__ == "__main__":
    main()
