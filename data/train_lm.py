"""Make the corpus of the embedded model, train it, and measure it on texts that it never saw.

    python data/train_lm.py corpus --cache /tmp/lm --hours 1.9

Speech is flite's, four voices at three sizes of the speaker; texts are digits, dates and common words. docs/tiny_lm.md
tells how the shipped weights were made and what they measure.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile
import soxr
from synthesise import FLITE_VOICES, Voice, english_words, speak

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # also runs from a checkout that isn't installed

RATE_HZ = 24_000
# by which a voice is played faster: pitch and formants go up with it, as of a smaller speaker; flite speaks slower then
SIZES = (0.9, 1.0, 1.12)
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
DAYS = (
    *("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"),
    *("eleventh", "twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth", "eighteenth"),
    *("nineteenth", "twentieth", "twenty first", "twenty second", "twenty third", "twenty fourth", "twenty fifth"),
    *("twenty sixth", "twenty seventh", "twenty eighth", "twenty ninth", "thirtieth", "thirty first"),
)
YEARS = tuple(f"{century} {rest}" for century in ("nineteen", "twenty") for rest in ("ten", "forty", "ninety nine"))
NUM_COMMON = 6_000  # words that random sentences are made of
FLATTER = 0.5  # the power of a word's frequency by which it is drawn: rare ones come, common ones don't fill all


@dataclasses.dataclass(frozen=True)
class Speaker:
    """A voice of flite at a size."""

    voice: str
    size: float

    @property
    def name(self) -> str:
        return f"{self.voice}-{round(100 * self.size)}"


SPEAKERS = tuple(Speaker(voice, size) for voice in FLITE_VOICES for size in SIZES)


def say(text: str, speaker: Speaker) -> np.ndarray:
    """float32 [n] at RATE_HZ, peak 0.5."""
    audio, rate_hz = speak(text, Voice("flite", speaker.voice))
    audio = soxr.resample(audio, rate_hz * speaker.size, RATE_HZ)
    return (0.5 * audio / max(1e-3, float(np.abs(audio).max()))).astype(np.float32)


class Texts:
    """Random texts: digits, dates and sentences of common words without sense."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.words, self.weights = common_words()

    def digits(self) -> str:
        return " ".join(self.rng.choice(DIGITS) for _ in range(self.rng.randint(3, 9)))

    def date(self) -> str:
        month, day, year = self.rng.choice(MONTHS), self.rng.choice(DAYS), self.rng.choice(YEARS)
        return self.rng.choice([f"{month} {day} {year}", f"{month} {day}", f"the {day} of {month}"])

    def sentence(self) -> str:
        chosen = self.rng.choices(self.words, self.weights, k=self.rng.randint(5, 11))
        if self.rng.random() < 0.3:
            chosen[self.rng.randrange(1, len(chosen) - 1)] += ","
        return " ".join(chosen) + "."

    def any(self) -> str:
        kind = self.rng.random()
        return self.digits() if kind < 0.15 else self.date() if kind < 0.25 else self.sentence()


def common_words() -> tuple[list[str], list[float]]:
    """Words of English and how often each is drawn, by the language model inside the pocketsphinx package."""
    import pocketsphinx

    config = pocketsphinx.Decoder.default_config()
    model = pocketsphinx.NGramModel(config, pocketsphinx.LogMath(), pocketsphinx.get_model_path("en-us/en-us.lm.bin"))
    chance = {word: 1.0001 ** model.prob([word]) for word in dict.fromkeys([*english_words(), "a", "an", "in", "of"])}
    best = sorted(chance, key=lambda word: -chance[word])[:NUM_COMMON]
    return best, [chance[word] ** FLATTER for word in best]


def make_corpus(folder: Path, hours: float, seed: int) -> Path:
    """VOICES/lm/<speaker>/<number>.wav with its text in .txt, until there are so many hours; made once."""
    voices, done = folder / "voices", folder / "corpus.done"
    if done.exists():
        return voices
    texts, total_s, started = Texts(seed), 0.0, time.monotonic()

    def make(number: int, text: str, speaker: Speaker) -> float:
        path = voices / "lm" / speaker.name / f"{number:05d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        audio = say(text, speaker)
        soundfile.write(path, audio, RATE_HZ)
        path.with_suffix(".txt").write_text(text + "\n", encoding="utf-8")
        return len(audio) / RATE_HZ

    number = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while total_s < hours * 3600:
            numbers = range(number, number + 120)
            jobs = [(each, texts.any(), SPEAKERS[each % len(SPEAKERS)]) for each in numbers]
            total_s += sum(pool.map(lambda job: make(*job), jobs))
            number = numbers.stop
            taken_s = time.monotonic() - started
            print(f"corpus: {number} utterances, {total_s / 3600:.2f} h, {taken_s:.0f} s", flush=True)
    (voices / "language.txt").write_text("en\n")
    done.touch()
    return voices


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("what", choices=["corpus"])
    parser.add_argument("--cache", type=Path, required=True, help="folder for the corpus and the run")
    parser.add_argument("--hours", type=float, default=1.9)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    make_corpus(args.cache, args.hours, args.seed)


if __name__ == "__main__":
    main()
