"""Utterances, codes and similar lists → memory-mapped Arrow files, the same bytes whatever the order of the input.

Two passes: `scan` checks and sorts the rows, then each utterance is read in order of id, turned into numbers and
written. Everything is written beside the output and swapped in at the end: a kill leaves the old build or none, or puts
it where the next build finds it and its vocabulary.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from vall_e import layout, progress, scores, storage
from vall_e.config import option
from vall_e.dataset import files, scan
from vall_e.dataset.entries import EntryReader, Source
from vall_e.dataset.index import Index, read_built
from vall_e.dataset.vocab import Vocabulary
from vall_e.types import CodecSpec, ContractError, Reject, UsageError

OLD = "old"  # beside the output, not in .tmp: the build that is being replaced is not to be cleared away
MOST_SHOWN = 8  # new phones in a warning


@dataclass(frozen=True)
class BuildOptions:
    """Options of `python -m vall_e.dataset build` and keys of the `build` section."""

    validation_fraction: float = option(
        0.05, "share of the recordings kept for validation, chosen by a hash of the id, where a corpus has no splits"
    )
    vocab: Path | None = option(None, "vocab.json to keep to; else that of the last build, extended")
    gates: tuple[str, ...] = option(
        (),
        "limits of scores, like snr_db>=10,duration<=10, or snr_db: {min: 10} in a file; they override those of the "
        "gates, a name alone lifts them",
        parse=scores.limits_of,
    )
    overwrite: bool = option(False, "build again even if nothing changed, with a new vocabulary")
    batch_utterances: int = option(1024, "utterances in one Arrow record batch; sets the memory that a build needs")
    file_batches: int = option(128, "record batches in one Arrow file")

    def __post_init__(self) -> None:
        if not 0 <= self.validation_fraction < 1:
            raise ValueError(f"validation_fraction {self.validation_fraction} is not in 0..1")
        if self.batch_utterances < 1 or self.file_batches < 1:
            raise ValueError("batch_utterances and file_batches are at least 1")
        scores.Limits({}, self.gates)


@dataclass(frozen=True)
class BuildReport:
    """What stands in the built dataset. `skipped`: it was up to date, so nothing was done.

    It also answers to what the summary of a run asks of every stage's report.
    """

    output: Path
    train: int
    validation: int
    with_similar: int
    speakers: int
    languages: int
    phones: int
    audio_s: float
    wall_s: float
    skipped: bool
    recordings: int
    validation_fraction: float
    new_phones: tuple[str, ...] = ()  # what the vocabulary of the last build did not have
    new_languages: tuple[str, ...] = ()
    stage: ClassVar[str] = "build"
    num_rejects: ClassVar[int] = 0  # what is not right stops the build
    num_ignored: ClassVar[int] = 0
    real_time_factor: ClassVar[float | None] = None  # no audio is read

    @property
    def utterances(self) -> int:
        return self.train + self.validation

    @property
    def num_rows(self) -> int:
        return self.utterances

    @property
    def num_resumed(self) -> int:
        return self.utterances if self.skipped else 0

    @property
    def warnings(self) -> tuple[str, ...]:
        found = []
        if not self.with_similar:
            found.append("no similar utterances: every prompt comes at random from the same speaker")
        where = f"--validation-fraction (section build) is {self.validation_fraction:g}"
        if not self.validation:
            found.append(f"no recording of {self.recordings} fell to validation; {where}, a larger one brings some")
        if not self.train:
            found.append(f"no recording of {self.recordings} fell to training; {where}, a smaller one brings some")
        if self.new_phones:
            grew, rows = _grew(self.new_phones, "phone"), "as many more rows of its text embedding"
            found.append(f"the vocabulary grew by {grew}: a trained model needs {rows}")
        if self.new_languages:
            grew, rows = _grew(self.new_languages, "language"), "as many more rows of its language embedding"
            found.append(f"the vocabulary grew by {grew}: a trained model needs {rows}")
        return tuple(found)

    def line(self) -> str:
        """One line for the terminal."""
        text = (
            f"dataset: {self.utterances} utterances ({self.train} train, {self.validation} validation, "
            f"{self.with_similar} with similar ones), {self.audio_s / 3600:.2f} h, {self.speakers} speakers, "
            f"{self.languages} languages, {self.phones} phones"
        )
        speed = self.utterances / max(self.wall_s, 1e-9)
        text += ", up to date" if self.skipped else f", {self.wall_s:.1f} s, {speed:,.0f} utterances/s"
        return "; ".join([text, *(f"warning: {warning}" for warning in self.warnings)])


def _grew(new: tuple[str, ...], what: str) -> str:
    shown = ", ".join(map(repr, new[:MOST_SHOWN])) + (", …" if len(new) > MOST_SHOWN else "")
    return f"{len(new)} {what}{'s' if len(new) > 1 else ''} ({shown})"


def build(input_dataset: Path, output: Path, options: BuildOptions | None = None) -> BuildReport:
    """Builds `output` from the dataset folder that `process` (and `similar`) wrote; does nothing if it is up to date.

    Utterances whose scores are outside the limits of their gates are left out, and listed in rejects.jsonl of `output`.

    Args:
        input_dataset: the dataset folder.
        output: the folder to make.
        options: see BuildOptions.

    Raises:
        UsageError: a file is missing, `output` is something else, or another build runs.
        ContractError: names the utterance, phone or similar id that breaks the contract.
    """
    started = time.perf_counter()
    options = options or BuildOptions()
    source = Source.open(input_dataset)
    limits = scores.Limits(
        source.gates, (*scores.chosen_limits(source.folder), *options.gates), scores.Scores(source.folder)
    )
    with _output_lock(output) as side:
        old = _old_vocabulary(output, options)
        content = _content(source, options, limits)
        if not options.overwrite and old is not None and _up_to_date(output, source.made, content, old):
            return _report(output, read_built(output), started, skipped=True)
        temp = side / storage.TEMP_FOLDER
        try:
            folder = temp / "new"
            with contextlib.ExitStack() as opened:

                def on_reject(reject: Reject) -> None:
                    if not rejects:
                        rejects.append(opened.enter_context(storage.JsonlWriter(folder / layout.REJECTS)))
                    rejects[0].write([reject])

                rejects: list[storage.JsonlWriter] = []
                catalogue = scan.scan_utterances(
                    source.utterances,
                    source.spec,
                    old,
                    closed=options.vocab is not None,
                    limits=limits,
                    on_reject=on_reject,
                )
            built = _write(source, catalogue, folder, options, content, limits)
            source.check_unchanged()
            _swap(folder, side, output)
        finally:
            shutil.rmtree(temp, ignore_errors=True)
    report = _report(output, built, started, skipped=False)
    if old is None:
        return report
    new = catalogue.vocabulary  # new phones and languages come after the old ones
    phones, languages = new.phones[len(old.phones) :], new.languages[len(old.languages) :]
    return dataclasses.replace(report, new_phones=phones, new_languages=languages)


@contextlib.contextmanager
def _output_lock(output: Path) -> Iterator[Path]:
    """Holds `output` as its only builder, and gives a folder beside it, on the same disk; the work is in its .tmp."""
    if output.exists() and not (output / files.BUILT_JSON).is_file() and (not output.is_dir() or any(output.iterdir())):
        raise UsageError(f"{output}: exists and is not a built dataset; choose another output")
    side = output.parent / f".{output.name}"
    with storage.folder_lock(side):
        _recover(side, output)
        try:
            yield side
        finally:
            _recover(side, output)


def _old_vocabulary(output: Path, options: BuildOptions) -> Vocabulary | None:
    if options.vocab is not None:
        return Vocabulary.load(options.vocab)
    if not options.overwrite and (output / files.VOCAB_JSON).is_file():
        return Vocabulary.load(output / files.VOCAB_JSON)
    return None


def _content(source: Source, options: BuildOptions, limits: scores.Limits) -> dict[str, Any]:
    """What determines the bytes of a build, apart from the vocabulary."""
    later = source.folder / layout.SCORES
    bounds = {name: list(pair) for name, pair in sorted(limits.bounds.items())}
    return {
        **({"gates": bounds} if bounds else {}),
        "utterances": scan.content_hash(source.utterances),
        "similar": scan.content_hash(source.similar),
        **({"scores": scan.content_hash(later)} if later.exists() else {}),
        **({"durations": scan.content_hash(source.durations)} if source.durations else {}),
        "codec": storage.to_row(source.spec),
        "validation_fraction": options.validation_fraction,
        "layout": {"batch_rows": options.batch_utterances, "file_batches": options.file_batches},
    }


def _up_to_date(output: Path, made: str, content: dict[str, Any], vocabulary: Vocabulary) -> bool:
    if not (output / files.BUILT_JSON).is_file():
        return False
    try:
        index = Index(output)
    except (ContractError, UsageError):  # damaged, incomplete, or of another version: it is built again
        return False
    sizes = {path.name: path.stat().st_size for path in output.glob("*.arrow")}
    whole = sizes == index.built["files"] and index.built["made"] == made
    return whole and index.built["content"] == content and index.vocabulary == vocabulary


def _write(
    source: Source,
    catalogue: scan.Catalogue,
    folder: Path,
    options: BuildOptions,
    content: dict[str, Any],
    limits: scores.Limits,
) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary, table = catalogue.vocabulary, catalogue.table
    key = json.dumps([files.BUILT_VERSION, content, vocabulary.sha256], sort_keys=True)
    fingerprint = hashlib.sha256(key.encode()).hexdigest()
    writer = files.Writer(
        folder,
        len(table),
        fingerprint=fingerprint,
        fraction=options.validation_fraction,
        batch_rows=options.batch_utterances,
        file_batches=options.file_batches,
        scores=catalogue.scores,
    )
    offsets = scan.scan_similar(source.similar, table, catalogue.left_out)
    with EntryReader(source, catalogue, offsets, limits) as reader:
        batches = _copy(reader, writer, len(table))
        for _ in progress.track(batches, BuildReport.stage, len(table), num_items=lambda number: number):
            pass
    writer.finish(table.ids, len(catalogue.speakers))
    vocabulary.save(folder / files.VOCAB_JSON, folder)
    built = built_json(writer, source.spec, vocabulary, catalogue.speakers, content, made=source.made)
    built["process"] = source.process
    for name in built["files"]:
        _sync(folder / name)
    storage.write_json(folder / files.BUILT_JSON, built, folder)
    (folder / storage.TEMP_FOLDER).rmdir()
    return built


def _copy(reader: EntryReader, writer: files.Writer, total: int) -> Iterator[int]:
    """Writes all rows; yields after each record batch how many it has."""
    while writer.done < total:
        before = writer.done
        writer.write(reader.read(range(before, min(before + writer.batch_rows, total))))
        yield writer.done - before


def built_json(
    writer: files.Writer,
    spec: CodecSpec,
    vocabulary: Vocabulary,
    speakers: tuple[str, ...],
    content: dict[str, Any],
    *,
    made: str = "",
) -> dict[str, Any]:
    """built.json of a finished writer. But for `made`, the input's own stamp, no time, machine or order shows in it."""
    columns = writer.columns
    frames = int(columns["num_frames"].sum(dtype=np.int64))
    counts = {
        "train": int((columns["split"] == files.TRAIN).sum()),
        "validation": int((columns["split"] == files.VALIDATION).sum()),
        "with_similar": int((columns["num_similar"] > 0).sum()),
        "frames": frames,
        "recordings": len(np.unique(columns["recording_hash"])),
    }
    per_language = np.bincount(columns["language"], minlength=len(vocabulary.languages))
    return {
        "version": files.BUILT_VERSION,
        "fingerprint": writer.fingerprint,
        "codec": storage.to_row(spec),
        "vocab_sha256": vocabulary.sha256,
        "counts": counts,
        "languages": dict(zip(vocabulary.languages, per_language.tolist(), strict=True)),
        "layout": {"batch_rows": writer.batch_rows, "file_batches": writer.file_batches},
        "made": made,
        "content": content,
        "files": {path.name: path.stat().st_size for path in sorted(writer.folder.glob("*.arrow"))},
        "speakers": list(speakers),
        "scores": list(writer.scores),
    }


