"""Japanese as written → as said: numbers with their counters in hiragana, signs in words, iteration marks written out.

A number and its counter are read together (`counters`); a counter that is not in the table is read only behind a number
that changes no sound. What follows a counter stays for the kana reader, but for single kanji that only a table can tell.
"""

from __future__ import annotations

import re
import unicodedata

from vall_e.emb.text import counters
from vall_e.emb.text.base import Unspoken
from vall_e.emb.text.counters import COUNTERS, FIRST_OF_MONTH, read_digits, read_number

_HAN = "\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WAVES = "~〜～∼"
_DASHES = r"\-‐‑‒–—−"  # as in a character class
_NUMBER = re.compile(
    r"(?<![0-9.,])((?:[0-9][0-9,]*(?:\.[0-9]+)?[兆億万千])*)([0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)?(?:(?<=[0-9])\.([0-9]+))?"
)
_SCALE = {"千": 1_000, "万": 10_000, "億": 10**8, "兆": 10**12}
_KANJI_DIGITS = dict(zip("〇一二三四五六七八九", range(10), strict=True))
_KANJI_UNITS = {"十": 10, "百": 100, "千": 1000}
_KANJI_COUNTED_WORDS = """
時間 時半 時 分間 分 歳 才 世紀 年間 年生 年 人 本 匹 回目 回 個 冊 杯 階 頭 羽 週間 枚 台
か月 ヶ月 カ月 か国 ヶ国 か所 ヶ所
"""
_KANJI_COUNTED = tuple(_KANJI_COUNTED_WORDS.split())
_KANJI_NUMBER = re.compile(
    rf"(?<![{_HAN}0-9])([一二三四五六七八九十百千]+)({'|'.join(_KANJI_COUNTED)})(?![{_HAN}])(?!の[一二三])"
)
_OTHER_WORDS = frozenset(("十分", "一時", "千本"))  # じゅうぶん, いちじ or いっとき: the kana reader sees the sentence
_ZERO_YEAR = re.compile("[一二三四五六七八九〇]*〇[一二三四五六七八九〇]*(?=年)")
# single kanji after a counter, or after a number alone
_AFTER = {
    **{"間": "かん", "目": "め", "前": "まえ", "後": "ご", "半": "はん", "頃": "ごろ", "弱": "じゃく", "強": "きょう"},
    **{
        "超": "ちょう",
        "制": "せい",
        "版": "ばん",
        "型": "がた",
        "式": "しき",
        "用": "よう",
        "増": "ぞう",
        "減": "げん",
    },
    **{"差": "さ", "内": "ない", "中": "ちゅう", "台": "だい", "代": "だい", "余": "よ", "未": "み", "分": "ぶん"},
}
_ITERATION = re.compile("([ぁ-ゖァ-ヺ])([ゝゞヽヾ])")
_SIGNS = (
    (re.compile(r"(?<=[0-9])\s?(?:°\s?C|℃)"), "度"),
    (re.compile(r"％"), "%"),
    (re.compile(r"(?<=[0-9])\s?%"), "%"),
)
_MEASURES = {
    **{
        "kg": "キログラム",
        "g": "グラム",
        "mg": "ミリグラム",
        "km": "キロメートル",
        "m": "メートル",
        "cm": "センチメートル",
    },
    **{
        "mm": "ミリメートル",
        "L": "リットル",
        "l": "リットル",
        "ml": "ミリリットル",
        "mL": "ミリリットル",
        "GB": "ギガバイト",
    },
    **{"MB": "メガバイト", "TB": "テラバイト", "Hz": "ヘルツ", "dB": "デシベル", "W": "ワット"},
}
_MEASURE = re.compile(rf"(?<=[0-9])\s?({'|'.join(sorted(_MEASURES, key=len, reverse=True))})(?![A-Za-z0-9/²³])")
_MONEY = {"$": "ドル", "€": "ユーロ", "£": "ポンド", "¥": "円"}


