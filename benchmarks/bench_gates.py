"""The scores of utterances against EnCodec's list time, on the demo's speech.

    python benchmarks/bench_gates.py [--rounds 5]

One thread; every gate that needs no network of its own (all but dnsmos), loudness included. EnCodec gets random
weights: its speed does not depend on them. Target: under 0.10 of EnCodec's time together.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from bench_process import DEMO, random_encodec

from vall_e import audio
from vall_e.emb import qnt
from vall_e.emb.gates.base import Gate, GateInput
from vall_e.emb.gates.registry import GATES, GateOptions, load_gates
from vall_e.types import Word

SLOW = ("dnsmos",)
TEXT = "The wall time of all gates together is compared with the bare forward pass of the codec."


def seconds_of(gates: list[Gate], inputs: list[GateInput]) -> float:
    started = time.perf_counter()
    for seen in inputs:
        for gate in gates:
            gate.score(seen)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one round of three clips")
    args = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    paths = audio.find_files(DEMO)[: 3 if args.quick else None]
    clips = [audio.resample(*audio.load(path), 24_000) for path in paths]
    words = tuple(Word(text=word, start_s=n, end_s=n + 0.5, score=0.5) for n, word in enumerate(TEXT.split()))
    inputs = [
        GateInput(
            duration_s=len(clip) / 24_000, sample_rate_hz=24_000, text=TEXT, language="en", words=words, phonemes=TEXT,
            samples=clip,
        )
        for clip in clips
    ]  # fmt: skip
    names = tuple(name for name in GATES if name not in SLOW)
    gates = load_gates(GateOptions(gates=names))
    with tempfile.TemporaryDirectory() as folder:
        weights = random_encodec(Path(folder) / "encodec.pt")
        codec = qnt.load_codec(qnt.CodecOptions(audio_backend="encodec", weights=weights))
        codec.encode(clips[:1])
        seconds_of(gates, inputs[:1])  # what is computed once
        ratios = []
        for _ in range(1 if args.quick else args.rounds):
            ours = seconds_of(gates, inputs)
            started = time.perf_counter()
            codec.encode(clips)
            ratios.append(ours / (time.perf_counter() - started))
    single = sorted(((seconds_of([gate], inputs), gate.name) for gate in gates), reverse=True)[:4]
    audio_s = sum(len(clip) for clip in clips) / 24_000
    shares = ", ".join(f"{name} {seconds / audio_s:.5f}" for seconds, name in single)
    print(
        f"{len(gates)} gates: {statistics.median(ratios):.3f} of EnCodec's list time ({min(ratios):.3f} to "
        f"{max(ratios):.3f}), target 0.10; the slowest, in real time: {shares}"
    )


if __name__ == "__main__":
    main()