def _swap(folder: Path, side: Path, output: Path) -> None:
    if output.exists():
        os.rename(output, side / OLD)
    os.rename(folder, output)  # a kill before this leaves no output: `_recover` puts the old one back
    _sync(output)
    _sync(output.parent)


def _recover(side: Path, output: Path) -> None:
    """Of a swap: removes the old build if the new one stands, else puts it back, for its vocabulary's sake."""
    old = side / OLD
    if old.exists() and not output.exists():
        os.rename(old, output)
    shutil.rmtree(old, ignore_errors=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _report(output: Path, built: dict[str, Any], started: float, *, skipped: bool) -> BuildReport:
    spec = storage.from_row(CodecSpec, built["codec"], "codec")
    counts = built["counts"]
    vocabulary = Vocabulary.load(output / files.VOCAB_JSON)
    return BuildReport(
        output=output,
        train=counts["train"],
        validation=counts["validation"],
        with_similar=counts["with_similar"],
        speakers=len(built["speakers"]),
        languages=sum(count > 0 for count in built["languages"].values()),
        phones=len(vocabulary.phones),
        audio_s=float(counts["frames"] / spec.frame_rate_hz),
        wall_s=time.perf_counter() - started,
        skipped=skipped,
        recordings=counts["recordings"],
        validation_fraction=built["content"]["validation_fraction"],
    )
