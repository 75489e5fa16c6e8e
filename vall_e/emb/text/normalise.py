"""Text as a recogniser or a sidecar file gives it → text that a phonemizer reads as a person would.

Nothing here knows a language's sounds. Characters are brought to one spelling, what nobody says aloud is dropped, and
tokens are kept to a length that espeak reads to the end: past its internal buffers it drops the rest without a word
("ka" 100 times in one token comes out as 66 times).
"""

from __future__ import annotations

import re
import unicodedata
from unicodedata import east_asian_width

REPLACEMENT = "\ufffd"  # stands where a decoder lost something, so it counts as lost
# phonemizer's own default marks. A full stop or comma between two digits belongs to the number.
MARKS = ';:,.!?¡¿—…"«»“”(){}[]'
_ALWAYS = re.escape("".join(mark for mark in MARKS if mark not in ",."))
_MARK = rf"(?:[{_ALWAYS}]|(?<![0-9])[,.]|[,.](?![0-9]))"
MARKS_RE = re.compile(rf"(\s*(?:{_MARK}\s*)+)")

LONGEST_TOKEN = 48  # characters; espeak 1.52 starts to drop at 66 kana, 80 Thai or 132 Latin ones
LONGEST_WIDE = 150  # kanji, or letters of Hangul syllables, between marks; it starts to drop at 200 and 261
LONGEST_NUMBER = 24  # digits
_HAN_ONLY = re.compile("[\u3400-\u9fff]+")
_LONG_TOKEN = re.compile(rf"\S{{{LONGEST_TOKEN + 1},}}")
_LONG_NUMBER = re.compile(rf"[0-9]{{{LONGEST_NUMBER + 1},}}")
_NEVER_FIRST = frozenset("ぁぃぅぇぉっゃゅょゎゕゖんーァィゥェォッャュョヮヵヶン'’-")

# One mark per meaning. Those of scripts that write no space after a mark get one.
_SAME = {
    "、": ", ", "。": ". ", "，": ", ", "．": ".", "！": "! ", "？": "? ", "：": ": ", "；": "; ", "､": ", ", "｡": ". ",
    "「": "“", "」": "”", "『": "“", "』": "”", "｢": "“", "｣": "”", "〈": "“", "〉": "”", "《": "“", "》": "”",
    "„": "“", "‟": "“", "〝": "“", "〞": "”", "〟": "”", "【": "[", "】": "]", "〔": "[", "〕": "]",
    "⋯": "…", "‥": "…", "―": "—", "・": " ", "･": " ", "〜": "", "～": "", "،": ",", "؛": ";", "؟": "?", "۔": ".",
    "゛": "\u3099", "゜": "\u309a",  # which NFC joins to the kana before
    # accents used as apostrophes; a lone ` makes espeak's Vietnamese voices crash
    "`": "'", "´": "'",
    "।": ".", "॥": ".", "։": ".", "።": ". ", "၊": ", ", "။": ". ",
}  # fmt: skip
# Signs that a recogniser adds and nobody says: emoji, stars, arrows, music notes, boxes, trade marks; and braille,
# which overflows a buffer in espeak's Arabic voice.
_DECORATION = (
    *((0x2190, 0x21FF), (0x2300, 0x23FF), (0x2500, 0x27BF), (0x2800, 0x297F), (0x2B00, 0x2BFF)),
    *((0x1F000, 0x1FAFF), (0xA9, 0xA9), (0xAE, 0xAE), (0x2122, 0x2122)),
)
_SPOKEN_SYMBOLS = frozenset("♭♮♯")
_JOINERS = "\u200c\u200d"  # these shape letters in Persian and the scripts of India
_BEFORE_CLOSING = re.compile(r"(?<=[,.!?:;]) (?=[”)\]])")  # from the space that _SAME gives to 。 and its like
_STRAY_JOINER = re.compile(rf"(?<!\S)[{_JOINERS}]+|[{_JOINERS}]+(?!\S)")
_REWRITTEN = frozenset(("<wide>", "<narrow>", "<circle>", "<square>", "<font>"))


# Full-width marks inside numbers: １０：３０, ３．５, １，０００
_IN_NUMBER = re.compile(
    r"(?<=[0-9０-９])(?:：(?=[0-9０-９]{2}(?![0-9０-９]))|．(?=[0-9０-９])|，(?=[0-9０-９]{3}(?![0-9０-９])))"
)
_PLAIN = {"：": ":", "．": ".", "，": ","}


