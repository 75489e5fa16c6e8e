"""Japanese numbers with their counters → hiragana, with the sound changes that both make on each other.

The rules are those of any grammar: NHK's 日本語発音アクセント新辞典, 「数詞＋助数詞の発音」, and the tables of
https://en.wikipedia.org/wiki/Japanese_counter_word. A counter belongs to a class by its first sound. 1, 6, 8, 10 and
100 double that sound (いっかい, ろっぽん), 3 and 1000 may voice it (さんぼん, せんぼん); 4, 7 and 9 have two names.
A counter that is not in the table is read only where no sound could change; anything else has no reading here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_DIGITS = ("ぜろ", "いち", "に", "さん", "よん", "ご", "ろく", "なな", "はち", "きゅう")
_TENS = (
    "",
    "じゅう",
    "にじゅう",
    "さんじゅう",
    "よんじゅう",
    "ごじゅう",
    "ろくじゅう",
    "ななじゅう",
    "はちじゅう",
    "きゅうじゅう",
)
_HUNDREDS = (
    "",
    "ひゃく",
    "にひゃく",
    "さんびゃく",
    "よんひゃく",
    "ごひゃく",
    "ろっぴゃく",
    "ななひゃく",
    "はっぴゃく",
    "きゅうひゃく",
)
_THOUSANDS = ("", "せん", "にせん", "さんぜん", "よんせん", "ごせん", "ろくせん", "ななせん", "はっせん", "きゅうせん")
_MYRIADS = ("", "まん", "おく", "ちょう")
LARGEST = 10**16 - 1

# What the end of a number becomes before the first sound of a counter.
_K = {
    "いち": "いっ",
    "ろく": "ろっ",
    "はち": "はっ",
    "じゅう": "じゅっ",
    "ひゃく": "ひゃっ",
    "びゃく": "びゃっ",
    "ぴゃく": "ぴゃっ",
}
_S = {"いち": "いっ", "はち": "はっ", "じゅう": "じゅっ"}  # s and t: ろくさい, ひゃくさい
_LOAN_K = {"ろく": "ろっ", "じゅう": "じゅっ", "ひゃく": "ひゃっ"}  # いちキロ, ろっキロ
_P = {"じゅう": "じゅっ"}  # loan words in p: いちページ, はちページ, じゅっページ
_W = {"ろく": "ろっ", "じゅう": "じゅっ", "ひゃく": "ひゃっ"}  # わ: いちわ, ろっぱ
_YO = {"よん": "よ"}
_HOURS = {"よん": "よ", "なな": "しち", "きゅう": "く"}
_MONTHS = {"よん": "し", "なな": "しち", "きゅう": "く"}
_HALF = dict(zip("はひふへほわ", "ぱぴぷぺぽぱ", strict=True))
_VOICED = dict(zip("かきくけこさしすせそはひふへほわ", "がぎぐげござじずぜぞばびぶべぼば", strict=True))
_DOUBLED = ("いち", "ろく", "はち", "じゅう", "ひゃく", "びゃく", "ぴゃく")
_AFTER_N = ("さん", "せん", "ぜん", "まん")


class Counter:
    """One counter: its reading, how it changes the number's end, and how the number's end changes it."""

    def __init__(
        self,
        reading: str,
        ends: Mapping[str, str] | None = None,
        *,
        after: Mapping[str, str] | None = None,
        whole: Mapping[int, str] | None = None,
        only: range | None = None,
    ) -> None:
        """How it is read.

        Args:
            reading: after most numbers.
            ends: what ends of the number become before it.
            after: how it is read after some ends of a number.
            whole: numbers that have a word of their own with it.
            only: the numbers that it counts, all where None.
        """
        self.reading = reading
        self.ends = ends or {}
        self.after = after or {}
        self.whole = whole or {}
        self.only = only

    def read(self, value: int) -> str | None:
        """The number and the counter in hiragana, or None for a number that it never counts."""
        if self.only is not None and value not in self.only:
            return None
        if value in self.whole:
            return self.whole[value]
        words = parts(value)
        end = _end_of(words[-1])
        reading = self.after.get(end, self.reading)
        words[-1] = words[-1].removesuffix(end) + self.ends.get(end, end)
        return " ".join(words) + reading


def _end_of(word: str) -> str:
    """The last digit or unit of a number's last word."""
    for end in ("じゅう", "ひゃく", "びゃく", "ぴゃく", "せん", "ぜん", "まん", "おく", "ちょう", *_DIGITS):
        if word.endswith(end):
            return end
    return word


