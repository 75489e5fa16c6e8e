"""Audio files in: probed, read in pieces as float32, resampled."""

from vall_e.audio.decoders import AudioError
from vall_e.audio.read import (
    BLOCK_SAMPLES,
    SILENCE_PEAK,
    WRITABLE_EXTENSIONS,
    Scan,
    Source,
    blocks,
    is_inside,
    is_silent,
    iter_slices,
    load,
    mapped,
    probe,
    require_writable,
    resample,
    resampled_length,
    scan,
    write,
)

__all__ = [
    "BLOCK_SAMPLES",
    "SILENCE_PEAK",
    "WRITABLE_EXTENSIONS",
    "AudioError",
    "Scan",
    "Source",
    "blocks",
    "is_inside",
    "is_silent",
    "iter_slices",
    "load",
    "mapped",
    "probe",
    "require_writable",
    "resample",
    "resampled_length",
    "scan",
    "write",
]
