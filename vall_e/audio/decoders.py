"""The decoders behind `vall_e.audio`: libsndfile for what it knows, PyAV for MPEG audio and the rest.

Files are damaged in every way there is; whatever a decoder makes of one comes out as samples or as an AudioError.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vall_e.audio import ogg
from vall_e.types import RejectReason, VallEError

if TYPE_CHECKING:
    import soundfile

MIN_RATE_HZ, MAX_RATE_HZ = 1_000, 768_000  # a damaged header's 1 Hz would make hours of a second
MAX_CHANNELS = 64
UNKNOWN_LENGTH = 1 << 62  # libsndfile's way to say that a header has no length
STREAMED_BYTES = 0x7FFF_0000  # sizes from here on are what programs write that do not know the size yet
# libsndfile's log on a cut WAV, AIFF, AU; of a W64 it compares the whole file only
CUT_SHORT = re.compile(r"^ *(?:data|SSND|Data Size|riff) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
MPEG_SUFFIXES = frozenset((".mp3", ".mp2", ".mpga"))
MP3_HEAD_BYTES = 4096  # more than one frame: a count of frames, the Xing or Info header, lies in the first
MP3_PADDING_FRAMES = 4  # of the frames counted, what an encoder's delay and padding may take
OGG_PAGE_BYTES = 27 + 255 + 255 * 255
OGG_END_OF_STREAM = 4
# Demuxers that hold audio themselves. Playlists (HLS, concat, DASH) are left out: a file of data could make them open
# any other path or address.
FFMPEG_DEMUXERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,asf,aac,mp3,ogg,flac,wav,w64,aiff,au,amr,amrnb,amrwb,caf,avi,mpegts,mpeg"
)
# Of these the duration is written in the file; of the others FFmpeg may have guessed it from a bit rate.
DURATION_IS_STATED = frozenset(("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "asf", "flac"))
MAX_CHUNKS = 1_000  # before the one that holds the audio
LOST_S = 0.05  # audio behind the end that a header states
MISSING_SHARE, MISSING_S = 0.05, 0.2  # a file is cut short when it lacks more than both; durations are rounded


class AudioError(VallEError):
    """A file that can't be used as audio; becomes a Reject with this reason."""

    def __init__(self, reason: RejectReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[AudioError], tuple[RejectReason, str]]:
        return type(self), (self.reason, self.detail)


@contextlib.contextmanager
def open_soundfile(path: Path) -> Iterator[soundfile.SoundFile | Chain | None]:
    """The file open in SoundFile, or its links in turn where it is chained Ogg; None where PyAV is to read it.

    Raises:
        AudioError: EMPTY, UNREADABLE, TRUNCATED, the last also for errors of libsndfile inside the `with`.
    """
    import soundfile

    head, tail = _ends(path)
    if not head:
        raise AudioError(RejectReason.EMPTY, "0 bytes")
    if head.startswith(b"OggS"):
        _check_last_page(tail)
        parts = ogg.links(path)
        if len(parts) > 1:
            with path.open("rb") as opened, Chain(opened, parts) as chain:
                yield chain
            return
    if head.startswith(b"RIFF") and head[8:12] == b"WAVE":
        _check_wav(path)
    if _is_mpeg(path, head):  # libmpg123, inside libsndfile, prints what it finds odd in between the progress
        yield None
        return
    try:
        file = soundfile.SoundFile(os.fspath(path))
    except soundfile.LibsndfileError:
        yield None
        return
    with file:
        if file.frames >= UNKNOWN_LENGTH or file.subtype.startswith("MPEG"):  # a streamed FLAC is taken for endless
            yield None
            return
        _check_shape(file.samplerate, file.channels)
        _check_whole(file)
        try:
            if file.subtype == "OPUS":
                file.seek(0)  # libsndfile 1.2.2 reads garbage in large blocks from an Opus file that was just opened
            yield file
        except soundfile.LibsndfileError as error:
            raise AudioError(RejectReason.TRUNCATED, f"damaged in the middle: {error.error_string}") from None


