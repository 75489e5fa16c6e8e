"""Text as written → text as it is said: numbers, signs and short forms in words (text normalisation).

Signs, decimals, ranges and times are sorted out first; whole numbers go to `numerals`. A kind of number that has no
tested reading in a language raises Unspoken: it is not guessed. Text without digits and signs comes back as it went in.

Roark and Sproat, "Hippocratic Abbreviation Expansion" (ACL 2014), name the rule kept here: do no harm.
"""

from __future__ import annotations

import functools
import html
import re
import unicodedata

from vall_e.emb.text.spoken_reader import Reader, only_whole
from vall_e.emb.text.spoken_signs import read_signs
from vall_e.emb.text.spoken_words import NUMBERS_ONLY, WORDS

_ALIASES = {"no": "nb", "nn": "nb", "cmn": "zh", "zh-cn": "zh", "zh-tw": "zh"}
_ENTITY = re.compile(r"&(?:[A-Za-z][A-Za-z0-9]{1,30}|#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6});")
# a closing quote, or a mark, with no space behind it
_AFTER_QUOTE = re.compile(r"[!?.,…](?<=[^\W\d_].)[\"”»](?=[^\W\d_])|[!?…](?<=[^\W\d_].)(?=[^\W\d_])")
_OTHER_DIGIT = re.compile(r"[^\D0-9]")  # ٣, ३
# what a text has in it that there is to read
_SIGN = re.compile("[.^′″0-9~〜～∼№℃℉°%‰½⅓¼⅔¾⅕⅛$€£¥₹₩₽₺₴₫&]")
_WORD = re.compile(r"\b(?:[IVX]+|Mme|Mlle|Dr)")


def base_of(language: str) -> str:
    """A language code without its region, as the tables here have it."""
    low = language.lower().replace("_", "-")
    return _ALIASES.get(low) or _ALIASES.get(low.partition("-")[0]) or low.partition("-")[0]


def to_spoken(text: str, language: str) -> str:
    """A text with its numbers, signs and short forms in words.

    Args:
        text: normalised (`normalise`).
        language: ISO 639-1, a region behind it is ignored.

    Example:
        >>> to_spoken("It cost $3.50 at 10:30, -5 °C.", "en")
        'It cost three dollars fifty at ten thirty, minus five degrees Celsius.'

    Raises:
        Unspoken: a number or sign of a kind that has no tested reading in this language.
        BackendError: the library for the language's numbers is not installed.
    """
    language = base_of(language)
    text = tidy(text, language)
    if language == "ja":
        from vall_e.emb.text.spoken_ja import to_spoken_japanese

        return read_signs(to_spoken_japanese(text), language)
    if not _SIGN.search(text) and not _WORD.search(text):
        return read_signs(text, language)
    if language not in WORDS or language in NUMBERS_ONLY:
        return read_signs(only_whole(text, language), language)
    return read_signs(_reader(language).read(text), language)


def tidy(text: str, language: str) -> str:
    """Marks in their plain form: HTML entities, apostrophes, spaces after quotes, sentences in capitals."""
    if "&" in text:
        text = _ENTITY.sub(lambda found: html.unescape(found.group()), text)
    if not text.isascii():
        text = text.translate(_APOSTROPHES)
        text = _OTHER_DIGIT.sub(lambda found: str(int(found.group())), text)
    if language not in ("ja", "zh", "ko", "th", "yue"):
        text = _AFTER_QUOTE.sub(lambda found: found.group() + " ", text)
    return _lower_if_all_capitals(text, language)


# U+02BC, U+2019 and their like are one apostrophe; as single quotes they say nothing either way
_APOSTROPHES = {ord(char): "'" for char in "\u02bc\u2019\u2018\u201b\u02b9\u02bb\u02bd\uff07\u055a\ua78c"}
_CAPITAL_WORDS = 3  # fewer may be a name: NASA, USA TODAY


def _lower_if_all_capitals(text: str, language: str) -> str:
    """A sentence in capitals is a corpus' style, not a row of abbreviations."""
    if text.upper() != text or text.lower() == text:
        return text
    words = re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)*", text)
    if len(words) < _CAPITAL_WORDS:
        return text
    if max(map(len, words)) < 3:
        return text
    if language == "tr":
        text = text.replace("I", "ı").replace("İ", "i")
    lowered = text.lower()
    if language == "en":
        lowered = re.sub(r"\bi\b", "I", lowered)
    return unicodedata.normalize("NFC", lowered)


@functools.cache
def _reader(language: str) -> Reader:
    return Reader(language)
