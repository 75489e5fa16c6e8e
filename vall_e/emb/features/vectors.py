"""Features from vectors of codes: those of the codec, or those that a trained model has learnt for them.

An utterance is the mean over its frames of what its codes stand for; a group of utterances is whitened, so that a
direction counts less the more all utterances vary in it (Kessy et al., "Optimal whitening and decorrelation",
arXiv:1512.00809), with the mean variance added to all, as a group may be smaller than the vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from vall_e.emb.features.registry import FeatureOptions
from vall_e.types import CodecSpec

# of the mean variance, added to all directions: half way from whitened to plain vectors, by benchmarks/bench_prompts.py
SHRINKAGE = 1.0


class FrameVectors(Protocol):
    """What the frames of codes stand for."""

    size: int

    def __call__(self, codes: np.ndarray) -> np.ndarray:
        """Integers [K,T] → float [T,size]."""
        ...


class Tables:
    """Vectors of codes, summed over the levels. `tables` is float32 [K,C,D]; further levels of codes add nothing."""

    def __init__(self, tables: np.ndarray) -> None:
        self.tables, self.size = tables, tables.shape[2]

    def __call__(self, codes: np.ndarray) -> np.ndarray:
        """Integers [K,T] → float32 [T,D]."""
        found = [table[level] for table, level in zip(self.tables, codes, strict=False)]
        total: np.ndarray = np.stack(found).sum(axis=0, dtype=np.float32)
        return total


def load(options: FeatureOptions, spec: CodecSpec) -> VectorExtractor:
    return VectorExtractor(options.similarity_backend)


class VectorExtractor:
    """Raw statistics [B,1+D]: number of frames, and the mean of their vectors.

    Attributes:
        vectors_of: whose vectors they are: codec, model or hidden; the command sets `vectors` accordingly.
    """

    needs_audio = False
    vectors: FrameVectors

    def __init__(self, vectors_of: str) -> None:
        self.vectors_of = vectors_of

    def extract(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        """Codes uint16 [K,T] each → float32 [B,1+D], each as if alone."""
        rows = np.zeros((len(inputs), 1 + self.vectors.size), np.float32)
        for row, codes in zip(rows, inputs, strict=True):
            row[0] = codes.shape[1]
            if codes.shape[1]:
                row[1:] = self.vectors(codes).mean(axis=0, dtype=np.float64)
        return rows

    def normalise(self, raw: np.ndarray) -> np.ndarray:
        """Raw statistics [N,1+D] of a group → unit rows [N,D], float32; utterances without frames are zeros."""
        frames, mean = raw[:, :1].astype(np.float64), raw[:, 1:].astype(np.float64)
        centred = (mean - (frames * mean).sum(axis=0) / max(1.0, frames.sum())) * (frames > 0)
        count = max(1, int((frames > 0).sum()))
        spread = centred.T @ centred / count
        variances, directions = np.linalg.eigh(spread)
        mean_variance = max(float(np.trace(spread)) / len(spread), float(np.finfo(np.float32).tiny))
        whole = variances.clip(min=0) + SHRINKAGE * mean_variance
        features = (centred @ directions) / np.sqrt(whole)
        norm = np.linalg.norm(features, axis=1, keepdims=True)
        return np.divide(features, norm, out=np.zeros_like(features), where=norm > 0).astype(np.float32)
