"""Characters and phonemes a second: too many where text is missing from the sound, too few where sound has no text.

Raw rates; languages differ. `rate_z` compares them with the rates of the utterance's own language.
"""

from __future__ import annotations

import unicodedata

from vall_e.emb.gates.measured import Measured
from vall_e.emb.gates.registry import GateOptions


def load_characters(options: GateOptions) -> Measured:
    return Measured("chars_per_s", lambda seen: _count(seen.text, _TEXT) / seen.duration_s, minimum=0.5, maximum=60.0)


def load_phonemes(options: GateOptions) -> Measured:
    return Measured(
        "phonemes_per_s", lambda seen: _count(seen.phonemes, _PHONES) / seen.duration_s, minimum=0.5, maximum=60.0
    )


_TEXT = frozenset(("Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Nd", "Nl", "No"))  # no spaces and punctuation
_PHONES = frozenset(("Lu", "Ll", "Lo"))  # no marks of stress, length or tone


def _count(text: str, categories: frozenset[str]) -> int:
    return sum(unicodedata.category(char) in categories for char in text)
