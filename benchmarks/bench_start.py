"""How long a person waits for nothing: `import vall_e` and every `--help`, against a bare interpreter.

    python benchmarks/bench_start.py

Targets: import under 50 ms above a bare interpreter, any --help under 0.5 s. Medians of several starts, interleaved.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "bare interpreter": ["-c", "pass"],
    "import vall_e": ["-c", "import vall_e"],
    "vall-e --help": ["-m", "vall_e.cli", "--help"],
    "vall-e prepare --help": ["-m", "vall_e.cli", "prepare", "--help"],
    "transcribe --help": ["-m", "vall_e.emb.transcribe", "--help"],
    "process --help": ["-m", "vall_e.emb.process", "--help"],
    "similar --help": ["-m", "vall_e.emb.similar", "--help"],
    "g2p --help": ["-m", "vall_e.emb.g2p", "--help"],
    "qnt --help": ["-m", "vall_e.emb.qnt", "--help"],
    "dataset --help": ["-m", "vall_e.dataset", "--help"],
    "dataset build --help": ["-m", "vall_e.dataset", "build", "--help"],
    "report --help": ["-m", "vall_e.report", "--help"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="three rounds")
    args = parser.parse_args()
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(3 if args.quick else args.rounds):
        for name, command in COMMANDS.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, *command], stdout=subprocess.DEVNULL, check=True)
            times[name].append(time.perf_counter() - started)
    bare = statistics.median(times["bare interpreter"])
    print(f"{'':24}{'ms':>8}{'above bare':>12}")
    for name, values in times.items():
        middle = statistics.median(values)
        print(f"{name:24}{1e3 * middle:8.0f}{1e3 * (middle - bare):12.0f}")


if __name__ == "__main__":
    main()
