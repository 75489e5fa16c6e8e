"""What FFmpeg's libraries read, through PyAV: MPEG audio, video containers, and what libsndfile does not know."""

from __future__ import annotations

import contextlib
import functools
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vall_e.audio import mpeg
from vall_e.audio.downmix import OGG_NAMES
from vall_e.audio.errors import LOST_S, AudioError, check_shape
from vall_e.audio.file_part import FilePart
from vall_e.types import RejectReason

MP3_PADDING_FRAMES = 4  # of the frames counted, what an encoder's delay and padding may take
MAX_GAP_S = 60.0  # a hole in a time line that silence is put into; beyond, the clock jumped or much was lost
# Demuxers that hold audio themselves. Playlists (HLS, concat, DASH) are left out: a file of data could make them open
# any other path or address.
DEMUXERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,asf,aac,mp3,ogg,flac,wav,w64,aiff,au,amr,amrnb,amrwb,caf,avi,mpegts,mpeg"
)
# Of these the duration is written in the file; of the others FFmpeg may have guessed it from a bit rate.
DURATION_IS_STATED = frozenset(("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "asf", "flac"))
MISSING_SHARE, MISSING_S = 0.05, 0.2  # a file is cut short when it lacks more than both; durations are rounded


@dataclass(frozen=True)
class Frame:
    """Some samples of a track, their rate, and the names of the channels (FL, FR, …).

    `make` gives the samples: whoever only counts them spares that.
    """

    make: Callable[[], np.ndarray]
    num_samples: int
    rate_hz: int
    names: tuple[str, ...]

    @property
    def num_channels(self) -> int:
        return len(self.names)

    @property
    def samples(self) -> np.ndarray:
        """float32 [C,n]."""
        return self.make()


def frames(path: Path, track: int | None = None, doubts: list[str] | None = None) -> Iterator[Frame]:
    """A file's sound in order; rate and channels stay the same. Of an MP3 made by joining several, all of them.

    Silence stands for what is missing in the container's time line.

    Args:
        path: the file.
        track: the audio track, from 0; None: the one that is marked as default, else the first.
        doubts: gets a line where the length is not what the file states, or its time line has a gap, by over LOST_S.

    Raises:
        AudioError: UNREADABLE before the first frame, TRUNCATED for what is damaged or missing after it.
    """
    num_read = 0
    parts = mpeg.links(path) if path.suffix.lower() in mpeg.SUFFIXES else [(0, 0)]
    shape = None
    for begin, end in parts:
        with contextlib.ExitStack() as stack:
            source: Any = os.path.abspath(path)  # a name like "pipe:0" or "http:x.m4a" is never taken for a protocol
            if len(parts) > 1:
                source = FilePart(stack.enter_context(path.open("rb")), begin, end)
            for frame in _frames_of(source, path, begin, track, doubts, is_later=num_read > 0):
                found = frame.rate_hz, frame.num_channels
                shape = shape or found
                if found != shape:
                    detail = f"{shape[0]} Hz, {shape[1]} channels become {found[0]} Hz, {found[1]} in the middle"
                    raise AudioError(RejectReason.UNREADABLE, detail)
                num_read += frame.num_samples
                yield frame


def channel_names(path: Path, num_channels: int) -> tuple[str, ...]:
    """The names of a file's channels in the order in which libsndfile reads them; empty where nothing tells them."""
    import av

    try:
        with av.open(os.path.abspath(path), options={"format_whitelist": DEMUXERS}, metadata_errors="ignore") as file:
            if file.format.name == "ogg":
                return OGG_NAMES.get(num_channels, ())
            names = tuple(channel.name for channel in file.streams.audio[0].layout.channels)
    except (av.FFmpegError, IndexError, AttributeError):
        return ()
    return names if len(names) == num_channels else ()


def _frames_of(
    source: Any, path: Path, begin: int, track: int | None, doubts: list[str] | None, *, is_later: bool
) -> Iterator[Frame]:
    """The frames of one container, which begins at byte `begin` of `path`; see `frames`."""
    import av

    num_read, begin_s, gaps_s, rate_hz = 0, None, 0.0, 0
    try:
        with av.open(source, options={"format_whitelist": DEMUXERS}, metadata_errors="ignore") as container:
            stream = _audio_stream(container, track)
            to_float = av.AudioResampler(format="fltp")
            for frame in _decoded(container, stream):
                check_shape(frame.sample_rate, frame.layout.nb_channels)
                rate_hz = rate_hz or frame.sample_rate
                names = tuple(channel.name for channel in frame.layout.channels)
                if begin_s is None:
                    begin_s = max(frame.time or 0.0, 0.0)
                gap_s = (frame.time or 0.0) - begin_s - num_read / rate_hz
                if num_read and gap_s > LOST_S:
                    if gap_s > MAX_GAP_S:
                        at_s = num_read / rate_hz
                        detail = f"{gap_s:.0f} s are missing in its time line, {at_s:.2f} s from the start"
                        raise AudioError(RejectReason.TRUNCATED, detail)
                    gaps_s += gap_s
                    shape = frame.layout.nb_channels, round(gap_s * rate_hz)
                    num_read += shape[1]
                    yield Frame(functools.partial(np.zeros, shape, np.float32), shape[1], frame.sample_rate, names)
                for part in to_float.resample(frame):
                    num_read += part.samples
                    yield Frame(part.to_ndarray, part.samples, frame.sample_rate, names)
            if doubts is not None and gaps_s:
                doubts.append(f"its time line has gaps of {gaps_s:.2f} s; silence is put there")
            if rate_hz:
                end_s = (begin_s or 0.0) + num_read / rate_hz
                _check_duration(end_s, _promised_s(path, begin, container, stream, rate_hz), doubts)
    except av.FFmpegError as error:
        if num_read or is_later:
            raise AudioError(RejectReason.TRUNCATED, f"damaged in the middle ({error.strerror})") from None
        raise AudioError(RejectReason.UNREADABLE, f"no decoder reads it ({error.strerror})") from None


def _audio_stream(container: Any, track: int | None) -> Any:
    tracks = container.streams.audio
    if not tracks:
        raise AudioError(RejectReason.UNREADABLE, "no audio stream")
    import av

    if track is not None and track >= len(tracks):
        detail = f"its audio tracks are {len(tracks)}, track {track + 1} is asked for (--audio-track)"
        raise AudioError(RejectReason.UNREADABLE, detail)
    if track is not None:
        stream = tracks[track]
    else:  # the one that a player takes
        stream = next((each for each in tracks if each.disposition & av.stream.Disposition.default), tracks[0])
    if stream.codec_context is None:
        raise AudioError(RejectReason.UNREADABLE, "no decoder knows its codec")
    stream.codec_context.thread_count = 1
    return stream


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    """The stream's frames. What is no frame before and after those of an MP3 is passed over: tags of unknown kinds.

    Raises:
        av.FFmpegError: a frame that can't be decoded, which would shift all that follows.
    """
    import av

    junk, started = None, False
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.FFmpegError as error:
            if container.format.name != "mp3" or bytes(packet)[:1] == b"\xff":
                raise
            junk = error
            continue
        if frames and junk is not None and started:
            raise junk
        started = started or bool(frames)
        yield from frames
    if junk is not None and not started:
        raise junk


def _promised_s(path: Path, begin: int, container: Any, stream: Any, rate_hz: int) -> tuple[float, float] | None:
    """The length that the file itself states, if it does, as the least and the most that it can mean."""
    if container.format.name == "mp3":
        num_frames = mpeg.counted_frames(path, begin)
        samples_per_frame = 1152 if rate_hz >= 32_000 else 576  # of layer III, which alone has the count
        if num_frames is None:
            return None
        least, most = num_frames - MP3_PADDING_FRAMES, num_frames + 1  # the frame with the count is one more
        return least * samples_per_frame / rate_hz, most * samples_per_frame / rate_hz
    stated = _stated_s(container, stream)
    return None if stated is None else (stated, stated)


def _stated_s(container: Any, stream: Any) -> float | None:
    """The length in a container's header, if it has one that is not guessed."""
    if container.format.name not in DURATION_IS_STATED:
        return None
    if stream.duration:
        return float(stream.duration * stream.time_base)
    found = re.fullmatch(r"(\d+):(\d+):(\d+\.?\d*)", stream.metadata.get("DURATION", ""))
    if found:
        return int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3])
    if container.duration and len(container.streams) == 1:  # else it may be that of a longer video
        return float(container.duration / 1_000_000)
    return None


def _check_duration(found_s: float, promised_s: tuple[float, float] | None, doubts: list[str] | None) -> None:
    if promised_s is None:
        return
    least_s, most_s = promised_s
    detail = f"{least_s:.2f} s are promised, the file holds {found_s:.2f} s"
    if found_s < min(least_s * (1 - MISSING_SHARE), least_s - MISSING_S):
        raise AudioError(RejectReason.TRUNCATED, detail)
    if doubts is not None and not least_s - LOST_S <= found_s <= most_s + LOST_S:
        doubts.append(detail)
