"""One language's way through a text: each kind of number and sign in turn, put into words or refused."""

from __future__ import annotations

import re
from collections.abc import Callable

from vall_e.emb.text import counted, numerals, slavic
from vall_e.emb.text.base import Fail, Unspoken
from vall_e.emb.text.ordinals import read_roman, read_written_ordinals
from vall_e.emb.text.spoken_dates import Dates
from vall_e.emb.text.spoken_measures import Measures
from vall_e.emb.text.spoken_numbers import MINUS, RANGE, SPACES, Numbers, spaced, word_at

_DOTTED = re.compile(r"(?<![\w.])((?:[\w-]+\.)*[\w-]*[^\W\d_][\w-]*)?\.([^\W\d_][\w-]*(?:\.[\w-]+)*)(?![\w])")
_INITIALS = re.compile(
    r"(?<![\w.])((?:[^\W\d_]\.){2,}(?:[^\W\d_](?![\w.]))?|(?:[A-ZÀ-Þ]\.\s?){2,}(?=\s?[A-ZÀ-Þ][a-zà-ÿ]))"
)
_ADDRESS_ENDS_WORDS = """
com org net edu gov io ai de fr es it pt ru nl pl dk no se tr ua jp cn kr uk eu tv co me info app
dev js ts py rs cpp md txt csv json xml html css pdf exe zip mp3 wav
"""
_ADDRESS_ENDS = frozenset(_ADDRESS_ENDS_WORDS.split())
_TITLES = frozenset(("Doctor", "Mister", "Missis", "Miz", "Professor", "Doktor"))
_AND_HALF = {
    "en": ("and", "a half"),
    "es": ("y", "medio"),
    "it": ("e", "mezzo"),
    "pt": ("e", "meio"),
    "fr": ("et", "demi"),
}
_WITH_INITIALS = frozenset(("en", "de", "fr", "es", "it", "pt", "nl"))
_MEASURED = re.compile("[′″^]|(?<=[0-9])'(?=[0-9])")
_LEFT = re.compile("[0-9~〜～∼№℃℉°‰%½⅓¼⅔¾⅕⅛]")
_SIGNS = re.compile("[0-9~〜～∼№½⅓¼⅔¾⅕⅛$€£¥₹₩₽₺₴₫°℃℉%‰]")
_COUNTED: dict[str, Callable[[str, Fail], str]] = {
    "ko": counted.korean,
    "zh": counted.mandarin,
}


