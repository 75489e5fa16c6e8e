"""Texts compared as written: their characters without case, marks and spaces, and how many of them differ."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence


def characters(text: str) -> str:
    """Letters and digits alone, in lower case and without accents.

    Example:
        >>> characters("It's Ten o'clock, José!")
        'itstenoclockjose'
    """
    plain = unicodedata.normalize("NFKD", text.casefold())
    return "".join(char for char in plain if unicodedata.category(char)[0] in "LN")


def edit_path(own: Sequence[str], heard: Sequence[str]) -> tuple[int, frozenset[int]]:
    """(Levenshtein's distance, the places of `own` that are wrong on a shortest path).

    Of the characters of texts, or of words. A place is wrong where its character is another one or missing; an
    insertion counts at the place that it stands before, at the end at the last one.

    Example:
        >>> edit_path("kitten", "sitting")
        (3, frozenset({0, 4, 5}))
    """
    rows = [list(range(len(heard) + 1))]
    for number, char in enumerate(own, start=1):
        above, row = rows[-1], [number]
        for place, other in enumerate(heard, start=1):
            row.append(min(above[place] + 1, row[-1] + 1, above[place - 1] + (char != other)))
        rows.append(row)
    wrong: set[int] = set()
    here, there = len(own), len(heard)
    while here or there:
        cost = rows[here][there]
        if here and there and cost == rows[here - 1][there - 1] + (own[here - 1] != heard[there - 1]):
            here, there = here - 1, there - 1
            if own[here] != heard[there]:
                wrong.add(here)
        elif here and cost == rows[here - 1][there] + 1:
            here -= 1
            wrong.add(here)
        else:
            there -= 1
            if own:
                wrong.add(min(here, len(own) - 1))
    return rows[-1][-1], frozenset(wrong)


def character_error_rate(own: str, heard: str) -> float:
    """The share of a text's characters that are wrong in what was recognised; above 1 where much was added.

    Example:
        >>> character_error_rate("It's ten.", "its tan")
        0.16666666666666666
    """
    wanted = characters(own)
    return edit_path(wanted, characters(heard))[0] / max(len(wanted), 1)