def to_spoken_japanese(text: str) -> str:
    """Numbers and signs of a Japanese text in words; everything else as it is.

    Example:
        >>> to_spoken_japanese("10時に3本、気温は-5℃。")
        'じゅうじ に さんぼん 、気温は マイナス ごど 。'

    Raises:
        Unspoken: a number whose counter has no sure reading, or a sign that stands for no known word.
    """
    text = iteration_marks(text)
    text = _waves(text)
    text = _dates_and_times(text)
    for pattern, word in _SIGNS:
        text = pattern.sub(word, text)
    text = re.sub(
        r"([$€£¥])\s?([0-9][0-9,]*(?:\.[0-9]+)?[兆億万]?)", lambda found: found.group(2) + _MONEY[found.group(1)], text
    )
    text = re.sub(r"([0-9])\s?([$€£¥])", lambda found: found.group(1) + _MONEY[found.group(2)], text)
    text = _MEASURE.sub(lambda found: _MEASURES[found.group(1)], text)
    text = _ZERO_YEAR.sub(lambda run: "".join(str(_KANJI_DIGITS[digit]) for digit in run.group()), text)
    text = _KANJI_NUMBER.sub(_kanji_number, text)
    text = re.sub(rf"(?<![0-9A-Za-z{_DASHES}.])[{_DASHES}](?=[0-9])", "マイナス ", text)
    text = re.sub(rf"(?<=[0-9])[{_DASHES}](?=[0-9])", "から", text) if _is_range(text) else text
    text = _numbers(text)
    if found := re.search(r"[0-9~〜～∼№℉°‰%½⅓¼⅔¾⅕⅛$€£¥₩₹]", text):
        raise _unspoken(text, found.start(), "sign or number")
    return " ".join(text.split())


def iteration_marks(text: str) -> str:
    """ゝ and ヽ repeat the kana before, ゞ and ヾ voice it.

    Example:
        >>> iteration_marks("いすゞ すゝめ")
        'いすず すすめ'
    """

    def repeat(found: re.Match[str]) -> str:
        kana, mark = found.groups()
        base = unicodedata.normalize("NFD", kana)[0]
        again = unicodedata.normalize("NFC", base + "\u3099") if mark in "ゞヾ" else base
        return kana + again

    while _ITERATION.search(text):
        text = _ITERATION.sub(repeat, text)
    return text


def _waves(text: str) -> str:
    """A wave between two things is から; after hiragana, or where nothing follows, it says nothing."""

    def put(found: re.Match[str]) -> str:
        before, after = text[: found.start()][-1:], text[found.end() :][:1]
        names = rf"[0-9A-Za-zァ-ヺー{_HAN}%℃]"
        counted = bool(re.search(r"[0-9][^0-9\s]{0,4}$", text[: found.start()]))
        if re.match(names, after) and (re.match(names, before) or (counted and after.isdigit())):
            return "から"
        return "" if before else found.group()

    return re.sub(f"[{_WAVES}]+", put, text)


def _dates_and_times(text: str) -> str:
    def clock(found: re.Match[str]) -> str:
        hour, minute = int(found.group(1)), int(found.group(2))
        if hour > 24 or minute > 59:
            raise _unspoken(text, found.start(), "time of day")
        return f"{hour}時{minute}分" if minute else f"{hour}時"

    def date(found: re.Match[str]) -> str:
        year, month, day = (int(part) for part in found.groups())
        if not (1 <= month <= 12 and 1 <= day <= 31):
            raise _unspoken(text, found.start(), "date")
        return f"{year}年{month}月{day}日"

    text = re.sub(r"(?<![0-9:.,])([0-9]{1,2}):([0-9]{2})(?![0-9:])", clock, text)
    return re.sub(r"(?<![0-9/-])([0-9]{4})[/-]([0-9]{1,2})[/-]([0-9]{1,2})(?![0-9/-])", date, text)


def _is_range(text: str) -> bool:
    """Two numbers joined by a dash; more than two are a telephone number, an address or a score."""
    return not re.search(rf"[0-9][{_DASHES}][0-9]+[{_DASHES}][0-9]|(?<![0-9])0[0-9]+[{_DASHES}]", text)


def _kanji_number(found: re.Match[str]) -> str:
    written, counter = found.groups()
    if found.group() in _OTHER_WORDS:
        return found.group()
    value = _kanji_value(written)
    said = COUNTERS[counter].read(value) if value is not None else None
    return f" {said} " if said else found.group()


def _kanji_value(written: str) -> int | None:
    """三百六十五 → 365; None for digits in a row (一二三)."""
    total, digit = 0, None
    for char in written:
        if char in _KANJI_DIGITS:
            if digit is not None:
                return None
            digit = _KANJI_DIGITS[char]
        else:
            total += (1 if digit is None else digit) * _KANJI_UNITS[char]
            digit = None
    return total + (digit or 0)


def _numbers(text: str) -> str:
    out, place = [], 0
    while found := re.compile("[0-9]").search(text, place):
        out.append(text[place : found.start()])
        said, place = _number_at(text, found.start())
        out.append(f" {said} ")
    return "".join(out) + text[place:]


