"""Money, percent, degrees and measures in words."""

from __future__ import annotations

import functools
import re
from decimal import Decimal
from typing import Any

from vall_e.emb.text.spoken_numbers import MINUS, RANGE, SPACES, Numbers, spaced
from vall_e.types import BackendError

_LARGE = {
    "en": ("thousand", "million", "billion", "trillion"),
    "de": ("Millionen", "Milliarden"),
    "nl": ("miljoen", "miljard"),
    "da": ("millioner", "milliarder"),
    "nb": ("millioner", "milliarder"),
    "sv": ("miljoner", "miljarder"),
}
_CENTS = frozenset(("en", "de", "fr", "nl"))
_ONE = {"de": "ein", "es": "un", "nl": "één", "it": "un", "da": "en", "sv": "en", "fr": "un", "pt": "um"}
_ONE_POUND = {"da": "et", "sv": "ett"}  # neuter
# currencies whose names are feminine, and the numbers that have a form for that
_FEMININE = {"fr": "£", "es": "£", "it": "£", "pt": "£", "ru": "¥", "uk": "₴¥"}
_FEMININE_FORMS = {
    **{"fr": {"1": "une"}, "es": {"1": "una"}, "it": {"1": "una"}, "pt": {"1": "uma", "2": "duas"}},
    **{"ru": {"1": "одна", "2": "две"}, "uk": {"1": "одна", "2": "дві"}},
}
# sign → CLDR's name of the unit
_UNIT_OF = {
    "%": "concentr-percent",
    **dict.fromkeys(("°C", "° C", "℃"), "temperature-celsius"),
    **dict.fromkeys(("°F", "° F", "℉"), "temperature-fahrenheit"),
    "°": "angle-degree",
    "km/h": "speed-kilometer-per-hour",
    "km": "length-kilometer",
    "cm": "length-centimeter",
    "mm": "length-millimeter",
    "kg": "mass-kilogram",
    "mg": "mass-milligram",
    "ml": "volume-milliliter",
}