class Chain:
    """Links of a chained Ogg file read one after the other, as one SoundFile."""

    def __init__(self, opened: Any, parts: list[tuple[int, int]]) -> None:
        """Raises AudioError: a link that can't be read, or is of another rate or number of channels."""
        import soundfile

        self._files = []
        try:
            for begin, end in parts:
                self._files.append(soundfile.SoundFile(ogg.Link(opened, begin, end)))
        except soundfile.LibsndfileError as error:
            detail = f"part {len(self._files) + 1} of a chained Ogg file: {error.error_string}"
            raise AudioError(RejectReason.UNREADABLE, detail) from None
        shapes = {(file.samplerate, file.channels) for file in self._files}
        if len(shapes) > 1:
            raise AudioError(RejectReason.UNREADABLE, "a chained Ogg file whose parts differ in rate or channels")
        ((self.samplerate, self.channels),) = shapes
        _check_shape(self.samplerate, self.channels)
        self.frames = sum(file.frames for file in self._files)
        for file in self._files:
            if file.subtype == "OPUS":
                file.seek(0)
        self._left = list(self._files)

    def __enter__(self) -> Chain:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            file.close()

    def read(self, num: int, dtype: str, always_2d: bool) -> np.ndarray:
        """At most `num` samples of the next link that has any, [n,C]; none at the end."""
        while self._left:
            block: np.ndarray = self._left[0].read(num, dtype=dtype, always_2d=always_2d)
            if len(block):
                return block
            self._left.pop(0)
        return np.zeros((0, self.channels), dtype)


