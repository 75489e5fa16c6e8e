"""How probable it is that the text is in the utterance's language, by langdetect with a fixed seed.

Where the language was recognised from the audio, this holds the text against the audio; where the corpus gives it,
against the corpus. Short texts tell nothing. What the audio alone says is `heard_language` of `vall-e verify`.
"""

from __future__ import annotations

import importlib.util

from vall_e.emb.gates.base import GateInput
from vall_e.emb.gates.measured import Measured
from vall_e.emb.gates.registry import GateOptions
from vall_e.emb.guess import shares
from vall_e.types import BackendError

LEAST_LETTERS = 20


def load(options: GateOptions) -> Measured:
    if importlib.util.find_spec("langdetect") is None:
        raise BackendError('gate text_language: langdetect is missing; pip install "vall-e[sidecar]"')
    return Measured("text_language", _probability, bad="low")


def _probability(seen: GateInput) -> float | None:
    if not seen.language or sum(char.isalpha() for char in seen.text) < LEAST_LETTERS:
        return None
    found = shares(seen.text)
    return None if found is None or seen.language not in known() else found.get(seen.language, 0.0)


def known() -> frozenset[str]:
    """The languages that langdetect can tell."""
    from langdetect import detector_factory

    detector_factory.init_factory()
    return frozenset(name.partition("-")[0] for name in detector_factory._factory.get_lang_list())
