"""Command line: `python -m vall_e.dataset build` makes the training files, `show` tells what is in them."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from vall_e import config
from vall_e.dataset.build import BuildOptions, Progress, build

PROGRESS_EVERY_S = 10


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; raises what `build` and `show` raise."""
    parser = argparse.ArgumentParser(prog="python -m vall_e.dataset", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="{build,show}")
    maker = commands.add_parser("build", help="utterances, codes and similar lists → memory-mapped Arrow files")
    maker.add_argument("--input-dataset", type=Path, required=True, metavar="DIR", help="folder that process wrote")
    maker.add_argument("--output", type=Path, metavar="DIR", help="folder to make (default: INPUT_DATASET/built)")
    config.add_options(maker, BuildOptions)
    shower = commands.add_parser("show", help="hours, speakers, languages, vocabulary and durations of a built dataset")
    shower.add_argument("--built", type=Path, required=True, metavar="DIR", help="folder that build made")
    args = parser.parse_args(argv)
    if args.command == "show":
        from vall_e.dataset.show import show

        show(args.built)
        return 0
    options = config.resolve(BuildOptions, args, "build")
    report = build(args.input_dataset, args.output or args.input_dataset / "built", options, progress=_progress())
    print(report.line())
    return 0


def _progress() -> Progress:
    """A line on stderr every few seconds, rewritten in place on a terminal."""
    live = sys.stderr.isatty()
    started = last = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < (0.2 if live else PROGRESS_EVERY_S) and not (live and done == total):
            return
        last = now
        text = f"dataset: {done:,} of {total:,} utterances, {done / max(now - started, 1e-9):,.0f}/s"
        end = "\n" if done == total or not live else ""
        print(f"\r{text}\033[K" if live else text, end=end, file=sys.stderr, flush=True)

    return tell


if __name__ == "__main__":
    config.run_main(main)
