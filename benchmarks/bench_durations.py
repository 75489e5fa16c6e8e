"""How right durations are, how fast they come, and which swapped texts their score finds.

    python benchmarks/bench_durations.py [--hours 0.5] [--work WORK]

A corpus is made by flite, which tells where each of its sounds ends: word starts are compared with those. Then 2 % of
the texts are swapped with a seed, and the aligner learns and scores again; `text_fit` is to be lowest for the swapped
ones. With --work, the second part is done on that folder's dataset instead, which is left as it is.
"""

from __future__ import annotations

import argparse
import functools
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "data"))

from train_lm import SPEAKERS, make_corpus, prepare

from vall_e import storage
from vall_e.emb.durations import GATE, DurationsOptions, durations
from vall_e.scores import Scores
from vall_e.types import Durations, Utterance
from vall_e.units import PHONE, kind_of

SWAPPED, SEED = 0.02, 7
FALSE_ALARMS = (0.005, 0.01)


def segments(text: str, voice: str) -> list[tuple[str, float]]:
    """(sound, its end in seconds) of what flite says."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "text.txt"
        source.write_text(text + "\n")
        command = ["flite", "-voice", voice, "-psdur", "-f", str(source), "-o", str(Path(folder) / "a.wav")]
        shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [(name, float(end)) for name, _, end in (part.rpartition(":") for part in shown.split())]


@functools.cache
def num_sounds(word: str, voice: str) -> int:
    return sum(name != "pau" for name, _ in segments(word, voice))


def word_starts(text: str, voice: str) -> list[float] | None:
    """Seconds at which each word begins; None where the words have other sounds together than alone."""
    found, start, sounds = segments(text, voice), 0.0, []
    for name, end in found:
        if name != "pau":
            sounds.append(start)
        start = end
    counts = [num_sounds(word.strip(".,"), voice) for word in text.split()]
    if sum(counts) != len(sounds):
        return None
    firsts = np.cumsum([0, *counts[:-1]])
    return [sounds[first] for first in firsts]


def found_starts(row: Utterance, frames: tuple[int, ...], frame_rate_hz: float) -> list[float]:
    """Seconds at which each word of the phonemes begins."""
    starts = np.concatenate([[0], np.cumsum(frames)]) / frame_rate_hz
    found, inside = [], False
    for token, phone in enumerate(row.phonemes, start=1):
        if phone.isspace():
            inside = False
        elif kind_of(phone) == PHONE and not inside:
            found.append(float(starts[token]))
            inside = True
    return found


def boundary_errors(dataset: Path, most: int) -> np.ndarray:
    """Seconds, of word starts of at most so many utterances."""
    rows = {row.id: row for row in storage.read_rows(dataset / "utterances.jsonl", Utterance)}
    sizes = {speaker.name: speaker for speaker in SPEAKERS}
    errors: list[float] = []
    for number, found in enumerate(storage.read_rows(dataset / "durations.jsonl", Durations)):
        row = rows[found.id]
        if number % max(1, len(rows) // most) or found.durations_frames is None:
            continue
        speaker = sizes[row.speaker]
        truth = word_starts(row.text, speaker.voice)
        own = found_starts(row, found.durations_frames, 75.0)
        if truth is None or len(truth) != len(own):
            continue
        cut_s = row.start_samples / row.sample_rate_hz
        errors += [abs(start / speaker.size - cut_s - mine) for start, mine in zip(truth, own, strict=True)]
    return np.array(errors)


def swapped_found(dataset: Path) -> dict[str, Any]:
    """Shares of swapped texts that are found at given shares of false alarms, on a copy of the rows."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("utterances.jsonl", "dataset.json"):
            shutil.copy(dataset / name, copy / name)
        lines = [json.loads(line) for line in (copy / "utterances.jsonl").read_text().splitlines()]
        chosen = random.Random(SEED).sample(range(len(lines)), max(2, round(SWAPPED * len(lines)) // 2 * 2))
        for one, other in zip(chosen[::2], chosen[1::2], strict=True):
            lines[one]["phonemes"], lines[other]["phonemes"] = lines[other]["phonemes"], lines[one]["phonemes"]
        (copy / "utterances.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        for line in lines:
            (copy / line["codes"]).parent.mkdir(parents=True, exist_ok=True)
            (copy / line["codes"]).symlink_to((dataset / line["codes"]).resolve())
        durations(copy, DurationsOptions())
        scores = Scores(copy)
        fits = [scores.of(line["id"]).get(GATE) for line in lines]
    wrong = set(chosen)
    known = np.array([fit for number, fit in enumerate(fits) if fit is not None and number not in wrong])
    bad = [fits[number] for number in sorted(wrong)]
    result: dict[str, Any] = {"utterances": len(lines), "swapped": len(wrong)}
    for share in FALSE_ALARMS:
        limit = float(np.quantile(known, share))
        caught = sum(fit is None or fit < limit for fit in bad)  # None: more phones than frames, which is said
        result[f"found at {share:.1%} false alarms"] = round(caught / len(bad), 3)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--hours", type=float, default=0.5)
    parser.add_argument("--work", type=Path, help="a folder that prepare made")
    parser.add_argument("--quick", action="store_true", help="0.02 hours")
    args = parser.parse_args()
    if args.work is not None:
        print(swapped_found(args.work / "dataset"))
        return
    with tempfile.TemporaryDirectory() as folder:
        voices = make_corpus(Path(folder), 0.02 if args.quick else args.hours, seed=0)
        dataset = prepare(Path(folder), voices).parent
        started = time.perf_counter()
        durations(dataset, DurationsOptions(overwrite=True))
        taken_s = time.perf_counter() - started
        rows = storage.read_rows(dataset / "utterances.jsonl", Utterance)
        audio_s = sum(row.duration_s for row in rows)
        errors = boundary_errors(dataset, most=150)
        print(f"{audio_s / 3600:.2f} h in {taken_s:.1f} s: {taken_s / audio_s:.4f} x real time, one core")
        shares = ", ".join(f"{np.mean(errors <= limit):.0%} within {limit * 1000:.0f} ms" for limit in (0.02, 0.05))
        print(f"{len(errors):,} word starts: median error {np.median(errors) * 1000:.0f} ms, {shares}")
        print(swapped_found(dataset))


if __name__ == "__main__":
    main()
