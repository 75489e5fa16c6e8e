"""One language's way through a text: each kind of number and sign in turn, put into words or refused."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from decimal import Decimal

from vall_e.emb.text import numerals
from vall_e.emb.text.base import Unspoken
from vall_e.emb.text.clock import CLOCKS
from vall_e.emb.text.ordinals import read_roman, read_written_ordinals
from vall_e.emb.text.spoken_words import WORDS

_DASHES = "-‐‑‒–—−~〜～∼"
_RANGE = "[-‐‑‒–—~〜～∼]"
_MINUS = "[-−‐‑–]"
_SPACES = " \u00a0\u2009\u202f"
_DOTTED = re.compile(r"(?<![\w.])((?:[\w-]+\.)*[\w-]*[^\W\d_][\w-]*)?\.([^\W\d_][\w-]*(?:\.[\w-]+)*)(?![\w])")
_INITIALS = re.compile(
    r"(?<![\w.])((?:[^\W\d_]\.){2,}(?:[^\W\d_](?![\w.]))?|(?:[A-ZÀ-Þ]\.\s?){2,}(?=\s?[A-ZÀ-Þ][a-zà-ÿ]))"
)
_ADDRESS_ENDS = frozenset(
    [
        "com",
        "org",
        "net",
        "edu",
        "gov",
        "io",
        "ai",
        "de",
        "fr",
        "es",
        "it",
        "pt",
        "ru",
        "nl",
        "pl",
        "dk",
        "no",
        "se",
        "tr",
        "ua",
        "jp",
        "cn",
        "kr",
        "uk",
        "eu",
        "tv",
        "co",
        "me",
        "info",
        "app",
        "dev",
        "js",
        "ts",
        "py",
        "rs",
        "cpp",
        "md",
        "txt",
        "csv",
        "json",
        "xml",
        "html",
        "css",
        "pdf",
        "exe",
        "zip",
        "mp3",
        "wav",
        "net",
    ]
)


class Reader:
    """One language's way through a text, kind by kind; what is left over of digits and signs has no reading."""

    def __init__(self, language: str) -> None:
        self.language = language
        self.words = w = WORDS[language]
        groups = "[" + re.escape(w.groups + (_SPACES if " " in w.groups else "")) + "]"
        self.number = rf"(?:[0-9]{{1,3}}(?:{groups}[0-9]{{3}})+|[0-9]+)(?:{re.escape(w.decimal)}[0-9]+)?"
        if language == "hi":  # lakh and crore: 1,00,000
            self.number = r"(?:[0-9]{1,2}(?:,[0-9]{2})*,[0-9]{3}|[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?"
        self.signed = rf"(?:(?<![\w.,])(?:{_MINUS}\s?))?{self.number}"

    def read(self, text: str) -> str:
        text = self._abbreviations(text)
        text = self._addresses(text)
        text = read_roman(text, self.language, self._fail)
        if any(char.isdigit() for char in text) or any(mark in text for mark in "~〜～∼№½⅓¼⅔¾$€£¥°℃%‰"):
            for step in (
                *(self._clock, self._dates, self._phones, self._money, self._ranges, self._units, self._number_signs),
                *(self._ordinals, self._fractions, self._glued, self._numbers),
            ):  # fmt: skip
                text = step(text)
        return rest(text, self.language)

    # ---- kinds, in the order in which they are looked for

    def _abbreviations(self, text: str) -> str:
        for written, spoken in self.words.abbreviations.items():
            if written.replace(".", "") not in text.replace(".", "").replace(" ", ""):
                continue
            source = text
            body = r"\.\s?".join(re.escape(part) for part in written.rstrip(".").split("."))
            dotted = written.endswith(".")
            end = r"\.(?![\w])" if dotted else r"\b(?!\.\w)"
            pattern = re.compile(rf"(?<![\w.]){body}{end}")

            def put(found: re.Match[str], *, spoken: str = spoken, dotted: bool = dotted, source: str = source) -> str:
                after = source[found.end() :].lstrip()
                last = dotted and (not after or after[0] in '"”)') and spoken not in _TITLES
                return spoken + ("." if last else "")

            text = pattern.sub(put, text)
        if self.language in ("en", "de", "fr", "es", "it", "pt", "nl"):
            text = _INITIALS.sub(lambda found: self._initials(found, text), text)
        return text

    def _initials(self, found: re.Match[str], text: str) -> str:
        """U.S. and J. R. R.: letters apart, without full stops, but for the one that ends the text."""
        letters = [part for part in found.group().replace(" ", "").split(".") if part]
        ends = not text[found.end() :].strip(' "”)')
        space = " " if found.group().endswith(" ") or text[found.end() : found.end() + 1].isalpha() else ""
        return " ".join(letter.upper() for letter in letters) + ("." if ends else space)

    def _addresses(self, text: str) -> str:
        dot = self.words.dot

        def put(found: re.Match[str]) -> str:
            before, after = found.group(1), found.group(2)
            parts = [*(before.split(".") if before else []), *after.split(".")]
            if parts[-1].lower() in _ADDRESS_ENDS or (not before and after.isupper()):
                if dot is None:
                    raise self._fail(found.group(), "address")
                said = f" {dot} ".join(parts)
                return said if before else f"{dot} {said}"
            if before and "." not in before + after and after[0].isupper() and before[-1].islower():
                return f"{before}. {after}"  # a space that was forgotten between two sentences
            raise self._fail(found.group(), "name or address with a full stop")

        return _DOTTED.sub(put, text)

    def _clock(self, text: str) -> str:
        clock = CLOCKS.get(self.language)

        def put(found: re.Match[str]) -> str:
            hour, minute = int(found.group(1)), int(found.group(2))
            said = clock(hour, minute) if clock and hour < 25 and minute < 60 else None
            if said is None:
                raise self._fail(found.group(), "time of day")
            return said

        if self.words.to is not None:
            time = "[0-9]{1,2}:[0-9]{2}"
            text = re.sub(rf"(?<![\w:.,/-])({time})\s?{_RANGE}\s?(?={time})", rf"\1 {self.words.to} ", text)
        end = {"de": r"(?:\s?Uhr\b)?", "nl": r"(?:\s?uur\b)?", "fr": r"(?:\s?h\b)?"}.get(self.language, "")
        text = re.sub(rf"(?<![\w:.,/-])([0-9]{{1,2}}):([0-9]{{2}})(?![0-9:]|[.,/-][0-9]){end}", put, text)
        if self.language == "fr":
            text = re.sub(r"(?<![\w:.,/-])([0-9]{1,2})\s?h\s?([0-9]{2})\b", put, text)
        return text

    def _dates(self, text: str) -> str:
        if self.language == "en":
            text = re.sub(r"(?<![\w/-])([0-9]{4})-([0-9]{2})-([0-9]{2})(?![\w/-])", self._iso_date, text)
            months = "|".join(self.words.months)
            text = re.sub(rf"\b({months})\s([0-9]{{1,2}})(?:st|nd|rd|th)?\b(?![:.,]?[0-9])(,?\s)?([12][0-9]{{3}}\b)?",
                          self._month_day, text)  # fmt: skip
            text = re.sub(rf"\b([0-9]{{1,2}})\s({months})\b", self._day_month, text)
            text = re.sub(r"\b([12][0-9]{2})0s\b", lambda found: self._decade(found.group(1) + "0"), text)
        elif self.language == "zh":
            text = re.sub(r"(?<![0-9])([0-9]{4})(?=年)", lambda f: "".join(_ZH_DIGITS[int(d)] for d in f.group()), text)
        elif self.language in ("ru", "uk", "pl"):
            text = self._slavic_dates(text)
        after = "|".join(self.words.years_after)
        if after:
            text = re.sub(
                rf"\b({after})\s([12][0-9]{{3}})(?![\w]|[.,:][0-9]|{_RANGE}[0-9]|\s?[%€£$°])",
                lambda found: f"{found.group(1)} {numerals.year(int(found.group(2)), self.language)}",
                text,
            )
            text = re.sub(rf"(?<![\w.,])([12][0-9]{{3}})\s?{_RANGE}\s?([12][0-9]{{3}})(?![\w.,]\w)", self._years, text)
        return text

    def _years(self, found: re.Match[str]) -> str:
        if self.words.to is None:
            raise self._fail(found.group(), "range")
        first, last = (numerals.year(int(value), self.language) for value in found.groups())
        return f"{first} {self.words.to} {last}"

    def _iso_date(self, found: re.Match[str]) -> str:
        year, month, day = (int(value) for value in found.groups())
        if not (1 <= month <= 12 and 1 <= day <= 31):
            raise self._fail(found.group(), "date")
        return f"{self.words.months[month - 1]} {numerals.ordinal(day, 'en')}, {numerals.year(year, 'en')}"

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

    def _phones(self, text: str) -> str:
        """Digit by digit: +49 30 1234567, 0123 456789, 555-123-4567, and what begins with 0, as 007."""

        def put(found: re.Match[str]) -> str:
            written = found.group()
            said = [self._digit(char) for char in written if char.isdigit()]
            plus = _PLUS.get(self.language)
            if written.startswith("+"):
                if plus is None:
                    raise self._fail(written, "phone number")
                said.insert(0, plus)
            return _spaced(" ".join(said), self.language)

        text = re.sub(r"(?<![\w.,])\+[0-9](?:[ ()/-]{0,2}[0-9]){6,14}(?![\w]|[.,][0-9])", put, text)
        text = re.sub(r"(?<![\w.,-])\(?[0-9]{3}\)?[ -][0-9]{3,4}-[0-9]{4}(?![\w-]|[.,][0-9])", put, text)
        return re.sub(r"(?<![\w.,:/٫٬])(?<![0-9][ \u00a0\u202f])0[0-9](?:[ /-]?[0-9])*(?![\w]|[.,:][0-9])", put, text)

    def _digit(self, char: str) -> str:
        return str(numerals.cardinal(int(char), self.language))

    def _money(self, text: str) -> str:
        signs = "".join(self.words.currencies)
        every = re.escape("$€£¥₹₩₽₺₴₫")
        if re.search(rf"[{every}]\s?{self.number}\s?{_RANGE}\s?[0-9]|[0-9]\s?{_RANGE}\s?[{every}]", text):
            raise self._fail(text, "range of amounts")
        if signs:
            sign = "[" + re.escape(signs) + "]"
            large = "|".join(_LARGE.get(self.language, ()))
            more = rf"(?:\s({large}))?" if large else "()"
            text = re.sub(
                rf"({_MINUS})?({sign})\s?({self.number}){more}(?![\w]|[.,][0-9])",
                lambda f: self._amount(f.group(3), f.group(2), f.group(4), f.group(1)), text,
            )  # fmt: skip
            text = re.sub(
                rf"(?<![\w.,])({_MINUS})?({self.number})\s?({sign})(?![\w])",
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
        return _spaced(f"{head}{self._one(written, sign)} {name}", self.language)

    def _one(self, written: str, sign: str) -> str:
        """The number before a currency: ein Euro, un euro, une livre."""
        if written == "1" and self.language in _ONE:
            return _ONE_POUND.get(self.language, _ONE[self.language]) if sign == "£" else _ONE[self.language]
        if written in _WITH_POUNDS.get(self.language, {}) and sign in "£₴":
            return _WITH_POUNDS[self.language][written]
        return self._decimal(written)

    def _units(self, text: str) -> str:
        """Percent, degrees and measures, as CLDR names them for the number that they follow."""
        spaces = f"[{_SPACES}]?"
        if self.language == "tr":
            percent = functools.partial(self._found_unit, unit="concentr-percent")
            text = re.sub(rf"%{spaces}({self.number})", percent, text)
        for pattern, unit in _UNITS:
            if self.language in ("ar",) and unit != "concentr-percent":
                continue
            put = functools.partial(self._found_unit, unit=unit)
            text = re.sub(rf"({self.signed}){spaces}(?:{pattern})(?![\w])", put, text)
        return text

    def _found_unit(self, found: re.Match[str], unit: str) -> str:
        return self._unit(found.group(1), unit)

    def _unit(self, written: str, unit: str) -> str:
        own = {"concentr-percent": self.words.percent, "temperature-celsius": self.words.celsius}.get(unit)
        minus = re.match(_MINUS, written)
        bare = re.sub(rf"^{_MINUS}\s?", "", written)
        value = self._value(bare)
        template = own or _cldr(self.language, unit, value)
        if template is None:
            raise self._fail(written, unit.partition("-")[2])
        said = self._decimal(bare)
        if bare == "1":
            said = _ONE.get(self.language, said)
        head = f"{self.words.minus} " if minus else ""
        return _spaced(template.replace("{}", f"{head}{said}"), self.language)

    def _number_signs(self, text: str) -> str:
        word = self.words.number_sign
        if "№" in text or re.search(r"\bN[°º]\s?[0-9]", text):
            if word is None:
                raise self._fail("№", "number sign")
            text = re.sub(r"№\s?(?=[0-9])|\bN[°º]\s?(?=[0-9])", f"{word} ", text)
        if self.language == "en":
            text = re.sub(r"\bNos?\.\s?(?=[0-9])", "number ", text)
        return text

    def _ordinals(self, text: str) -> str:
        return read_written_ordinals(text, self.language, self.words, self._fail)

    def _ranges(self, text: str) -> str:
        """10–20, 3〜5: the first number is read here, the second by what follows."""
        if re.search(rf"[0-9]\s?{_RANGE}\s?[0-9]+\s?{_RANGE}\s?[0-9]", text):
            raise self._fail(text, "numbers joined by dashes")
        pattern = rf"(?<![\w.,/])({_MINUS})?({self.number})(?:{_RANGE}|\s{_RANGE}\s)(?=[0-9])"

        def put(found: re.Match[str]) -> str:
            if self.words.to is None or found.group(1):
                raise self._fail(text[found.start() : found.end() + 6], "range")
            return _spaced(f"{self._decimal(found.group(2))} {self.words.to} ", self.language)

        text = re.sub(pattern, put, text)
        between = re.compile(r"(?<=[A-Za-z])[~〜～∼](?=[A-Za-z])")
        if between.search(text) and self.words.to is not None:
            text = re.sub(r"(?<![A-Za-z])([A-Za-z])[~〜～∼](?=[A-Za-z](?![A-Za-z]))", rf"\1 {self.words.to} ", text)
        return text

    def _fractions(self, text: str) -> str:
        def put(found: re.Match[str]) -> str:
            whole, sign = found.group(1), found.group(2)
            name = self.words.halves.get(sign)
            if name is None or (whole and self.language not in _AND_HALF):
                raise self._fail(found.group(), "fraction")
            if not whole:
                return name
            joined, half = _AND_HALF[self.language]
            if sign != "½":
                raise self._fail(found.group(), "fraction")
            return f"{self._whole(whole)} {joined} {half}"

        text = re.sub(r"(?<![\w.,])([0-9]+\s?)?([½⅓¼⅔¾⅕⅛])", put, text)
        if self.language == "en":
            text = re.sub(r"(?<![\w.,/-])([0-9]{1,2})/([0-9]{1,2})(?![\w/]|[.,][0-9])", self._english_fraction, text)
        return text

    def _english_fraction(self, found: re.Match[str]) -> str:
        over, under = int(found.group(1)), int(found.group(2))
        if not 1 <= over < under <= 10:
            raise self._fail(found.group(), "fraction or date")
        if under == 2:
            return "one half"
        name = "quarter" if under == 4 else str(numerals.ordinal(under, "en"))
        return f"{self._whole(str(over))} {name}{'s' if over > 1 else ''}"

    def _glued(self, text: str) -> str:
        """MP3, R2-D2, Apollo-11: up to two digits that stand against letters are words of their own."""
        if self.language in ("ko", "zh"):
            return text

        def put(found: re.Match[str]) -> str:
            pieces = re.split("([0-9]+)", found.group())
            if any(len(piece) > 2 for piece in pieces[1::2]):
                return found.group()
            pieces[::2] = [piece.strip("-") for piece in pieces[::2]]
            pieces[1::2] = [f" {self._whole(piece)} " for piece in pieces[1::2]]
            return re.sub(" +(-?) +", r"\1 ", "".join(pieces)).strip().replace(" -", "-")

        end = r"(?![\w°%/:-]|[.,][0-9])"
        text = re.sub(rf"(?<![\w.,:/-])(?=[A-Z-]*[0-9])(?=[0-9-]*[A-Z])[A-Z0-9]+(?:-[A-Z0-9]+)*{end}", put, text)
        text = re.sub(rf"(?<![\w.,:/-])[A-Z][a-z]{{1,9}}-?[0-9]+{end}", put, text)
        if found := re.search(r"[^\W\d_]'?[0-9]|[0-9][^\W\d_]", text):
            raise self._fail(_word_at(text, found.start()), "number against letters")
        return text

    def _numbers(self, text: str) -> str:
        counted = _COUNTED.get(self.language)
        if counted is not None:
            text = counted(text, self)

        def put(found: re.Match[str]) -> str:
            minus = f"{self.words.minus} " if found.group(1) else ""
            return _spaced(minus + self._decimal(found.group(2)), self.language)

        before, after = r"(?<![\w.,:/°])", r"(?![\w°]|[.,:/][0-9])"
        if self.language in ("ko", "zh"):
            before, after = r"(?<![0-9.,:/°])", r"(?![0-9°]|[.,:/][0-9])"
        lead = rf"(?:(?<![\w)])({_MINUS})\s?)?"
        return re.sub(rf"{lead}{before}({self.number}){after}", put, text)

    # ---- numbers

    def _value(self, written: str) -> Decimal:
        whole, _, decimals = written.partition(self.words.decimal)
        digits = re.sub("[^0-9]", "", whole)
        return Decimal(f"{digits}.{decimals}" if decimals else digits)

    def _whole(self, written: str) -> str:
        digits = re.sub("[^0-9]", "", written)
        said = numerals.cardinal(int(digits), self.language) if len(digits) < 16 else None
        if said is None:
            raise self._fail(written, "number")
        return said

    def _decimal(self, written: str) -> str:
        """3.14: the whole part, the mark's name, then digit by digit."""
        whole, _, decimals = written.partition(self.words.decimal)
        if not decimals:
            return self._whole(whole)
        if self.language == "ru":
            return self._russian_decimal(whole, decimals)
        digits = [self._digit(char) for char in decimals]
        return _spaced(" ".join([self._whole(whole), self.words.point, *digits]), self.language)

    def _russian_decimal(self, whole: str, decimals: str) -> str:
        if len(decimals) > 3:
            raise self._fail(f"{whole},{decimals}", "decimal number")
        return str(numerals._num2words(Decimal(f"{re.sub('[^0-9]', '', whole)}.{decimals}"), "ru", "cardinal"))  # type: ignore[arg-type]

    def _form(self, names: str, value: Decimal) -> str:
        """The name that goes with a number, of "one|few|many" or "one|other"."""
        forms = names.split("|")
        if len(forms) == 1:
            return forms[0]
        category = _plural(self.language, value)
        if len(forms) == 2:
            return forms[0] if category == "one" else forms[1]
        return forms[{"one": 0, "few": 1}.get(category, 2 if category == "many" else 1)]

    def _fail(self, part: str, kind: str) -> Unspoken:
        return Unspoken(part if len(part) <= 40 else part[:40] + "…", kind, self.language)


def rest(text: str, language: str) -> str:
    """What no kind took: digits have no reading, a lone wave dash says nothing.

    Raises:
        Unspoken: digits or signs are left.
    """
    if found := re.search(r"[0-9]", text):
        raise Unspoken(_word_at(text, found.start()), "number", language)
    text = re.sub(r"\s?[~〜～∼]+(?=\s|$|[.,!?。、])", "", text)
    if found := re.search(r"[~〜～∼№℃℉°‰%½⅓¼⅔¾⅕⅛]", text):
        raise Unspoken(_word_at(text, found.start()), "sign", language)
    return text


def only_whole(text: str, language: str) -> str:
    """Languages whose signs are not in the tables: whole numbers where those are known, else nothing with a digit.

    Raises:
        Unspoken: a number of another kind, or any number of a language that is not known.
    """

    def put(found: re.Match[str]) -> str:
        said = numerals.cardinal(int(found.group()), language)
        if said is None:
            raise Unspoken(found.group(), "number", language)
        return said

    if numerals.is_known(language):
        before, after = r"(?<![\w.,:/°$€£¥№–~-])", r"(?![\w°%‰]|[.,:/–~-][0-9]|\s?[%‰°€$£]|\.\s\w)"
        text = re.sub(rf"{before}(?:0|[1-9][0-9]{{0,8}}){after}", put, text)
    return rest(text, language)


_TITLES = frozenset(("Doctor", "Mister", "Missis", "Miz", "Professor", "Doktor"))
_ZH_DIGITS = "零一二三四五六七八九"
_PLUS = {"en": "plus", "de": "plus", "fr": "plus", "es": "más", "it": "più", "pt": "mais", "nl": "plus", "sv": "plus",
         "da": "plus", "nb": "pluss", "ru": "плюс", "uk": "плюс", "pl": "plus", "tr": "artı"}  # fmt: skip
_LARGE = {
    "en": ("thousand", "million", "billion", "trillion"),
    "de": ("Millionen", "Milliarden"),
    "nl": ("miljoen", "miljard"),
    "da": ("millioner", "milliarder"),
    "nb": ("millioner", "milliarder"),
    "sv": ("miljoner", "miljarder"),
}
_CENTS = frozenset(("en", "de", "fr", "nl"))
_ONE = {"de": "ein", "es": "un", "nl": "één", "it": "un", "da": "en", "sv": "en"}
_ONE_POUND = {"fr": "une", "es": "una", "it": "una", "pt": "uma", "de": "ein", "da": "et", "sv": "ett"}
_ONE |= {"fr": "un", "pt": "um"}
_WITH_POUNDS = {"pt": {"2": "duas"}, "uk": {}}
_AND_HALF = {
    "en": ("and", "a half"),
    "es": ("y", "medio"),
    "it": ("e", "mezzo"),
    "pt": ("e", "meio"),
    "fr": ("et", "demi"),
}
_UNITS = (
    (r"%", "concentr-percent"),
    (r"°\s?C|℃", "temperature-celsius"),
    (r"°\s?F|℉", "temperature-fahrenheit"),
    (r"°", "angle-degree"),
    (r"km/h", "speed-kilometer-per-hour"),
    (r"km", "length-kilometer"),
    (r"cm", "length-centimeter"),
    (r"mm", "length-millimeter"),
    (r"kg", "mass-kilogram"),
    (r"mg", "mass-milligram"),
    (r"ml", "volume-milliliter"),
)


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


def _spaced(text: str, language: str) -> str:
    """Chinese writes no spaces between words."""
    return text.replace(" ", "") if language == "zh" else text


def _word_at(text: str, place: int) -> str:
    start = text.rfind(" ", 0, place) + 1
    end = text.find(" ", place)
    return text[start : end if end >= 0 else len(text)]


@functools.cache
def _locale(language: str) -> object:
    try:
        import babel
    except ImportError:
        from vall_e.types import BackendError

        raise BackendError('Babel is not installed: pip install "vall-e[g2p]"') from None
    return babel.Locale.parse("pt_PT" if language == "pt" else language)


def _plural(language: str, value: Decimal) -> str:
    return str(_locale(language).plural_form(value))  # type: ignore[attr-defined]


@functools.lru_cache(1_000)
def _cldr(language: str, unit: str, value: Decimal) -> str | None:
    """How CLDR writes a value of a unit in full, with {} for the number; None where it has a sign and no words."""
    _locale(language)
    from babel.units import format_unit

    said = format_unit(value, unit, length="long", locale="pt_PT" if language == "pt" else language)
    template, count = re.subn(r"[0-9][0-9.,\s\u00a0\u202f]*[0-9]|[0-9]", "{}", said, count=1)
    bare = template.replace("{}", "").strip()
    return template if count and bare and not re.search(r"[%‰°٪]", bare) else None


def _korean(text: str, reader: Reader) -> str:
    from vall_e.emb.text.counted import korean

    return korean(text, reader._fail)


def _mandarin(text: str, reader: Reader) -> str:
    from vall_e.emb.text.counted import mandarin

    return mandarin(text, reader._fail)


_COUNTED: dict[str, Callable[[str, Reader], str]] = {"ko": _korean, "zh": _mandarin}
