"""DNSMOS P.835, a network's estimate of what listeners would say: Reddy et al., ICASSP 2022 (arXiv:2110.01763).

The package speechmos carries its models. 0.3 × real time on one core: for those who ask.
"""

from __future__ import annotations

import functools
from typing import Any

from vall_e import audio
from vall_e.emb.gates.base import GateInput
from vall_e.emb.gates.measured import Measured
from vall_e.emb.gates.registry import GateOptions
from vall_e.types import BackendError

RATE_HZ = 16_000


def load(options: GateOptions) -> Measured:
    try:
        from speechmos import dnsmos
    except ImportError:
        raise BackendError('dnsmos: speechmos is not installed: pip install "vall-e[dnsmos]"') from None
    return Measured("dnsmos", functools.partial(_score, dnsmos), bad="low")


def _score(dnsmos: Any, seen: GateInput) -> float | None:
    if seen.samples is None:
        return None
    samples = audio.resample(seen.samples, seen.sample_rate_hz, RATE_HZ).clip(-1, 1)
    return float(dnsmos.run(samples, RATE_HZ)["ovrl_mos"])
