"""What is wrong with an audio file, and the bounds of what is believed of one."""

from __future__ import annotations

from vall_e.types import RejectReason, VallEError

MIN_RATE_HZ, MAX_RATE_HZ = 1_000, 768_000  # a damaged header's 1 Hz would make hours of a second
MAX_CHANNELS = 64
LOST_S = 0.05  # a length that differs from what a file states by more is said


class AudioError(VallEError):
    """A file that can't be used as audio; becomes a Reject with this reason."""

    def __init__(self, reason: RejectReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[AudioError], tuple[RejectReason, str]]:
        return type(self), (self.reason, self.detail)


def check_shape(rate_hz: int, num_channels: int) -> None:
    """Raises AudioError (UNREADABLE) for a rate or a number of channels that no recording of speech has."""
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        detail = f"{rate_hz} Hz is no rate of samples of speech ({MIN_RATE_HZ}..{MAX_RATE_HZ} Hz)"
        raise AudioError(RejectReason.UNREADABLE, detail)
    if not 1 <= num_channels <= MAX_CHANNELS:
        raise AudioError(RejectReason.UNREADABLE, f"{num_channels} channels, outside 1..{MAX_CHANNELS}")
