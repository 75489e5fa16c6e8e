"""Whole numbers in words, by the library that knows the language; what a library gets wrong is mended here.

num2words (https://github.com/savoirfairelinux/num2words) for most, cn2an for Chinese, indic-numtowords for Hindi. A
language is in the table below if tests/emb/text/spoken holds its numbers as ICU's rules spell them (CLDR, RBNF).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from vall_e.types import BackendError

LARGEST = 10**12 - 1
# language → num2words' name for it
_NUM2WORDS = {
    **{code: code for code in ("en", "ko", "de", "fr", "es", "it", "pt", "ru", "nl", "pl", "da", "sv", "tr", "uk")},
    **{code: code for code in ("ar", "vi", "hu", "fi", "id", "eo")},
    "nb": "no",
}
ORDINALS = frozenset(("en", "de", "fr", "es", "it", "pt", "nl", "da", "nb", "sv", "ru", "pl", "uk"))
_TURKISH = re.compile(
    "bir|iki|üç|dört|beş|altmış|altı|yedi|sekiz|dokuz|on|yirmi|otuz|kırk|elli|yetmiş|seksen|doksan|yüz|bin|sıfır"
)


def is_known(language: str) -> bool:
    """Whether whole numbers of a language are put into words here."""
    return language in _NUM2WORDS or language in ("zh", "hi")


@functools.lru_cache(10_000)
def cardinal(value: int, language: str) -> str | None:
    """A whole number in words, or None where it is too large or the language is not known.

    Example:
        >>> cardinal(21, "de"), cardinal(10_001, "zh")
        ('einundzwanzig', '一万零一')
    """
    if not 0 <= value <= (999_999_999 if language == "hi" else LARGEST):
        return None
    if language == "zh":
        return _chinese(value)
    if language == "hi":
        return str(_module("indic_numtowords").num2words(value, lang="hi"))
    if language not in _NUM2WORDS:
        return None
    words = str(_num2words(value, language, "cardinal"))
    return _mend(words, value, language)


@functools.lru_cache(10_000)
def ordinal(value: int, language: str, **options: str) -> str | None:
    """An ordinal number in words, masculine nominative unless `options` of num2words say otherwise; None if unknown."""
    if not 0 < value <= LARGEST or language not in ORDINALS:
        return None
    return _mend(str(_num2words(value, language, "ordinal", **options)), value, language)


@functools.lru_cache(10_000)
def year(value: int, language: str) -> str | None:
    """A year in words where it is read unlike a number (1984 is nineteen eighty-four), else as a number."""
    if language in ("en", "de", "nl", "da", "nb") and 1100 <= value < 2100 and not (language != "en" and value >= 2000):
        return _mend(str(_num2words(value, language, "year")), value, language)
    if language == "sv" and 1100 <= value < 2000:
        hundreds, rest = divmod(value, 100)
        return f"{cardinal(hundreds, 'sv')}hundra{cardinal(rest, 'sv') if rest else ''}"
    return cardinal(value, language)


def russian_decimal(value: Decimal) -> str:
    """A decimal in Russian, whose digits behind the mark are tenths, hundredths or thousandths.

    Example:
        >>> russian_decimal(Decimal("3.14"))
        'три целых четырнадцать сотых'
    """
    return str(_module("num2words").num2words(value, lang="ru"))


def _num2words(value: int, language: str, to: str, **options: str) -> Any:
    return _module("num2words").num2words(value, lang=_NUM2WORDS[language], to=to, **options)


def _module(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        raise BackendError(f'{name} is not installed: pip install "vall-e[g2p]"') from None


def _chinese(value: int) -> str:
    return str(_module("cn2an").an2cn(value))


def _mend(words: str, value: int, language: str) -> str:
    mend = _MENDED.get(language)
    return " ".join((mend(words, value) if mend else words).split())


def _spanish(words: str, value: int) -> str:
    """veintiún mil, not veintiuno mil."""
    words = re.sub(r"veintiuno (?=mil)", "veintiún ", words)
    words = re.sub(r"\buno (?=mil)", "un ", words)
    words = words.replace("décimoprimero", "decimoprimero").replace("décimosegundo", "decimosegundo")
    return words.replace("quadra", "cuadra")


def _vietnamese(words: str, value: int) -> str:
    """An empty place of hundreds is named: một nghìn không trăm lẻ một."""
    thousands, rest = value - value % 1000, value % 1000
    if not thousands or not 0 < rest < 100:
        return words
    head = str(_num2words(thousands, "vi", "cardinal"))
    tail = str(_num2words(rest, "vi", "cardinal"))
    return f"{head} không trăm {'lẻ ' if rest < 10 else ''}{tail}"


def _norwegian(words: str, value: int) -> str:
    words = words.replace("trettførste", "trettende")
    return re.sub(r"(?<!^en )(?<! en )million\b", "millioner", words)


def _danish(words: str, value: int) -> str:
    words = re.sub("(?<!halv)treds", "tres", words)
    words = words.replace("tredivete", "tredivte").replace("fyrreende", "fyrretyvende")
    return re.sub(r"\ben millioner", "en million", words)


def _swedish(words: str, value: int) -> str:
    return words.replace("ttt", "tt").replace("tjugode", "tjugonde")


_MENDED: dict[str, Callable[[str, int], str]] = {
    "en": lambda words, value: words.replace(",", ""),
    "es": _spanish,
    "vi": _vietnamese,
    "da": _danish,
    "nb": _norwegian,
    "sv": _swedish,
    "tr": lambda words, value: " ".join(_TURKISH.sub(r" \g<0> ", words).split()),
    "ar": lambda words, value: re.sub("مئتا$", "مئتان", words.replace(" و ", " و")),
}
