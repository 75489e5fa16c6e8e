"""Audio files in: probed, read in pieces as float32, resampled."""

from vall_e.audio.errors import AudioError
from vall_e.audio.identity import Identity, identify, is_same, require_same
from vall_e.audio.members import arrow_batches, row_member
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
from vall_e.audio.source import Roots, Source, locate, mapped

__all__ = [
    "BLOCK_SAMPLES",
    "SILENCE_PEAK",
    "WRITABLE_EXTENSIONS",
    "AudioError",
    "Channels",
    "Identity",
    "Choice",
    "Roots",
    "Source",
    "arrow_batches",
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
    "row_member",
    "write",
]
