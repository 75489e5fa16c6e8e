"""What a codec is, and what is the same for all of them: preparing audio, checking what goes in and comes out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from vall_e import audio as audio_files
from vall_e import storage
from vall_e.types import CodecSpec, ContractError

CODES_ADVICE = "decode with the codec that made them"


@runtime_checkable
class Codec(Protocol):
    """A neural codec: audio ↔ codes `[K,T]` = [levels, frames].

    Encoding a list gives the same codes as encoding each item separately. Axes are never guessed: audio is `[n]`, or
    `[C,n]` for a codec of C channels; codes are `[K,T]`.

    Attributes:
        spec: what callers need to know; by its name the same codec is loaded again.
    """

    spec: CodecSpec

    def encode(self, audio: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Codes of each item.

        Args:
            audio: float32 [n] each, for a codec of C channels also [C,n], at `spec.sample_rate_hz`, not empty.

        Returns:
            uint16 [K, spec.num_frames(n)] each.
        """
        ...

    def scales(self, audio: Sequence[np.ndarray]) -> list[np.ndarray]:
        """float32 [S] each: what the codec divides each of S chunks by before coding; S is 0 where it does not."""
        ...

    def decode(self, codes: Sequence[np.ndarray], scales: Sequence[np.ndarray] | None = None) -> list[np.ndarray]:
        """Audio of each item.

        Args:
            codes: integers [K,T] each, K from 1 to `spec.num_levels`.
            scales: as `scales` returned them; None is 1 everywhere.

        Returns:
            float32 [n], of a codec of C channels [C,n], n at least the original's.

        Raises:
            ValueError: the number of frames or scales is impossible for this codec.
        """
        ...


@runtime_checkable
class Quantizer(Protocol):
    """What a codec may offer besides: the vectors behind its codes."""

    @property
    def codebooks(self) -> np.ndarray:
        """float32 [K,C,D]: entries of each level."""
        ...

    def dequantize(self, codes: np.ndarray) -> np.ndarray:
        """Integers [K,T], K from 1 → float32 latents [T,D], the sum over levels."""
        ...

    def quantize(self, latents: np.ndarray, first_level: int = 0) -> np.ndarray:
        """Float32 latents [T,D] → uint16 [K - first_level, T]: what levels from `first_level` on make of them."""
        ...


class CheckedCodec:
    """A codec whose arguments are checked, the same way for all: what `load_codec` returns.

    Raises:
        ValueError: one line that says which item is wrong, and how.
    """

    def __init__(self, codec: Codec) -> None:
        self.codec, self.spec = codec, codec.spec

    def __getattr__(self, name: str) -> object:
        if name in ("codebooks", "dequantize", "quantize"):
            return getattr(self.codec, name)
        raise AttributeError(name)

    def encode(self, audio: Sequence[np.ndarray]) -> list[np.ndarray]:
        """See Codec."""
        for number, samples in enumerate(audio):
            _check_audio(samples, self.spec, number)
        return self.codec.encode(audio) if len(audio) else []

    def scales(self, audio: Sequence[np.ndarray]) -> list[np.ndarray]:
        """See Codec."""
        for number, samples in enumerate(audio):
            _check_audio(samples, self.spec, number)
        return self.codec.scales(audio) if len(audio) else []

    def decode(self, codes: Sequence[np.ndarray], scales: Sequence[np.ndarray] | None = None) -> list[np.ndarray]:
        """See Codec."""
        for number, item in enumerate(codes):
            _check_codes(item, self.spec, f"item {number}: ")
        if scales is not None:
            self._check_scales(codes, scales)
        return self.codec.decode(codes, scales) if len(codes) else []

    def _check_scales(self, codes: Sequence[np.ndarray], scales: Sequence[np.ndarray]) -> None:
        if len(scales) != len(codes):
            raise ValueError(f"{self.spec.name}: {len(scales)} arrays of scales for {len(codes)} of codes")
        one = np.full((self.spec.num_channels, self.spec.hop_samples), 0.1, np.float32)
        normalises = len(self.codec.scales([one if self.spec.num_channels > 1 else one[0]])[0]) > 0
        for number, item in enumerate(scales):
            if item.dtype != np.float32 or item.ndim != 1 or not (np.isfinite(item) & (item > 0)).all():
                raise ValueError(f"{self.spec.name}: item {number}: scales are positive float32 [S]")
            if len(item) and not normalises:
                raise ValueError(f"{self.spec.name}: item {number}: {len(item)} scales, but it does not normalise")


def _check_audio(samples: np.ndarray, spec: CodecSpec, number: int) -> None:
    """Raises ValueError unless `samples` are float32 [n], or [C,n] of a codec of C channels, and not empty."""
    fits = samples.ndim == 1 or (samples.ndim == 2 and spec.num_channels > 1 and len(samples) == spec.num_channels)
    if not fits or samples.dtype != np.float32 or samples.shape[-1] == 0:
        axes = f"[n] or [{spec.num_channels},n]" if spec.num_channels > 1 else "[n]"
        found = f"{samples.dtype} {list(samples.shape)}"
        raise ValueError(f"{spec.name}: item {number}: audio is float32 {axes}, not empty; found {found}")


