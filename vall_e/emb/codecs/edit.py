"""Editing audio and codes. Time is the last axis of both, so most of it works on either."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vall_e.emb.codecs.base import Codec, decode, encode


def trim(x: np.ndarray, length: int, *, seed: int | None = None) -> np.ndarray:
    """`length` frames or samples from the start, or from a place drawn with `seed`; all of a shorter one.

    Example:
        >>> trim(np.arange(6).reshape(2, 3), 2)
        array([[0, 1],
               [3, 4]])
    """
    if length < 0:
        raise ValueError(f"length {length} is negative")
    spare = max(0, x.shape[-1] - length)
    start = 0 if seed is None else int(np.random.default_rng(seed).integers(spare + 1))
    return x[..., start : start + length]


def concat(parts: Sequence[np.ndarray]) -> np.ndarray:
    """One after the other; all of the same number of levels.

    Example:
        >>> concat([np.array([[1, 2]]), np.array([[3]])])
        array([[1, 2, 3]])
    """
    if len({part.shape[:-1] for part in parts}) != 1:
        raise ValueError(f"can't concatenate shapes {[part.shape for part in parts]}")
    return np.concatenate(parts, axis=-1)


def repeat_extend(x: np.ndarray, length: int) -> np.ndarray:
    """Repeated from its start until it is exactly `length` long.

    Example:
        >>> repeat_extend(np.array([1, 2, 3]), 5)
        array([1, 2, 3, 1, 2])
    """
    if x.shape[-1] == 0:
        raise ValueError("can't extend an empty array by repeating it")
    return np.take(x, np.arange(length), axis=-1, mode="wrap")


def mix(parts: Sequence[np.ndarray], gains_db: Sequence[float]) -> np.ndarray:
    """Audio [n] or [C,n] each, scaled by its gain in dB and mixed; as long as the longest."""
    if len(parts) != len(gains_db) or not parts:
        raise ValueError(f"{len(parts)} parts and {len(gains_db)} gains: one gain each, at least one part")
    mix = np.zeros((*parts[0].shape[:-1], max(part.shape[-1] for part in parts)), np.float32)
    for part, gain_db in zip(parts, gains_db, strict=True):
        mix[..., : part.shape[-1]] += np.float32(10.0 ** (gain_db / 20.0)) * part
    return mix


def mix_codes(codec: Codec, parts: Sequence[np.ndarray], gains_db: Sequence[float]) -> np.ndarray:
    """Codes [K,T] each, mixed as audio and encoded again → [K, longest T]: codes themselves can't be added."""
    mixed = mix([decode(codec, part) for part in parts], gains_db)
    (codes,) = codec.encode([mixed])
    return codes


def pad_silence(audio: np.ndarray, before_samples: int, after_samples: int) -> np.ndarray:
    """Audio [n] → [before + n + after]."""
    return np.pad(audio, (before_samples, after_samples))


def pad_codes_with_silence(codec: Codec, codes: np.ndarray, before_frames: int, after_frames: int) -> np.ndarray:
    """[K,T] → [K, before + T + after]; the codes of silence are those of this very codec."""

    def silence(num_frames: int) -> np.ndarray:
        if num_frames == 0:
            return codes[:, :0]
        samples = np.zeros(num_frames * codec.spec.hop_samples, np.float32)
        # a codec whose chunks overlap has more frames than hops
        found = encode(codec, samples, codec.spec.sample_rate_hz)[: len(codes), :num_frames]
        return found.astype(codes.dtype)

    return concat([silence(before_frames), codes, silence(after_frames)])


def split_bits(codes: np.ndarray, num_fine_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes of any shape → (coarse, fine) of the same shape and type: the high bits, and the `num_fine_bits` low ones.

    Two softmaxes of 32 do for one of 1024, the fine one conditional on the coarse code, as dual-softmax vocoders have
    it (Kalchbrenner et al. 2018, arXiv:1802.08435).
    """
    if codes.dtype.kind not in "ui" or not 0 <= num_fine_bits < 8 * codes.dtype.itemsize:
        raise ValueError(f"{num_fine_bits} low bits of {codes.dtype}: codes are integers wider than that")
    return codes >> num_fine_bits, codes & ((1 << num_fine_bits) - 1)


def join_bits(coarse: np.ndarray, fine: np.ndarray, num_fine_bits: int) -> np.ndarray:
    """The inverse of `split_bits`.

    Raises:
        ValueError: the halves differ in shape or type, or a fine code has more than `num_fine_bits` bits.
    """
    if coarse.shape != fine.shape or coarse.dtype != fine.dtype:
        raise ValueError(f"coarse {coarse.dtype} {coarse.shape} and fine {fine.dtype} {fine.shape} are no two halves")
    if fine.size and (fine.min() < 0 or fine.max() >= 1 << num_fine_bits):
        raise ValueError(f"fine codes go up to {fine.max()}, {num_fine_bits} bits hold {(1 << num_fine_bits) - 1}")
    return (coarse << num_fine_bits) | fine
