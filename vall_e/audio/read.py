"""Audio files in: probed, read in pieces as float32, mono where nobody asks for stereo, resampled.

`vall_e.audio.decoders` reads them, by libsndfile or PyAV. Nothing here holds a whole long file, except `load`, which
says so; `mapped` keeps one on disk.
"""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from vall_e.audio.decoders import AudioError as AudioError
from vall_e.audio.decoders import av_frames, open_soundfile
from vall_e.types import Recording, RejectReason, UsageError, has_audio_extension

BLOCK_SAMPLES = 1 << 18
MAP_BLOCK_S = 5.0
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


def probe(path: Path, recording_id: str, doubts: list[str] | None = None) -> Recording:
    """The header of an audio file; where the container holds no true length, the file is decoded once to count.

    Args:
        path: the file.
        recording_id: of the Recording that is returned.
        doubts: gets a line for each thing about the length that does not fit: see `av_frames`.

    Raises:
        AudioError: UNREADABLE, EMPTY, TRUNCATED.
    """
    with open_soundfile(path) as file:
        if file is not None:
            num_samples, rate_hz, num_channels = file.frames, file.samplerate, file.channels
        else:
            num_samples = 0
            for block, rate_hz, num_channels in av_frames(path, doubts):  # noqa: B007 (the last values are those of the stream)
                num_samples += block.shape[1]
    if num_samples == 0:
        raise AudioError(RejectReason.EMPTY, "no samples")
    return Recording(
        id=recording_id,
        path=path.name,
        sample_rate_hz=rate_hz,
        num_samples=num_samples,
        num_channels=num_channels,
    )


def blocks(
    path: Path, block_samples: int = BLOCK_SAMPLES, *, keep_stereo: bool = False, channel: int | None = None
) -> Iterator[np.ndarray]:
    """Mono float32 [n] pieces at the file's own rate, in order, none empty, at most `block_samples` long.

    Args:
        path: the file.
        block_samples: the longest piece.
        keep_stereo: pieces of a file of two channels are [2,n].
        channel: the one that is read, from 0; None: the mean of all.

    Raises:
        AudioError: UNREADABLE, EMPTY, TRUNCATED, NON_FINITE.
    """
    for channels in _raw_blocks(path, block_samples):
        if channel is not None:
            channels = channels[min(channel, len(channels) - 1)][None]
        block = np.ascontiguousarray(channels) if keep_stereo and len(channels) == 2 else _downmix(channels)
        if not np.isfinite(block).all():
            raise AudioError(RejectReason.NON_FINITE, "NaN or infinity among the samples")
        yield block


def _raw_blocks(path: Path, block_samples: int) -> Iterator[np.ndarray]:
    """Float32 [C,n] pieces."""
    with open_soundfile(path) as file:
        if file is not None:
            num_read = 0
            while num_read < file.frames:
                block = file.read(block_samples, dtype="float32", always_2d=True)
                if len(block) == 0:
                    detail = f"the header promises {file.frames} samples, the file holds {num_read}"
                    raise AudioError(RejectReason.TRUNCATED, detail)
                num_read += len(block)
                yield block.T
            return
    for frame, _, _ in av_frames(path):
        for start in range(0, frame.shape[1], block_samples):
            yield frame[:, start : start + block_samples]


def _downmix(channels: np.ndarray) -> np.ndarray:
    """[C,n] → [n], the mean of the channels."""
    return np.ascontiguousarray(channels[0] if len(channels) == 1 else channels.mean(axis=0, dtype=np.float32))


def cancelling(path: Path) -> int | None:
    """The louder channel of a file whose channels cancel each other in their mean, from its first seconds; else None.

    One side of a recording is at times the other turned over (R = -0.98 L): the mean is then nearly silent.

    Raises:
        AudioError: as `blocks`.
    """
    channels = next(_raw_blocks(path, BLOCK_SAMPLES), None)
    if channels is None or len(channels) < 2:
        return None
    loudness = np.sqrt(np.mean(np.square(channels, dtype=np.float64), axis=1))
    mean = np.sqrt(np.mean(np.square(channels.mean(axis=0), dtype=np.float64)))
    return int(np.argmax(loudness)) if mean < CANCELLED_SHARE * loudness.max() else None


