"""Texts and the words in them that have times: where sentences end, and a text cut between two words."""

from __future__ import annotations

from collections.abc import Sequence

from vall_e.types import Word, ends_sentence


def sentence_ends(text: str, words: Sequence[Word]) -> list[bool]:
    """Whether a sentence of `text` ends behind each word but the last, by the marks up to the next one.

    Example:
        >>> words = [Word(text=text, start_s=0, end_s=1) for text in ("so", "he", "said", "yes")]
        >>> sentence_ends('So he said. "Yes!"'.lower(), words)
        [False, False, True]
    """
    places, cursor = [], 0
    for word in words:
        found = text.find(word.text, cursor)
        if found < 0:  # the words are not those of the text: their own marks tell
            return [ends_sentence(word.text) for word in words[:-1]]
        cursor = found + len(word.text)
        places.append((found, cursor))
    ends = []
    for (_, end), (start, _) in zip(places, places[1:], strict=False):
        marks = text[max(0, end - 1) : start].split(" ")[0]  # the word's last character, and what is behind it
        ends.append(ends_sentence(marks))
    return ends


def split_text(text: str, words: Sequence[Word], at: int) -> tuple[str, str]:
    """`text` cut before word number `at`, with its punctuation and spacing; joined from the words if they differ."""
    cursor = 0
    for word in words[:at]:
        found = text.find(word.text, cursor)
        if found < 0:
            return " ".join(word.text for word in words[:at]), " ".join(word.text for word in words[at:])
        cursor = found + len(word.text)
    start = text.find(words[at].text, cursor)
    if start < 0:
        return " ".join(word.text for word in words[:at]), " ".join(word.text for word in words[at:])
    # what stands between the two words is punctuation: up to the last space it ends the left one
    gap = text[cursor:start]
    edge = cursor + (gap.rfind(" ") if " " in gap else len(gap))
    return text[:edge].strip(), text[edge:].strip()
