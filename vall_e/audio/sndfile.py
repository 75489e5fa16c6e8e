"""What libsndfile reads: WAV, FLAC, Ogg, AIFF and more. MPEG audio and all else are `vall_e.audio.ffmpeg`'s.

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

from vall_e.audio import mpeg, ogg
from vall_e.audio.errors import LOST_S, AudioError, check_shape
from vall_e.audio.file_part import FilePart
from vall_e.types import RejectReason

if TYPE_CHECKING:
    import soundfile

UNKNOWN_LENGTH = 1 << 62  # libsndfile's way to say that a header has no length
STREAMED_BYTES = 0x7FFF_0000  # sizes from here on are what programs write that do not know the size yet
# libsndfile's log on a cut WAV, AIFF, AU; of a W64 it compares the whole file only
CUT_SHORT = re.compile(r"^ *(?:data|SSND|Data Size|riff) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
OGG_PAGE_BYTES = 27 + 255 + 255 * 255
OGG_END_OF_STREAM = 4
HEAD_BYTES = 128
TAGGED = (b"RIFF", b"RF64", b"FORM", b"fLaC")  # formats that some programs put an ID3 tag before
MAX_CHUNKS = 1_000  # before the one that holds the audio


@contextlib.contextmanager
def open_soundfile(path: Path) -> Iterator[soundfile.SoundFile | Chain | None]:
    """The file open in SoundFile, or its links in turn where it is chained Ogg; None where PyAV is to read it.

    Raises:
        AudioError: EMPTY, UNREADABLE, TRUNCATED, the last also for errors of libsndfile inside the `with`.
    """
    import soundfile

    start, tail = _ends(path)
    head = start[:12]
    if not head:
        raise AudioError(RejectReason.EMPTY, "0 bytes")
    if head.startswith(b"OggS"):
        _check_last_page(tail)
        parts = ogg.links(path)
        if len(parts) > 1:
            with path.open("rb") as opened, Chain(opened, parts) as chain:
                yield chain
            return
    with contextlib.ExitStack() as stack:
        begin = 0
        if head.startswith(b"ID3"):
            opened = stack.enter_context(path.open("rb"))
            begin = mpeg.tags_end(opened)
            opened.seek(begin)
            head = opened.read(len(head))
        is_tagged = begin > 0 and head.startswith(TAGGED)
        is_wav = head.startswith(b"RIFF") and head[8:12] == b"WAVE"
        if is_wav and (begin or not _data_is_last(path, start)):
            _check_wav(path, begin)
        if not is_tagged and (begin or mpeg.is_mpeg(path, head)):
            yield None  # libmpg123, inside libsndfile, prints what it finds odd in between the progress
            return
        try:
            file = soundfile.SoundFile(FilePart(opened, begin, path.stat().st_size) if is_tagged else os.fspath(path))
        except soundfile.LibsndfileError:
            yield None
            return
        with file:
            if file.frames >= UNKNOWN_LENGTH or file.subtype.startswith("MPEG"):  # a streamed FLAC is taken for endless
                yield None
                return
            check_shape(file.samplerate, file.channels)
            _check_whole(file)
            try:
                if file.subtype == "OPUS":
                    file.seek(0)  # libsndfile 1.2.2 reads garbage in large blocks from an Opus file just opened
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
                self._files.append(soundfile.SoundFile(FilePart(opened, begin, end)))
        except soundfile.LibsndfileError as error:
            detail = f"part {len(self._files) + 1} of a chained Ogg file: {error.error_string}"
            raise AudioError(RejectReason.UNREADABLE, detail) from None
        shapes = {(file.samplerate, file.channels) for file in self._files}
        if len(shapes) > 1:
            raise AudioError(RejectReason.UNREADABLE, "a chained Ogg file whose parts differ in rate or channels")
        ((self.samplerate, self.channels),) = shapes
        check_shape(self.samplerate, self.channels)
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


def _data_is_last(path: Path, start: bytes) -> bool:
    """Whether the data chunk of a WAV file, which most have at once, ends where the file does: then all is well."""
    place = start.find(b"data", 36)
    if place < 0 or place + 8 > len(start):
        return False
    length = int.from_bytes(start[place + 4 : place + 8], "little")
    return place + 8 + length + length % 2 == os.stat(path).st_size


def _check_wav(path: Path, begin: int) -> None:
    """The data chunk of a WAV file, which begins at byte `begin`, must reach to its end, or to another chunk.

    A recorder that dies leaves it short.

    Raises:
        AudioError: TRUNCATED.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        place, bytes_per_s = begin + 12, 0
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
    """The first HEAD_BYTES, and of an Ogg file the last ones, in which its last page begins."""
    try:
        with path.open("rb") as opened:
            head = opened.read(HEAD_BYTES)
            if not head.startswith(b"OggS"):
                return head, b""
            opened.seek(max(0, os.fstat(opened.fileno()).st_size - OGG_PAGE_BYTES))
            return head, opened.read()
    except OSError as error:
        raise AudioError(RejectReason.UNREADABLE, str(error.strerror)) from None


def _check_last_page(tail: bytes) -> None:
    """An Ogg stream's last page says that it ends (RFC 3533, section 6); libsndfile reads a cut one without a word.

    Raises:
        AudioError: TRUNCATED.
    """
    page = tail[max(0, tail.rfind(b"OggS")) :]
    lengths = page[27 : 27 + page[26]] if len(page) > 26 else b""
    if len(page) < 27 + sum(lengths) + len(lengths) or not page[5] & OGG_END_OF_STREAM:
        raise AudioError(RejectReason.TRUNCATED, "its last Ogg page is cut, or is not marked as the last")


def _check_whole(file: soundfile.SoundFile) -> None:
    """libsndfile cuts the length in a header down to what is there; its log says what was promised.

    Raises:
        AudioError: TRUNCATED.
    """
    log = ("\n" + file.extra_info).partition("\nLength :")[2]  # what comes before is the file's name
    found = CUT_SHORT.search(log)
    if found and int(found[2]) < int(found[1]) < STREAMED_BYTES:
        detail = f"the header promises {found[1]} bytes of audio, the file holds {found[2]}"
        raise AudioError(RejectReason.TRUNCATED, detail)
