"""`vall-e`: the whole chain from a corpus to memory-mapped training data, and each stage as a sub-command.

vall-e prepare VOICES WORK --config offline
vall-e transcribe --input-audio VOICES --output-metadata META      # as python -m vall_e.emb.transcribe
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from vall_e import __version__, config, layout, storage
from vall_e.types import UsageError

# section of the config file → where its options are declared, in the order in which the stages run
STAGES = {
    "import": ("vall_e.corpora.registry", "ImportOptions"),
    "transcribe": ("vall_e.emb.transcribe", "TranscribeOptions"),
    "process": ("vall_e.emb.process", "ProcessOptions"),
    "similar": ("vall_e.emb.similar", "SimilarOptions"),
    "durations": ("vall_e.emb.durations", "DurationsOptions"),
    "build": ("vall_e.dataset.build", "BuildOptions"),
}
# sub-command → its function, and what it does
COMMANDS = {
    "import": ("vall_e.corpora.importing:main", "a corpus → recordings.jsonl"),
    "import-codes": ("vall_e.corpora.import_codes:main", "code files of e-c-k-e-r/vall-e → plain npy"),
    "transcribe": ("vall_e.emb.transcribe:main", "recordings → transcripts.jsonl"),
    "process": ("vall_e.emb.process:main", "transcripts → utterances: phonemes and codes"),
    "similar": ("vall_e.emb.similar:main", "utterances → speaker prompts"),
    "durations": ("vall_e.emb.durations:main", "which frames belong to which phone"),
    "mix": ("vall_e.emb.mix:main", "utterances with noise and other voices, for tasks beside speaking"),
    "build": ("vall_e.dataset.__main__:build_main", "utterances and prompts → memory-mapped training data"),
    "train": ("vall_e.train:main", "a built dataset → an AR + NAR language model"),
    "synthesize": ("vall_e.synthesize:main", "a text and a prompt → speech, by a trained model"),
    "evaluate": ("vall_e.evaluate:main", "how well a model speaks: errors, likeness, length"),
    "g2p": ("vall_e.emb.g2p:main", "a text → phonemes"),
    "audit": ("vall_e.emb.audit:main", "what each score would leave out, and the worst to hear"),
    "verify": ("vall_e.emb.verify:main", "whether text and sound belong together, by listening again"),
    "export": ("vall_e.corpora.export.command:main", "utterances → Kaldi, lhotse, Hugging Face, WebDataset"),
    "qnt": ("vall_e.emb.qnt:main", "an audio file → codes, and back"),
    "report": ("vall_e.report.summary:main", "the summary of a folder of results"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SharedOptions:
    """Options of `prepare` that hold for every stage which has one of that name."""

    corpus: str | None = config.option(
        None, "kind of corpus that VOICES is (default: as imported, else by its marker files)"
    )
    audio_root: tuple[Path, ...] = config.option((), "further folders that the paths of a manifest may lie below")
    split: str | None = config.option(None, "the official part of the corpus, like train (default: all)")
    mic: str | None = config.option(None, "vctk: which microphone, 1, 2 or both", choices=("1", "2", "both"))
    device: str | None = config.option(None, "where models run, in every stage (default: as each stage says)")
    executor: str | None = config.option(None, "where workers run, in every stage", choices=("local", "ray", "serial"))
    workers: int | None = config.option(None, "processes in every stage; 0 is one per core")
    language: str | None = config.option(
        None, "code of all recordings (default: as the corpus says, else detected)"
    )
    align: str | None = config.option(None, "what puts word times on given texts, like pocketsphinx")
    diarize: str | None = config.option(None, "what tells the speakers of a recording apart, like embedded")
    num_speakers: int | None = config.option(None, "diarize: speakers of each recording (default: estimated)")
    link_speakers: bool = config.option(False, "diarize: give voices of several recordings that sound alike one name")
    languages: tuple[str, ...] = config.option((), "the languages that a detection chooses among, like en,fr")
    update: bool = config.option(False, "first drop what changed or went away since an earlier run, then resume")
    overwrite: bool = config.option(False, "start from scratch: drop what an earlier run left in WORK")


def load_options(path: Path | None, shared: SharedOptions) -> dict[str, Any]:
    """The options of each stage from a YAML file, with what is shared on top.

    Raises:
        UsageError: an unknown section or key; the nearest known one is named.
    """
    file = {} if path is None else config.load_file(path)
    given = {key: value for key, value in dataclasses.asdict(shared).items() if value not in (None, False, ())}
    options: dict[str, Any] = {}
    for section, (module, name) in STAGES.items():
        cls = getattr(importlib.import_module(module), name)
        known = {field.name for field in dataclasses.fields(cls)}
        if file.get(section) is False:
            options[section] = None
            continue
        values = (file.get(section) or {}) | {key: value for key, value in given.items() if key in known}
        options[section] = config.from_mapping(cls, values, f"{path or 'options'}: {section}")
    return options


def prepare(voices: Path, work: Path, options: dict[str, Any]) -> list[Any]:
    """Runs all stages into `work`, or what is left of them → their reports.

    Args:
        voices: the corpus.
        work: the folder for the results, outside the corpus.
        options: of each stage, by the names of STAGES.

    Raises:
        UsageError, BackendError, ContractError: as the stages.
    """
    from vall_e.emb.process import check, clear

    storage.require_voices(voices)
    if work.resolve().is_relative_to(voices.resolve()):
        raise UsageError(f"{work}: lies inside the input folder {voices}; choose a folder outside")
    metadata, dataset = work / layout.METADATA_FOLDER, work / layout.DATASET_FOLDER
    check(options["process"])  # a codec without weights is reported before hours of transcription, not after
    begun = False

    def start() -> None:
        """Drops the dataset with the first old transcript, so that the run can be resumed without --overwrite."""
        nonlocal begun
        if options["process"].overwrite:
            clear(dataset)
        begun = True

    try:
        return _run_stages(voices, metadata, dataset, options, start)
    except KeyboardInterrupt:
        without = ", without --overwrite," if begun and options["process"].overwrite else ""
        raise KeyboardInterrupt(f"run the same command again{without} to resume") from None


def check_corpus(metadata: Path, shared: SharedOptions) -> None:
    """Refuses another kind of corpus than was imported into this WORK.

    Raises:
        UsageError: names both.
    """
    recorded = (storage.read_json(metadata / layout.METADATA_JSON) or {}).get("corpus", shared.corpus)
    if shared.corpus not in (None, recorded) and not shared.overwrite:
        advice = "pass --overwrite to start from scratch, or choose another WORK"
        raise UsageError(f"{metadata}: imported as {recorded!r}, now --corpus {shared.corpus}; {advice}")


def _run_stages(voices: Path, metadata: Path, dataset: Path, options: dict[str, Any], start: Any) -> list[Any]:
    from vall_e.corpora.importing import import_corpus
    from vall_e.dataset.build import build
    from vall_e.emb.durations import durations
    from vall_e.emb.process import process
    from vall_e.emb.similar import similar
    from vall_e.emb.transcribe import transcribe

    if not (metadata / layout.RECORDINGS).exists():
        import_corpus(voices, metadata, options["import"])
    reports: list[Any] = [
        transcribe(voices, metadata, options["transcribe"], start=start),
        process(voices, metadata, dataset, options["process"]),
    ]
    if reports[-1].num_rows:  # of nothing there is nothing to build; the summary says why
        of_similar = options["similar"]
        of_similar = dataclasses.replace(of_similar, weights=of_similar.weights or options["process"].weights)
        reports.append(similar(dataset, of_similar, input_audio=voices))
        if options["durations"] is not None:
            reports.append(durations(dataset, options["durations"]))
        reports.append(build(dataset, dataset / layout.BUILT_FOLDER, options["build"]))
    return reports


def main(argv: Sequence[str] | None = None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv and argv[0] in COMMANDS:
        module, _, function = COMMANDS[argv[0]][0].partition(":")
        status: int = getattr(importlib.import_module(module), function)(argv[1:], prog=f"vall-e {argv[0]}")
        return status
    parser = argparse.ArgumentParser(prog="vall-e", description="Raw speech into training data for VALL-E.")
    parser.add_argument("--version", action="version", version=f"vall-e {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    command = commands.add_parser("prepare", help="a corpus → speaker-prompted training data: all stages")
    command.add_argument("voices", type=Path, help="the corpus; a plain folder is <group>/<speaker>/** of recordings")
    command.add_argument("work", type=Path, help="folder for the results")
    for name, (_, what) in COMMANDS.items():
        commands.add_parser(name, help=what)
    config.add_options(command, SharedOptions)
    config.add_max_reject_ratio(command)
    args = parser.parse_args(argv)
    given = {field.name: getattr(args, field.name, field.default) for field in dataclasses.fields(SharedOptions)}
    shared = config.from_mapping(SharedOptions, given, "options")
    options = load_options(args.config, shared)
    check_corpus(args.work / layout.METADATA_FOLDER, shared)
    reports = prepare(args.voices, args.work, options)
    from vall_e.report.summary import summarise
    from vall_e.report.terminal import show

    summary = summarise(args.work, reports)
    show(summary)
    for warning in (warning for report in reports for warning in report.warnings):
        print(f"warning: {warning}", file=sys.stderr)
    return config.reject_status(summary.reject_ratio, args.max_reject_ratio)


def run() -> NoReturn:
    config.run_main(main)


if __name__ == "__main__":
    run()
