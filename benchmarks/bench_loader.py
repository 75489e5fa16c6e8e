"""How fast batches come from the Arrow files, and how long a large dataset takes to open.

Both are measured on synthetic data made on the spot. The rate is set against the plain way in the same process: one
JSON row and one `np.load` per utterance, padded to the same tensors.

    python benchmarks/bench_loader.py [--quick]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from vall_e import storage
from vall_e.dataset import Dataset, files, make_loader
from vall_e.dataset.build import built_json
from vall_e.dataset.examples import Example
from vall_e.dataset.vocab import Vocabulary
from vall_e.types import CodecSpec
from vall_e.units import units_of

SPEC = CodecSpec(
    name="synthetic", weights_sha256="0" * 64, sample_rate_hz=24_000, hop_samples=320, num_levels=8, codebook_size=1024
)
UTTERANCES_PER_SPEAKER = 100
BATCH = 32
BATCH_ROWS = 1024


def synthesise(folder: Path, count: int, mean_frames: int) -> None:
    """A built dataset of `count` utterances of random codes, each with ten similar ones of its speaker."""
    rng = np.random.default_rng(0)
    vocabulary = Vocabulary.of("abcdefghijklmnopqrstuvwxyz ", ["en"])
    folder.mkdir(parents=True)
    writer = files.Writer(
        folder, count, fingerprint="0" * 64, fraction=0.01, batch_rows=BATCH_ROWS, file_batches=128
    )
    pool = rng.integers(0, SPEC.codebook_size, (SPEC.num_levels, 1 << 16)).astype(np.uint16)
    for first in range(0, count, BATCH_ROWS):
        rows = range(first, min(first + BATCH_ROWS, count))
        writer.write([entry(row, count, pool, rng, mean_frames) for row in rows])
    ids = pa.array([name_of(row) for row in range(count)], pa.large_string())
    speakers = tuple(f"g/s{number:06d}" for number in range(-(-count // UTTERANCES_PER_SPEAKER)))
    writer.finish(ids, len(speakers))
    vocabulary.save(folder / files.VOCAB_JSON, folder)
    built = built_json(writer, SPEC, vocabulary, speakers, {})
    storage.write_json(folder / files.BUILT_JSON, built, folder)


def name_of(row: int) -> str:
    return f"g/s{row // UTTERANCES_PER_SPEAKER:06d}/{row:09d}.wav"


def entry(row: int, count: int, pool: np.ndarray, rng: np.random.Generator, mean_frames: int) -> files.Entry:
    frames = int(rng.integers(mean_frames // 2, mean_frames * 3 // 2 + 1))
    start = int(rng.integers(pool.shape[1] - frames))
    speaker = row // UTTERANCES_PER_SPEAKER
    others = (row + np.arange(1, 11)) % UTTERANCES_PER_SPEAKER + speaker * UTTERANCES_PER_SPEAKER
    others = others[others < count]
    return files.Entry(
        id=name_of(row),
        recording_id=name_of(row),
        speaker=speaker,
        language=0,
        split=None,
        start_samples=0,
        num_samples=frames * SPEC.hop_samples,
        codes=pool[:, start : start + frames],
        tokens=rng.integers(3, 30, max(frames // 5, 3)).astype(np.int32),
        durations=np.zeros(0, np.int32),
        similar=others.astype(np.int32),
        scores=np.linspace(0.9, 0.1, len(others), dtype=np.float32),
        gate_scores={},
    )


def plain_batches(folder: Path, dataset: Dataset, batches: int) -> Callable[[], Iterator[object]]:
    """The plain way: a JSON row and an array for each target, another array for its prompt."""
    examples = [dataset[place] for place in range(min(BATCH * batches, len(dataset)))]
    (folder / "codes").mkdir(parents=True)
    lines = []
    for place, example in enumerate(examples):
        np.save(folder / "codes" / f"{place}.npy", example.target)
        np.save(folder / "codes" / f"{place}.prompt.npy", example.prompt)
        lines.append(json.dumps({"id": example.id, "text": example.text.tolist()}))

    kinds = dataset.index.vocabulary.kinds

    def read(place: int) -> Example:
        row = json.loads(lines[place])
        return Example(
            id=row["id"],
            text=np.array(row["text"], np.int32),
            target=np.load(folder / "codes" / f"{place}.npy"),
            prompt=np.load(folder / "codes" / f"{place}.prompt.npy"),
            language=0,
            speaker="",
            prompt_id=None,
            prompt_text=np.zeros(0, np.int32),
            durations=np.zeros(0, np.int32),
            units=units_of(kinds[np.array(row["text"])]),
            speaker_id=0,
            source=np.zeros((SPEC.num_levels, 0), np.uint16),
            task=0,
        )

    def run() -> Iterator[object]:
        for first in range(0, len(examples) - BATCH + 1, BATCH):
            yield dataset.collate([read(first + place) for place in range(BATCH)])

    return run


def rate(batches: Iterator[object], count: int) -> float:
    """Batches a second, once the first has come: starting a worker is not reading."""
    next(batches)
    started = time.perf_counter()
    done = sum(1 for _ in zip(range(count), batches, strict=False))
    return done / (time.perf_counter() - started)


def bench_rate(folder: Path, count: int, batches: int, repeats: int) -> None:
    synthesise(folder / "rate", count, mean_frames=375)
    dataset = Dataset(folder / "rate")
    plain = plain_batches(folder / "plain", dataset, batches)
    largest = BATCH * int(dataset.num_places.max())

    def loader(num_workers: int) -> Iterator[object]:
        return iter(make_loader(dataset, max_frames=largest, max_batch_size=BATCH, num_workers=num_workers))

    found: dict[str, list[float]] = {"plain": [], "here": [], "1 worker": []}
    for _ in range(repeats):  # taken in turn, so that a busy machine slows all of them
        found["plain"].append(rate(plain(), batches))
        found["here"].append(rate(loader(0), batches))
        found["1 worker"].append(rate(loader(1), batches))
    middle = {name: statistics.median(values) for name, values in found.items()}
    print(f"batches of {BATCH} utterances of 5 s in the mean, {SPEC.num_levels} levels; median of {repeats} runs")
    print(f"  this process          {middle['here']:8.1f} batches/s")
    print(f"  one worker process    {middle['1 worker']:8.1f} batches/s (aim: 20)")
    print(f"  JSON and np.load      {middle['plain']:8.1f} batches/s, prompts chosen beforehand")
    print(f"  ours / plain          {middle['here'] / middle['plain']:8.2f}")


def bench_open(folder: Path, count: int) -> None:
    started = time.perf_counter()
    synthesise(folder / "open", count, mean_frames=8)
    print(f"index of {count:,} utterances (written in {time.perf_counter() - started:.0f} s)")
    started = time.perf_counter()
    dataset = Dataset(folder / "open", prompt_frames=10)
    opened = time.perf_counter()
    example = dataset[len(dataset) // 2]
    first = time.perf_counter()
    loader = make_loader(dataset, max_frames=BATCH * int(dataset.num_places.max()))
    planned = time.perf_counter()
    next(iter(loader))
    batch = time.perf_counter()
    print(f"  open                  {opened - started:8.3f} s")
    print(f"  first example         {first - opened:8.4f} s ({example.id})")
    print(f"  plan the batches      {planned - first:8.3f} s ({len(loader):,} batches)")
    print(f"  shuffle, first batch  {batch - planned:8.3f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller and rougher, a few seconds")
    parser.add_argument("--utterances", type=int, help="size of the index to open (default: 1,000,000; quick: 50,000)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        count = 2_000 if args.quick else 20_000
        bench_rate(Path(name), count, batches=20 if args.quick else 200, repeats=3 if args.quick else 5)
        bench_open(Path(name), args.utterances or (50_000 if args.quick else 1_000_000))


if __name__ == "__main__":
    main()
