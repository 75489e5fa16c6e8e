"""Text that says the same again and again: what recognisers make of music, noise and silence.

`repeated` is the share of the words that stand in a run of the same one to four words, said at least three times; in
languages without spaces, of characters. `unique_words` is the share of different words among all.
"""

from __future__ import annotations

import re

from vall_e.emb.gates.base import GateInput
from vall_e.emb.gates.measured import Measured
from vall_e.emb.gates.registry import GateOptions

LONGEST_RUN = 4
LEAST_TIMES = 3
LEAST_WORDS = 8  # a short sentence may well say a word twice
_NO_SPACES = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")


def load_repeated(options: GateOptions) -> Measured:
    return Measured("repeated", lambda seen: repeated_share(tokens(seen.text)), maximum=0.8, bad="high")


def load_unique(options: GateOptions) -> Measured:
    return Measured("unique_words", _unique, bad="low")


def tokens(text: str) -> list[str]:
    """Words in lower case without punctuation; characters where a language writes no spaces.

    Example:
        >>> tokens("So, so good!"), tokens("你好")
        (['so', 'so', 'good'], ['你', '好'])
    """
    found = re.findall(r"\w+(?:['’]\w+)*", text.casefold())
    return [char for word in found for char in word] if _NO_SPACES.search(text) else found


def repeated_share(words: list[str]) -> float | None:
    """The share of words in runs of the same, or None of no words.

    Example:
        >>> repeated_share("thank you thank you thank you bye".split())
        0.8571428571428571
    """
    if not words:
        return None
    marked = bytearray(len(words))
    for size in range(1, LONGEST_RUN + 1):
        start = 0
        while start + size * LEAST_TIMES <= len(words):
            end = start + size
            while words[end : end + size] == words[start : start + size]:
                end += size
            if end - start >= size * LEAST_TIMES:
                marked[start:end] = b"\x01" * (end - start)
                start = end
            else:
                start += 1
    return sum(marked) / len(words)


def _unique(seen: GateInput) -> float | None:
    words = tokens(seen.text)
    return len(set(words)) / len(words) if len(words) >= LEAST_WORDS else None
