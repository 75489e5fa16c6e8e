"""Speakers told apart: how much of the time is right, how many voices are found, how fast, in what memory.

    python benchmarks/bench_diarize.py [--minutes 20] [--sounds DIR …]

Dialogues are made with a seed: of three voices of flite; and of recorded people, one DIR of audio files each, like
the folders of Debian's packages asterisk-core-sounds-{en,it,fr,ru}-g722. Each comes plain, and with half of the turns
begun 0.5 to 1.2 s before the last one ends. Targets: 95 % of the time right, 0.05 × real time on one core.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import random
import resource
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from vall_e import audio, cli, storage
from vall_e.emb.asr.diarize import Found
from vall_e.emb.asr.diarize_embedded import EmbeddedDiarizer
from vall_e.types import Utterance

RATE_HZ = 16_000
FRAMES_PER_S = 100
VOICES = ("slt", "rms", "awb")
Spoken = list[tuple[float, float, int]]  # start, end, who

STARTS = ("the old man", "my sister", "nobody here", "a small boat", "our teacher", "every child", "that woman")
ENDS = (
    *("walked along the river before it rained", "never told us what happened", "lives on the other side of town"),
    *("was late again this morning", "said that it would be easy", "agrees with you about the house"),
)


def synthetic(voice: str, folder: Path, num: int = 60) -> tuple[list[np.ndarray], list[str]]:
    """Clips and their texts."""
    chance = random.Random(voice)
    clips, texts = [], []
    for _ in range(num):
        sentences = [f"{chance.choice(STARTS)} {chance.choice(ENDS)}." for _ in range(chance.choice((1, 1, 2, 3)))]
        path = folder / "clip.wav"
        subprocess.run(["flite", "-voice", voice, "-t", " ".join(sentences), "-o", path], check=True)
        clips.append(_trimmed(*audio.load(path)))
        texts.append(" ".join(sentences))
    return clips, texts


def recorded(folder: Path, num: int = 150) -> list[np.ndarray]:
    """Clips of a second and more."""
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    random.Random(0).shuffle(paths)
    clips: list[np.ndarray] = []
    for path in paths:
        clip = _trimmed(read_g722(path), RATE_HZ) if path.suffix == ".g722" else _trimmed(*audio.load(path))
        if len(clip) >= RATE_HZ:
            clips.append(clip)
    return clips[:num]


def read_g722(path: Path) -> np.ndarray:
    """Raw G.722, which no container names: float32 [n] at 16 kHz."""
    import av

    with av.open(str(path), format="g722") as file:
        parts = [frame.to_ndarray().ravel().astype(np.float32) / 32768 for frame in file.decode(audio=0)]
    return np.concatenate([np.zeros(0, np.float32), *parts])


def _trimmed(samples: np.ndarray, rate_hz: int) -> np.ndarray:
    samples = audio.resample(samples, rate_hz, RATE_HZ)
    loud = np.flatnonzero(np.abs(samples) > 0.01)
    return samples[loud[0] : loud[-1]] if len(loud) else samples[:0]


def dialogue(path: Path, speakers: Sequence[Sequence[np.ndarray]], minutes: float, interrupted: float) -> Spoken:
    """Writes a dialogue → who speaks when."""
    chance = random.Random(7)
    used = [itertools.cycle(clips) for clips in speakers]
    total = round(minutes * 60 * RATE_HZ)
    samples = np.zeros(total + 120 * RATE_HZ, np.float32)
    spoken: Spoken = []
    at, last = 0, -1
    while at < total:
        last = who = chance.choice([each for each in range(len(speakers)) if each != last])
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            clip = next(used[who])
            samples[at : at + len(clip)] += clip
            spoken.append((at / RATE_HZ, (at + len(clip)) / RATE_HZ, who))
            at += len(clip) + int(chance.uniform(0.05, 0.3) * RATE_HZ)
        if chance.random() < interrupted:
            at = max(0, at - int(chance.uniform(0.5, 1.2) * RATE_HZ))
        else:
            at += int(chance.uniform(0.0, 0.5) * RATE_HZ)
    noise = 1e-4 * np.random.default_rng(0).standard_normal(at).astype(np.float32)
    soundfile.write(path, samples[:at] + noise, RATE_HZ)
    return spoken


def run(path: Path, queue: multiprocessing.Queue[tuple[Found, float, float]]) -> None:
    import torch

    torch.set_num_threads(1)
    source = audio.Source(audio.probe(path, path.name), path)
    diarizer = EmbeddedDiarizer()
    started = time.process_time()
    found = diarizer.find(source)
    seconds = time.process_time() - started
    queue.put((found, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def frames(spans: Sequence[tuple[float, float]], length: int) -> np.ndarray:
    """How many of the spans each frame lies in, [length]."""
    counts = np.zeros(length, np.int64)
    for start_s, end_s in spans:
        counts[round(start_s * FRAMES_PER_S) : round(end_s * FRAMES_PER_S)] += 1
    return counts


def measure(name: str, path: Path, speakers: Sequence[Sequence[np.ndarray]], minutes: float, part: float) -> None:
    spoken = dialogue(path, speakers, minutes, part)
    queue: multiprocessing.Queue[tuple[Found, float, float]] = multiprocessing.get_context("spawn").Queue()
    process = multiprocessing.get_context("spawn").Process(target=run, args=(path, queue))
    process.start()
    found, seconds, memory = queue.get()
    process.join()
    duration_s = soundfile.info(path).duration
    length = round(duration_s * FRAMES_PER_S) + 1
    truth = np.stack([frames([s[:2] for s in spoken if s[2] == who], length) for who in range(len(speakers))])
    voices = range(found.num_voices)
    heard = np.stack([frames([(t.start_s, t.end_s) for t in found.turns if t.voice == v], length) for v in voices])
    alone = (truth.sum(axis=0) == 1) & (heard.sum(axis=0) == 1)
    shared = (truth[:, alone] > 0).astype(np.int64) @ (heard[:, alone] > 0).T.astype(np.int64)
    from scipy.optimize import linear_sum_assignment

    right = shared[linear_sum_assignment(-shared)].sum() / alone.sum()
    missed = 1 - alone.sum() / (truth.sum(axis=0) == 1).sum()
    at_once = truth.sum(axis=0) > 1
    said = frames([(each.start_s, each.end_s) for each in found.overlaps], length) > 0
    recall = f"{(said & at_once).sum() / at_once.sum():.0%}" if at_once.any() else "-"
    print(
        f"| {name} | {len(speakers)} | {found.num_voices} | {right:.1%} | {missed:.1%} | "
        f"{at_once.sum() / FRAMES_PER_S:.0f} | {recall} | {(said & ~at_once).sum() / FRAMES_PER_S:.1f} | "
        f"{seconds / duration_s:.3f} | {memory:,.0f} |"
    )


def prepared(folder: Path, made: Sequence[tuple[list[np.ndarray], list[str]]], minutes: float, with_text: bool) -> None:
    """The synthetic dialogue through the whole chain, without its text and with it."""
    voices = folder / "voices"
    voices.mkdir(parents=True)
    spoken = dialogue(voices / "a.wav", [clips for clips, _ in made], minutes, 0.0)
    (voices / "language.txt").write_text("en")
    used = [itertools.cycle(texts) for _, texts in made]
    text = " ".join(next(used[who]) for _, _, who in spoken)
    flags = ["--config", "offline", "--executor", "serial", "--diarize", "embedded"]
    if with_text:
        (voices / "a.txt").write_text(text)
        flags += ["--align", "pocketsphinx"]
    cli.main(["prepare", str(voices), str(folder / "work"), *flags])
    rows = list(storage.read_rows(folder / "work" / "dataset" / "utterances.jsonl", Utterance))
    length = round(soundfile.info(voices / "a.wav").duration * FRAMES_PER_S) + 1
    truth = np.stack([frames([s[:2] for s in spoken if s[2] == who], length) for who in range(len(made))])
    names = sorted({row.speaker for row in rows})
    spans = [(row.start_samples / RATE_HZ, (row.start_samples + row.num_samples) / RATE_HZ) for row in rows]
    heard = np.stack(
        [frames([span for span, row in zip(spans, rows, strict=True) if row.speaker == name], length) for name in names]
    )
    alone = (truth.sum(axis=0) == 1) & (heard.sum(axis=0) == 1)
    shared = (truth[:, alone] > 0).astype(np.int64) @ (heard[:, alone] > 0).T.astype(np.int64)
    from scipy.optimize import linear_sum_assignment

    right = shared[linear_sum_assignment(-shared)].sum() / alone.sum()
    kept = sum(len(row.text.split()) for row in rows)
    print(
        f"{'with its text' if with_text else 'without a text'}: {len(rows)} utterances of {len(names)} speakers, "
        f"{right:.1%} of their time right, {kept} of {len(text.split())} words"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--sounds", type=Path, nargs="*", default=[], help="a folder of recordings for each person")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = [synthetic(voice, folder) for voice in VOICES]
        sets = {"synthetic": [clips for clips, _ in made]}
        if args.sounds:
            people = [recorded(each) for each in args.sounds]
            sets |= {f"recorded, {num} of them": people[:num] for num in range(2, len(people) + 1)}
        print("| dialogue | speakers | voices | right | no turn | at once, s | found | wrongly, s | × RT | MiB |")
        print("|---|---|---|---|---|---|---|---|---|---|")
        for kind, speakers in sets.items():
            for part in (0.0, 0.5):
                what = kind + (", interrupted" if part else "")
                measure(what, folder / "dialogue.wav", speakers, args.minutes, part)
        for with_text in (False, True):
            prepared(folder / f"prepared{with_text:d}", made, args.minutes, with_text)


if __name__ == "__main__":
    main()
