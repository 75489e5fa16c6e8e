"""Several channels into one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# ITU-R BS.775-4, table 2, row "mono": surround to one channel. The channel of low effects has no speech, and no gain.
MONO_GAINS = {
    **{"FL": 0.7071, "FR": 0.7071, "FC": 1.0, "LFE": 0.0},
    **{"BL": 0.5, "BR": 0.5, "SL": 0.5, "SR": 0.5, "BC": 0.5},
}
# The order of channels in Vorbis (its specification, section 4.3.9) and Opus (RFC 7845, section 5.1.1.2).
OGG_NAMES = {
    3: ("FL", "FC", "FR"),
    4: ("FL", "FR", "BL", "BR"),
    5: ("FL", "FC", "FR", "BL", "BR"),
    6: ("FL", "FC", "FR", "BL", "BR", "LFE"),
    7: ("FL", "FC", "FR", "SL", "SR", "BC", "LFE"),
    8: ("FL", "FC", "FR", "SL", "SR", "BL", "BR", "LFE"),
}


def has_gains(names: Sequence[str]) -> bool:
    """Whether the channels are those of surround sound, which has gains of its own; of all else the mean is taken."""
    return len(names) > 2 and all(name in MONO_GAINS for name in names)


def to_mono(channels: np.ndarray, names: Sequence[str] = ()) -> np.ndarray:
    """Float32 [C,n] → [n]: the mean of the channels, of surround sound by the standard gains, which add up to 1.

    Args:
        channels: the channels.
        names: of each, as FFmpeg writes them (FL, FR, FC, …); empty where nobody knows.
    """
    if len(channels) == 1:
        return np.ascontiguousarray(channels[0])
    if not has_gains(names):
        return np.ascontiguousarray(channels.mean(axis=0, dtype=np.float32))
    gains = np.array([MONO_GAINS[name] for name in names])
    return np.ascontiguousarray(((gains / gains.sum()).astype(np.float32)[:, None] * channels).sum(axis=0))
