"""Dates in figures alone, 2024-05-17 and 17/05/2024, as they are said: 17 mai 2024. Later steps read the numbers.

A date is read where its order is certain: year first (ISO 8601), or as the language alone writes it (CLDR's short
patterns). English has both 5/17 and 17/5: it is read where only one can be meant. What can't be a date is refused.
"""

from __future__ import annotations

import re

from vall_e.emb.text import numerals
from vall_e.emb.text.base import Fail
from vall_e.emb.text.numerals import year as year_words

# names of the months as CLDR has them in dates, and how day (d), month (m) and year (y) are put together
_MONTHS = {
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    "it": "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
    "pt": "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro",
    "nl": "januari februari maart april mei juni juli augustus september oktober november december",
    "sv": "januari februari mars april maj juni juli augusti september oktober november december",
    "tr": "Ocak Şubat Mart Nisan Mayıs Haziran Temmuz Ağustos Eylül Ekim Kasım Aralık",
}
_PATTERNS = {"es": "{d} de {m} de {y}", "pt": "{d} de {m} de {y}", "zh": "{y}年{m}月{d}日", "ko": "{y}년 {m}월 {d}일"}
_FIRST = {"fr": "premier", "it": "primo", "es": "primero", "pt": "primeiro"}  # of a month; other days are plain numbers
_SEPARATORS = {"fr": "/", "es": "/", "it": "/", "pt": "/", "nl": "-", "tr": "."}
_YEAR_FIRST = re.compile(r"(?<![\w./-])([12][0-9]{3})([-/.])([0-9]{1,2})\2([0-9]{1,2})(?![\w/-]|[.,][0-9])")
LANGUAGES = frozenset((*_MONTHS, *_PATTERNS))


def read_dates(text: str, language: str, fail: Fail) -> str:
    """A text whose dates in figures have the names of months.

    Raises:
        Unspoken: figures in the form of a date that are none.
    """
    if language not in LANGUAGES:
        return text

    def put(found: re.Match[str], year: str, month: str, day: str) -> str:
        if not (1 <= int(month) <= 12 and 1 <= int(day) <= 31):
            raise fail(found.group(), "date")
        return _written(int(year), int(month), int(day), language)

    text = _YEAR_FIRST.sub(lambda found: put(found, *found.group(1, 3, 4)), text)
    separator = _SEPARATORS.get(language)
    if separator is not None:
        mark = re.escape(separator)
        last = rf"(?<![\w./-])([0-9]{{1,2}}){mark}([0-9]{{1,2}}){mark}([12][0-9]{{3}})(?![\w/-]|[.,][0-9])"
        text = re.sub(last, lambda found: put(found, *found.group(3, 2, 1)), text)
    return text


def english_order(first: int, second: int) -> tuple[int, int] | None:
    """(month, day) of two numbers of which one alone can be the month, or which are alike; else None."""
    if first == second <= 12 or (1 <= first <= 12 < second <= 31):
        return first, second
    return (second, first) if 1 <= second <= 12 < first <= 31 else None


def _written(year: int, month: int, day: int, language: str) -> str:
    if language == "sv":
        return f"{numerals.ordinal(day, 'sv')} {_MONTHS['sv'].split()[month - 1]} {year_words(year, 'sv')}"
    name = _MONTHS[language].split()[month - 1] if language in _MONTHS else str(month)
    said_day = _FIRST.get(language, str(day)) if day == 1 else str(day)
    pattern = _PATTERNS.get(language, "{d} {m} {y}")
    return pattern.format(d=said_day, m=name, y=year_words(year, "nl") if language == "nl" else year)
