"""Japanese kanji → hiragana, by pykakasi, so that espeak's Japanese voice has something it can read.

pykakasi is given runs of Japanese characters only: between other characters it drops or repeats its neighbours
("a", line break, "b" gives "a", "", "ab"). A kanji it has no reading for, which it would drop, stays as it is: the
voice can't read it either, and so it is found to be lost.
"""

from __future__ import annotations

import re
import unicodedata
from importlib import metadata
from typing import Any, Protocol

from vall_e.emb.text.counters import read_number
from vall_e.types import BackendError

_KANA = "\u3041-\u3096\u3099\u309a\u309d\u309e\u30a1-\u30fa\u30fc-\u30fe"
_HAN = "\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
_JAPANESE = re.compile(rf"[{_KANA}{_HAN}]+")
_HAN_RE = re.compile(rf"[{_HAN}]")
_CONTENT = re.compile(rf"[{_HAN}\u30a1-\u30fa]")  # a word that begins with kanji or katakana begins a phrase
_NUMBER = re.compile(rf"([0-9]{{1,3}}(?:,[0-9]{{3}})+|[0-9]+)(?:\.([0-9]+))?([{_HAN}]?)")
_AFTER_WORD = re.compile(f"[{_KANA}] ?$")
_AFTER_OPENING = re.compile(r"(?<=[“(\[]) ")
_ZERO_YEAR = re.compile("[一二三四五六七八九〇]*〇[一二三四五六七八九〇]*")
_MONTHS = re.compile("(?<=[0-9一二三四五六七八九十数何])[ヶケヵカ]月")

_DIGITS = "〇一二三四五六七八九"
_READINGS = ("ぜろ", "いち", "に", "さん", "よん", "ご", "ろく", "なな", "はち", "きゅう")
_COUNTERS = {"日": "にち", "人": "にん", "月": "がつ", "年": "ねん", "分": "ふん"}  # what pykakasi reads as nouns
# Particles are written with one kana and said with another. Only alone after a kanji or katakana word
# can they be told from a syllable of a word.
_VOWELS = {"A": "あ", "I": "い", "U": "う", "E": "え", "O": "お", "N": "ん"}  # by the last letter of a kana's name
_SMALL = dict(zip("ぁぃぅぇぉゃゅょ", "あいうえおやゆよ", strict=True))
_FOREIGN = frozenset(("てぃ", "でぃ", "とぅ", "どぅ", "てゅ", "でゅ", "ふゃ", "ふゅ", "ふょ", "ゔゃ", "ゔゅ", "ゔょ"))
_OLD = {"ヷ": "ゔぁ", "ヸ": "ゔぃ", "ヹ": "ゔぇ", "ヺ": "ゔぉ"}  # of which espeak leaves out the v
# espeak's rules have no word in which these meet: it spells all of it ("Japanese letter"), or leaves a sound out
_APART = re.compile("(?<=っ)(?=[あいうえおっやゆよゎわゐゑをんゔ])|(?<=[うくぐすずつづぬふぶぷむゆゅるんゔぅ])(?=ゔ)")
_UNUSUAL = re.compile("[ーぁぃぅぇぉっゔヷ-ヺ]|(?<![きぎしじちぢにひびぴみり])[ゃゅょ]")
_PARTICLES = {"は": "わ", "へ": "え", "へは": "えわ", "には": "にわ", "では": "でわ", "とは": "とわ"}


class Reader(Protocol):
    """What knows the readings of kanji. `version` names the library and its number."""

    version: str

    def read(self, run: str, after_word: bool) -> str:
        """Hiragana of a run of Japanese characters, words that begin with kanji or katakana behind a space.

        Args:
            run: kanji and kana, nothing else.
            after_word: whether a word stands before the run, so that a leading は is a particle.
        """


