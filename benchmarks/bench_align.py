"""Alignment of a given text by pocketsphinx: how fast, how many words are kept, what memory two lengths take.

    python benchmarks/bench_align.py [--minutes 60]

The recording is made of sentences that flite says, half a second apart; of every hundred two are in the text only, and
two in the sound only. Targets: under 0.05 × real time, at least 98 % of the words that are in
both, no memory that grows with the length.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import resource
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from vall_e import audio
from vall_e.emb.asr.align import Alignment, align
from vall_e.emb.asr.align_pocketsphinx import PocketSphinxAligner
from vall_e.emb.asr.pocketsphinx import RATE_HZ
from vall_e.emb.transcribe import say
from vall_e.types import Transcript

ODD = 0.02  # of the sentences, in the text only; and as many in the sound only


PARTS = """
the old|my young|a tall|her first|that strange|every good|the last|our new|one quiet|his brave
teacher|farmer|neighbor|captain|doctor|painter|soldier|sister|driver|writer|baker|sailor
found|carried|remembered|opened|repaired|described|borrowed|followed|painted|forgot|counted|covered
a small box|the heavy door|some yellow paper|the narrow bridge|seven letters|an empty bottle|the wooden boat
near the river|behind the church|in the morning|before the winter|without a word|after the long war
because it rained|when nobody looked|and went home|for the third time|as quickly as possible|to our surprise
"""


def sentence(chance: random.Random, folder: Path) -> tuple[str, np.ndarray]:
    """A sentence that hardly comes twice, and how flite says it."""
    text = " ".join(chance.choice(line.split("|")) for line in PARTS.strip().splitlines())
    text = text[0].upper() + text[1:] + "."
    path = folder / "sentence.wav"
    subprocess.run(["flite", "-voice", "slt", "-t", text, "-o", path], check=True)
    samples, rate_hz = audio.load(path)
    return text, audio.resample(samples, rate_hz, RATE_HZ)


def write(path: Path, minutes: float) -> tuple[str, int]:
    """Writes the recording → (its text, the number of words that are in both)."""
    chance = random.Random(0)
    text, both, gap = [], 0, np.zeros(RATE_HZ // 2, np.float32)
    with soundfile.SoundFile(path, "w", RATE_HZ, 1) as file:
        while file.tell() < minutes * 60 * RATE_HZ:
            words, samples = sentence(chance, path.parent)
            kind = chance.random()
            if kind >= ODD:
                file.write(np.concatenate([samples, gap]))
            if kind < ODD or kind >= 2 * ODD:
                text.append(words)
            both += len(words.split()) * (kind >= 2 * ODD)
    return " ".join(text), both


def run(path: Path, text: str, queue: multiprocessing.Queue[tuple[float, int, int, float]]) -> None:
    source = audio.Source(audio.probe(path, path.name), path)
    given = Transcript(
        recording_id=path.name, language="en", language_prob=None, text=text, segments=(), backend="bench"
    )
    aligner = PocketSphinxAligner(say)
    started = time.perf_counter()
    found = align(aligner, source, given)
    seconds = time.perf_counter() - started
    words = sum(len(segment.words) for segment in found.transcript.segments) if isinstance(found, Alignment) else 0
    rejects = len(found.rejects) if isinstance(found, Alignment) else 0
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    queue.put((seconds / source.recording.duration_s, words, rejects, peak_mib))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--quick", action="store_true", help="two minutes")
    args = parser.parse_args()
    longest = 2.0 if args.quick else args.minutes
    context = multiprocessing.get_context("spawn")
    for minutes in (longest / 10, longest):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "long.wav"
            text, both = write(path, minutes)
            queue: multiprocessing.Queue[tuple[float, int, int, float]] = context.Queue()
            worker = context.Process(target=run, args=(path, text, queue))
            worker.start()
            factor, words, rejects, peak_mib = queue.get()
            worker.join()
        print(
            f"{minutes:g} min: {factor:.4f} × real time, {words:,} words placed, {both:,} are in both "
            f"({words / both:.1%}), {rejects} parts rejected, peak {peak_mib:.0f} MiB"
        )


if __name__ == "__main__":
    main()