class _Table(dict[int, str]):
    """For `str.translate`: works out each character once."""

    def __missing__(self, code: int) -> str:
        self[code] = _replace(chr(code))
        return self[code]


_TABLE = _Table()
_TABLE_WITH_SIGNS = _Table({ord("～"): "〜"} | {ord(char): char for char in "〜№℀℁℅℆℡℻"})


def normalise(text: str, *, keep_signs: bool = False) -> str:
    """NFC, one spelling per mark, no decoration, single spaces, no token longer than espeak can read.

    Full-width, half-width, circled, squared and mathematical letters and digits become plain ones ("Ａ①㎏" → "A1kg");
    fractions and exponents stay, as espeak reads those. Control characters, line breaks included, become spaces.

    Args:
        text: any.
        keep_signs: wave dashes and № stay, for what puts them in words (`spoken`).
    """
    plain = " ".join(text.split())
    if plain.isascii() and plain.isprintable() and "`" not in plain:  # nothing there to rewrite
        return plain
    table = _TABLE
    if keep_signs:
        table = _TABLE_WITH_SIGNS
        text = _IN_NUMBER.sub(lambda found: _PLAIN[found.group()], text)
    text = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).translate(table))
    text = _STRAY_JOINER.sub(" ", text)
    return _BEFORE_CLOSING.sub("", " ".join(text.split()))


def is_blank(text: str) -> bool:
    """No character at all, but for white space, control and format characters."""
    return all(char.isspace() or unicodedata.category(char) in ("Cc", "Cf") for char in text)


def split_long(text: str) -> str:
    """Spaces put into tokens that are longer than espeak reads to the end, not before a mark or a small kana."""
    text = _LONG_NUMBER.sub(lambda found: _pieces(found.group(), LONGEST_NUMBER), text)
    return _LONG_TOKEN.sub(
        lambda found: _pieces(found.group(), LONGEST_WIDE if _HAN_ONLY.fullmatch(found.group()) else LONGEST_TOKEN),
        text,
    )


def clauses(chunk: str) -> list[str]:
    """A chunk in pieces that espeak reads to the end each, cut at spaces; itself but for long ones in wide scripts."""
    if len(chunk) * 3 <= LONGEST_WIDE or chunk.isascii():
        return [chunk]
    pieces: list[list[str]] = [[]]
    weight = 0
    for word in chunk.split(" "):
        heavy = sum(len(unicodedata.normalize("NFD", char)) for char in word if east_asian_width(char) in "WF")
        if pieces[-1] and weight + heavy > LONGEST_WIDE:
            pieces.append([])
            weight = 0
        pieces[-1].append(word)
        weight += heavy
    return [" ".join(piece) for piece in pieces]


def _pieces(token: str, size: int) -> str:
    pieces = []
    while len(token) > size:
        cut = size
        while cut > size // 2 and (token[cut] in _NEVER_FIRST or unicodedata.category(token[cut])[0] == "M"):
            cut -= 1
        pieces.append(token[:cut])
        token = token[cut:]
    return " ".join((*pieces, token))


def _replace(char: str) -> str:
    if char in _SAME:
        return _SAME[char]
    category, code = unicodedata.category(char), ord(char)
    if category == "Cs":  # half a surrogate pair: not a character, and no UTF-8 has it
        return REPLACEMENT
    if category in ("Cc", "Zl", "Zp"):
        return " "
    if (category == "Cf" and char not in _JOINERS) or 0xFE00 <= code <= 0xFE0F or 0xE0100 <= code <= 0xE01EF:
        return ""
    if 0x1F3FB <= code <= 0x1F3FF or code == 0x20E3:  # skin tones and the keycap box
        return ""
    if category in ("So", "Sm") and char not in _SPOKEN_SYMBOLS and any(a <= code <= b for a, b in _DECORATION):
        return " "
    kind = unicodedata.decomposition(char).partition(" ")[0]
    if kind in _REWRITTEN or (kind == "<compat>" and (category[0] == "L" or category in ("Nl", "So"))):
        plain = unicodedata.normalize("NFKC", char)
        return _SAME.get(plain, plain)
    return char