class Kana:
    """Japanese text → hiragana, phrases set apart by spaces. All other characters stay where they are."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def convert(self, text: str) -> str:
        """Kanji, and the particles は and へ, as they are said. Digits too, where the text was not normalised."""
        text = _ZERO_YEAR.sub(lambda run: "".join(str(_DIGITS.index(digit)) for digit in run.group()), text)
        text = _MONTHS.sub("かげつ", text)
        text = _NUMBER.sub(self._number, text)
        text = " ".join(_JAPANESE.sub(self._read, text).split())
        return _AFTER_OPENING.sub("", spell_out(text))

    def _read(self, found: re.Match[str]) -> str:
        return self._run(found.group(), bool(_AFTER_WORD.search(found.string[: found.start()])))

    def _run(self, run: str, after_word: bool = False) -> str:
        """Hiragana of a run of Japanese characters; a kanji that has no reading stays."""
        return self._reader.read(run, after_word).replace("ゖ", "が").replace("ゕ", "か")

    def _number(self, found: re.Match[str]) -> str:
        """A number with its counter, apart from what follows: 四月一日 as a whole is a surname, わたぬき."""
        digits, decimals, counter = found.group(1).replace(",", ""), found.group(2), found.group(3)
        if len(digits) > 16 or (len(digits) > 1 and digits[0] == "0"):
            words = " ".join(_READINGS[int(digit)] for digit in digits)
        elif counter and decimals is None and digits != "0":
            return f" {self._counted(int(digits), counter)} "
        else:
            words = read_number(int(digits))
        if decimals is not None:
            words += " てん " + " ".join(_READINGS[int(digit)] for digit in decimals)
        return f" {words} {counter}"

    def _counted(self, value: int, counter: str) -> str:
        tens, ones = divmod(value, 10)
        noun = _COUNTERS.get(counter) or self._run(counter).strip()
        if value < 10 or value in (10, 20):
            # ひとり, ふつか, はたち: words of their own, where pykakasi has them
            words = self._run(("", "十", "二十")[tens] + (_DIGITS[ones] if ones else "") + counter).strip()
            return f"{read_number(value)} {noun}" if " " in words else words
        if ones > 2 and counter != "日":  # よねん, ろっぽん; but にじゅういちにん
            return f"{read_number(tens * 10)} {self._counted(ones, counter)}"
        return f"{read_number(value)} {noun}"


class Pykakasi:
    """Readings by pykakasi (https://codeberg.org/miurahr/pykakasi)."""

    def __init__(self) -> None:
        """Raises BackendError where pykakasi is missing."""
        try:
            import pykakasi
        except ImportError:
            raise BackendError('Japanese needs pykakasi, which is not installed: pip install "vall-e[g2p]"') from None
        self._kakasi: Any = pykakasi.kakasi()
        self.version = f"pykakasi {metadata.version('pykakasi')}"

    def read(self, run: str, after_word: bool) -> str:
        phrases: list[str] = []
        while run:
            done, complete = self._words(run, phrases, after_word)
            if complete:
                break
            # pykakasi swallows the character after a kanji it doesn't know, so it starts again there
            phrases.append(f" {run[done]}")
            run = run[done + 1 :]
            after_word = False
        return "".join(phrases)

    def _words(self, run: str, phrases: list[str], after_content: bool) -> tuple[int, bool]:
        """Appends readings up to the first unknown kanji: how many characters were read, and whether that was all."""
        beyond = re.search("[\U00010000-\U0010ffff]", run)  # dropped by pykakasi, whatever it is
        known = run[: beyond.start()] if beyond else run
        done = 0
        for item in self._kakasi.convert(known):
            word, reading = item["orig"], item["hira"]
            if word and not reading:
                return done, False
            content = bool(_CONTENT.match(word))
            reading = _PARTICLES.get(word, reading) if after_content else reading
            phrases.append(f" {reading}" if content else reading)
            after_content = content
            done += len(word)
        return done, beyond is None


def spell_out(text: str) -> str:
    """Small vowels and long marks written as full vowels where espeak would not read them: ねぇー → ねええ, ぁ → あ.

    A small kana stays where it makes one syllable with the kana before (ふぁ, きゃ), a long mark where it follows any
    kana but a second vowel (カー, えー). One that follows no vowel at all (at the start, after っ) stays, and is lost.
    """
    if not _UNUSUAL.search(text):
        return text
    text = "".join(_OLD.get(char, char) for char in text)
    out: list[str] = []
    for char in text:
        before = out[-1] if out else ""
        vowel = _vowel(before)
        if char in _SMALL:
            combining = ("い",) if char in "ゃゅょ" else ("い", "う")
            combines = (vowel in combining and vowel != _SMALL[char]) or before + char in _FOREIGN
            char = char if combines else _SMALL[char]
        elif char == "ー" and before == "ー" and len(out) > 1:
            char = _vowel(out[-2]) or char
        elif char == "ー" and (before == "ん" or (before in _SMALL.values() and len(out) > 1 and _is_kana(out[-2]))):
            char = vowel
        out.append(char)
    return _APART.sub(" ", "".join(out))


def _vowel(kana: str) -> str:
    """The vowel that a kana ends in, ん for itself; empty for っ and for what is no kana."""
    name = unicodedata.name(kana, "") if kana else ""
    if not name.startswith(("HIRAGANA LETTER", "KATAKANA LETTER")) or name.endswith("SMALL TU"):
        return ""
    return _VOWELS.get(name[-1], "")


def _is_kana(char: str) -> bool:
    return re.fullmatch(f"[{_KANA}]", char) is not None
