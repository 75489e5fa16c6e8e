"""Make the corpus of the embedded model, train it, and measure it on texts that it never saw.

    python data/train_lm.py train --cache /tmp/lm
    python data/train_lm.py ship --cache /tmp/lm
    python data/train_lm.py evaluate --cache /tmp/lm

Speech is flite's, four voices at three sizes of the speaker; texts are digits, dates and common words. docs/tiny_lm.md
tells how the shipped weights were made and what they measure.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import random
import subprocess
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
SMALL_HOURS, SMALL_MINUTES = 1.9, 35.0
LARGE_HOURS, LARGE_MINUTES = 5.0, 50.0
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

    config = pocketsphinx.Config()
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


# --- training ---------------------------------------------------------------------------------------------------------


def prepare(folder: Path, voices: Path) -> Path:
    """The corpus through the package's own chain → the built dataset."""
    from vall_e import cli

    work = folder / "work"
    status = cli.main(["prepare", str(voices), str(work), "--config", "offline", "--workers", "0"])
    if status:
        raise SystemExit(status)
    return work / "dataset" / "built"


def train_model(
    built: Path, run: Path, *, minutes: float, model: str = "both", init: str = ""
) -> subprocess.Popen[bytes]:
    """Starts training as `configs/train-tiny.yaml` says, on one thread; an interrupted run resumes."""
    command = [
        sys.executable,
        "-m",
        "vall_e.train",
        "--config",
        "train-tiny",
        "--dataset",
        str(built),
        "--output",
        str(run),
    ]
    command += ["--minutes", str(minutes), "--model", model, "--device", "cpu", "--workers", "0", "--samples", "0"]
    command += ["--save-every", "250", *(["--init", init] if init else [])]
    return subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"})


def wait_for(*processes: subprocess.Popen[bytes]) -> None:
    for process in processes:
        if process.wait():
            raise SystemExit(process.returncode)


def train(folder: Path) -> None:
    """Both models on a small corpus, then each on a larger one, at the same time: 85 minutes on two cores."""
    small, large = folder / "small", folder / "large"
    built = prepare(small, make_corpus(small, SMALL_HOURS, seed=0))
    wait_for(train_model(built, small / "run", minutes=SMALL_MINUTES))
    built = prepare(large, make_corpus(large, LARGE_HOURS, seed=1))
    init = str(small / "run")
    wait_for(
        *(
            train_model(built, large / f"run-{name}", minutes=LARGE_MINUTES, model=name, init=init)
            for name in ("ar", "nar")
        )
    )


def ship(folder: Path, target: Path) -> None:
    """Writes both models with weights of 16 bits, as they ship."""
    from vall_e import trained

    ar, nar = (trained.load(folder / "large" / f"run-{name}") for name in ("ar", "nar"))
    target.mkdir(parents=True, exist_ok=True)
    trained.save_weights(target / trained.WEIGHTS, ar.ar, nar.nar, half=True)
    told = {"prompt_s": ar.description.trained["prompt_s"], "seed": ar.description.trained["seed"]}
    told |= {f"{name}_steps": each.description.trained["step"] for name, each in (("ar", ar), ("nar", nar))}
    dataclasses.replace(ar.description, nar=nar.description.nar, trained=told).write(target)
    (target / ".tmp").rmdir()
    print(f"{target}: {(target / trained.WEIGHTS).stat().st_size / 1e6:.1f} MB")


# --- what it is worth -------------------------------------------------------------------------------------------------

HELD_OUT_SEED = 1_000_003  # of texts, which the corpus never had
NUM_DIGITS, NUM_DATES, NUM_SENTENCES, NUM_VOICES = 40, 40, 40, 40
# from the IEEE's recommended practice for speech quality measurements (1969), known as the Harvard sentences
HARVARD = (
    "the birch canoe slid on the smooth planks",
    "glue the sheet to the dark blue background",
    "it's easy to tell the depth of a well",
    "these days a chicken leg is a rare dish",
    "rice is often served in round bowls",
    "the juice of lemons makes fine punch",
    "the box was thrown beside the parked truck",
    "the hogs were fed chopped corn and garbage",
    "four hours of steady work faced us",
    "a large size in stockings is hard to sell",
    "the boy was there when the sun rose",
    "a rod is used to catch pink salmon",
    "the source of the huge river is the clear spring",
    "kick the ball straight and follow through",
    "help the woman get back to her feet",
    "a pot of tea helps to pass the evening",
    "smoky fires lack flame and heat",
    "the soft cushion broke the man's fall",
    "the salt breeze came across from the sea",
    "the girl at the booth sold fifty bonds",
)


