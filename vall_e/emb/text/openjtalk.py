"""Japanese kanji → hiragana by OpenJTalk, which weighs the sentence: 今日は is きょうは in most.

The package pyopenjtalk-plus (https://github.com/tsukumijima/pyopenjtalk-plus) brings the dictionary with it.
"""

from __future__ import annotations

import re
from importlib import metadata
from typing import Any

from vall_e.types import BackendError

_HAN = re.compile("[\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaffヶヵ]")
_KATAKANA_WORD = re.compile("[\u30a1-\u30fa]")
_TO_HIRAGANA = {code: code - 0x60 for code in range(0x30A1, 0x30F7)}
_BEYOND = re.compile("([\U00010000-\U0010ffff]+)")  # OpenJTalk reads another kanji for these, or none
_WORD = "犬"  # stands before a run that follows a word, so that its first は is a particle
_SAME_SOUND = {("ヅ", "ズ"), ("ヂ", "ジ")}
_PARTICLES = {("は", "ワ"): "わ", ("へ", "エ"): "え"}


class OpenJTalk:
    """Readings by OpenJTalk's front end."""

    def __init__(self) -> None:
        """Raises BackendError where pyopenjtalk-plus is missing."""
        try:
            import pyopenjtalk
        except ImportError:
            raise BackendError(
                'pyopenjtalk-plus is not installed: pip install "vall-e[openjtalk]", or --japanese pykakasi'
            ) from None
        self._frontend: Any = pyopenjtalk.run_frontend
        self.version = f"pyopenjtalk-plus {metadata.version('pyopenjtalk-plus')}"

    def read(self, run: str, after_word: bool) -> str:
        """As `japanese.Reader`; a kanji beyond the basic plane stays as it is."""
        if not _HAN.search(run):
            return self._kana_only(run, after_word)
        parts = _BEYOND.split(run)
        return "".join(
            f" {part}" if number % 2 else self._words(part, after_word and number == 0)
            for number, part in enumerate(parts)
            if part
        )

    def _words(self, run: str, after_word: bool) -> str:
        words = self._frontend(_WORD + run if after_word else run)
        out = [self._word(word) for word in (words[1:] if after_word else words)]
        return "".join(out)

    def _word(self, word: dict[str, Any]) -> str:
        written, read, said = word["string"], word["read"], word["pron"].replace("’", "")
        if not _HAN.search(written):
            kana = _PARTICLES.get((written, said), written.translate(_TO_HIRAGANA))
            if word["pos"] == "助詞" and len(written) > 1 and written.endswith("は") and said.endswith("ワ"):
                kana = kana[:-1] + "わ"  # には, では, とは
            return f" {kana}" if _KATAKANA_WORD.match(written) else kana
        if word["pos"] == "記号" or read == "、" or (read == "キゴウ" and written != "記号"):
            return f" {written}"  # no reading is known
        return " " + (read if _same_sound(read, said) else said).translate(_TO_HIRAGANA)

    def _kana_only(self, run: str, after_word: bool) -> str:
        """Kana stay as they are, but for a leading particle: OpenJTalk would drop kana of words it cuts wrongly."""
        kana = run.translate(_TO_HIRAGANA)
        if after_word and kana[0] in "はへ":
            first = self._frontend(_WORD + run)[1]
            if first["string"] == kana[0] and first["pos"] == "助詞":
                kana = _PARTICLES.get((kana[0], first["pron"].replace("’", "")), kana[0]) + kana[1:]
        return f" {kana}" if _KATAKANA_WORD.match(run) else kana


def _same_sound(read: str, said: str) -> bool:
    """Whether the two notations of a word differ in its long vowels at most: キョウ and キョー, not ホン and ポン."""
    if len(read) != len(said):
        return False
    pairs = zip(read, said, strict=True)
    return all(a == b or b == "ー" or (a, b) in _SAME_SOUND for a, b in pairs)