def load(path: Path) -> tuple[np.ndarray, int]:
    """(mono float32 [n], rate in Hz) of a whole file, which then lies in memory.

    Raises:
        AudioError: as `blocks`, or EMPTY.
    """
    recording = probe(path, path.name)
    return np.concatenate(list(blocks(path))), recording.sample_rate_hz


def iter_slices(path: Path, slices: Sequence[tuple[int, int]], *, channel: int | None = None) -> Iterator[np.ndarray]:
    """Mono float32 audio of each (start, number of samples), in one pass and exact in every format.

    `channel` is as in `blocks`.

    Seeking in compressed formats lands near, not at, the sample, so the file is decoded from its start instead. Memory
    holds one slice and one block.

    Raises:
        AudioError: as `blocks`; BAD_TIMES for a slice that ends after the audio does.
        ValueError: slices that are not sorted by start.
    """
    if any(late < early for (early, _), (late, _) in zip(slices, slices[1:], strict=False)):
        raise ValueError("slices are not sorted by start")
    pieces = blocks(path, channel=channel)
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


@dataclass(frozen=True)
class Source:
    """A recording and where its file is: what a recogniser gets. `path` is trusted, `recording.id` names it."""

    recording: Recording
    path: Path

    def blocks(self, rate_hz: int, block_s: float, *, keep_stereo: bool = False) -> Iterator[np.ndarray]:
        """Mono float32 pieces at `rate_hz`, about `block_s` long, gapless: together as long as the recording.

        With `keep_stereo` those of a file of two channels are [2,n].

        Raises:
            AudioError: as `blocks`.
        """
        own_hz = self.recording.sample_rate_hz
        channel = self.recording.channel
        pieces = blocks(self.path, max(1, round(block_s * own_hz)), keep_stereo=keep_stereo, channel=channel)
        if own_hz == rate_hz:
            yield from pieces
            return
        import soxr

        num_channels = 2 if keep_stereo and self.recording.num_channels == 2 and channel is None else 1
        stream = soxr.ResampleStream(own_hz, rate_hz, num_channels, dtype="float32", quality="HQ")
        for piece in pieces:
            out = stream.resample_chunk(piece.T)  # soxr's own axes are [n,C]
            if len(out):
                yield out.T
        out = stream.resample_chunk(np.zeros((0, 2) if num_channels == 2 else 0, np.float32), last=True)
        if len(out):
            yield out.T


@contextlib.contextmanager
def mapped(path: Path, rate_hz: int, folder: Path, *, keep_stereo: bool = False) -> Iterator[np.ndarray]:
    """Float32 [n] of a file of any length, resampled to `rate_hz`, for as long as the `with` lasts.

    The samples lie in a file in `folder` that has no name and that the kernel removes however the process ends; mapped
    into memory, they are read where they are looked at. With `keep_stereo` those of a file of two channels are [2,n].

    Raises:
        AudioError: as `blocks`, or EMPTY. OSError: `folder` can't be written to, or its disk is full.
    """
    recording = probe(path, path.name)
    shape: tuple[int, ...] = (resampled_length(recording.num_samples, recording.sample_rate_hz, rate_hz),)
    shape += (2,) if keep_stereo and recording.num_channels == 2 else ()
    pieces = Source(recording, path).blocks(rate_hz, MAP_BLOCK_S, keep_stereo=keep_stereo)
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        _write_all(file, (np.ascontiguousarray(piece.T) for piece in pieces), folder)
        file.truncate(4 * math.prod(shape))  # as `resample` rounds
        yield np.asarray(np.memmap(file, np.float32, "r+", shape=shape)).T


def _write_all(file: IO[bytes], pieces: Iterator[np.ndarray], folder: Path) -> None:
    for piece in pieces:
        left = piece.data.cast("B")
        try:
            while left:
                left = left[file.write(left) :]
        except OSError as error:
            error.filename = str(folder)  # the file has no name of its own
            raise