class Ear:
    """Pocketsphinx, with a grammar where one is given."""

    def __init__(self, rules: str | None = None) -> None:
        import pocketsphinx

        self.decoder = pocketsphinx.Decoder(samprate=16_000, loglevel="FATAL")
        if rules is not None:
            self.decoder.add_jsgf_string("closed", f"#JSGF V1.0; grammar closed; {rules}")
            self.decoder.activate_search("closed")

    def hear(self, audio: np.ndarray, rate_hz: int) -> list[str]:
        """The words in float32 [n]."""
        samples = np.clip(soxr.resample(audio, rate_hz, 16_000) * 32767, -32768, 32767).astype(np.int16)
        self.decoder.reinit_feat()
        self.decoder.start_utt()
        self.decoder.process_raw(np.pad(samples, 4000).tobytes(), full_utt=True)
        self.decoder.end_utt()
        found = self.decoder.hyp()
        return found.hypstr.split() if found else []


def one_of(words: tuple[str, ...]) -> str:
    return " | ".join(words)


DIGIT_RULES = f"public <digits> = ( {one_of(DIGITS)} )+ ;"
DATE_RULES = (
    f"<month> = {one_of(MONTHS)} ; <day> = {one_of(DAYS)} ; <year> = {one_of(YEARS)} ; "
    "public <date> = <month> <day> [ <year> ] | the <day> of <month> ;"
)


@dataclasses.dataclass
class Score:
    """Word errors of texts said by one way of speaking."""

    errors: int = 0
    words: int = 0
    right: int = 0
    texts: int = 0

    def add(self, text: str, heard: list[str]) -> None:
        from vall_e.emb.text.written import edit_path

        own = [word.strip(".,") for word in text.lower().split()]
        distance, _ = edit_path(own, heard)
        self.errors, self.words = self.errors + distance, self.words + len(own)
        self.right, self.texts = self.right + (own == heard), self.texts + 1

    @property
    def rate(self) -> float:
        return self.errors / max(1, self.words)


class Judge:
    """Says texts by the model, by its level 0 with the NAR above it, by the codec alone, and by flite itself."""

    def __init__(self, model: str, options: dict[str, float], dataset: Path | None) -> None:
        from vall_e.emb.durations import load_model
        from vall_e.synthesize import Synthesizer

        self.phones = None if dataset is None else load_model(dataset, 8)[0]

        self.speaker = Synthesizer.load(model, **options)
        self.prompts: dict[str, np.ndarray] = {}
        self.lengths: list[float] = []
        self.stopped: list[bool] = []
        self.spent_s = self.spoken_s = 0.0

    def prompt(self, speaker: Speaker) -> np.ndarray:
        """Codes of a sentence that the corpus did not have."""
        from vall_e.emb.codecs.base import encode

        if speaker.name not in self.prompts:
            longest_s = float(self.speaker.model.description.trained["prompt_s"])
            audio = say("Two narrow roads went around the quiet harbour.", speaker)[: round(longest_s * RATE_HZ)]
            self.prompts[speaker.name] = encode(self.speaker.model.codec, audio, RATE_HZ)
        return self.prompts[speaker.name]

    def model_says(self, text: str, speaker: Speaker) -> np.ndarray:
        started = time.perf_counter()
        spoken = self.speaker.speak(text, language="en", prompt=self.prompt(speaker))
        self.spent_s += time.perf_counter() - started
        self.spoken_s += len(spoken.audio) / RATE_HZ
        self.stopped.append(spoken.stopped)
        return spoken.audio

    def filled(self, text: str, speaker: Speaker, codes: np.ndarray) -> np.ndarray:
        """Level 0 of an original, with what the NAR model puts above it."""
        from vall_e.emb import hmm

        model = self.speaker.model
        phonemes = model.to_phonemes(text, "en")
        assert self.phones is not None
        (path,) = hmm.align(self.phones, [(codes, self.phones.spell(phonemes))])
        assert path is not None, f"{text!r} has more phones than frames"
        own = self.speaker.fill(
            text, language="en", prompt=self.prompt(speaker), first=codes[0], durations=path.durations
        )
        return model.codec.decode([own])[0]

    def all_ways(self, text: str, speaker: Speaker) -> dict[str, np.ndarray]:
        from vall_e.emb.codecs.base import encode

        original = say(text, speaker)
        codec = self.speaker.model.codec
        codes = encode(codec, original, RATE_HZ)
        found = {"flite": original, "codec": codec.decode([codes])[0], "model": self.model_says(text, speaker)}
        if self.phones is not None:
            found["true level 0"] = self.filled(text, speaker, codes)
        self.lengths.append(len(found["model"]) / len(original))
        return found


