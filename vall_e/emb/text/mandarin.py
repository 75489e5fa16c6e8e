"""What espeak's Mandarin voice reads as English letters, read by rule: syllables in -iong, and erhua (花儿).

espeak 1.52 knows no syllable xiong, qiong or jiong (兄, 穷, 炯), nor words whose 儿 joins the syllable before it, and
spells their pinyin in English. Such a reading has the flag "(en)" on a line that has Han characters only.

Duanmu, "The Phonology of Standard Chinese" (2nd ed., 2007), 2.5 on -iong and 9.5 on the [ɻ] of 儿: the codas -n and -i
give way to it, -ng leaves its nasality to the vowel, and i, ü and the vowels after sibilants take a schwa before it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

REMEMBERED_WORDS = 10_000
LONGEST_WORD = 6  # Han characters of a word in espeak's dictionary
_HAN = "\u3400-\u9fff"
_FOREIGN = re.compile(r"\((?!cmn)[a-z-]+\)")
_INITIALS = {"k_ʃ_ə_ŋ": "ɕ", "k_ɪ__ə_ŋ": "tɕh", "dʒ_ɪ__ə_ŋ": "tɕ"}  # how "xiong", "qiong", "jiong" are spelled
_TONE_NAMES = {"w_ˈɒ_n": "1", "t_ˈuː": "2", "θ_ɹ_ˈiː": "3", "f_ˈɔː_r": "4", "f_ˈaɪ_v": "5"}
_SYLLABLE = re.compile(rf"({'|'.join(_INITIALS)})_({'|'.join(_TONE_NAMES)})_ ?")
_SPELLED = re.compile(rf"\(en\)_((?:{_SYLLABLE.pattern})+)\(cmn\)_?")
_PHONE = re.compile("[^_| ]+")
_TOKEN = re.compile("[^_| ]+|(?<=[_|]) (?=[^ ])")
_LAST_SYLLABLE = re.compile(r"^(.*?)([^_ ]*)([1-5])((?:_[nŋ])?)_? *$", re.S)


class Known:
    """Phones of espeak's own notation in IPA, learnt from lines that were read in both.

    For Mandarin each has one form (409 of them in 20,000 lines), so a line whose phones are all known needs one reading
    instead of two. One that was seen in two forms is never used.
    """

    def __init__(self) -> None:
        self._ipa: dict[str, str] = {}  # empty for one that was seen in two forms
        self._words: dict[str, str] = {}

    def read(self, notation: str) -> str | None:
        """A line in IPA with its tones as digits, or None where it is not known in full."""
        words = [self._words.get(word) or self._word(word) for word in notation.split()]
        return None if "" in words else " ".join(words)

    def _word(self, word: str) -> str:
        """A word's phones, or nothing where one is not known."""
        phones = [self._ipa.get(phone) or "" for phone in _PHONE.findall(word)]
        if "" in phones:
            return ""
        if len(self._words) >= REMEMBERED_WORDS:
            self._words.clear()
        self._words[word] = "_".join(phones) + "_"
        return self._words[word]

    def learn(self, notation: str, ipa: str) -> None:
        """Takes in a line that was read in both, if it is all Mandarin."""
        if "(" in notation or "(" in ipa:
            return
        ours, theirs = _TOKEN.findall(ipa), _TOKEN.findall(notation)
        if len(ours) == len(theirs):
            for phone, form in zip(theirs, ours, strict=True):
                if self._ipa.setdefault(phone, form) != form:
                    self._ipa[phone] = ""
                    self._words.clear()


def is_foreign(ipa: str) -> bool:
    """Whether a part of espeak's line was read by another language's voice."""
    return bool(_FOREIGN.search(ipa))


def read_iong(ipa: str) -> str:
    """A line of espeak's with syllables in -iong as Mandarin has them; phones apart by "_", tones 1 to 5 as digits."""

    def put(found: re.Match[str]) -> str:
        syllables = _SYLLABLE.findall(found.group(1))
        return "_".join(f"{_INITIALS[initial]}_ˈionɡ{_TONE_NAMES[tone]}" for initial, tone in syllables) + "_"

    return _SPELLED.sub(put, ipa)


def erhua(line: str, raw: Callable[[str], str], read: Callable[[str], str]) -> str | None:
    """The reading of a line whose 儿 joins the syllable before it, or None where it has no such 儿.

    Args:
        line: the text.
        raw: text → espeak's line, which has a foreign flag where it failed.
        read: text → phones of a text without such a 儿.
    """
    places = [
        place for place in _suffixes(line) if any(is_foreign(raw(line[at : place + 1])) for at in _starts(line, place))
    ]
    if not places:
        return None
    out, begin = "", 0
    for place in places:
        before = read(line[begin:place])
        out += (" " if out else "") + rhotic(before)
        begin = place + 1
    rest = line[begin:]
    return f"{out} {read(rest)}" if rest.strip() else out


def spelled_word(line: str, read: Callable[[str], str]) -> tuple[int, int] | None:
    """(begin, end) of the shortest word of a line that is spelled in English as a whole, or None.

    Args:
        line: the text.
        read: text → espeak's line, after `read_iong`.
    """
    for length in range(1, LONGEST_WORD + 1):
        for found in re.finditer(f"(?=([{_HAN}]{{{length}}}))", line):
            if is_foreign(read(found.group(1))):
                return found.start(), found.start() + length
    return None


def _suffixes(line: str) -> list[int]:
    return [found.start() for found in re.finditer(f"(?<=[{_HAN}])儿", line)]


def _starts(line: str, place: int) -> list[int]:
    """Where words that end at `place` may begin: up to three characters before."""
    starts = []
    for at in range(place - 1, max(-1, place - 4), -1):
        if not re.match(f"[{_HAN}]", line[at]):
            break
        starts.append(at)
    return starts


def rhotic(phones: str) -> str:
    """Phones whose last syllable ends in the [ɻ] of 儿: xwˈɑ1 → xwˈɑɻ1, wˈa2n → wˈaɻ2."""
    found = _LAST_SYLLABLE.match(phones)
    if found is None:
        return phones
    head, vowel, tone, coda = found.groups()
    bare = re.sub("[ˈˌ]", "", vowel)
    if vowel.endswith("nɡ"):  # espeak writes -ong as one phone
        vowel, coda = vowel[:-2], "_ŋ"
    if coda == "_ŋ":
        vowel += "\u0303"
    elif bare in ("i̪", "ɨ"):
        vowel = vowel.replace(bare, "ə")
    elif bare in ("i", "y"):
        vowel += "ə"
    elif len(bare) > 1 and bare.endswith("i"):
        vowel = vowel[:-1]
    return f"{head}{vowel}ɻ{tone}_"
