"""Where a Russian, Ukrainian or Polish number has another form than the masculine nominative, which is all we have.

Numerals agree with what they count: 1 and 2 have genders (две минуты), prepositions ask for other cases (до пяти), and
a year is an ordinal (в тысяча девятьсот восемьдесят четвёртом году). Wade, "A Comprehensive Russian Grammar" (3rd
ed., 2011), part "The Numeral"; Swan, "A Grammar of Contemporary Polish" (2002), chapter 9; Pugh and Press,
"Ukrainian: A Comprehensive Grammar" (1999), chapter 5.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_GENITIVE_WORDS = {
    "ru": """до от ото около с со из изо из-за без для после у более менее свыше против среди кроме вместо ради больше
             меньше старше младше дольше дороже дешевле порядка течение""",
    "uk": "до від біля близько з із зі без для після більше менше проти серед крім замість старше молодше протягом",
    "pl": """do od z ze bez dla około u wśród oprócz zamiast koło powyżej poniżej ponad więcej mniej ciągu""",
}
_OTHER_WORDS = {
    "ru": "к ко по над под перед между о об при",
    "uk": "к по над під перед між о об при",
    "pl": "po przy w we o ku przeciw między nad pod przed",
}
_YEARS = {"ru": r"г\.|год", "uk": r"р\.|рік|рок", "pl": r"r\.|rok"}
LANGUAGES = frozenset(_YEARS)
_BEHIND = {
    language: re.compile(
        rf"\b(?:({'|'.join(_GENITIVE_WORDS[language].split())})|{'|'.join(_OTHER_WORDS[language].split())})"
        r"\s+[-−+]?[0-9][0-9.,:]*\s?(\w*)",
        re.IGNORECASE,
    )
    for language in sorted(LANGUAGES)
}


def oblique(language: str, text: str, months: Sequence[str]) -> str | None:
    """The first number behind a word that asks for another case; None where there is none.

    The day of a month is read in the genitive, so it may stand behind a word that asks for that: до 5 мая.

    Example:
        >>> oblique("ru", "до 5 часов", ["мая"]), oblique("ru", "до 5 мая", ["мая"])
        ('до 5 часов', None)
    """
    for found in _BEHIND[language].finditer(text):
        if not (found.group(1) and found.group(2) in months):
            return found.group()
    return None


def problem(language: str, digits: str, after: str) -> str | None:
    """Why a whole number may have another form than the masculine one; None where it has not.

    Args:
        language: ru, uk or pl.
        digits: the number.
        after: the text behind it.

    Example:
        >>> problem("ru", "2", " минуты"), problem("ru", "5", " минут")
        ('number whose gender is not known', None)
    """
    if re.match(rf"\s?(?:{_YEARS[language]})", after.lower()) and len(digits) == 4:
        return "year, which is an ordinal"
    value = int(digits)
    counts_something = re.match(r"\s?[^\W\d_]", after) is not None
    if counts_something and value % 10 in (1, 2) and value % 100 not in (11, 12):
        return "number whose gender is not known"
    return None
