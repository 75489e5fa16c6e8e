"""g2p against the bare library: rate relative to one cached phonemizer back end called text by text, and memory growth.

    python benchmarks/bench_g2p.py            # a minute or so; --quick for a few seconds

Both sides get the same texts in turn, first one side then the other, and the ratio is the median over the rounds. Ours
is `to_phonemes`: normalising, looking for lost characters, reading, and the checks on the result.
"""

from __future__ import annotations

import argparse
import logging
import random
import statistics
import time
from collections.abc import Callable, Sequence

from vall_e.emb.g2p import G2pOptions, Phonemizer, load_phonemizer, to_phonemes
from vall_e.types import Reject

WORDS = {
    "en": "the river was quiet and nobody had seen a boat for 3 days so we walked along its bank towards the old mill "
    "where my sister's friend said that it's warmer in winter than in spring although 40% of the rooms have no stove",
    "de": "der Fluss war ruhig und niemand hatte seit 3 Tagen ein Boot gesehen also gingen wir am Ufer entlang zur "
    "alten Mühle wo die Freundin meiner Schwester wohnte und wo es im Winter wärmer als im Frühling gewesen ist",
    "zh": "河水 很 安静 已经 三天 没有 人 看见 船 所以 我们 沿着 岸边 走 到 老 磨坊 去 我 姐姐 的 朋友 说 那里 冬天",
    "ja": "川は 静かで 三日の 間 誰も 船を 見なかった ので 私たちは 岸に 沿って 古い 歩いた 姉の 友人は 冬の ほうが",
}
WORDS["ja-openjtalk"] = WORDS["ja"]
VOICES = {"en": "en-us", "de": "de", "zh": "cmn-latn-pinyin", "ja": "ja", "ja-openjtalk": "ja"}


def sentences(language: str, count: int, seed: int) -> list[str]:
    chance = random.Random(seed)
    words = WORDS[language].split()
    joint = "" if language[:2] in ("zh", "ja") else " "
    stops = "。、？" if joint == "" else ".,?"
    texts = []
    for _ in range(count):
        chosen = [chance.choice(words) for _ in range(chance.randint(5, 20))]
        chosen[len(chosen) // 2] += stops[1]
        texts.append(joint.join(chosen) + chance.choice((stops[0], stops[2])))
    return texts


def bare_reader(language: str) -> Callable[[str], object]:
    """The library by itself, with the flags that g2p gives it, no warnings; what reads kanji before it."""
    from phonemizer.backend import EspeakBackend

    logger = logging.getLogger("bench_g2p")
    logger.disabled = True
    backend = EspeakBackend(
        VOICES[language], preserve_punctuation=True, with_stress=True, language_switch="remove-flags", logger=logger
    )
    if language == "ja-openjtalk":
        import pyopenjtalk

        return lambda text: backend.phonemize([pyopenjtalk.g2p(text, kana=True)], strip=True)
    if language != "ja":
        return lambda text: backend.phonemize([text], strip=True)
    import pykakasi

    kakasi = pykakasi.kakasi()
    return lambda text: backend.phonemize(["".join(item["hira"] for item in kakasi.convert(text))], strip=True)


def seconds(read: Callable[[str], object], texts: Sequence[str]) -> float:
    start = time.perf_counter()
    for text in texts:
        read(text)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer texts, rounds and calls")
    parser.add_argument("--languages", default="en,de,zh,ja,ja-openjtalk", help=f"of {','.join(WORDS)}")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    count, rounds, calls = (200, 3, 5_000) if args.quick else (500, 9, 50_000)

    for language in args.languages.split(","):
        texts = sentences(language, count, args.seed)
        kanji = {"ja": "pykakasi", "ja-openjtalk": "openjtalk"}.get(language, "auto")
        phonemizer = load_phonemizer(G2pOptions(japanese=kanji))

        def ours(text: str, language: str = language[:2], phonemizer: Phonemizer = phonemizer) -> object:
            result = to_phonemes(phonemizer, text, language, item_id=text, stage="bench")
            assert not isinstance(result, Reject), result
            return result

        bare = bare_reader(language)
        seconds(ours, texts), seconds(bare, texts)
        ratios, rates = [], []
        for number in range(rounds):
            sides = (ours, bare) if number % 2 else (bare, ours)
            spent = {side: seconds(side, texts) for side in sides}
            ratios.append(spent[bare] / spent[ours])
            rates.append(count / spent[ours])
        print(
            f"{language}: {statistics.median(ratios):.2f} of the bare rate "
            f"({min(ratios):.2f} to {max(ratios):.2f} in {rounds} rounds), {statistics.median(rates):.0f} texts/s"
        )
    print(growth(calls, args.seed))


def growth(calls: int, seed: int) -> str:
    """Resident memory before and after many calls with texts that are all different, after a warm-up."""
    import psutil

    phonemizer = load_phonemizer(G2pOptions())
    texts = sentences("en", calls + 1000, seed + 1)
    process = psutil.Process()
    for text in texts[:1000]:
        phonemizer.phonemize([text], "en")
    before = process.memory_info().rss
    for text in texts[1000:]:
        phonemizer.phonemize([text], "en")
    return f"memory: {(process.memory_info().rss - before) / 2**20:+.2f} MiB over {calls} calls"


if __name__ == "__main__":
    main()
