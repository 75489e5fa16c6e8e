"""How long a folder with one large table takes to list: with its texts, and without them.

    python benchmarks/bench_import.py [--files 100000] [--headers 200000]

The files are empty: no header is read, only names and rows are matched. Target: under 5 s for 100,000 rows beyond the
listing alone, which is the walk over the folders. With --headers that many files of 2 s, links to a few, are imported
by two workers: their headers and ends are read. Targets for 200,000: wav 15 s, mp3 150 s.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import av
import numpy as np
import soundfile

from vall_e.corpora.folder import load
from vall_e.corpora.importing import import_corpus
from vall_e.corpora.registry import ImportOptions
from vall_e.types import Recording

PER_SPEAKER, LINKS, RATE_HZ = 1_000, 1_000, 24_000
KINDS = (("the same names", "", ".wav"), ("another case, extension and prefix", "/old/PLACE/", ".FLAC"))


def write(root: Path, num_files: int, prefix: str, suffix: str) -> None:
    """Empty files, and a table with a row for each, whose names stand between `prefix` and `suffix`."""
    rows = []
    for number in range(num_files):
        name = f"group/speaker{number // PER_SPEAKER}/{number % PER_SPEAKER:04d}.wav"
        path, stem = root / name, name.removesuffix(".wav")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        rows.append(f"{prefix}{stem.upper() if prefix else stem}{suffix}|This is what is said in recording {number}.\n")
    (root / "metadata.csv").write_text("".join(rows))


def listed(root: Path) -> tuple[float, int]:
    """(seconds, recordings that have a text)."""
    started = time.perf_counter()
    found = [each for each in load(ImportOptions()).recordings(root) if isinstance(each, Recording)]
    return time.perf_counter() - started, sum(each.text is not None for each in found)


def probed(folder: Path, suffix: str, num_files: int) -> float:
    """Seconds that an import of so many files takes."""
    first = folder / "first"
    first.mkdir(parents=True)
    rng = np.random.default_rng(0)
    sources = []
    for number in range(1 + num_files // LINKS):
        path = first / f"{number}{suffix}"
        samples = 0.1 * rng.standard_normal(2 * RATE_HZ).astype(np.float32)
        if suffix == ".wav":
            soundfile.write(path, samples, RATE_HZ)
        else:
            with av.open(str(path), "w") as file:
                stream = file.add_stream("mp3", rate=RATE_HZ, layout="mono")
                frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
                frame.sample_rate = RATE_HZ
                file.mux([*stream.encode(frame), *stream.encode(None)])
        sources.append(path)
    voices = folder / "voices"
    for number in range(num_files):
        path = voices / f"speaker{number // PER_SPEAKER}" / f"{number:06d}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.hardlink_to(sources[number // LINKS])
    started = time.perf_counter()
    import_corpus(voices, folder / "metadata", ImportOptions(workers=2))
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--quick", action="store_true", help="2,000 files")
    parser.add_argument("--headers", type=int, default=0)
    args = parser.parse_args()
    for suffix in (".wav", ".mp3") if args.headers else ():
        with tempfile.TemporaryDirectory() as folder:
            print(f"import of {args.headers:,} {suffix[1:]} files: {probed(Path(folder), suffix, args.headers):.1f} s")
    if args.headers:
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for what, prefix, suffix in KINDS:
            write(root, 2_000 if args.quick else args.files, prefix, suffix)
            seconds, num_texts = listed(root)
            (root / "metadata.csv").unlink()
            bare, _ = listed(root)
            matching = f"matching {seconds - bare:.2f} s"
            print(f"{what}: {num_texts:,} texts in {seconds:.2f} s, without the table {bare:.2f} s, {matching}")


if __name__ == "__main__":
    main()
