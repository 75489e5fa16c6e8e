"""Ogg files that hold several streams one after the other ("chained"), of which libsndfile reads the first alone.

RFC 3533, section 4: streams are grouped by chaining where each begins after the one before has ended. A file that was
made by joining two recordings is one.
"""

from __future__ import annotations

from pathlib import Path

BEGIN_OF_STREAM = 2
HEADER_BYTES = 27


def links(path: Path) -> list[tuple[int, int]]:
    """(begin, end) in bytes of each link of a chain; one for a plain file. Only page headers are read."""
    begins = [0]
    size = path.stat().st_size
    with path.open("rb") as file:
        place, in_data = 0, False
        while place + HEADER_BYTES <= size:
            file.seek(place)
            header = file.read(HEADER_BYTES)
            if not header.startswith(b"OggS"):
                break  # what follows is not Ogg; the decoder says what it makes of it
            lengths = file.read(header[26])
            if header[5] & BEGIN_OF_STREAM:
                if in_data:
                    begins.append(place)
                in_data = False
            else:
                in_data = True
            place += HEADER_BYTES + len(lengths) + sum(lengths)
    return list(zip(begins, [*begins[1:], size], strict=True))