class Measures(Numbers):
    """Amounts of money and of units, in the form that the number asks for."""

    def __init__(self, language: str) -> None:
        super().__init__(language)
        signs = ["%"] if language == "ar" else sorted(_UNIT_OF, key=len, reverse=True)
        units = "|".join(map(re.escape, signs))
        self._with_unit = re.compile(rf"({self.signed})[{SPACES}]?({units})(?!\w)")
        self._percent_first = re.compile(rf"%[{SPACES}]?({self.number})")

    def money(self, text: str) -> str:
        signs = "".join(self.words.currencies)
        every = re.escape("$€£¥₹₩₽₺₴₫")
        if re.search(rf"[{every}]\s?{self.number}\s?{RANGE}\s?[0-9]|[0-9]\s?{RANGE}\s?[{every}]", text):
            raise self._fail(text, "range of amounts")
        if signs:
            sign = "[" + re.escape(signs) + "]"
            large = "|".join(_LARGE.get(self.language, ()))
            more = rf"(?:\s({large}))?" if large else "()"
            text = re.sub(
                rf"({MINUS})?({sign})\s?({self.number}){more}(?![\w]|[.,][0-9])",
                lambda f: self._amount(f.group(3), f.group(2), f.group(4), f.group(1)), text,
            )  # fmt: skip
            text = re.sub(
                rf"(?<![\w.,])({MINUS})?({self.number})\s?({sign})(?![\w])",
                lambda f: self._amount(f.group(2), f.group(3), None, f.group(1)), text,
            )  # fmt: skip
        if found := re.search(rf"[{every}]", text):
            raise self._fail(text[max(0, found.start() - 8) : found.end() + 8], "amount of money")
        return text

    def _amount(self, written: str, sign: str, large: str | None, minus: str | None) -> str:
        value = self._value(written)
        name = self._form(self.words.currencies[sign], value)
        head = f"{self.words.minus} " if minus else ""
        if large:
            return f"{head}{self._decimal(written)} {large} {self._form(self.words.currencies[sign], Decimal(10))}"
        cents = written.partition(self.words.decimal)[2]
        if len(cents) == 2 and self.language in _CENTS:
            whole = written.partition(self.words.decimal)[0]
            name = self._form(self.words.currencies[sign], self._value(whole))
            said = f"{self._one(whole, sign)} {name}"
            return head + (f"{said} {self._whole(cents)}" if int(cents) else said)
        return spaced(f"{head}{self._one(written, sign)} {name}", self.language)

    def _one(self, written: str, sign: str) -> str:
        """The number before a currency: ein Euro, un euro, une livre.

        Raises:
            Unspoken: it ends in, or holds, a number that has another form before a feminine name.
        """
        if sign in _FEMININE.get(self.language, ""):
            forms = _FEMININE_FORMS[self.language]
            if written in forms:
                return forms[written]
            digits = re.sub("[^0-9]", "", written)
            agrees = digits[-1] in forms and digits[-2:-1] != "1" and self.language != "it"  # ventuno sterline
            if self.words.decimal not in written and (agrees or (self.language in ("es", "pt") and len(digits) > 2)):
                raise self._fail(f"{written} {sign}", "amount of a currency of another gender")
        elif written == "1":
            return (_ONE_POUND if sign == "£" else _ONE).get(self.language) or _ONE.get(self.language, self._whole("1"))
        return self._decimal(written)

    def units(self, text: str) -> str:
        """Percent, degrees and measures, as CLDR names them for the number that they follow."""
        if self.language == "tr":
            text = self._percent_first.sub(lambda found: self._unit(found.group(1), "concentr-percent"), text)
        return self._with_unit.sub(lambda found: self._unit(found.group(1), _UNIT_OF[found.group(2)]), text)

    def _unit(self, written: str, unit: str) -> str:
        own = {"concentr-percent": self.words.percent, "temperature-celsius": self.words.celsius}.get(unit)
        minus = re.match(MINUS, written)
        bare = re.sub(rf"^{MINUS}\s?", "", written)
        value = self._value(bare)
        template = own or _cldr(self.language, unit, value)
        if template is None:
            raise self._fail(written, unit.partition("-")[2])
        said = self._decimal(bare)
        if bare == "1":
            said = _ONE.get(self.language, said)
        head = f"{self.words.minus} " if minus else ""
        return spaced(template.replace("{}", f"{head}{said}"), self.language)

    def _form(self, names: str, value: Decimal) -> str:
        """The name that goes with a number, of "one|few|many" or "one|other"."""
        forms = names.split("|")
        if len(forms) == 1:
            return forms[0]
        category = _plural(self.language, value)
        if len(forms) == 2:
            return forms[0] if category == "one" else forms[1]
        return forms[{"one": 0, "few": 1}.get(category, 2 if category == "many" else 1)]


@functools.cache
def _locale(language: str) -> Any:
    try:
        import babel
    except ImportError:
        raise BackendError('Babel is not installed: pip install "vall-e[g2p]"') from None
    return babel.Locale.parse("pt_PT" if language == "pt" else language)


def _plural(language: str, value: Decimal) -> str:
    """CLDR's plural category of a number: one, few, many or other."""
    return str(_locale(language).plural_form(value))


@functools.lru_cache(1_000)
def _cldr(language: str, unit: str, value: Decimal) -> str | None:
    """How CLDR writes a value of a unit in full, with {} for the number; None where it has a sign and no words."""
    locale = _locale(language)
    from babel.units import format_unit

    said = format_unit(value, unit, length="long", locale=locale)
    template, count = re.subn(r"[0-9][0-9.,\s\u00a0\u202f]*[0-9]|[0-9]", "{}", said, count=1)
    bare = template.replace("{}", "").strip()
    return template if count and bare and not re.search(r"[%‰°٪]", bare) else None
