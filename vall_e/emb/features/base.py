"""What a feature extractor is: something that turns utterances into rows whose scalar product is a similarity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np


class FeatureExtractor(Protocol):
    """Features of utterances, in two steps: statistics of each alone, then rows that are compared within a group.

    Attributes:
        needs_audio: whether `extract` takes audio; else it takes codes.
    """

    needs_audio: bool

    def extract(self, inputs: Sequence[Any]) -> np.ndarray:
        """Statistics, float32 [B,D], each as if alone.

        Args:
            inputs: (mono float32 [n], its rate in Hz) each if `needs_audio`, else codes uint16 [K,T].
        """
        ...

    def normalise(self, raw: np.ndarray) -> np.ndarray:
        """Statistics [N,D] of one group (a speaker or the corpus) → rows [N,D'] of unit norm, or zero, float32."""
        ...
