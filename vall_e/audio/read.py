"""Audio files in: probed, read in pieces as float32, mono where nobody asks for stereo, resampled.

`sndfile` reads them, or `ffmpeg`. Nothing here holds a whole long file, except `load`, which says so; `source.mapped`
keeps one on disk.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vall_e.audio import downmix, ffmpeg
from vall_e.audio.errors import AudioError
from vall_e.audio.sndfile import open_soundfile
from vall_e.types import Recording, RejectReason, UsageError, has_audio_extension

BLOCK_SAMPLES = 1 << 18
CANCELLED_SHARE = 0.25  # of the louder channel's level (-12 dB), below which the mean has lost the voice
SILENCE_PEAK = 1e-4  # -80 dBFS: dither of a 16-bit file stays below
WRITABLE_EXTENSIONS = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".au", ".caf", ".w64")


def find_files(root: Path) -> list[Path]:
    """The files below `root` whose extension is one of audio, in order of path; links are not followed."""
    files = (path for path in root.rglob("*") if has_audio_extension(path.name))
    return sorted(path for path in files if path.is_file() and not path.is_symlink())


def is_inside(root: Path, path: Path) -> bool:
    """Whether `path`, links followed, still lies below `root`."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))


def probe(path: Path, recording_id: str, doubts: list[str] | None = None, *, track: int | None = None) -> Recording:
    """The header of an audio file; where the container holds no true length, the file is decoded once to count.

    Args:
        path: the file.
        recording_id: of the Recording that is returned.
        doubts: gets a line for each thing about the length that does not fit: see `ffmpeg.frames`.
        track: the audio track of a video, from 0; None: its default one.

    Raises:
        AudioError: UNREADABLE, EMPTY, TRUNCATED.
    """
    with _open(path, track) as file:
        if file is not None:
            num_samples, rate_hz, num_channels = file.frames, file.samplerate, file.channels
        else:
            num_samples, rate_hz, num_channels = 0, 0, 0
            for frame in ffmpeg.frames(path, track, doubts):
                num_samples += frame.num_samples
                rate_hz, num_channels = frame.rate_hz, frame.num_channels
    if num_samples == 0:
        raise AudioError(RejectReason.EMPTY, "no samples")
    return Recording(
        id=recording_id,
        path=path.name,
        sample_rate_hz=rate_hz,
        num_samples=num_samples,
        num_channels=num_channels,
        track=track,
    )


@dataclass(frozen=True)
class Choice:
    """Which part of a file's sound is read.

    Attributes:
        track: the audio track of a video, from 0; None: its default one.
        channel: of several, from 0; None: all, as one (see `downmix.to_mono`).
    """

    track: int | None = None
    channel: int | None = None


WHOLE = Choice()


def blocks(
    path: Path, block_samples: int = BLOCK_SAMPLES, *, keep_stereo: bool = False, choice: Choice = WHOLE
) -> Iterator[np.ndarray]:
    """Mono float32 [n] pieces at the file's own rate, in order, none empty, at most `block_samples` long.

    Args:
        path: the file.
        block_samples: the longest piece.
        keep_stereo: pieces of a file of two channels are [2,n].
        choice: what is read of the file.

    Raises:
        AudioError: UNREADABLE, EMPTY, TRUNCATED, NON_FINITE.
    """
    for channels, names in _raw_blocks(path, block_samples, choice.track):
        if choice.channel is not None:
            channels = channels[min(choice.channel, len(channels) - 1)][None]
        stereo = keep_stereo and len(channels) == 2
        block = np.ascontiguousarray(channels) if stereo else downmix.to_mono(channels, names)
        if not np.isfinite(block).all():
            raise AudioError(RejectReason.NON_FINITE, "NaN or infinity among the samples")
        yield block


@contextlib.contextmanager
def _open(path: Path, track: int | None) -> Iterator[Any]:
    """As `open_soundfile`, for one track."""
    with open_soundfile(path) as file:
        if file is not None and track:
            detail = f"it has one audio track, track {track + 1} is asked for (--audio-track)"
            raise AudioError(RejectReason.UNREADABLE, detail)
        yield file


def _raw_blocks(path: Path, block_samples: int, track: int | None) -> Iterator[tuple[np.ndarray, tuple[str, ...]]]:
    """Float32 [C,n] pieces, and the names of the channels."""
    with _open(path, track) as file:
        if file is not None:
            names = ffmpeg.channel_names(path, file.channels) if file.channels > 2 else ()
            num_read = 0
            while num_read < file.frames:
                block = file.read(block_samples, dtype="float32", always_2d=True)
                if len(block) == 0:
                    detail = f"the header promises {file.frames} samples, the file holds {num_read}"
                    raise AudioError(RejectReason.TRUNCATED, detail)
                num_read += len(block)
                yield block.T, names
            return
    for frame in ffmpeg.frames(path, track):
        samples = frame.samples
        for start in range(0, samples.shape[1], block_samples):
            yield samples[:, start : start + block_samples], frame.names


