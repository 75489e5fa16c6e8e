"""What the back ends of the phonemizer package share. https://bootphon.github.io/phonemizer"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from typing import Any

from vall_e.types import BackendError


class NothingStray:
    """Of a program that leaves out what it can't read, and never spells."""

    def is_stray(self, char: str, voice: str) -> bool:
        return False

    def spells(self, reading: str, voice: str) -> bool:
        return False

    def lost_in(self, word: str, voice: str) -> str:
        return ""


def import_phonemizer() -> Any:
    try:
        module = importlib.import_module("phonemizer.backend")
        importlib.import_module("phonemizer.backend.espeak.wrapper")
        importlib.import_module("importlib.resources")  # phonemizer uses it for its tables and forgets to import it
    except ImportError as error:
        raise BackendError(f'phonemizer can\'t be imported ({error}): pip install "vall-e[g2p]"') from None
    return module


def start(make: Callable[[], Any]) -> Any:
    try:
        return make()
    except RuntimeError as error:  # how phonemizer says that a library or a program is missing
        raise BackendError(f'{error}: pip install "vall-e[g2p]", or apt install espeak-ng') from None


def quiet_logger() -> logging.Logger:
    """phonemizer reports every language switch and word count; whether a text is usable is decided elsewhere."""
    logger = logging.getLogger("vall_e.phonemizer")
    logger.disabled = True
    return logger


def version_of(package: str) -> str:
    from importlib.metadata import version

    return version(package)
