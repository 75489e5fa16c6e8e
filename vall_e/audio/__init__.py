"""Audio files in: probed, read in pieces as float32, resampled."""

from vall_e.audio.decoders import AudioError
from vall_e.audio.identity import Identity, identify, is_same, require_same
from vall_e.audio.read import (
    BLOCK_SAMPLES,
    SILENCE_PEAK,
    WRITABLE_EXTENSIONS,
    Source,
    blocks,
    cancelling,
    find_files,
    is_inside,
    is_silent,
    iter_slices,
    load,
    mapped,
    probe,
    require_writable,
    resample,
    resampled_length,
    write,
)

__all__ = [
    "BLOCK_SAMPLES",
    "SILENCE_PEAK",
    "WRITABLE_EXTENSIONS",
    "AudioError",
    "Identity",
    "Source",
    "blocks",
    "cancelling",
    "find_files",
    "identify",
    "is_inside",
    "is_same",
    "is_silent",
    "iter_slices",
    "load",
    "mapped",
    "probe",
    "require_same",
    "require_writable",
    "resample",
    "resampled_length",
    "write",
]
