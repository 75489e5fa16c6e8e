"""The process stage against the bare forward pass of its codec on the same audio, with the same workers.

    python benchmarks/bench_process.py [--codec encodec|tiny] [--clips 300] [--workers 1]

Both sides count from the call to the last result, loading included: reading, slicing, resampling, phonemes, fsynced
arrays and rows on our side, `codec.encode` of ready float32 arrays on the other. Rounds are interleaved. EnCodec gets
random weights: its speed does not depend on them. Target: at most 1.25. The second table shows the peak memory for a
few and for many files. Target: no growth.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import resource
import statistics
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from vall_e import audio, storage
from vall_e.corpora.importing import import_corpus
from vall_e.corpora.registry import ImportOptions
from vall_e.emb import process as stage
from vall_e.emb import qnt
from vall_e.executor import make_executor
from vall_e.stage import BUNCH_S
from vall_e.types import Segment, Transcript

DEMO = Path(__file__).resolve().parents[1] / "data" / "demo" / "voices"
CLIP_S = 3
TEXT = "The wall time of the whole stage is compared with the bare forward pass of the codec."


def random_encodec(path: Path) -> Path:
    """EnCodec weights that load, with codebooks of noise: all-zero ones would make every frame a tie."""
    import torch

    from vall_e.compat import install_shim

    install_shim()
    from encodec.model import EncodecModel

    torch.manual_seed(0)
    model = EncodecModel.encodec_model_24khz(pretrained=False)
    for layer in model.quantizer.vq.layers:
        layer._codebook.embed.normal_(std=0.1)
    torch.save(model.state_dict(), path)
    return path


def write_voices(root: Path, num_clips: int) -> tuple[Path, Path]:
    """(voices, metadata): clips of demo speech, 22,050 Hz FLAC and 16,000 Hz WAV in turn."""
    speech = [audio.load(path) for path in audio.find_files(DEMO)]
    at_rate = np.concatenate([audio.resample(samples, rate_hz, 22_050) for samples, rate_hz in speech])
    speaker = root / "voices" / "group" / "speaker"
    speaker.mkdir(parents=True)
    transcripts = []
    for n in range(num_clips):
        start = (n * CLIP_S * 22_050 // 3) % (len(at_rate) - CLIP_S * 22_050)
        clip = at_rate[start : start + CLIP_S * 22_050]
        if n % 2:
            audio.write(speaker / f"{n:05d}.flac", clip, 22_050)
        else:
            audio.write(speaker / f"{n:05d}.wav", audio.resample(clip, 22_050, 16_000), 16_000)
        name = f"group/speaker/{n:05d}.{'flac' if n % 2 else 'wav'}"
        whole = Segment(text=TEXT, start_s=0.0, end_s=float(CLIP_S))
        transcripts.append(
            Transcript(
                recording_id=name, language="en", language_prob=None, text=TEXT, segments=(whole,), backend="bench"
            )
        )
    metadata = root / "metadata"
    with storage.JsonlWriter(metadata / "transcripts.jsonl") as writer:
        writer.write(transcripts)
    return root / "voices", metadata


class Bare:
    """The other side: the codec alone, on arrays that are ready."""

    def __init__(self, folder: Path, options: qnt.CodecOptions) -> None:
        import torch

        torch.set_num_threads(1)
        self.codec, self.folder = qnt.load_codec(options), folder

    def __call__(self, names: list[str]) -> int:
        codes = self.codec.encode([np.load(self.folder / name, allow_pickle=False) for name in names])
        return sum(item.shape[1] for item in codes)


def ready_arrays(voices: Path, folder: Path) -> list[str]:
    names = []
    for n, path in enumerate(audio.find_files(voices)):
        samples, rate_hz = audio.load(path)
        np.save(folder / f"{n}.npy", audio.resample(samples, rate_hz, 24_000), allow_pickle=False)
        names.append(f"{n}.npy")
    return names


def bare_seconds(ready: Path, names: list[str], options: stage.ProcessOptions, together: int) -> float:
    """The codec alone, `together` clips in a list."""
    started = time.perf_counter()
    lists = [names[first : first + together] for first in range(0, len(names), together)]
    for _ in make_executor("local", options.workers).map(functools.partial(Bare, ready, options), lists):
        pass
    return time.perf_counter() - started


def compare(root: Path, options: stage.ProcessOptions, num_clips: int, rounds: int) -> None:
    voices, metadata = write_voices(root, num_clips)
    together = max(1, int(BUNCH_S // CLIP_S))  # as many as the stage gives the codec
    ready = root / "ready"
    ready.mkdir()
    names = ready_arrays(voices, ready)
    bare, ours = [], []
    for n in range(rounds):
        bare.append(bare_seconds(ready, names, options, together))
        import_corpus(voices, metadata, ImportOptions())
        started = time.perf_counter()
        report = stage.process(voices, metadata, root / f"dataset{n}", options)
        ours.append(time.perf_counter() - started)
        assert report.num_rows == num_clips, report
    ratios = [our / other for our, other in zip(ours, bare, strict=True)]
    hours = num_clips * CLIP_S / 3600
    print(f"codec {options.audio_backend}, {options.workers} workers, {num_clips} clips of {CLIP_S} s, {rounds} rounds")
    print(f"  bare list     {statistics.median(bare):8.2f} s  {statistics.median(bare) / 3600 / hours:.4f} RTF")
    print(f"  process       {statistics.median(ours):8.2f} s  {statistics.median(ours) / 3600 / hours:.4f} RTF")
    print(f"  ratio         {statistics.median(ratios):8.3f}    ({', '.join(f'{ratio:.3f}' for ratio in ratios)})")


def peak_memory(num_clips: int, options: stage.ProcessOptions) -> float:
    """Peak resident MiB of a process that runs the whole stage over `num_clips` files."""
    with tempfile.TemporaryDirectory() as folder:
        receiver, sender = multiprocessing.Pipe(duplex=False)
        arguments = (Path(folder), num_clips, options, sender)
        child = multiprocessing.get_context("spawn").Process(target=_run, args=arguments)
        child.start()
        peak = float(receiver.recv())
        child.join()
        return peak


def _run(root: Path, num_clips: int, options: stage.ProcessOptions, sender: Connection) -> None:
    voices, metadata = write_voices(root, num_clips)
    stage.process(voices, metadata, root / "dataset", options)
    used = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    sender.send(max(used) / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--codec", choices=("encodec", "tiny"), default="encodec")
    parser.add_argument("--clips", type=int, default=300, help="recordings in a round")
    parser.add_argument("--clip-s", type=int, default=3, help="seconds of each")
    parser.add_argument("--no-memory", action="store_true", help="leave out the memory")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round of half a minute")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        weights = random_encodec(root / "encodec.th") if args.codec == "encodec" else None
        options = stage.ProcessOptions(audio_backend=args.codec, weights=weights, workers=args.workers)
        global CLIP_S
        CLIP_S = args.clip_s
        compare(root, options, 10 if args.quick else args.clips, 1 if args.quick else args.rounds)
        if args.no_memory:
            return
        tiny = stage.ProcessOptions(audio_backend="tiny")
        for number in (4, 16) if args.quick else (10, 100, 1000):
            print(f"  peak memory over {number:5d} files, codec tiny: {peak_memory(number, tiny):7.0f} MiB")


if __name__ == "__main__":
    main()
