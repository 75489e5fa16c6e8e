"""Audio files in: probed, read in pieces as float32, resampled."""

from vall_e.audio.errors import AudioError
from vall_e.audio.identity import Identity, identify, is_same, require_same
from vall_e.audio.read import (
    BLOCK_SAMPLES,
    SILENCE_PEAK,
    WRITABLE_EXTENSIONS,
    Channels,
    Choice,
    blocks,
    channels,
    find_files,
    is_inside,
    is_silent,
    iter_slices,
    load,
    probe,
    require_writable,
    resample,
    resampled_length,
    write,
)
from vall_e.audio.source import Source, locate, mapped

__all__ = [
    "BLOCK_SAMPLES",
    "SILENCE_PEAK",
    "WRITABLE_EXTENSIONS",
    "AudioError",
    "Channels",
    "Identity",
    "Choice",
    "Source",
    "blocks",
    "channels",
    "find_files",
    "identify",
    "is_inside",
    "is_same",
    "is_silent",
    "iter_slices",
    "load",
    "locate",
    "mapped",
    "probe",
    "require_same",
    "require_writable",
    "resample",
    "resampled_length",
    "write",
]