class Reader(Numbers):
    """All kinds, in the order in which they are looked for; what is left over of digits and signs has no reading."""

    def __init__(self, language: str) -> None:
        super().__init__(language)
        self._measures, self._dates = Measures(language), Dates(language)
        self._short = {_key(written): spoken for written, spoken in self.words.abbreviations.items()}
        forms = sorted(self.words.abbreviations, key=len, reverse=True)
        self._steps: list[tuple[re.Pattern[str], Callable[[str], str]]] = [
            (re.compile(sign), step)
            for sign, step in (
                (r"[0-9](?::|\s?h)", self._dates.clock),
                (r"[0-9]", self._dates.dates),
                (r"\+[0-9]|0[0-9]|[0-9]{3}", self._dates.phones),
                (r"[$€£¥₹₩₽₺₴₫]", self._measures.money),
                (RANGE, self._ranges),
                (rf"[%°℃℉]|[0-9][{SPACES}]?[kcm]", self._measures.units),
                (r"№|#|\bN[°ºo]", self._number_signs),
                (r"[0-9]", self._ordinals),
                (r"[½⅓¼⅔¾⅕⅛/]", self._fractions),
                (r"[^\W\d_]['-]?[0-9]|[0-9]-?[^\W\d_]", self._glued),
                (r"[0-9]", self._numbers),
            )
        ]
        self._short_form = re.compile(rf"(?<![\w.])(?:{'|'.join(map(_short_pattern, forms))})") if forms else None

    def read(self, text: str) -> str:
        """The text in words.

        Raises:
            Unspoken: a number or sign without a sure reading.
        """
        if found := _MEASURED.search(text):
            raise self._fail(word_at(text, found.start()), "feet, minutes or a power")
        if self._short_form is not None:
            text = self._short_form.sub(lambda found: self._in_full(found, text), text)
        if "." in text[:-1]:
            if self.language in _WITH_INITIALS:
                text = _INITIALS.sub(lambda found: self._initials(found, text), text)
            text = self._addresses(text)
        text = read_roman(text, self.language, self._fail)
        if self.language in slavic.LANGUAGES:
            part = slavic.oblique(self.language, text, self.words.months)
            if part is not None:
                raise self._fail(part, "number in another case")
        if _SIGNS.search(text):
            for sign, step in self._steps:
                if sign.search(text):  # what a step looks for has one of these in it
                    text = step(text)
        return rest(text, self.language)

    def _in_full(self, found: re.Match[str], text: str) -> str:
        """A short form in full; the full stop that ends the sentence too stays."""
        spoken = self._short[_key(found.group())]
        after = text[found.end() :].lstrip()
        last = found.group().endswith(".") and (not after or after[0] in '"”)') and spoken not in _TITLES
        return spoken + ("." if last else "")

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

    def _number_signs(self, text: str) -> str:
        word = self.words.number_sign
        if "№" in text or re.search(r"\bN[°º]\s?[0-9]", text):
            if word is None:
                raise self._fail("№", "number sign")
            text = re.sub(r"№\s?(?=[0-9])|\bN[°º]\s?(?=[0-9])", f"{word} ", text)
        if self.language == "en":
            text = re.sub(r"\bNos?\.\s?(?=[0-9])|(?<!\w)#(?=[0-9])", "number ", text)
        return text

    def _ordinals(self, text: str) -> str:
        return read_written_ordinals(text, self.language, self.words, self._fail)

    def _ranges(self, text: str) -> str:
        """10–20, 3〜5: the first number is read here, the second by what follows."""
        if re.search(rf"[0-9]\s?{RANGE}\s?[0-9]+\s?{RANGE}\s?[0-9]", text):
            raise self._fail(text, "numbers joined by dashes")
        pattern = rf"(?<![\w.,/])({MINUS})?({self.number})(?:{RANGE}|\s{RANGE}\s)(?=[0-9])"

        def put(found: re.Match[str]) -> str:
            if self.words.to is None or found.group(1):
                raise self._fail(text[found.start() : found.end() + 6], "range")
            return spaced(f"{self._decimal(found.group(2))} {self.words.to} ", self.language)

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
            raise self._fail(word_at(text, found.start()), "number against letters")
        return text

    def _numbers(self, text: str) -> str:
        read_counted = _COUNTED.get(self.language)
        if read_counted is not None:
            text = read_counted(text, self._fail)

        def put(found: re.Match[str]) -> str:
            digits = re.sub("[^0-9]", "", found.group(2))
            if self.language in slavic.LANGUAGES and self.words.decimal not in found.group(2):
                problem = slavic.problem(self.language, digits, text[found.end() :])
                if problem is not None:
                    raise self._fail(text[found.start() : found.end() + 12].strip(), problem)
            minus = f"{self.words.minus} " if found.group(1) else ""
            return spaced(minus + self._decimal(found.group(2)), self.language)

        before, after = r"(?<![\w.,:/°])", r"(?![\w°]|[.,:/][0-9])"
        if self.language in ("ko", "zh"):
            before, after = r"(?<![0-9.,:/°])", r"(?![0-9°]|[.,:/][0-9])"
        lead = rf"(?:(?<![\w)])({MINUS})\s?)?"
        return re.sub(rf"{lead}{before}({self.number}){after}", put, text)


def _key(written: str) -> str:
    return re.sub(r"\s", "", written)


def _short_pattern(written: str) -> str:
    """A short form with or without spaces after its full stops, and not as the beginning of a word."""
    body = r"\.\s?".join(re.escape(part) for part in written.rstrip(".").split("."))
    return body + (r"\.(?!\w)" if written.endswith(".") else r"\b(?!\.\w)")


def rest(text: str, language: str) -> str:
    """What no kind took: digits have no reading, a lone wave dash says nothing.

    Raises:
        Unspoken: digits or signs are left.
    """
    if not _LEFT.search(text):
        return text
    if found := re.search(r"[0-9]", text):
        raise Unspoken(word_at(text, found.start()), "number", language)
    text = re.sub(r"\s?[~〜～∼]+(?=\s|$|[.,!?。、])", "", text)
    if found := re.search(r"[~〜～∼№℃℉°‰%½⅓¼⅔¾⅕⅛]", text):
        raise Unspoken(word_at(text, found.start()), "sign", language)
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
