"""What the readers of numbers share: one language's way to write a number, and the number in words."""

from __future__ import annotations

import re
from decimal import Decimal

from vall_e.emb.text import numerals
from vall_e.emb.text.base import Unspoken
from vall_e.emb.text.spoken_words import WORDS

RANGE = "[-‐‑‒–—~〜～∼]"
MINUS = "[-−‐‑–]"
SPACES = " \u00a0\u2009\u202f"


class Numbers:
    """One language: what its numbers look like (`number`, `signed`, patterns), and their words."""

    def __init__(self, language: str) -> None:
        self.language = language
        self.words = w = WORDS[language]
        groups = "[" + re.escape(w.groups + (SPACES if " " in w.groups else "")) + "]"
        self.number = rf"(?:[0-9]{{1,3}}(?:{groups}[0-9]{{3}})+|[0-9]+)(?:{re.escape(w.decimal)}[0-9]+)?"
        if language == "hi":  # lakh and crore: 1,00,000
            self.number = r"(?:[0-9]{1,2}(?:,[0-9]{2})*,[0-9]{3}|[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?"
        self.signed = rf"(?:(?<![\w.,])(?:{MINUS}\s?))?{self.number}"

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

    def _digit(self, char: str) -> str:
        return str(numerals.cardinal(int(char), self.language))

    def _decimal(self, written: str) -> str:
        """3.14: the whole part, the mark's name, then digit by digit."""
        whole, _, decimals = written.partition(self.words.decimal)
        if not decimals:
            return self._whole(whole)
        if self.language == "ru":
            return self._russian_decimal(whole, decimals)
        digits = [self._digit(char) for char in decimals]
        return spaced(" ".join([self._whole(whole), self.words.point, *digits]), self.language)

    def _russian_decimal(self, whole: str, decimals: str) -> str:
        if len(decimals) > 3:
            raise self._fail(f"{whole},{decimals}", "decimal number")
        return numerals.russian_decimal(Decimal(f"{re.sub('[^0-9]', '', whole)}.{decimals}"))

    def _fail(self, part: str, kind: str) -> Unspoken:
        return Unspoken(part if len(part) <= 40 else part[:40] + "…", kind, self.language)


def spaced(text: str, language: str) -> str:
    """Chinese writes no spaces between words."""
    return text.replace(" ", "") if language == "zh" else text


def word_at(text: str, place: int) -> str:
    start = text.rfind(" ", 0, place) + 1
    end = text.find(" ", place)
    return text[start : end if end >= 0 else len(text)]
