"""A person's own readings of names: a file of lines `written<TAB>spoken`, `#` before a comment."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from vall_e.types import UsageError


class Lexicon:
    """Words with readings of their own, the longest first.

    Example:
        >>> Lexicon({"Siobhan": "Shivawn"}).replace("Siobhan's cat")
        "Shivawn's cat"
    """

    def __init__(self, readings: dict[str, str]) -> None:
        self._readings = readings
        words = sorted(readings, key=lambda word: (-len(word), word))
        alternatives = "|".join(_whole(word) for word in words)
        self._pattern = re.compile(alternatives) if words else None

    def replace(self, text: str) -> str:
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda found: self._readings[found.group()], text)


def _whole(word: str) -> str:
    """A pattern for a word that is not part of another; scripts without spaces have no such edge."""
    before = r"(?<!\w)" if re.match(r"[^\W\u3040-\u30ff\u3400-\u9fff]", word[0]) else ""
    after = r"(?!\w)" if re.match(r"[^\W\u3040-\u30ff\u3400-\u9fff]", word[-1]) else ""
    return before + re.escape(word) + after


def load(path: Path) -> Lexicon:
    """Reads a lexicon.

    Raises:
        UsageError: no such file, or a line that is not `written<TAB>spoken`; the line is named.
    """
    readings: dict[str, str] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--lexicon {path}: can't be read ({error})") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        written, spoken = (part.strip() for part in line.partition("\t")[::2])
        if not (written and spoken):
            raise UsageError(f"--lexicon {path}, line {number}: not like written<TAB>spoken: {line[:40]!r}")
        if readings.setdefault(written, spoken) != spoken:
            raise UsageError(f"--lexicon {path}, line {number}: {written!r} has another reading above")
    return Lexicon(readings)


def sha256_of(path: Path) -> str:
    """The hash of a lexicon's bytes: what a dataset remembers of it."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UsageError(f"--lexicon {path}: can't be read ({error.strerror})") from None