def _check_wav(path: Path) -> None:
    """The data chunk of a WAV file must reach to its end, or to another chunk: a recorder that dies leaves it short.

    Raises:
        AudioError: TRUNCATED.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        place, bytes_per_s = 12, 0
        for _ in range(MAX_CHUNKS):
            if place + 8 > size:
                return
            file.seek(place)
            head = file.read(8)
            length = int.from_bytes(head[4:], "little")
            if head[:4] == b"fmt ":
                bytes_per_s = int.from_bytes(file.read(12)[8:], "little")
            if head[:4] == b"data":
                end = place + 8 + length + length % 2
                file.seek(end)
                following = file.read(8)
                left = size - end
                is_chunk = following[:4].isalnum() or following[:4].strip(b" ").isalnum()
                if left > bytes_per_s * LOST_S and not (is_chunk and int.from_bytes(following[4:], "little") <= left):
                    detail = f"the header promises {length} bytes of audio, {left} more follow; repair the header"
                    raise AudioError(RejectReason.TRUNCATED, detail)
                return
            place += 8 + length + length % 2


def _ends(path: Path) -> tuple[bytes, bytes]:
    """The first 12 bytes, and of an Ogg file the last ones, in which its last page begins."""
    try:
        with path.open("rb") as opened:
            head = opened.read(12)
            if not head.startswith(b"OggS"):
                return head, b""
            opened.seek(max(0, os.fstat(opened.fileno()).st_size - OGG_PAGE_BYTES))
            return head, opened.read()
    except OSError as error:
        raise AudioError(RejectReason.UNREADABLE, str(error.strerror)) from None


def _is_mpeg(path: Path, head: bytes) -> bool:
    is_frame = head[0] == 0xFF and len(head) > 1 and head[1] >= 0xE0
    return path.suffix.lower() in MPEG_SUFFIXES or is_frame or head.startswith(b"ID3")


def _check_last_page(tail: bytes) -> None:
    """An Ogg stream's last page says that it ends (RFC 3533, section 6); libsndfile reads a cut one without a word.

    Raises:
        AudioError: TRUNCATED.
    """
    page = tail[max(0, tail.rfind(b"OggS")) :]
    lengths = page[27 : 27 + page[26]] if len(page) > 26 else b""
    if len(page) < 27 + sum(lengths) + len(lengths) or not page[5] & OGG_END_OF_STREAM:
        raise AudioError(RejectReason.TRUNCATED, "its last Ogg page is cut, or is not marked as the last")


def _check_shape(rate_hz: int, num_channels: int) -> None:
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        detail = f"{rate_hz} Hz is no rate of samples of speech ({MIN_RATE_HZ}..{MAX_RATE_HZ} Hz)"
        raise AudioError(RejectReason.UNREADABLE, detail)
    if not 1 <= num_channels <= MAX_CHANNELS:
        raise AudioError(RejectReason.UNREADABLE, f"{num_channels} channels, outside 1..{MAX_CHANNELS}")


def _check_whole(file: soundfile.SoundFile) -> None:
    """libsndfile cuts the length in a header down to what is there; its log says what was promised.

    Raises:
        AudioError: TRUNCATED.
    """
    found = CUT_SHORT.search(file.extra_info.partition("\nLength :")[2])  # what comes before is the file's name
    if found and int(found[2]) < int(found[1]) < STREAMED_BYTES:
        detail = f"the header promises {found[1]} bytes of audio, the file holds {found[2]}"
        raise AudioError(RejectReason.TRUNCATED, detail)


def av_frames(path: Path, doubts: list[str] | None = None) -> Iterator[tuple[np.ndarray, int, int]]:
    """(float32 [channels, n], rate, channels) of each frame of the default track; rate and channels stay the same.

    Args:
        path: the file.
        doubts: gets a line where the length is not what the file states, or its time line has a gap, by over LOST_S.

    Raises:
        AudioError: UNREADABLE before the first frame, TRUNCATED for what is damaged or missing after it.
    """
    import av

    num_read, begin_s, end_s, shape = 0, None, 0.0, None
    try:
        # an absolute path: a name like "pipe:0" or "http:x.m4a" is never taken for a protocol
        options = {"format_whitelist": FFMPEG_DEMUXERS}
        with av.open(os.path.abspath(path), options=options, metadata_errors="ignore") as container:
            stream = _audio_stream(container)
            to_float = av.AudioResampler(format="fltp")
            for frame in _decoded(container, stream):
                found = frame.sample_rate, frame.layout.nb_channels
                shape = shape or found
                _check_shape(*found)
                if found != shape:
                    detail = f"{shape[0]} Hz, {shape[1]} channels become {found[0]} Hz, {found[1]} in the middle"
                    raise AudioError(RejectReason.UNREADABLE, detail)
                for part in to_float.resample(frame):
                    num_read += part.samples
                    yield part.to_ndarray(), *shape
                begin_s = (frame.time or 0.0) if begin_s is None else begin_s
                end_s = max(num_read / shape[0], (frame.time or 0.0) + frame.samples / shape[0])
            if shape is not None:
                gap_s = end_s - max(begin_s or 0.0, 0.0) - num_read / shape[0]
                if doubts is not None and gap_s > LOST_S:
                    doubts.append(f"its time line has gaps of {gap_s:.2f} s, which are not in the sound")
                _check_duration(end_s, _promised_s(path, container, stream, shape[0]), doubts)
    except av.FFmpegError as error:
        if num_read:
            raise AudioError(RejectReason.TRUNCATED, f"damaged in the middle ({error.strerror})") from None
        raise AudioError(RejectReason.UNREADABLE, f"no decoder reads it ({error.strerror})") from None


def _audio_stream(container: Any) -> Any:
    if not container.streams.audio:
        raise AudioError(RejectReason.UNREADABLE, "no audio stream")
    import av

    tracks = container.streams.audio  # the one that a player takes: marked as default, else the first
    stream = next((track for track in tracks if track.disposition & av.stream.Disposition.default), tracks[0])
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


def _promised_s(path: Path, container: Any, stream: Any, rate_hz: int) -> tuple[float, float] | None:
    """The length that the file itself states, if it does, as the least and the most that it can mean."""
    if container.format.name == "mp3":
        num_frames = _counted_mp3_frames(path)
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


def _counted_mp3_frames(path: Path) -> int | None:
    """The number of frames in an MP3's Xing or Info header. FFmpeg trusts it only where the number of bytes agrees."""
    with path.open("rb") as opened:
        tag = opened.read(10)
        if tag[:3] == b"ID3":
            opened.seek(10 + sum((byte & 0x7F) << shift for byte, shift in zip(tag[6:], (21, 14, 7, 0), strict=False)))
        else:
            opened.seek(0)
        head = opened.read(MP3_HEAD_BYTES)
    place = max(head.find(b"Xing"), head.find(b"Info"))
    if place < 0 or len(head) < place + 12 or not head[place + 7] & 1:  # the flag of the number of frames
        return None
    return int.from_bytes(head[place + 8 : place + 12], "big")


def _check_duration(found_s: float, promised_s: tuple[float, float] | None, doubts: list[str] | None) -> None:
    if promised_s is None:
        return
    least_s, most_s = promised_s
    detail = f"{least_s:.2f} s are promised, the file holds {found_s:.2f} s"
    if found_s < min(least_s * (1 - MISSING_SHARE), least_s - MISSING_S):
        raise AudioError(RejectReason.TRUNCATED, detail)
    if doubts is not None and not least_s - LOST_S <= found_s <= most_s + LOST_S:
        doubts.append(detail)