def parts(value: int) -> list[str]:
    """0 … 9,999,999,999,999,999 in hiragana, a word for each part: 2024 → ["にせん", "にじゅう", "よん"]."""
    if value == 0:
        return [_DIGITS[0]]
    words: list[str] = []
    for power in range(3, -1, -1):
        group = value // 10_000**power % 10_000
        if not group:
            continue
        own = [_THOUSANDS[group // 1000], _HUNDREDS[group // 100 % 10], _TENS[group // 10 % 10]]
        own.append(_DIGITS[group % 10] if group % 10 else "")
        own = [word for word in own if word]
        if power and own[0] == "せん":
            own[0] = "いっせん"
        if power == 3:  # いっちょう, はっちょう, じゅっちょう
            end = _end_of(own[-1])
            own[-1] = own[-1].removesuffix(end) + _S.get(end, end)
        own[-1] += _MYRIADS[power]
        words += own
    return words


def read_number(value: int) -> str:
    """A number alone in hiragana, a word for each part: 2024 → "にせん にじゅう よん"."""
    return " ".join(parts(value))


def read_digits(digits: str) -> str:
    """Digit by digit: "090" → "ぜろ きゅう ぜろ"."""
    return " ".join(_DIGITS[int(digit)] for digit in digits)


_DAYS = {
    **{1: "いちにち", 2: "ふつか", 3: "みっか", 4: "よっか", 5: "いつか", 6: "むいか", 7: "なのか", 8: "ようか"},
    **{9: "ここのか", 10: "とおか", 14: "じゅう よっか", 19: "じゅう くにち", 20: "はつか", 24: "にじゅう よっか"},
    29: "にじゅう くにち",
}
_THINGS = {
    **{1: "ひとつ", 2: "ふたつ", 3: "みっつ", 4: "よっつ", 5: "いつつ", 6: "むっつ", 7: "ななつ", 8: "やっつ"},
    **{9: "ここのつ", 10: "とお"},
}
FIRST_OF_MONTH = "ついたち"  # 1日 after a month; elsewhere it is a day's length, いちにち

# The counters by what they do to a number, "written=read".
_K_COUNTERS = """
回=かい 回目=かいめ 回戦=かいせん 回生=かいせい 階=かい 階建て=かいだて 個=こ 個目=こめ 件=けん 軒=けん 巻=かん 缶=かん 課=か 画=かく
機=き 基=き 級=きゅう 曲=きょく 局=きょく 句=く 区=く 校=こう 球=きゅう 脚=きゃく
月=かげつ 月間=かげつかん 国=かこく 国語=かこくご 所=かしょ 条=かじょう 年=かねん
"""
_KA = "か カ ヶ ケ ヵ 箇"  # before those of the second line above: か月, ヶ所
_S_COUNTERS = """
歳=さい 才=さい 冊=さつ 世紀=せいき 週=しゅう 週間=しゅうかん 週目=しゅうめ 周=しゅう 周年=しゅうねん 勝=しょう 章=しょう
種類=しゅるい 社=しゃ 試合=しあい 色=しょく 席=せき 隻=せき 戦=せん 線=せん 足=そく 節=せつ
頭=とう 点=てん 体=たい 着=ちゃく 通=つう 丁目=ちょうめ 等=とう 店=てん 店舗=てんぽ 滴=てき 艘=そう
センチ=せんち センチメートル=せんちめーとる トン=とん
"""
_LOAN_K_COUNTERS = (
    "キロ=きろ キログラム=きろぐらむ キロメートル=きろめーとる キロカロリー=きろかろりー カロリー=かろりー"
)
_P_COUNTERS = (
    "%=ぱーせんと パーセント=ぱーせんと ページ=ぺーじ 頁=ぺーじ ポイント=ぽいんと ポンド=ぽんど ピクセル=ぴくせる"
)
_YO_COUNTERS = "年=ねん 年間=ねんかん 年生=ねんせい 年度=ねんど 年目=ねんめ 年代=ねんだい 年前=ねんまえ 年後=ねんご 円=えん 円玉=えんだま 円札=えんさつ"
_HOUR_COUNTERS = (
    "時=じ 時間=じかん 時間半=じかんはん 時間目=じかんめ 時間後=じかんご 時間前=じかんまえ 時半=じはん 時頃=じごろ"
)
_PLAIN = """
枚=まい 枚目=まいめ 台=だい 番=ばん 番目=ばんめ 番線=ばんせん 番地=ばんち 号=ごう 号車=ごうしゃ 度=ど 度目=どめ 倍=ばい
名=めい 名様=めいさま 秒=びょう 秒間=びょうかん 位=い 問=もん 話=わ 割=わり 行=ぎょう 部=ぶ 例=れい 列=れつ 両=りょう 輪=りん
議席=ぎせき 次=じ 字=じ 文字=もじ 語=ご 代=だい 段=だん 段階=だんかい 大学=だいがく 面=めん 畳=じょう 錠=じょう 膳=ぜん
題=だい 連敗=れんぱい 連勝=れんしょう 打=だ メートル=めーとる ミリ=みり ミリメートル=みりめーとる ミリリットル=みりりっとる
グラム=ぐらむ リットル=りっとる ドル=どる ユーロ=ゆーろ ワット=わっと ミリグラム=みりぐらむ メガバイト=めがばいと ギガバイト=ぎがばいと ヘルツ=へるつ デシベル=でしべる
"""


def _pairs(table: str) -> list[tuple[str, str]]:
    return [(word, reading) for word, _, reading in (pair.partition("=") for pair in table.split())]


def _voicing(reading: str, *, half_after_n: bool = False, keep_n: bool = False) -> Counter:
    """ほん, ひき: ぽ where the number's end is doubled, and after ん ぼ, or ぽ (さんぷん), or ほ as it is."""
    half, voiced = _HALF[reading[0]] + reading[1:], _VOICED[reading[0]] + reading[1:]
    after = dict.fromkeys(_DOUBLED, half)
    if half_after_n:
        after |= dict.fromkeys((*_AFTER_N, "よん"), half)
    elif not keep_n:
        after |= dict.fromkeys(_AFTER_N, voiced)
    return Counter(reading, _K, after=after)


def _counters() -> dict[str, Counter]:
    table = {word: Counter(reading) for word, reading in _pairs(_PLAIN)}
    for word, reading in _pairs(_K_COUNTERS):
        if reading.startswith("か") and word[0] in "月国所条年":
            table.update({ka + word: Counter(reading, _K) for ka in _KA.split()})
        else:
            table[word] = Counter(reading, _K)
    for ends, words in (
        *((_S, _S_COUNTERS), (_LOAN_K, _LOAN_K_COUNTERS), (_P, _P_COUNTERS)),
        *((_YO, _YO_COUNTERS), (_HOURS, _HOUR_COUNTERS)),
    ):
        table.update({word: Counter(reading, ends) for word, reading in _pairs(words)})
    for word, voiced in (("階", "がい"), ("階建て", "がいだて"), ("軒", "げん"), ("足", "ぞく")):
        table[word] = Counter(table[word].reading, table[word].ends, after={"さん": voiced})
    for word, reading in (
        ("本", "ほん"),
        ("本目", "ほんめ"),
        ("匹", "ひき"),
        ("杯", "はい"),
        ("票", "ひょう"),
        ("遍", "へん"),
    ):
        table[word] = _voicing(reading)
    for word, reading in (
        ("分", "ふん"),
        ("分間", "ふんかん"),
        ("分後", "ふんご"),
        ("分前", "ふんまえ"),
        ("泊", "はく"),
    ):
        table[word] = _voicing(reading, half_after_n=True)
    shots = _voicing("はつ", keep_n=True)
    table["発"] = Counter("はつ", _K, after={**shots.after, **dict.fromkeys(_AFTER_N, "ぱつ")})
    wings = {**dict.fromkeys(_AFTER_N, "ば"), "ろく": "ぱ", "じゅう": "ぱ", "ひゃく": "ぱ"}
    table["羽"] = Counter("わ", _W, after=wings)
    table["時"] = Counter("じ", _HOURS, whole={0: "れいじ"})
    table["歳"] = table["才"] = Counter("さい", _S, whole={20: "はたち"})
    table["月"] = Counter("がつ", _MONTHS, only=range(1, 13))
    for word, reading in (("人", "にん"), ("人目", "にんめ"), ("人組", "にんぐみ"), ("人前", "にんまえ")):
        own = {} if word == "人前" else {1: "ひとり" + reading[2:], 2: "ふたり" + reading[2:]}
        table[word] = Counter(reading, _YO, whole=own)
    for ending, reading in (("", ""), ("間", "かん"), ("目", "め"), ("後", "ご"), ("前", "まえ")):
        table["日" + ending] = Counter("にち" + reading, whole={day: word + reading for day, word in _DAYS.items()})
    table["つ"] = Counter("つ", whole=_THINGS, only=range(1, 11))
    table["つ目"] = Counter("つめ", whole={n: word + "め" for n, word in _THINGS.items()}, only=range(1, 10))
    table["月号"] = Counter("がつごう", _MONTHS, only=range(1, 13))
    table["桁"] = Counter("けた", _K, whole={1: "ひとけた", 2: "ふたけた"})
    return table


COUNTERS = _counters()
LONGEST = max(map(len, COUNTERS))
# a first sound of the next word that numbers change, or that changes after them
_CHANGING = re.compile("[かきくけこさしすせそたちつてとはひふへほぱぴぷぺぽわ]")


def find(text: str) -> str | None:
    """The longest counter that `text` begins with, or None."""
    for length in range(min(LONGEST, len(text)), 0, -1):
        if text[:length] in COUNTERS:
            return text[:length]
    return None


def may_change(value: int, reading: str) -> bool:
    """Whether a number and a word that begins with `reading` could change each other's sounds."""
    end = _end_of(parts(value)[-1])
    return end not in ("に", "ご", "ぜろ") and bool(_CHANGING.match(reading))