@dataclass(frozen=True)
class Channels:
    """What the channels of a file are, from its first seconds.

    Attributes:
        is_surround: whether they are those of surround sound, by their names.
        louder: the louder one, where they cancel each other in what `downmix.to_mono` makes of them; else None.
            One side of a recording is at times the other turned over (R = -0.98 L).
    """

    is_surround: bool
    louder: int | None


def channels(path: Path, track: int | None = None) -> Channels:
    """Raises AudioError: as `blocks`."""
    block, names = next(_raw_blocks(path, BLOCK_SAMPLES, track), (np.zeros((0, 0), np.float32), ()))
    if len(block) < 2:
        return Channels(False, None)
    loudness = np.sqrt(np.mean(np.square(block, dtype=np.float64), axis=1))
    mixed = np.sqrt(np.mean(np.square(downmix.to_mono(block, names), dtype=np.float64)))
    louder = int(np.argmax(loudness)) if mixed < CANCELLED_SHARE * loudness.max() else None
    return Channels(downmix.has_gains(names), louder)


def load(path: Path) -> tuple[np.ndarray, int]:
    """(mono float32 [n], rate in Hz) of a whole file, which then lies in memory.

    Raises:
        AudioError: as `blocks`, or EMPTY.
    """
    recording = probe(path, path.name)
    return np.concatenate(list(blocks(path))), recording.sample_rate_hz


def iter_slices(path: Path, slices: Sequence[tuple[int, int]], *, choice: Choice = WHOLE) -> Iterator[np.ndarray]:
    """Mono float32 audio of each (start, number of samples), in one pass and exact in every format.

    `choice` is as in `blocks`.

    Seeking in compressed formats lands near, not at, the sample, so the file is decoded from its start instead. Memory
    holds one slice and one block.

    Raises:
        AudioError: as `blocks`; BAD_TIMES for a slice that ends after the audio does.
        ValueError: slices that are not sorted by start.
    """
    if any(late < early for (early, _), (late, _) in zip(slices, slices[1:], strict=False)):
        raise ValueError("slices are not sorted by start")
    pieces = blocks(path, choice=choice)
    buffer, offset = np.zeros(0, np.float32), 0
    for start, num in slices:
        gathered, have = [buffer], offset + len(buffer)
        while have < start + num:
            piece = next(pieces, None)
            if piece is None:
                detail = f"samples {start}..{start + num} are asked for, the audio ends at {have}"
                raise AudioError(RejectReason.BAD_TIMES, detail)
            if have + len(piece) > start:
                gathered.append(piece)
            else:
                gathered, offset = [np.zeros(0, np.float32)], have + len(piece)
            have += len(piece)
        joined = np.concatenate(gathered)
        buffer, offset = joined[max(0, start - offset) :], max(start, offset)
        yield buffer[:num].copy()


def resampled_length(num_samples: int, from_hz: int, to_hz: int) -> int:
    """Samples that `resample` returns: ceil(n · to / from), in whole numbers.

    Example:
        >>> resampled_length(44_101, 44_100, 24_000)
        24001
    """
    return -(-num_samples * to_hz // from_hz)


def resample(audio: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """Float32 [n] or [C,n] → [ceil(n · to / from)] or [C, that], by soxr's HQ recipe."""
    if from_hz == to_hz:
        return audio
    import soxr

    result: np.ndarray = soxr.resample(audio.T, from_hz, to_hz, quality="HQ").T  # soxr's own axes are [n,C]
    want = resampled_length(audio.shape[-1], from_hz, to_hz)
    if result.shape[-1] < want:  # soxr rounds to the nearest
        missing = np.zeros((*result.shape[:-1], want - result.shape[-1]), np.float32)
        result = np.concatenate([result, missing], axis=-1)
    return result[..., :want].astype(np.float32, copy=False)


def is_silent(audio: np.ndarray) -> bool:
    return bool(np.abs(audio).max(initial=0.0) < SILENCE_PEAK)


def require_writable(path: Path) -> None:
    """Raises UsageError unless the extension is one of WRITABLE_EXTENSIONS."""
    if path.suffix.lower() not in WRITABLE_EXTENSIONS:
        raise UsageError(f"{path}: audio is written as one of {' '.join(WRITABLE_EXTENSIONS)}")


def write(path: Path, audio: np.ndarray, sample_rate_hz: int) -> None:
    """Writes audio [n] or [C,n] in the format of the extension; what exceeds full scale is clipped, as integers must.

    Raises:
        UsageError: an extension not among WRITABLE_EXTENSIONS, or a rate that the format does not have.
        OSError: no such folder, no permission.
    """
    import soundfile

    require_writable(path)
    path.open("wb").close()  # reports a missing folder or permission in the machine's own words
    num_channels = 1 if audio.ndim == 1 else len(audio)
    try:
        with soundfile.SoundFile(os.fspath(path), "w", sample_rate_hz, num_channels) as file:
            for start in range(0, audio.shape[-1], BLOCK_SAMPLES):
                file.write(np.clip(audio[..., start : start + BLOCK_SAMPLES], -1.0, 1.0).T)
    except soundfile.LibsndfileError as error:
        raise UsageError(f"{path}: {sample_rate_hz} Hz can't be written ({error.error_string})") from None
