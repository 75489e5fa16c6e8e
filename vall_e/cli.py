"""`vall-e prepare VOICES WORK`: the whole chain, from a folder of speech to memory-mapped training data.

Every stage also runs alone: python -m vall_e.emb.transcribe, .process, .similar, and python -m vall_e.dataset build.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from vall_e import __version__, config, storage
from vall_e.types import UsageError

# section of the config file → where its options are declared, in the order in which the stages run
STAGES = {
    "transcribe": ("vall_e.emb.transcribe", "TranscribeOptions"),
    "process": ("vall_e.emb.process", "ProcessOptions"),
    "similar": ("vall_e.emb.similar", "SimilarOptions"),
    "build": ("vall_e.dataset.build", "BuildOptions"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SharedOptions:
    """Options of `prepare` that hold for every stage which has one of that name."""

    device: str | None = config.option(None, "where models run, in every stage", choices=("cpu", "cuda"))
    executor: str | None = config.option(None, "where workers run, in every stage", choices=("local", "ray"))
    workers: int | None = config.option(None, "processes in every stage; 0 is one per core")
    overwrite: bool = config.option(False, "forget what an earlier run did in WORK")


def load_options(path: Path | None, shared: SharedOptions) -> dict[str, Any]:
    """The options of each stage from a YAML file, with what is shared on top.

    Raises:
        UsageError: an unknown section or key; the nearest known one is named.
    """
    file = {} if path is None else config.load_file(path)
    given = {key: value for key, value in dataclasses.asdict(shared).items() if value is not None}
    if not given["overwrite"]:
        del given["overwrite"]
    options = {}
    for section, (module, name) in STAGES.items():
        cls = getattr(importlib.import_module(module), name)
        known = {field.name for field in dataclasses.fields(cls)}
        values = (file.get(section) or {}) | {key: value for key, value in given.items() if key in known}
        options[section] = config.from_mapping(cls, values, f"{path or 'options'}: {section}")
    return options


def prepare(voices: Path, work: Path, options: dict[str, Any]) -> list[Any]:
    """Runs the four stages into `work`, or what is left of them → their reports."""
    from vall_e.dataset.build import build, show_progress
    from vall_e.emb.process import DATASET, check, forget, process
    from vall_e.emb.similar import similar
    from vall_e.emb.transcribe import transcribe

    storage.require_voices(voices)
    if work.resolve().is_relative_to(voices.resolve()):
        raise UsageError(f"{work}: lies inside the input folder {voices}; choose a folder outside")
    metadata, dataset = work / "metadata", work / "dataset"
    if options["process"].overwrite:
        forget(dataset)  # first of all, so that an interrupted run goes on without --overwrite
    if not (dataset / DATASET).exists():
        check(options["process"])  # a codec without weights is told before hours of transcription, not after
    reports: list[Any] = [
        transcribe(voices, metadata, options["transcribe"]),
        process(voices, metadata, dataset, options["process"]),
    ]
    if reports[-1].num_rows:  # of nothing there is nothing to build; the summary says why
        reports.append(similar(dataset, options["similar"], input_audio=voices))
        reports.append(build(dataset, dataset / "built", options["build"], progress=show_progress))
    return reports


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="vall-e", description="Raw speech into training data for VALL-E.")
    parser.add_argument("--version", action="version", version=f"vall-e {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    command = commands.add_parser("prepare", help="a folder of speech → speaker-prompted training data")
    command.add_argument("voices", type=Path, help="folder: <group>/<speaker>/** of recordings")
    command.add_argument("work", type=Path, help="folder for the results")
    config.add_options(command, SharedOptions)
    config.add_max_reject_ratio(command)
    args = parser.parse_args(argv)
    given = {field.name: getattr(args, field.name, field.default) for field in dataclasses.fields(SharedOptions)}
    shared = config.from_mapping(SharedOptions, given, "options")
    reports = prepare(args.voices, args.work, load_options(args.config, shared))
    from vall_e.report.summary import summarise

    summary = summarise(args.work, reports)
    summary.show()
    for warning in (warning for report in reports for warning in report.warnings):
        print(f"warning: {warning}", file=sys.stderr)
    return config.reject_status(summary.reject_ratio, args.max_reject_ratio)


def run() -> NoReturn:
    config.run_main(main)


if __name__ == "__main__":
    run()
