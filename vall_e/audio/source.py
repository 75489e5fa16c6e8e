"""A recording's file: found below a corpus or an audio root, checked, and read as the import decided."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from vall_e.audio import members
from vall_e.audio.errors import AudioError
from vall_e.audio.identity import require_same
from vall_e.audio.read import Choice, blocks, is_silent, iter_slices, probe, resampled_length
from vall_e.types import ContractError, Recording, RejectReason, safe_path

MAP_BLOCK_S = 5.0


@dataclass(frozen=True)
class Roots:
    """Where audio may lie.

    Attributes:
        corpus: a folder, or the file of a manifest, whose folder counts.
        others: further folders (`--audio-root`).
    """

    corpus: Path
    others: tuple[Path, ...] = ()

    @functools.cached_property
    def folders(self) -> tuple[Path, ...]:
        return (self.corpus if self.corpus.is_dir() else self.corpus.parent, *self.others)

    def find(self, relative: str) -> Path | None:
        """The first file of that path below a folder, or None.

        Raises:
            ContractError: not a relative path.
        """
        paths = [safe_path(folder, relative) for folder in self.folders]
        return next((path for path in paths if path.is_file()), None)

    def holds(self, path: Path) -> bool:
        """Whether a file, links followed, lies below one of the folders."""
        return os.path.realpath(path).startswith(self._real_folders)

    @functools.cached_property
    def _real_folders(self) -> tuple[str, ...]:
        return tuple(os.path.join(os.path.realpath(folder), "") for folder in self.folders)


@dataclass(frozen=True)
class Source:
    """A recording and its file, which was checked: what a recogniser gets. `recording.id` names it.

    `changes_s` are times at which the speaker changes, in order, where that is known: a recogniser that gives no word
    times should end its segments there.
    """

    recording: Recording
    path: Path
    changes_s: tuple[float, ...] = ()

    @property
    def choice(self) -> Choice:
        return Choice(self.recording.track, self.recording.channel)

    def local(self) -> contextlib.AbstractContextManager[Path]:
        """The audio as a file of its own, for as long as the `with` lasts.

        Raises:
            AudioError: UNREADABLE.
        """
        return members.extracted(self.path, self.recording.member)

    def slices(self, spans: Sequence[tuple[int, int]]) -> Iterator[np.ndarray]:
        """Mono float32 audio of each (start, number of samples): see `iter_slices`."""
        with self.local() as path:
            yield from iter_slices(path, spans, choice=self.choice)

    def require_sound(self) -> None:
        """Reads the file once, in pieces.

        Raises:
            AudioError: SILENT, or as `blocks`.
        """
        silent = True
        with self.local() as path:
            for block in blocks(path, choice=self.choice):
                silent = silent and is_silent(block)
        if silent:
            raise AudioError(RejectReason.SILENT, "no sample above -80 dBFS")

    def blocks(self, rate_hz: int, block_s: float, *, keep_stereo: bool = False) -> Iterator[np.ndarray]:
        """Mono float32 pieces at `rate_hz`, about `block_s` long, gapless: together as long as the recording.

        With `keep_stereo` those of a file of two channels are [2,n].

        Raises:
            AudioError: as `blocks`.
        """
        own_hz, num_samples = self.recording.sample_rate_hz, max(1, round(block_s * self.recording.sample_rate_hz))
        stereo = keep_stereo and self.recording.num_channels == 2 and self.choice.channel is None
        with self.local() as path:
            pieces = blocks(path, num_samples, keep_stereo=keep_stereo, choice=self.choice)
            yield from pieces if own_hz == rate_hz else _resampled(pieces, own_hz, rate_hz, 2 if stereo else 1)


def _resampled(pieces: Iterator[np.ndarray], own_hz: int, rate_hz: int, num_channels: int) -> Iterator[np.ndarray]:
    import soxr

    stream = soxr.ResampleStream(own_hz, rate_hz, num_channels, dtype="float32", quality="HQ")
    for piece in pieces:
        out = stream.resample_chunk(piece.T)  # soxr's own axes are [n,C]
        if len(out):
            yield out.T
    out = stream.resample_chunk(np.zeros((0, 2) if num_channels == 2 else 0, np.float32), last=True)
    if len(out):
        yield out.T


def locate(roots: Roots, recording: Recording) -> Source | None:
    """The file of a recording that was imported; None where it is gone, or on a disk that is not mounted.

    Raises:
        AudioError: UNSAFE_PATH, LINK_OUTSIDE, NOT_A_FILE, UNREADABLE, CHANGED.
    """
    try:
        path = roots.find(recording.path)
    except ContractError as error:
        raise AudioError(RejectReason.UNSAFE_PATH, str(error)) from None
    if path is None:
        return None
    if not roots.holds(path):
        raise AudioError(RejectReason.LINK_OUTSIDE, "a link that leaves the input folder")
    require_same(path, recording)
    return Source(recording, path)


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
