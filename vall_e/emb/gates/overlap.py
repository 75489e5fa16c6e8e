"""The share of an utterance in which several people speak at once: see `vall_e.emb.overlap`."""

from __future__ import annotations

from vall_e import audio
from vall_e.emb import overlap
from vall_e.emb.gates.base import GateInput
from vall_e.emb.gates.measured import Measured
from vall_e.emb.gates.registry import GateOptions
from vall_e.types import BackendError


def load(options: GateOptions) -> Measured:
    if not overlap.is_here():
        raise BackendError('gate overlap_share: its model comes with whisperx; pip install "vall-e[whisperx]"')
    return Measured("overlap_share", _share, bad="high")


def _share(seen: GateInput) -> float | None:
    if seen.samples is None or not seen.duration_s:
        return None
    found = overlap.find_overlaps(audio.resample(seen.samples, seen.sample_rate_hz, overlap.RATE_HZ))
    return min(1.0, sum(end_s - start_s for start_s, end_s in found) / seen.duration_s)
