"""What MPEG audio files have around their frames: tags, the count of frames, and recordings that were joined."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import IO

SUFFIXES = frozenset((".mp3", ".mp2", ".mpga"))
HEAD_BYTES = 4096  # more than one frame: a count of frames, the Xing or Info header, lies in the first
ID3_HEADER_BYTES = 10
ID3_FOOTER = 0x10
ID3V1_BYTES = 128


def is_mpeg(path: Path, head: bytes) -> bool:
    """Whether it is to be read as MPEG audio; `head` is its first bytes."""
    return path.suffix.lower() in SUFFIXES or _is_sync(head) or head.startswith(b"ID3")


def tags_end(head: IO[bytes], begin: int = 0) -> int:
    """Where the ID3v2 tags that stand at `begin` end; `begin` where there are none."""
    while True:
        head.seek(begin)
        length = _tag_bytes(head.read(ID3_HEADER_BYTES))
        if not length:
            return begin
        begin += length


def links(path: Path) -> list[tuple[int, int]]:
    """(begin, end) in bytes of each recording in a file that several were joined to; one for a plain file.

    A tag in the middle is where the next begins: ID3v2 (id3.org, "ID3 tag version 2.4.0", section 3.1) stands before
    a recording, ID3v1 behind one. Without tags a join can't be told from frames that follow each other.
    """
    size = path.stat().st_size
    if size == 0:
        return [(0, 0)]
    begins = [0]
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        first = tags_end(file)
        place = first
        while (place := data.find(b"ID3", place)) >= 0:
            end = tags_end(file, place)
            if end > place and _is_sync(data[end : end + 2]):
                begins.append(place)
            place = max(end, place + 1)
        place = first
        while (place := data.find(b"TAG", place)) >= 0:
            end = place + ID3V1_BYTES
            if _is_sync(data[end : end + 2]):
                begins.append(end)
            place += 1
    begins.sort()
    return list(zip(begins, [*begins[1:], size], strict=True))


def counted_frames(path: Path, begin: int) -> int | None:
    """The number of frames in an MP3's Xing or Info header. FFmpeg trusts it only where the number of bytes agrees."""
    with path.open("rb") as file:
        file.seek(tags_end(file, begin))
        head = file.read(HEAD_BYTES)
    place = max(head.find(b"Xing"), head.find(b"Info"))
    if place < 0 or len(head) < place + 12 or not head[place + 7] & 1:  # the flag of the number of frames
        return None
    return int.from_bytes(head[place + 8 : place + 12], "big")


def _is_sync(head: bytes) -> bool:
    """Whether a frame begins here: eleven bits that are set, and a layer that exists."""
    return len(head) > 1 and head[0] == 0xFF and head[1] >= 0xE0


def _tag_bytes(header: bytes) -> int:
    """The length of an ID3v2 tag with its header and footer; 0 where `header` begins none."""
    if len(header) < ID3_HEADER_BYTES or not header.startswith(b"ID3") or 0xFF in header[3:5]:
        return 0
    if any(byte & 0x80 for byte in header[6:]):
        return 0
    length = sum(byte << shift for byte, shift in zip(header[6:], (21, 14, 7, 0), strict=True))
    return ID3_HEADER_BYTES * (2 if header[5] & ID3_FOOTER else 1) + length
