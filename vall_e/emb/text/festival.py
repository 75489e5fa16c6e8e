"""Festival, by the phonemizer package: American English only. https://www.cstr.ed.ac.uk/projects/festival"""

from __future__ import annotations

from collections.abc import Sequence

from vall_e.emb.text.phonemizer import NothingStray, import_phonemizer, quiet_logger, start, version_of
from vall_e.types import BackendError


class Festival(NothingStray):
    """The festival program: American English only, in its own phones ("hello" → "hhaxlow"), without stress."""

    def __init__(self, *, stress: bool) -> None:
        """Raises BackendError where the program is missing."""
        cls = import_phonemizer().FestivalBackend
        if not cls.is_available():
            raise BackendError("festival is not installed: apt install festival (a Debian package, not a pip one)")
        self._backend = start(lambda: cls("en-us", logger=quiet_logger()))
        number = ".".join(str(part) for part in cls.version())
        self.version = f"festival {number}, phonemizer {version_of('phonemizer')}"

    def voice(self, language: str) -> str | None:
        return "en-us" if language in ("en", "en-us") else None

    def languages(self) -> dict[str, str]:
        return {"en": "English", "en-us": "English"}

    def read(self, chunks: Sequence[str], voice: str) -> list[str]:
        """N chunks → N strings. One call each: festival leaves out what it says nothing for."""
        return [" ".join(self._backend.phonemize([_plain(chunk)], strip=True)) for chunk in chunks]

    def is_lost(self, char: str, voice: str) -> bool:
        return not char.isascii()


def _plain(chunk: str) -> str:
    """festival's input is a quoted Scheme string, in which a backslash escapes."""
    return chunk.replace("\\", " ").replace('"', " ")


def load(stress: bool) -> Festival:
    return Festival(stress=stress)