def evaluate(model: str, options: dict[str, float], dataset: Path | None) -> dict[str, float]:
    """Prints and returns what docs/tiny_lm.md says.

    Args:
        model: RUN, or tiny.
        options: of SynthesizeOptions.
        dataset: that durations were learnt of, which align true codes with their text; None: not measured.
    """
    judge, texts = Judge(model, options, dataset), Texts(HELD_OUT_SEED)
    ways = ("flite", "codec", *(("true level 0",) if dataset else ()), "model")
    natural = [speaker for speaker in SPEAKERS if speaker.size == 1]
    sentences = [texts.sentence() for _ in range(NUM_SENTENCES)]
    plain = [" ".join(word.strip(".,") for word in sentence.split()) for sentence in sentences]
    kinds: dict[str, tuple[str | None, list[str]]] = {
        "digits": (DIGIT_RULES, [texts.digits() for _ in range(NUM_DIGITS)]),
        "dates": (DATE_RULES, [texts.date() for _ in range(NUM_DATES)]),
        "sentence of 40": (f"public <sentence> = {' | '.join(plain)} ;", sentences),
        "open vocabulary": (None, sentences),
        "Harvard": (None, list(HARVARD)),
    }
    print(f"{'':18}" + "".join(f"{way:>14}" for way in ways))
    found: dict[str, float] = {}
    said: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    for kind, (rules, lines) in kinds.items():
        ear = Ear(rules)
        scores = {way: Score() for way in ways}
        for number, text in enumerate(lines):
            speaker = natural[number % len(natural)]
            key = (text, speaker.name)
            if key not in said:
                said[key] = judge.all_ways(text, speaker)
            for way, score in scores.items():
                score.add(text, ear.hear(said[key][way], RATE_HZ))
        value = {way: score.right / score.texts if "of 40" in kind else score.rate for way, score in scores.items()}
        found |= {f"{kind}: {way}": rate for way, rate in value.items()}
        print(f"{kind:18}" + "".join(f"{rate:14.3f}" for rate in value.values()), flush=True)
    found["voice"] = voices_right(judge, natural)
    found |= {"stopped": float(np.mean(judge.stopped)), "real time": judge.spent_s / judge.spoken_s}
    found |= {"shortest": float(np.min(judge.lengths)), "longest": float(np.max(judge.lengths))}
    found["length within 25 %"] = float(np.mean(np.abs(np.array(judge.lengths) - 1) <= 0.25))
    for name in ("voice", "stopped", "real time", "shortest", "longest", "length within 25 %"):
        print(f"{name:18}{found[name]:10.3f}")
    return found


def voices_right(judge: Judge, natural: list[Speaker]) -> float:
    """The share of syntheses whose voice is nearest to that of their prompt, of four."""
    from vall_e.emb import voice

    def embedding(audio: np.ndarray) -> np.ndarray:
        return voice.of_sound(soxr.resample(audio, RATE_HZ, voice.RATE_HZ))

    lines = [f"Sentence number {word} of this test is short." for word in ("two", "five", "six", "nine")]
    centres = np.stack([np.mean([embedding(say(line, each)) for line in lines], axis=0) for each in natural])
    right = 0
    for number in range(NUM_VOICES):
        own = number % len(natural)
        heard = embedding(judge.model_says(HARVARD[number % len(HARVARD)], natural[own]))
        right += int(np.argmax(centres @ heard / np.linalg.norm(centres, axis=1))) == own
    return right / NUM_VOICES


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("what", choices=["train", "ship", "evaluate"])
    parser.add_argument("--cache", type=Path, help="folder for the corpora and the runs")
    parser.add_argument("--model", default="tiny", help="what is evaluated: RUN, or tiny")
    parser.add_argument("--temperature", type=float, default=None)
    parser.add_argument("--top-p", type=float, default=None)
    args = parser.parse_args()
    if args.what == "evaluate":
        given = {"temperature": args.temperature, "top_p": args.top_p}
        dataset = None if args.cache is None else args.cache / "large" / "work" / "dataset"
        evaluate(args.model, {name: value for name, value in given.items() if value is not None}, dataset)
        return
    if args.cache is None:
        parser.error(f"{args.what} needs --cache")
    if args.what == "train":
        train(args.cache)
    else:
        from vall_e import trained

        ship(args.cache, trained.EMBEDDED)


if __name__ == "__main__":
    main()
