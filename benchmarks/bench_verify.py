"""How many wrong pairs `vall-e verify` finds: texts swapped, cut at an end, or with a word too many, made on purpose.

    python benchmarks/bench_verify.py [--clips 400]

flite says sentences in four voices; they go through `prepare` with the embedded codec, and of their texts 2 % are
swapped with another's, 2 % lack a word at an end, 2 % have one too many there, chosen with a seed. Printed is, for each
score and for the fusion of their ranks, which share of each kind is found by a limit that 1 % of the right pairs do not
pass. Target: 95 % of the swapped. Then how long verifying takes.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from bench_align import PARTS

from vall_e import cli, scores, storage
from vall_e.emb.gates.corpus import BAD
from vall_e.emb.verify import NAMES, VerifyOptions, verify
from vall_e.types import Utterance

VOICES = ("slt", "rms", "awb", "kal16")
KINDS = ("swapped", "cut", "extra")
SHARE, FALSE_ALARMS = 0.02, 0.01
WORDS = ("always", "never", "table", "question", "yellow", "seven", "mountain", "again", "perhaps", "music")


def write(root: Path, number: int) -> dict[str, str]:
    """Clips with their texts → the kind of fault by recording id."""
    chance = random.Random(7)
    texts: list[str] = []
    while len(texts) < number:
        text = " ".join(chance.choice(line.split("|")) for line in PARTS.strip().splitlines())
        if text not in texts:
            texts.append(text)
    names = [f"bench/{VOICES[place % len(VOICES)]}/{place:04d}.wav" for place in range(number)]
    for name, text in zip(names, texts, strict=True):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["flite", "-voice", path.parent.name, "-t", text, "-o", path], check=True)
    count = max(2, round(SHARE * number))
    chosen = chance.sample(range(number), 3 * count)
    faults = {names[place]: KINDS[order // count] for order, place in enumerate(chosen)}
    written = list(texts)
    swapped = chosen[:count]
    for place, other in zip(swapped, swapped[1:] + swapped[:1], strict=True):
        written[place] = texts[other]
    for place in chosen[count : 2 * count]:
        words = texts[place].split()
        written[place] = " ".join(words[1:] if chance.random() < 0.5 else words[:-1])
    for place in chosen[2 * count :]:
        extra, words = chance.choice(WORDS), texts[place].split()
        written[place] = " ".join([extra, *words] if chance.random() < 0.5 else [*words, extra])
    for name, text in zip(names, written, strict=True):
        (root / name).with_suffix(".txt").write_text(text[0].upper() + text[1:] + ".")
    return faults


def found_share(badness: np.ndarray, kinds: np.ndarray) -> dict[str, float]:
    """The share of each kind beyond the limit that FALSE_ALARMS of the right pairs pass."""
    limit = np.quantile(badness[kinds == ""], 1 - FALSE_ALARMS)
    return {kind: float(np.mean(badness[kinds == kind] > limit)) for kind in KINDS}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--clips", type=int, default=400)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--model", help="a Whisper in CTranslate2's format, for whisperx (default: pocketsphinx)")
    parser.add_argument("--quick", action="store_true", help="24 clips")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root, work = Path(folder) / "voices", Path(folder) / "work"
        faults = write(root, 24 if args.quick else args.clips)
        command = ["prepare", str(root), str(work), "--config", "offline", "--language", "en"]
        cli.main([*command, "--workers", str(args.workers)])
        started = time.perf_counter()
        asked = {"backend": "whisperx", "model_name": args.model} if args.model else {}
        number, _ = verify(work, VerifyOptions(workers=args.workers, **asked))
        seconds = time.perf_counter() - started
        rows = sorted(storage.read_rows(work / "dataset" / "utterances.jsonl", Utterance), key=lambda row: row.id)
        later = scores.Scores(work / "dataset")
        kinds = np.array([faults.get(row.recording_id, "") for row in rows])
        ranks = []
        print(f"{number} pairs; share found at {FALSE_ALARMS:.0%} false alarms: {', '.join(KINDS)}")
        for name in NAMES:
            values = np.array([later.of(row.id).get(name) for row in rows], float)  # null: it could not be put at all
            badness = np.nan_to_num(values if BAD.get(name) == "high" else -values, nan=np.nanmax(np.abs(values)))
            ranks.append(np.argsort(np.argsort(badness, kind="stable"), kind="stable"))
            shares = found_share(badness, kinds)
            print(f"{name:<14}" + "".join(f"{share:>9.0%}" for share in shares.values()))
        fused = found_share(np.mean(ranks, axis=0), kinds)
        print(f"{'all, by rank':<14}" + "".join(f"{share:>9.0%}" for share in fused.values()))
        audio_s = sum(row.duration_s for row in rows)
    print(f"verifying: {seconds / audio_s:.2f} × real time")


if __name__ == "__main__":
    main()
