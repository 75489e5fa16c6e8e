"""Recordings and transcripts → utterances: slices, phonemes and codes, one array and one row each.

python -m vall_e.emb.process --input-audio VOICES --input-metadata META --output-dataset DATA
"""

from __future__ import annotations

import argparse
import datetime
import functools
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vall_e import audio, config, layout, stage, storage, update
from vall_e.corpora.importing import require_recordings
from vall_e.emb.asr.link import speakers_of
from vall_e.emb.codecs.registry import load_codec
from vall_e.emb.gates.registry import load_gates
from vall_e.emb.slicing import STAGE
from vall_e.emb.text.registry import load_phonemizer
from vall_e.emb.utterances import ProcessOptions, Worker
from vall_e.executor import make_executor
from vall_e.types import UsageError

__all__ = ["ProcessOptions", "check", "clear", "main", "process"]

LIBRARIES = (
    *("torch", "encodec", "vocos", "phonemizer", "espeakng-loader", "pykakasi", "pyopenjtalk-plus", "num2words"),
    *("babel", "cn2an", "indic-numtowords", "soundfile", "soxr", "av"),
)


def process(
    input_audio: Path | None, input_metadata: Path, output_dataset: Path, options: ProcessOptions
) -> stage.StageReport:
    """Runs the stage, or what is left of it.

    Args:
        input_audio: the corpus; None: where the import says it is.
        input_metadata: the folder of recordings.jsonl (imported here if it is missing) and transcripts.jsonl.
        output_dataset: the folder for utterances.jsonl and the arrays.
        options: see ProcessOptions.

    Raises:
        UsageError: no transcripts, or a dataset that was made with other options. BackendError: a codec or phonemizer
        can't start. ContractError: a manifest is broken, or a back end breaks its contract.
    """
    started = time.monotonic()
    storage.require_file(input_metadata / layout.TRANSCRIPTS, layout.MADE_BY[layout.TRANSCRIPTS])
    executor = make_executor(options.executor, options.workers, options.device)
    roots = require_recordings(input_audio, input_metadata, executor=options.executor, workers=options.workers)
    source = Source(roots, input_metadata)
    with storage.folder_lock(output_dataset):
        update.remove_stale_arrays(output_dataset)
        head = storage.read_json(output_dataset / layout.DATASET_JSON)
        notes: list[str] = []
        if head is not None and not options.overwrite:
            options, notes = config.adopt(head["config"], options)
            check_head(head, source, options, output_dataset)
        results, changes = _prepare(head, source, options, output_dataset)
        todo = stage.left(source.recordings, lambda name: name not in source.transcripts or results.is_done(name))
        report = stage.StageReport(stage=STAGE, num_items=len(source.transcripts))
        report.num_resumed = source.num_matched - len(todo)
        report.notes += changes.notes + source.notes + notes
        if head is None or options.overwrite or options.weights or len(todo):
            head = make_head(None if options.overwrite else head, source, options, output_dataset)
            storage.write_json(output_dataset / layout.DATASET_JSON, head, output_dataset)
        stage.run_stage(
            results,
            stage.tasks(source.recordings, todo, source.transcripts),
            functools.partial(Worker, roots, output_dataset, options, speakers_of(input_metadata)),
            executor,
            report,
            total_items=len(todo),
            total_audio_s=float(source.recordings.values[todo].sum()),
            overwrite=options.overwrite,
        )
        finish_head(head, report, source, output_dataset, is_current=not changes.ids)
    report.wall_s = time.monotonic() - started
    return report


def _prepare(
    head: dict[str, Any] | None, source: Source, options: ProcessOptions, dataset: Path
) -> tuple[stage.Results, update.Changes]:
    """Drops what `--overwrite` or `--update` drop → (the results that stand, the changes that are left)."""
    if options.overwrite:
        check(options)  # before anything is dropped: a codec's weights may be missing
        update.clear(dataset, STAGE)
        head = None
    update.write_done_of_version_1(dataset, STAGE, head, source.recordings, source.transcripts)
    changes = update.find_changes(dataset, STAGE, head, source.recordings, source.transcripts)
    if options.update and changes.ids:
        check(options)
        update.drop(dataset, STAGE, changes.ids)
        changes = update.Changes()
    return stage.Results(dataset, STAGE, layout.UTTERANCES, key="id", done_name=layout.DONE), changes


def check(options: ProcessOptions) -> None:
    """Loads what the stage needs, to report what is missing before hours of other work.

    Raises:
        BackendError, UsageError: as `process`.
    """
    load_gates(options)
    load_phonemizer(options.g2p)
    load_codec(options)


def clear(output_dataset: Path) -> None:
    """Empties a dataset as `--overwrite` does; what else lies in the folder is not touched."""
    with storage.folder_lock(output_dataset):
        update.clear(output_dataset, STAGE)


