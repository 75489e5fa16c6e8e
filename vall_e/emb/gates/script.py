"""The share of letters in the scripts that the utterance's language is written in.

A Russian text under `language: en`, or a text of another recording, is seen here. Scripts by language are those of
CLDR's supplemental data.
"""

from __future__ import annotations

import functools
import unicodedata

from vall_e.emb.gates.base import GateInput
from vall_e.emb.gates.measured import Measured
from vall_e.emb.gates.registry import GateOptions

_ROWS = """
CYRILLIC ru uk be bg mk sr kk ky mn tg tt ba cv ce os av ab
GREEK el
ARABIC ar fa ur ps ug sd ks
HEBREW he yi
DEVANAGARI hi mr ne sa
BENGALI bn as
GURMUKHI pa
GUJARATI gu
ORIYA or
TAMIL ta
TELUGU te
KANNADA kn
MALAYALAM ml
SINHALA si
THAI th
LAO lo
TIBETAN bo dz
MYANMAR my
GEORGIAN ka
ARMENIAN hy
ETHIOPIC am ti
KHMER km
HANGUL ko
CJK zh yue
"""
_SCRIPTS = {language: row.split()[0] for row in _ROWS.strip().splitlines() for language in row.split()[1:]}
_JAPANESE = frozenset(("HIRAGANA", "KATAKANA", "CJK", "KATAKANA-HIRAGANA"))
_BESIDE = {"ko": frozenset(("HANGUL", "CJK")), "sr": frozenset(("CYRILLIC", "LATIN")), "ja": _JAPANESE}


def load(options: GateOptions) -> Measured:
    return Measured("script_share", _share, minimum=0.3, bad="low")


def _share(seen: GateInput) -> float | None:
    if not seen.language:
        return None
    letters = [char for char in seen.text if char.isalpha()]
    allowed = _BESIDE.get(seen.language) or frozenset((_SCRIPTS.get(seen.language, "LATIN"),))
    return sum(_script(char) in allowed for char in letters) / len(letters) if letters else None


@functools.lru_cache(10_000)
def _script(char: str) -> str:
    """The first word of a letter's name, which for letters is their script."""
    return unicodedata.name(char, "").split(" ")[0]