def _number_at(text: str, start: int) -> tuple[str, int]:
    """The number that begins at `start`, with its counter: what is said, and where the rest of the text begins."""
    if phone := re.compile(r"0[0-9]*(?:[ -]?[0-9]+)*").match(text, start):
        written = phone.group()
        if len(written) > 1 and not written.startswith("0."):
            if re.match(r"[.][0-9]", text[phone.end() :]):
                raise _unspoken(text, start, "number")
            return read_digits(re.sub("[^0-9]", "", written)), phone.end()
    found = _NUMBER.match(text, start)
    if found is None or found.end() == start or re.match(r"[.,/:][0-9]", text[found.end() :]):
        raise _unspoken(text, start, "number")
    head, ones, decimals = found.groups()
    if re.match(rf"[{_DASHES}][0-9]", text[found.end() :]):
        raise _unspoken(text, start, "numbers joined by dashes")
    end = found.end()
    value, words = _value(text, start, head, ones)
    counter = counters.find(text[end:])
    if decimals is not None:
        return _decimal(text, start, value, decimals, counter, end)
    if words is not None:  # 1.5億
        if counter is not None and counter not in ("円", "人", "ドル", "ユーロ", "倍"):
            raise _unspoken(text, start, "decimal number")
        name = {"円": "えん", "人": "にん"}.get(counter or "", COUNTERS[counter].reading if counter else "")
        return f"{words}{name}", end + len(counter or "")
    if counter is None:
        return _alone(text, start, end, value)
    said = COUNTERS[counter].read(value)
    if counter == "日" and value == 1 and text[:start].rstrip().endswith(("月", "がつ")):
        said = FIRST_OF_MONTH
    if said is None:
        raise _unspoken(text, start, "number with its counter")
    return _with_after(text, start, end + len(counter), said)


def _value(text: str, start: int, head: str, ones: str | None) -> tuple[int, str | None]:
    """The number's value, and its words where a decimal stands before 万 or 億."""
    total = 0
    for number, unit in re.findall(r"([0-9][0-9,]*(?:\.[0-9]+)?)([兆億万千])", head):
        whole, _, decimals = number.replace(",", "").partition(".")
        if decimals:
            if ones or len(re.findall("[兆億万千]", head)) > 1:
                raise _unspoken(text, start, "number")
            scale = {"千": "せん", "万": "まん", "億": "おく", "兆": "ちょう"}[unit]
            return 0, f"{_before_point(int(whole))} てん {read_digits(decimals)} {scale}"
        total += int(whole) * _SCALE[unit]
    value = total + int((ones or "0").replace(",", ""))
    if value > counters.LARGEST:
        raise _unspoken(text, start, "number")
    return value, None


def _before_point(value: int) -> str:
    """いってん, はってん, じゅってん."""
    words = read_number(value)
    for end, doubled in (("いち", "いっ"), ("はち", "はっ"), ("じゅう", "じゅっ")):
        if words.endswith(end):
            return words.removesuffix(end) + doubled
    return words


def _decimal(text: str, start: int, value: int, decimals: str, counter: str | None, end: int) -> tuple[str, int]:
    said = f"{_before_point(value)} てん {read_digits(decimals)}"
    if counter is None:
        following = re.match(f"[{_HAN}]", text[end:])
        if following:
            raise _unspoken(text, start, "decimal number with a counter that is not known")
        return said, end
    if counter in ("日", "人", "つ", "月", "時"):
        raise _unspoken(text, start, "decimal number with its counter")
    last = COUNTERS[counter].read(int(decimals[-1])) if decimals[-1] != "0" else "ぜろ" + COUNTERS[counter].reading
    before = f"{_before_point(value)} てん {read_digits(decimals[:-1])}".rstrip()
    return _with_after(text, start, end + len(counter), f"{before} {last}")


def _alone(text: str, start: int, end: int, value: int) -> tuple[str, int]:
    """A number without a counter of the table: alone, or before a word whose sounds it can't change."""
    said = read_number(value)
    following = re.match(f"[{_HAN}]+", text[end:])
    if following is None:
        return said, end
    word = following.group()
    if len(word) == 1 and word in _AFTER:
        return said + _AFTER[word], end + 1
    if len(word) == 1 or counters.may_change(value, "か"):
        raise _unspoken(text, start, "number with a counter that is not known")
    return said, end


def _with_after(text: str, start: int, end: int, said: str) -> tuple[str, int]:
    """The single kanji behind a counter, where it is one: 3時間半, 10人中."""
    following = re.match(f"[{_HAN}]+", text[end:])
    if following and len(following.group()) == 1:
        if following.group() not in _AFTER:
            raise _unspoken(text, start, "number with a counter that is not known")
        return said + _AFTER[following.group()], end + 1
    return said, end


def _unspoken(text: str, start: int, kind: str) -> Unspoken:
    return Unspoken(text[max(0, start - 2) : start + 10], kind, "ja")