class Source:
    """What the stage reads: recordings and transcripts, and the folder of the audio."""

    def __init__(self, roots: audio.Roots, metadata: Path) -> None:
        self.root, self.metadata = roots.corpus, metadata
        self.recordings = storage.RowIndex(metadata / layout.RECORDINGS, "id", value=stage.duration_of)
        self.transcripts = storage.RowIndex(metadata / layout.TRANSCRIPTS, "recording_id")
        strangers = [name for name in self.transcripts.ids() if name not in self.recordings]
        self.num_matched = len(self.transcripts) - len(strangers)
        self.notes = []
        if strangers:
            these = (
                "1 transcript names a recording that is"
                if len(strangers) == 1
                else (f"{len(strangers):,} transcripts name recordings that are")
            )
            self.notes.append(f"{these} not in {layout.RECORDINGS}, like {strangers[0]}")

    @property
    def made_with(self) -> Any:
        """The options under which the transcripts were made; None where nobody says."""
        return (storage.read_json(self.metadata / layout.METADATA_JSON) or {}).get("transcribe")


def check_head(head: dict[str, Any], source: Source, options: ProcessOptions, dataset: Path) -> None:
    """Refuses to mix two folders of audio, two sets of options, or two sets of transcripts, in one dataset.

    Raises:
        UsageError: names what differs.
    """
    stage.check_folder(dataset, head["config"].get("input_audio"), source.root)
    stage.check_same(dataset, head["config"], options)
    if "transcripts" in head:  # version 1 knew transcripts by the bytes of their file
        seen, path = head["transcripts"], source.metadata / layout.TRANSCRIPTS
        if storage.prefix_hash(path, seen["bytes"]) != (seen["bytes"], seen["sha256"]):
            raise UsageError(f"{dataset}: {path} was recreated since; {stage.OVERWRITE_ADVICE}")
    elif head.get("transcribe") != source.made_with:
        what = f"the transcripts were made with {head.get('transcribe')}, now with {source.made_with}"
        raise UsageError(f"{dataset}: {what}; {stage.OVERWRITE_ADVICE}")


def make_head(head: dict[str, Any] | None, source: Source, options: ProcessOptions, dataset: Path) -> dict[str, Any]:
    """What dataset.json says of how the rows are made.

    Raises:
        UsageError: the codec has other weights than those that made the rows.
    """
    codec = storage.to_row(load_codec(options).spec)
    if head is not None and head["codec"] != codec:
        raise UsageError(
            f"{dataset}: made with codec {head['codec']['name']} of weights {head['codec']['weights_sha256'][:12]}, "
            f"now {codec['name']} {codec['weights_sha256'][:12]}; pass --overwrite, or choose another --output-dataset"
        )
    now = datetime.datetime.now(datetime.UTC).isoformat()
    gates = {gate.name: {"minimum": gate.minimum, "maximum": gate.maximum} for gate in load_gates(options)}
    updated = {"updated": head["updated"]} if head and "updated" in head else {}
    return {
        "schema_version": storage.SCHEMA_VERSION,
        "made": (head or {}).get("made") or now,  # differs once the dataset is recreated, with whatever rows
        **updated,
        "codec": codec,
        "config": {"input_audio": storage.printable(source.root.resolve()), **options.result_options},
        "transcribe": source.made_with,
        "input_metadata": os.path.relpath(source.metadata.resolve(), dataset.resolve()),
        "gates": gates,
        "versions": storage.versions(LIBRARIES) | {"phonemizer": load_phonemizer(options.g2p).version},
        "counts": None,
    }


def finish_head(
    head: dict[str, Any], report: stage.StageReport, source: Source, dataset: Path, *, is_current: bool
) -> None:
    """Notes the counts, where the audio is now, and, where all rows are current, the state of what was read."""
    head = {key: value for key, value in head.items() if key != "transcripts"}
    head["schema_version"] = storage.SCHEMA_VERSION
    head["config"] = head["config"] | {"input_audio": storage.printable(source.root.resolve())}
    head.setdefault("transcribe", source.made_with)
    head["input_metadata"] = os.path.relpath(source.metadata.resolve(), dataset.resolve())
    head["counts"] = {"utterances": report.num_rows, "rejects": report.num_rejects}
    head["read"] = update.state_of(source.recordings.path, source.transcripts.path) if is_current else {}
    if storage.read_json(dataset / layout.DATASET_JSON) != head:
        storage.write_json(dataset / layout.DATASET_JSON, head, dataset)


def main(argv: Sequence[str] | None = None, *, prog: str = "python -m vall_e.emb.process") -> int:
    parser = argparse.ArgumentParser(prog=prog, description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--input-audio", type=Path, help="the corpus, a folder of recordings (default: as imported)")
    parser.add_argument("--input-metadata", type=Path, required=True, help="folder with transcripts.jsonl")
    parser.add_argument("--output-dataset", type=Path, required=True, help="folder for utterances.jsonl and arrays")
    config.add_options(parser, ProcessOptions)
    config.add_max_reject_ratio(parser)
    args = parser.parse_args(argv)
    options = config.resolve(ProcessOptions, args, STAGE)
    report = process(args.input_audio, args.input_metadata, args.output_dataset, options)
    return report.finish(args.max_reject_ratio)


if __name__ == "__main__":
    config.run_main(main)
