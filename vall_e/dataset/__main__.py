"""Command line: `python -m vall_e.dataset build` makes the training files, `show` says what is in them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from vall_e import config, layout
from vall_e.dataset.build import BuildOptions, build


def build_main(argv: Sequence[str] | None = None, *, prog: str) -> int:
    """`vall-e build`."""
    parser = argparse.ArgumentParser(prog=prog, description="Utterances, codes and similar lists → Arrow files.")
    _add_build(parser)
    return _build(parser.parse_args(argv))


def _add_build(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--input-dataset", type=Path, required=True, metavar="DIR", help="folder that process wrote")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder to make (default: INPUT_DATASET/built)")
    config.add_options(parser, BuildOptions)


def _build(args: argparse.Namespace) -> int:
    options = config.resolve(BuildOptions, args, "build")
    report = build(args.input_dataset, args.output or args.input_dataset / layout.BUILT_FOLDER, options)
    print(report.line())
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; raises what `build` and `show` raise."""
    parser = argparse.ArgumentParser(prog="python -m vall_e.dataset", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="{build,show}")
    maker = commands.add_parser("build", help="utterances, codes and similar lists → memory-mapped Arrow files")
    _add_build(maker)
    shower = commands.add_parser("show", help="hours, speakers, languages, vocabulary and durations of a built dataset")
    shower.add_argument("--built", type=Path, required=True, metavar="DIR", help="folder that build made")
    args = parser.parse_args(argv)
    if args.command == "show":
        from vall_e.dataset.show import show

        show(args.built)
        return 0
    return _build(args)


if __name__ == "__main__":
    config.run_main(main)
