"""Times of day, dates, years and telephone numbers in words."""

from __future__ import annotations

import re

from vall_e.emb.text import numerals
from vall_e.emb.text.clock import CLOCKS
from vall_e.emb.text.spoken_calendar import english_order, read_dates
from vall_e.emb.text.spoken_numbers import RANGE, Numbers, spaced

_ZH_DIGITS = "零一二三四五六七八九"
_PLUS = {"en": "plus", "de": "plus", "fr": "plus", "es": "más", "it": "più", "pt": "mais", "nl": "plus", "sv": "plus",
         "da": "plus", "nb": "pluss", "ru": "плюс", "uk": "плюс", "pl": "plus", "tr": "artı"}  # fmt: skip


class Dates(Numbers):
    """Numbers that stand for a time, a day, a year or a telephone."""

    def clock(self, text: str) -> str:
        clock = CLOCKS.get(self.language)

        def put(found: re.Match[str]) -> str:
            hour, minute = int(found.group(1)), int(found.group(2))
            said = clock(hour, minute) if clock and hour < 25 and minute < 60 else None
            if said is None:
                raise self._fail(found.group(), "time of day")
            return said

        if self.words.to is not None:
            time = "[0-9]{1,2}:[0-9]{2}"
            text = re.sub(rf"(?<![\w:.,/-])({time})\s?{RANGE}\s?(?={time})", rf"\1 {self.words.to} ", text)
        end = {"de": r"(?:\s?Uhr\b)?", "nl": r"(?:\s?uur\b)?", "fr": r"(?:\s?h\b)?"}.get(self.language, "")
        text = re.sub(rf"(?<![\w:.,/-])([0-9]{{1,2}}):([0-9]{{2}})(?![0-9:]|[.,/-][0-9]){end}", put, text)
        if self.language == "fr":
            text = re.sub(r"(?<![\w:.,/-])([0-9]{1,2})\s?h\s?([0-9]{2})\b", put, text)
        return text

    def dates(self, text: str) -> str:
        """Days and years, where the words around tell them from other numbers."""
        text = read_dates(text, self.language, self._fail)
        if self.language == "en" and not (re.search("[0-9]{3}", text) or any(m in text for m in self.words.months)):
            return text
        if self.language == "en":
            text = re.sub(r"(?<![\w/-])([0-9]{4})-([0-9]{2})-([0-9]{2})(?![\w/-])", self._iso_date, text)
            slashed = r"(?<![\w/.-])([0-9]{1,2})/([0-9]{1,2})/([12][0-9]{3})(?![\w/-]|[.,][0-9])"
            text = re.sub(slashed, self._slashed_date, text)
            months = "|".join(self.words.months)
            text = re.sub(rf"\b({months})\s([0-9]{{1,2}})(?:st|nd|rd|th)?\b(?![:.,]?[0-9])(,?\s)?([12][0-9]{{3}}\b)?",
                          self._month_day, text)  # fmt: skip
            text = re.sub(rf"\b([0-9]{{1,2}})\s({months})\b", self._day_month, text)
            text = re.sub(r"\b([12][0-9]{2})0s\b", lambda found: self._decade(found.group(1) + "0"), text)
        elif self.language == "zh":
            text = re.sub(r"(?<![0-9])([0-9]{4})(?=年)", lambda f: "".join(_ZH_DIGITS[int(d)] for d in f.group()), text)
        elif self.language in ("de", "da", "nb"):
            text = re.sub(r"(?<![\w.-])([0-9]{1,2})\.([0-9]{1,2})\.([0-9]{4})(?![\w-]|\.[0-9])", self._day_first, text)
        elif self.language in ("ru", "uk", "pl"):
            text = self._slavic_dates(text)
        after = "|".join(self.words.years_after)
        if after and re.search("[12][0-9]{3}", text):
            text = re.sub(
                rf"\b({after})\s([12][0-9]{{3}})(?![\w]|[.,:][0-9]|{RANGE}[0-9]|\s?[%€£$°])",
                lambda found: f"{found.group(1)} {numerals.year(int(found.group(2)), self.language)}",
                text,
            )
            text = re.sub(rf"(?<![\w.,])([12][0-9]{{3}})\s?{RANGE}\s?([12][0-9]{{3}})(?![\w.,]\w)", self._years, text)
        return text

    def _years(self, found: re.Match[str]) -> str:
        if self.words.to is None:
            raise self._fail(found.group(), "range")
        first, last = (numerals.year(int(value), self.language) for value in found.groups())
        return f"{first} {self.words.to} {last}"

    def _slashed_date(self, found: re.Match[str]) -> str:
        order = english_order(int(found.group(1)), int(found.group(2)))
        if order is None:
            raise self._fail(found.group(), "date whose day and month could be either")
        return self._english_date(int(found.group(3)), *order)

    def _iso_date(self, found: re.Match[str]) -> str:
        year, month, day = (int(value) for value in found.groups())
        if not (1 <= month <= 12 and 1 <= day <= 31):
            raise self._fail(found.group(), "date")
        return self._english_date(year, month, day)

    def _english_date(self, year: int, month: int, day: int) -> str:
        return f"{self.words.months[month - 1]} {numerals.ordinal(day, 'en')}, {numerals.year(year, 'en')}"

    def _day_first(self, found: re.Match[str]) -> str:
        """17.05.2024 with the month's name; the day is then an ordinal like any other."""
        day, month, year = (int(value) for value in found.groups())
        if not (1 <= month <= 12 and 1 <= day <= 31):
            raise self._fail(found.group(), "date")
        return f"{day}. {self.words.months[month - 1]} {numerals.year(year, self.language)}"

    def _month_day(self, found: re.Match[str]) -> str:
        month, day, gap, year = found.group(1), int(found.group(2)), found.group(3), found.group(4)
        if not 1 <= day <= 31:
            return found.group()
        said = f"{month} {numerals.ordinal(day, 'en')}"
        return f"{said}{gap}{numerals.year(int(year), 'en')}" if year else said + (gap or "")

    def _day_month(self, found: re.Match[str]) -> str:
        day = int(found.group(1))
        if not 1 <= day <= 31:
            return found.group()
        return f"the {numerals.ordinal(day, 'en')} of {found.group(2)}"

    def _decade(self, digits: str) -> str:
        words = str(numerals.year(int(digits), "en"))
        return words[:-1] + "ies" if words.endswith("y") else words + "s"

    def _slavic_dates(self, text: str) -> str:
        months = "|".join(self.words.months)

        def put(found: re.Match[str]) -> str:
            day = int(found.group(1))
            if not 1 <= day <= 31:
                return found.group()
            return f"{_slavic_genitive(day, self.language)} {found.group(2)}"

        return re.sub(rf"(?<![\w.,:/-])([0-9]{{1,2}})\s({months})\b", put, text)

    def phones(self, text: str) -> str:
        """Digit by digit: +49 30 1234567, 0123 456789, 555-123-4567, and what begins with 0, as 007."""

        def put(found: re.Match[str]) -> str:
            written = found.group()
            said = [self._digit(char) for char in written if char.isdigit()]
            plus = _PLUS.get(self.language)
            if written.startswith("+"):
                if plus is None:
                    raise self._fail(written, "phone number")
                said.insert(0, plus)
            return spaced(" ".join(said), self.language)

        text = re.sub(r"(?<![\w.,])\+[0-9](?:[ ()/-]{0,2}[0-9]){6,14}(?![\w]|[.,][0-9])", put, text)
        text = re.sub(r"(?<![\w.,-])\(?[0-9]{3}\)?[ -][0-9]{3,4}-[0-9]{4}(?![\w-]|[.,][0-9])", put, text)
        return re.sub(r"(?<![\w.,:/٫٬])(?<![0-9][ \u00a0\u202f])0[0-9](?:[ /-]?[0-9])*(?![\w]|[.,:][0-9])", put, text)


def _slavic_genitive(day: int, language: str) -> str:
    """The day of a month: пятого, п'ятого, piątego."""
    if language == "ru":
        return str(numerals.ordinal(day, "ru", case="g", gender="n"))
    words = str(numerals.ordinal(day, language)).split(" ")
    ends = {"pl": (("i", "iego"), ("y", "ego")), "uk": (("ій", "ього"), ("ий", "ого"))}[language]
    said = []
    for word in words:
        for end, genitive in ends:
            if word.endswith(end):
                word = word.removesuffix(end) + genitive
                break
        said.append(word)
    return " ".join(said)
