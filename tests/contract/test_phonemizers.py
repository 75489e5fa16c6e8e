"""One suite for every phonemizer back end that can start here."""

import functools
import re

import pytest

from vall_e.emb import g2p
from vall_e.emb.text.registry import PHONEMIZERS
from vall_e.types import BackendError, UsageError

TEXTS = {
    "espeak": {
        "en": ["Hello, world!", "", "It costs 3.14.", " \n ", "(Really?) Yes; no...", "naïve café", "...", "3,000 men"],
        "de": ["Guten Tag.", "", "Das Meeting ist um 9,5 Uhr.", "Straße"],
        "fr": ["Le week-end, j'aime le football.", "", "C'est 3,5 %."],
        "ja": ["こんにちは、世界。", "", "AIの時代", "3人で100円", "。"],
        "zh": ["你好，世界。", "", "妈麻马骂吗", "我用 Python 写 3.14。", "！"],
        "ru": ["Привет, мир!", "", "AI и 5 %"],
    },
    "festival": {"en": ["Hello, world!", "", "It costs 3.14.", "...", "Yes"]},
    "segments": {"japanese": ["sakura", "", "kyouto, osaka"], "yucatec": ["baax", ""]},
}
CASES = [(backend, language) for backend, languages in TEXTS.items() for language in languages]


@functools.cache
def load(backend: str) -> g2p.Phonemizer:
    try:
        return g2p.load_phonemizer(g2p.G2pOptions(backend=backend))
    except BackendError as error:
        if backend == "espeak":  # comes with every install
            raise
        pytest.skip(str(error))


@pytest.mark.parametrize(("backend", "language"), CASES)
class TestPhonemizer:
    def test_as_many_out_as_in_and_blank_ones_keep_their_place(self, backend: str, language: str) -> None:
        texts = TEXTS[backend][language]
        result = load(backend).phonemize(texts, language)
        assert len(result) == len(texts)
        for text, phonemes in zip(texts, result, strict=True):
            assert bool(phonemes) == bool(text.strip()), (text, phonemes)

    def test_each_alone_is_all_together(self, backend: str, language: str) -> None:
        texts = TEXTS[backend][language]
        alone = [load(backend).phonemize([text], language)[0] for text in texts]
        assert load(backend).phonemize(texts, language) == alone

    def test_order_does_not_matter(self, backend: str, language: str) -> None:
        texts = TEXTS[backend][language]
        there = load(backend).phonemize(texts, language)
        back = load(backend).phonemize(texts[::-1], language)
        assert back[::-1] == there

    def test_a_new_one_gives_the_same(self, backend: str, language: str) -> None:
        load(backend)
        new = g2p.load_phonemizer(g2p.G2pOptions(backend=backend))
        texts = TEXTS[backend][language]
        assert new.phonemize(texts, language) == load(backend).phonemize(texts, language)

    def test_one_line_of_single_spaces(self, backend: str, language: str) -> None:
        for phonemes in load(backend).phonemize(TEXTS[backend][language], language):
            assert phonemes == " ".join(phonemes.split())

    def test_known_characters_are_not_lost(self, backend: str, language: str) -> None:
        assert [load(backend).lost_characters(text, language) for text in TEXTS[backend][language]] == [""] * len(
            TEXTS[backend][language]
        )

    def test_no_texts(self, backend: str, language: str) -> None:
        assert load(backend).phonemize([], language) == []


@pytest.mark.parametrize("backend", TEXTS)
def test_unknown_language(backend: str) -> None:
    phonemizer = load(backend)
    assert not phonemizer.supports("xx")
    with pytest.raises(UsageError, match="no voice for the language 'xx'"):
        phonemizer.phonemize(["a"], "xx")
    with pytest.raises(UsageError, match="'xx'"):
        phonemizer.lost_characters("a", "xx")


@pytest.mark.parametrize("backend", TEXTS)
def test_version_names_the_library_and_its_number(backend: str) -> None:
    """It goes into dataset.json: another espeak may read the same text in another way."""
    number = r"[0-9]+(\.[0-9]+)+"
    name = "espeak-ng" if backend == "espeak" else backend
    assert re.fullmatch(rf"{name} {number}, phonemizer {number}", load(backend).version)


def test_every_registered_back_end_is_in_this_suite() -> None:
    assert set(TEXTS) == set(PHONEMIZERS)