def _check_codes(codes: np.ndarray, spec: CodecSpec, where: str = "") -> None:
    """Raises ValueError unless `codes` are integers [K,T], 1 ≤ K ≤ levels, 1 ≤ T, all inside the codebook."""
    if codes.ndim != 2 or codes.dtype.kind not in "ui":
        raise ValueError(f"{spec.name}: {where}codes are integers [K,T]; found {codes.dtype} {list(codes.shape)}")
    if not 1 <= codes.shape[0] <= spec.num_levels or codes.shape[1] == 0:
        levels = f"1 to {spec.num_levels} levels and at least a frame"
        raise ValueError(f"{spec.name}: {where}codes of shape {list(codes.shape)} do not fit: {levels}; {CODES_ADVICE}")
    if codes.min() < 0 or codes.max() >= spec.codebook_size:
        span = f"codes from {codes.min()} to {codes.max()}"
        raise ValueError(f"{spec.name}: {where}{span}, its codebooks have {spec.codebook_size} entries; {CODES_ADVICE}")


def encode(codec: Codec, audio: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Float32 [n] or [C,n] at any rate → uint16 [K,T].

    A stereo codec gets both of two channels, or one on both sides; whatever else has channels is downmixed to mono.

    Raises:
        ContractError: no samples, NaN or infinity, or codes that break the codec's own spec.
    """
    return encode_all(codec, [audio], sample_rate_hz)[0]


def encode_all(codec: Codec, audios: Sequence[np.ndarray], sample_rate_hz: int) -> list[np.ndarray]:
    """As `encode` for each of several, which a codec may do faster together than one by one."""
    return encode_prepared(codec, [prepare(codec.spec, audio, sample_rate_hz) for audio in audios])


def prepare(spec: CodecSpec, audio: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """What `encode` hands to the codec, for its `scales` too: float32 [n] at its rate, or [2,n] as `encode` says.

    Args:
        spec: the codec's.
        audio: [n] or [C,n].
        sample_rate_hz: of `audio`.

    Raises:
        ContractError: no samples, NaN or infinity.
    """
    # NaN and infinity come through both ends, and no array of this size is made
    if audio.ndim not in (1, 2) or audio.size == 0 or not np.isfinite([audio.min(), audio.max()]).all():
        raise ContractError(f"audio to encode is [n] or [C,n], finite and not empty; found shape {list(audio.shape)}")
    if audio.ndim == 2 and (len(audio), spec.num_channels) != (2, 2):
        audio = audio.mean(axis=0, dtype=np.float32)
    audio = audio.astype(np.float32, copy=False)
    return audio_files.resample(audio, sample_rate_hz, spec.sample_rate_hz)


def encode_prepared(codec: Codec, ready: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Codes of what `prepare` returned, as one list.

    Raises:
        ContractError: codes that break the codec's own spec.
    """
    spec = codec.spec
    coded = codec.encode(ready)
    for samples, codes in zip(ready, coded, strict=True):
        expected = (spec.num_levels, spec.num_frames(samples.shape[-1]))
        if codes.dtype != storage.CODE_DTYPE or codes.shape != expected:
            raise ContractError(f"{spec.name} gave {codes.dtype} {codes.shape}, its spec says uint16 {expected}")
    return coded


def decode(
    codec: Codec, codes: np.ndarray, *, scales: np.ndarray | None = None, num_samples: int | None = None
) -> np.ndarray:
    """[K,T] → float32 [n] (of a stereo codec [2,n]) at the codec's rate, cut to the original's `num_samples` if given.

    Raises:
        ContractError: codes of the wrong shape or out of the codebook's range, or too few for `num_samples`; codes or
            scales of a number that the codec can't have made.
    """
    check_codes(codes, codec.spec)
    if num_samples is not None and codec.spec.num_frames(num_samples) != codes.shape[1]:
        raise ContractError(f"{codes.shape[1]} frames are not those of {num_samples} samples of {codec.spec.name}")
    try:
        (audio,) = codec.decode([codes], None if scales is None else [scales])
    except ValueError as error:
        raise ContractError(f"{codec.spec.name} can't have made these: {error}") from None
    return audio[..., :num_samples]


def mono(samples: np.ndarray) -> np.ndarray:
    """What a codec decoded, [n] or [C,n], as one channel [n]."""
    one: np.ndarray = samples if samples.ndim == 1 else samples.mean(axis=0)
    return one


def check_codes(codes: np.ndarray, spec: CodecSpec) -> None:
    """Raises ContractError unless `codes` are integers [K,T], 1 ≤ K ≤ levels, 1 ≤ T, all inside the codebook."""
    try:
        _check_codes(codes, spec)
    except ValueError as error:
        raise ContractError(str(error)) from None
