"""Which characters take time, by rules that hold in every language."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vall_e.units import MARK, PAUSE, PHONE, kind_of, kinds_of, units_of


@pytest.mark.parametrize(
    ("characters", "kind"),
    [
        ("aðŋɚᵻʃかア한字", PHONE),
        ("ˈˌːʲʰ̩͡1ー", MARK),
        (" ,.?!;:—、。", PAUSE),
    ],
)
def test_kinds(characters: str, kind: int) -> None:
    assert {kind_of(character) for character in characters} == {kind}


def test_a_text_as_units() -> None:
    """<bos> h ə ˈ l əʊ , ␣ a . <eos>: the comma with its space is one pause, the full stop with the end another."""
    places, optional = units_of(kinds_of("həˈləʊ, a."))
    assert places.tolist() == [0, 1, 2, 4, 5, 6, 7, 9, 10]
    assert optional.tolist() == [False, False, False, False, False, False, True, False, True]


@given(st.text(alphabet="abˈː ,.", max_size=12))
def test_every_text_begins_with_a_pause_that_stays_and_has_all_its_phones(text: str) -> None:
    kinds = kinds_of(text)
    places, optional = units_of(kinds)
    assert places[0] == 0 and not optional[0]
    assert [place for place in places if kinds[place] == PHONE] == np.flatnonzero(kinds == PHONE).tolist()
    assert not any(early and late for early, late in zip(optional, optional[1:], strict=False)), "two pauses in a row"
    assert (kinds[places] != MARK).all()
