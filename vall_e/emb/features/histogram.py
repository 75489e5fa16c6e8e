"""Speaker features from codes: how often each code is used at each level."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vall_e.emb.features.registry import FeatureOptions
from vall_e.types import CodecSpec, ContractError, UsageError


def load(options: FeatureOptions, spec: CodecSpec) -> HistogramExtractor:
    return HistogramExtractor(
        num_levels=spec.num_levels, codebook_size=spec.codebook_size, use_levels=options.code_levels
    )


class HistogramExtractor:
    """Square roots of relative frequencies, `[num_levels · codebook_size]` numbers for each utterance.

    With the root, the cosine of two rows is the Bhattacharyya coefficient of their histograms (the one that the
    Hellinger distance is made of), as a mean over levels.
    """

    needs_audio = False

    def __init__(self, *, num_levels: int, codebook_size: int, use_levels: int = 0) -> None:
        """`use_levels`: that many levels from the first, 0 for all.

        Raises:
            UsageError: more levels than there are.
        """
        if not 0 <= use_levels <= num_levels:
            raise UsageError(f"code_levels: {use_levels}, but the codes have {num_levels} levels; 0 stands for all")
        self.num_levels, self.codebook_size = num_levels, codebook_size
        self.use_levels = use_levels or num_levels

    def extract(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        """Codes [K,T] each → unit rows float32 [B, levels · codebook_size]; codes without frames give zeros.

        Raises:
            ContractError: another number of levels, or a code outside the codebook.
        """
        rows = np.zeros((len(inputs), self.use_levels * self.codebook_size), np.float32)
        for row, codes in zip(rows, inputs, strict=True):
            if codes.ndim != 2 or len(codes) != self.num_levels:
                raise ContractError(f"codes of shape {codes.shape}, expected [{self.num_levels}, frames]")
            if codes.size == 0:
                continue
            if codes.max() >= self.codebook_size:
                raise ContractError(f"code {codes.max()} is outside the codebook of {self.codebook_size}")
            used = codes[: self.use_levels].astype(np.int64)
            levels = np.arange(self.use_levels)[:, None] * self.codebook_size
            counts = np.bincount((used + levels).ravel(), minlength=row.size)
            row[:] = np.sqrt(counts / used.size)
        return rows

    def normalise(self, raw: np.ndarray) -> np.ndarray:
        """The rows as they are: they already have unit norm, and a histogram has no channel to take out."""
        return raw
