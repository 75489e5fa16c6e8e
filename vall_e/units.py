"""Which characters of phonemes take time: phones, marks that belong to a phone, and pauses that may be left out.

By Unicode's general category, so that it holds in every language: a letter is a phone; a modifier letter (stress,
length, aspiration), a combining mark, a tone digit or another symbol is a mark; white space and punctuation are pauses.
"""

from __future__ import annotations

import unicodedata
from typing import NamedTuple

import numpy as np

PHONE, MARK, PAUSE = 0, 1, 2
VOICELESS = frozenset("ptʈckqʡʔɸfθsʃʂɕçxχħhʜɬɧʍʦʧʨʘǀǃǂǁ")  # consonants of the IPA chart, 2020


class Units(NamedTuple):
    """The parts of a text that frames belong to, in order: phones, and runs of pauses as one.

    places: int64 [U], the token of each; optional: bool [U], whether it may be left out. The first, a pause that
    begins with <bos>, is not: every utterance begins with a frame of it. The last one ends with <eos>.
    """

    places: np.ndarray
    optional: np.ndarray


def kind_of(character: str) -> int:
    """PHONE, MARK or PAUSE.

    Example:
        >>> [kind_of(character) for character in "ˈaː,"] == [MARK, PHONE, MARK, PAUSE]
        True
    """
    category = unicodedata.category(character)
    if category[0] == "L" and category != "Lm":
        return PHONE
    return PAUSE if category[0] in "ZPC" else MARK


def is_voiced(character: str) -> bool:
    """Whether a character is a phone that the voice sounds in.

    Example:
        >>> [is_voiced(character) for character in "azs ,"]
        [True, True, False, False, False]
    """
    return kind_of(character) == PHONE and character not in VOICELESS


def units_of(kinds: np.ndarray) -> Units:
    """The units of a text from the kinds of its tokens, int [S]; <bos> and <eos> are pauses."""
    places: list[int] = []
    optional: list[bool] = []
    in_pause = False
    for place, kind in enumerate(kinds.tolist()):
        if kind == PHONE or (kind == PAUSE and not in_pause):
            places.append(place)
            optional.append(kind == PAUSE and place > 0)
        if kind != MARK:
            in_pause = kind == PAUSE
    return Units(np.array(places, np.int64), np.array(optional, bool))


def kinds_of(phonemes: str) -> np.ndarray:
    """int64 [S] of a text as it is tokenised: <bos>, its characters, <eos>."""
    return np.array([PAUSE, *map(kind_of, phonemes), PAUSE], np.int64)
