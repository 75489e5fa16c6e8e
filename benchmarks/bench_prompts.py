"""Which features find the same voice, and which find the same room: precision of the lists of `similar`, each backend.

    python benchmarks/bench_prompts.py [--work WORK] [--model tiny]

A corpus is made: 8 voices of flite, each in 6 sessions (3 rooms by impulse responses, 2 noises). For each utterance the
8 most similar ones of the whole dataset are looked at: how many are of its speaker, how many of its session. A list of
one speaker but of all sessions is what a prompt wants; one of a session has learnt the room. With --work, the speakers
of that folder's dataset, which is left as it is.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "data"))

from train_lm import RATE_HZ, SPEAKERS, Texts, prepare, say

from vall_e import storage
from vall_e.emb.similar import SimilarOptions, similar
from vall_e.types import Utterance

BACKENDS = ("mfcc", "lpcnet", "speaker", "codes", "codec", "model", "hidden")
K, PER_SESSION, NUM_VOICES = 8, 6, 8
REVERBERATION_S = (0.15, 0.4, 0.8)
NOISE_DB = -25.0


def room(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """An impulse response [n]: noise that falls by 60 dB in so many seconds, behind the direct sound."""
    place = np.arange(round(seconds * RATE_HZ))
    tail = 0.15 * rng.standard_normal(len(place)) * 10 ** (-3 * place / len(place))
    tail[0] = 1.0
    return tail


def noise(count: int, kind: str, rng: np.random.Generator) -> np.ndarray:
    """[n], white or falling with frequency, of power 1."""
    shape = np.fft.rfft(rng.standard_normal(count))
    if kind == "brown":
        shape /= np.maximum(1.0, np.arange(len(shape)))
    found = np.fft.irfft(shape, count)
    return found / np.sqrt(np.mean(found**2))


def make(folder: Path) -> Path:
    """VOICES/<speaker>/<session>-<number>.wav with texts."""
    texts, rng = Texts(5), np.random.default_rng(5)
    rooms = [room(seconds, rng) for seconds in REVERBERATION_S]
    voices = folder / "voices"
    for speaker in SPEAKERS[:NUM_VOICES]:
        for session in range(len(rooms) * 2):
            for number in range(PER_SESSION):
                text = texts.sentence()
                dry = say(text, speaker)
                wet = np.convolve(dry, rooms[session % len(rooms)])[: len(dry)]
                level = np.sqrt(np.mean(wet**2)) * 10 ** (NOISE_DB / 20)
                wet = wet + level * noise(len(wet), ("white", "brown")[session // len(rooms)], rng)
                path = voices / "made" / speaker.name / f"s{session}-{number}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, 0.5 * wet / np.abs(wet).max(), RATE_HZ)
                path.with_suffix(".txt").write_text(text + "\n")
    (voices / "language.txt").write_text("en\n")
    return voices


def precision(dataset: Path, key: str) -> float:
    """Mean share of the first K of each list that have the same speaker, or the same session."""
    rows = {row.id: row for row in storage.read_rows(dataset / "utterances.jsonl", Utterance)}

    def mark(row: Utterance) -> str:
        return row.speaker_id if key == "speaker" else Path(row.recording_id).name.split("-")[0]

    shares = []
    for line in (dataset / "similar.jsonl").read_text().splitlines():
        found = json.loads(line)
        others = [name for name, _ in found["similar"]][:K]
        own = mark(rows[found["id"]])
        possible = min(K, sum(mark(row) == own for row in rows.values()) - 1)
        if others and possible:
            shares.append(sum(mark(rows[name]) == own for name in others) / min(len(others), possible))
    return float(np.mean(shares))


def table(dataset: Path, model: str, *, with_sessions: bool) -> None:
    rows = list(storage.read_rows(dataset / "utterances.jsonl", Utterance))
    audio_s = sum(row.duration_s for row in rows)
    speakers = len({row.speaker_id for row in rows})
    print(f"{len(rows)} utterances of {speakers} speakers, {audio_s / 60:.0f} min")
    print(f"{'backend':10}{'same speaker':>14}{'same session':>14}{'x real time':>14}")
    for backend in BACKENDS:
        options = SimilarOptions(similarity_backend=backend, scope="dataset", top_k=K, model=model, overwrite=True)
        started = time.perf_counter()
        similar(dataset, options)
        taken_s = time.perf_counter() - started
        session = f"{precision(dataset, 'session'):14.3f}" if with_sessions else f"{'':>14}"
        print(f"{backend:10}{precision(dataset, 'speaker'):14.3f}{session}{taken_s / audio_s:14.4f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--work", type=Path, help="a folder that prepare made")
    parser.add_argument("--model", default="tiny", help="of the backends model and hidden")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if args.work is None:
            table(prepare(Path(folder), make(Path(folder))).parent, args.model, with_sessions=True)
            return
        copy = Path(folder) / "dataset"
        shutil.copytree(args.work / "dataset", copy, ignore=shutil.ignore_patterns("built", "similar*"))
        head = storage.read_json(copy / "dataset.json") or {}
        head["input_metadata"] = str((args.work / "metadata").resolve())
        storage.write_json(copy / "dataset.json", head, copy)
        table(copy, args.model, with_sessions=False)


if __name__ == "__main__":
    main()
