"""Kanji to kana: readings, and what pykakasi would lose or repeat by itself."""

import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vall_e.emb.text.counters import read_number
from vall_e.emb.text.japanese import Kana, Pykakasi, spell_out


@pytest.fixture(scope="module")
def kana() -> Kana:
    return Kana(Pykakasi())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("漢字", "かんじ"),
        ("私は学校へ行きました", "わたしわ がっこうえ いきました"),  # particles as they are said
        ("カード", "かーど"),
        ("AIの時代", "AIの じだい"),
        ("人々, 時々.", "ひとびと, ときどき."),
        ("a漢b", "a かんb"),
        ("", ""),
    ],
)
def test_readings(kana: Kana, text: str, expected: str) -> None:
    assert kana.convert(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # espeak says "Japanese letter", or nothing, for what stands on the left
        *(("ぁあ", "ああ"), ("ぁ", "あ"), ("んぁ", "んあ"), ("なぁ", "なあ"), ("わぉ", "わお"), ("おぉぉ", "おおお")),
        *(("ええー", "えええ"), ("ねぇー", "ねええ"), ("あーーー", "あーああ"), ("かーー", "かーあ")),
        ("うーんー", "うーんん"),
        *(("たっゆで", "たっ ゆで"), ("すゔあ", "す ゔあ"), ("かゃ", "かや"), ("っゃ", "っ や")),
        # what it reads stays
        *(("えーと", "えーと"), ("こーひー", "こーひー"), ("ふぃー", "ふぃー"), ("しぇ", "しぇ")),
        ("ぱーてぃー", "ぱーてぃー"),
        # and what nobody can read
        *(("ー", "ー"), ("ーえ", "ーえ"), ("あ、ーえ", "あ、ーえ"), ("えっー", "えっー")),
        *(("にぇ", "にぇ"), ("", ""), ("aー", "aー")),
    ],
)
def test_small_vowels_and_long_marks(text: str, expected: str) -> None:
    assert spell_out(text) == expected
    assert spell_out(expected) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("300", "さんびゃく"),
        ("3.14", "さん てん いち よん"),
        ("1,234円", "せん にひゃく さんじゅう よん えん"),
        ("1人と3人", "ひとり と さんにん"),
        ("4月1日", "しがつ ついたち"),  # as one word it would be a surname
        ("2024年", "にせん にじゅう よねん"),
        ("二〇二四年", "にせん にじゅう よねん"),
        ("3ヶ月", "さん かげつ"),
        ("21人", "にじゅう いち にん"),
        ("090-1", "ぜろ きゅう ぜろ - いち"),
        ("0.5", "ぜろ てん ご"),
    ],
)
def test_numbers(kana: Kana, text: str, expected: str) -> None:
    assert kana.convert(text) == expected


def test_numbers_beyond_a_myriad() -> None:
    assert read_number(0) == "ぜろ"
    assert read_number(10_000) == "いちまん"
    assert read_number(10_000_000) == "いっせんまん"
    assert read_number(120_003_600) == "いちおく にせんまん さんぜん ろっぴゃく"


@given(st.integers(0, 10**16 - 1))
def test_a_number_is_the_sum_of_its_words(value: int) -> None:
    """Reads the words back: units multiply, the rest adds."""
    names = ("いち", "に", "さん", "よん", "ご", "ろく", "なな", "はち", "きゅう")
    ones = {name: digit for digit, name in enumerate(names, start=1)}
    ones |= {"いっ": 1, "ろっ": 6, "はっ": 8}
    units = {"じゅう": 10, "ひゃく": 100, "びゃく": 100, "ぴゃく": 100, "せん": 1000, "ぜん": 1000}
    total = group = 0
    for word in read_number(value).split():
        myriad = 0
        for power, name in enumerate(("まん", "おく", "ちょう"), start=1):
            if word.endswith(name):
                word, myriad = word.removesuffix(name), power
        word = word.replace("じゅっ", "じゅう")  # before ちょう
        unit = next((name for name in units if word.endswith(name)), "")
        digit = word.removesuffix(unit)
        group += (ones[digit] if digit and digit != "ぜろ" else 0 if digit else 1) * units.get(unit, 1)
        if myriad:
            total, group = total + group * 10_000**myriad, 0
    assert total + group == value


@pytest.mark.parametrize("unknown", ["鱻", "𠮷", "\U0002a6d6"])
def test_an_unknown_kanji_stays_and_takes_nothing_with_it(kana: Kana, unknown: str) -> None:
    # pykakasi by itself drops it, and some of them together with the character that follows
    assert kana.convert(f"{unknown}を食べる").replace(" ", "") == f"{unknown}をたべる"
    assert kana.convert(f"魚と{unknown}").replace(" ", "") == f"さかなと{unknown}"


def test_what_is_not_japanese_is_neither_lost_nor_repeated(kana: Kana) -> None:
    # pykakasi by itself: "한국" → "", "привет" in six pieces, "a", tab, "b" → "aab"
    for text in ("한국", "привет", "a\tb", "é ñ ☃", "\ue000"):
        assert kana.convert(text) == " ".join(text.split())


@functools.cache
def shared() -> Kana:
    return Kana(Pykakasi())


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=("Lo", "Lm", "Nd", "Nl", "Cn"))))
def test_text_without_kana_kanji_and_digits_passes(text: str) -> None:
    assert shared().convert(text).replace(" ", "") == "".join(text.split())
