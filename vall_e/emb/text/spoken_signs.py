"""Signs that are words: + & = @ and their like in the words of a language; a sign without a sure word is refused.

espeak reads every sign that it knows, at times in English ("asterisk" in a Chinese sentence), and leaves out others.
The words are the language's own names of the signs of arithmetic, of the word "and", and of the sign in addresses.
"""

from __future__ import annotations

import functools
import re
import sys
import unicodedata

from vall_e.emb.text.base import Unspoken
from vall_e.emb.text.normalise import REPLACEMENT
from vall_e.emb.text.spoken_numbers import word_at

_ROWS = """
en  + plus    & and  = equals         @ at           § section  ÷ divided_by     ± plus_or_minus  ♯ sharp  ♭ flat
de  + plus    & und  = gleich         @ at           § Paragraph  ÷ geteilt_durch  ± plus_minus
fr  + plus    & et   = égale          @ arobase      ÷ divisé_par  ± plus_ou_moins
es  + más     & y    = igual_a        @ arroba       ÷ dividido_por  ± más_menos
it  + più     & e    = uguale         @ chiocciola   ÷ diviso  ± più_o_meno
pt  + mais    & e    = igual_a        @ arroba       ÷ dividido_por  ± mais_ou_menos
nl  + plus    & en   ± plus_minus
ru  + плюс    & и    = равно          @ собака       ± плюс-минус
uk  + плюс    & і    = дорівнює       ± плюс-мінус
pl  + plus    & i    = równa_się      @ małpa        ± plus_minus
da  + plus    & og
nb  + pluss   & og
sv  + plus    & och  @ snabel-a
tr  + artı    & ve   = eşittir
vi  + cộng    & và   = bằng
hi  & और      = बराबर
ar  + زائد
zh  + 加      & 和   = 等于
ja  + プラス  & アンド  = イコール  @ アットマーク  ♯ シャープ  ♭ フラット
"""
SIGNS: dict[str, dict[str, str]] = {
    language: {sign: word.replace("_", " ") for sign, word in zip(cells[::2], cells[1::2], strict=True)}
    for language, *cells in map(str.split, _ROWS.strip().splitlines())
}
_MARKED = re.compile(r"(?<!\w)([*_]{1,3})(?=[^\s*_])([^*_]+)(?<=[^\s*_])\1(?!\w)")  # *so* and _so_: emphasis, silent
_NEITHER = {"en": ("and", "or"), "de": ("und", "oder"), "es": ("y", "o"), "nl": ("en", "of"), "it": ("e", "o"),
            "fr": ("et", "ou"), "pt": ("e", "ou")}  # fmt: skip
# A hyphen for a dash, for which Ukrainian and Greek voices say "minus"
_DASH = re.compile(r"(?:(?<=\s)|^)-(?=\s|\w|$)|(?<=\w)-(?=\s|$)")
# Marks that voices read as words, of the categories that are punctuation; all of the symbols are refused
_SAID_MARKS = frozenset("#&*/@\\%_§¶†‡•‣‰‱‼⁇⁈⁉※〰〽")
_OTHERS = frozenset("[{<·-‐‑–⁓")  # further characters that there is something to do about
_BRACKETED = re.compile(r"\[[^\]]*\]|\{[^}]*\}|<[^>]*>")


def read_signs(text: str, language: str) -> str:
    """A text whose signs are words; numbers and what belongs to them were read before.

    Raises:
        Unspoken: a sign that has no sure word in this language, or a remark in brackets.
    """
    if _refused().isdisjoint(text) and _OTHERS.isdisjoint(text):
        return text
    text = _MARKED.sub(r"\2", text)
    if language in _NEITHER:
        first, second = _NEITHER[language]
        text = re.sub(rf"\b({first})/({second})\b", r"\1 \2", text, flags=re.IGNORECASE)
    text = _DASH.sub("—", text)
    if language != "ca":  # where it belongs to a letter
        text = text.replace("·", " ")
    if language == "ja":  # its readers take them for the mark of a long vowel
        text = re.sub("[‐‑]", " ", re.sub("[–⁓]", "—", text))
    for sign, word in SIGNS.get(language, {}).items():
        if sign in text:
            text = re.sub(rf"\s*{re.escape(sign)}\s*", word if language == "zh" else f" {word} ", text)
            text = re.sub(r" +(?=[.,!?;:)” ])", "", text).strip()
    if found := _BRACKETED.search(text):
        raise Unspoken(found.group()[:40], "remark in brackets", language)
    if not _refused().isdisjoint(text):
        place = next(place for place, char in enumerate(text) if char in _refused())
        raise Unspoken(word_at(text, place)[:40], f"sign {text[place]}", language)
    return text


@functools.cache
def _refused() -> frozenset[str]:
    """Every symbol of Unicode, and the marks that voices read."""
    symbols = (chr(code) for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code))[0] == "S")
    return _SAID_MARKS.union(symbols) - {REPLACEMENT}
