"""Grapheme tables of the segments package, by the phonemizer package. https://github.com/cldf/segments"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Sequence

from vall_e.emb.text.phonemizer import NothingStray, import_phonemizer, quiet_logger, version_of
from vall_e.types import BackendError

_NO_STRESS = dict.fromkeys(map(ord, "ˈˌ"))


class Segments(NothingStray):
    """Tables of graphemes and phones that come with phonemizer (cree, japanese in Latin letters, yucatec, …)."""

    def __init__(self, *, stress: bool) -> None:
        """Raises BackendError where the segments package is missing."""
        import_phonemizer()
        try:
            self._class = importlib.import_module("phonemizer.backend.segments").SegmentsBackend
        except ImportError:
            raise BackendError('the segments back end needs its package: pip install "vall-e[segments]"') from None
        self.version = f"segments {version_of('segments')}, phonemizer {version_of('phonemizer')}"
        self._stress = stress
        self._backend = functools.cache(lambda voice: self._class(voice, logger=quiet_logger()))

    def voice(self, language: str) -> str | None:
        return language if language in self._class.supported_languages() else None

    def languages(self) -> dict[str, str]:
        return {name: name for name in sorted(self._class.supported_languages())}

    def read(self, chunks: Sequence[str], voice: str) -> list[str]:
        """N chunks → N strings; empty for a word that the table doesn't cover."""
        return [" ".join(filter(None, (self._word(word, voice) for word in chunk.lower().split()))) for chunk in chunks]

    def is_lost(self, char: str, voice: str) -> bool:
        return not self._word(char.lower(), voice)

    def _word(self, word: str, voice: str) -> str:
        try:
            phones = str(self._backend(voice).phonemize([word], strip=True)[0])
            return phones if self._stress else phones.translate(_NO_STRESS)
        except ValueError:  # a grapheme that the table lacks
            return ""


def load(stress: bool) -> Segments:
    return Segments(stress=stress)
