"""Times of day in words: hour and minute → what is said for 10:30, or None where another case would be needed."""

from __future__ import annotations

import functools
from collections.abc import Callable

from vall_e.emb.text.numerals import cardinal

_KOREAN_HOURS = ["한", "두", "세", "네", "다섯", "여섯", "일곱", "여덟", "아홉", "열", "열한", "열두"]


def _english(hour: int, minute: int) -> str | None:
    if minute == 0:
        return f"{cardinal(hour, 'en')} o'clock" if 1 <= hour <= 12 else None
    zero = "oh " if minute < 10 else ""
    return f"{cardinal(hour, 'en')} {zero}{cardinal(minute, 'en')}"


def _named(hour: int, minute: int, *, language: str, word: str, one: str) -> str:
    """zehn Uhr dreißig, tien uur dertig."""
    said = f"{one if hour == 1 else cardinal(hour, language)} {word}"
    return f"{said} {cardinal(minute, language)}" if minute else said


def _french(hour: int, minute: int) -> str:
    said = "une heure" if hour == 1 else f"{cardinal(hour, 'fr')} heures"
    said = said.replace("vingt et un heures", "vingt et une heures").replace("zéro heures", "zéro heure")
    return f"{said} {cardinal(minute, 'fr')}" if minute else said


def _joined(hour: int, minute: int, *, language: str, joint: str, hours: dict[int, str]) -> str:
    """diez y treinta, dieci e trenta."""
    said = hours.get(hour) or str(cardinal(hour, language))
    return f"{said} {joint} {cardinal(minute, language)}" if minute else said


def _portuguese(hour: int, minute: int) -> str:
    hours = {1: "uma", 2: "duas", 21: "vinte e uma", 22: "vinte e duas"}
    said = hours.get(hour) or str(cardinal(hour, "pt"))
    if minute:
        return f"{said} e {cardinal(minute, 'pt')}"
    return f"{said} hora" if hour in (0, 1) else f"{said} horas"


def _plain(hour: int, minute: int, *, language: str, zero: str, full: str = "") -> str:
    """ti tretti, on otuz: the two numbers, a zero named before a single digit."""
    said = str(cardinal(hour, language))
    if minute == 0:
        return f"{said}{full}"
    return f"{said} {zero + ' ' if minute < 10 else ''}{cardinal(minute, language)}"


def _chinese(hour: int, minute: int) -> str:
    said = ("两" if hour == 2 else str(cardinal(hour, "zh"))) + "点"
    return said if minute == 0 else f"{said}{'零' if minute < 10 else ''}{cardinal(minute, 'zh')}分"


def _korean(hour: int, minute: int) -> str:
    said = (_KOREAN_HOURS[hour - 1] if 1 <= hour <= 12 else str(cardinal(hour, "ko"))) + " 시"
    return said if minute == 0 else f"{said} {cardinal(minute, 'ko')} 분"


def _hindi(hour: int, minute: int) -> str:
    said = cardinal(hour, "hi")
    return f"{said} बजकर {cardinal(minute, 'hi')} मिनट" if minute else f"{said} बजे"


# A language that is not here is one where the hour is an ordinal or takes a case: Polish, Ukrainian, Arabic.
CLOCKS: dict[str, Callable[[int, int], str | None]] = {
    "en": _english,
    "de": functools.partial(_named, language="de", word="Uhr", one="ein"),
    "nl": functools.partial(_named, language="nl", word="uur", one="één"),
    "vi": functools.partial(_named, language="vi", word="giờ", one="một"),
    "fr": _french,
    "es": functools.partial(_joined, language="es", joint="y", hours={1: "una", 21: "veintiuna"}),
    "it": functools.partial(_joined, language="it", joint="e", hours={1: "una"}),
    "pt": _portuguese,
    "da": functools.partial(_plain, language="da", zero="nul"),
    "nb": functools.partial(_plain, language="nb", zero="null"),
    "sv": functools.partial(_plain, language="sv", zero="noll"),
    "tr": functools.partial(_plain, language="tr", zero="sıfır"),
    "ru": functools.partial(_plain, language="ru", zero="ноль", full=" ноль ноль"),
    "zh": _chinese,
    "ko": _korean,
    "hi": _hindi,
}
