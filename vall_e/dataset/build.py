"""Utterances, codes and similar lists → memory-mapped Arrow files, the same bytes whatever the order of the input.

Two passes: `scan` checks and sorts the rows, then each utterance is read in order of id, turned into numbers and
written. Everything is written beside the output and swapped in at the end: a kill leaves the old build or none.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from vall_e import manifest
from vall_e.config import option
from vall_e.dataset import files, scan
from vall_e.dataset.entries import EntryReader, Source
from vall_e.dataset.index import Index, read_built
from vall_e.dataset.vocab import Vocabulary
from vall_e.types import CodecSpec, ContractError, UsageError

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class BuildOptions:
    """Options of `python -m vall_e.dataset build` and keys of the `build` section."""

    validation_fraction: float = option(0.05, "share of the recordings kept for validation, chosen by a hash of the id")
    vocab: Path | None = option(None, "vocab.json to keep to; else that of the build being replaced, else a new one")
    overwrite: bool = option(False, "build again even if nothing changed, with a new vocabulary")
    batch_utterances: int = option(1024, "utterances in one Arrow record batch; sets the memory that a build needs")
    file_batches: int = option(128, "record batches in one Arrow file")

    def __post_init__(self) -> None:
        if not 0 <= self.validation_fraction < 1:
            raise ValueError(f"validation_fraction {self.validation_fraction} is not in 0..1")
        if self.batch_utterances < 1 or self.file_batches < 1:
            raise ValueError("batch_utterances and file_batches are at least 1")


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
        if not self.validation:
            found.append("no recording fell to validation")
        if not self.train:
            found.append("no recording fell to training")
        return tuple(found)

    def line(self) -> str:
        """One line for the terminal."""
        text = (
            f"dataset: {self.utterances} utterances ({self.train} train, {self.validation} validation, "
            f"{self.with_similar} with similar ones), {self.audio_s / 3600:.2f} h, {self.speakers} speakers, "
            f"{self.languages} languages, {self.phones} phones"
        )
        text += ", up to date" if self.skipped else f", {self.wall_s:.1f} s"
        return "; ".join([text, *(f"warning: {warning}" for warning in self.warnings)])


def build(
    input_dataset: Path, output: Path, options: BuildOptions | None = None, *, progress: Progress | None = None
) -> BuildReport:
    """Builds `output` from the dataset folder that `process` (and `similar`) wrote; does nothing if it is up to date.

    `progress` is called with (utterances done, utterances in all).

    Raises:
        UsageError: a file is missing, `output` is something else, or another build runs.
        ContractError: names the utterance, phone or similar id that breaks the contract.
    """
    started = time.perf_counter()
    options = options or BuildOptions()
    source = Source.open(input_dataset)
    with _output_lock(output) as temp:
        vocabulary = _given_vocabulary(output, options)
        content = _content(source, options)
        if not options.overwrite and vocabulary is not None and _up_to_date(output, content, vocabulary):
            return _report(output, read_built(output), started, skipped=True)
        catalogue = scan.scan_utterances(source.utterances, source.spec, vocabulary)
        try:
            built = _write(source, catalogue, temp / "new", options, content, progress)
            source.check_unchanged()
            _swap(temp, output)
        finally:
            shutil.rmtree(temp, ignore_errors=True)
    return _report(output, built, started, skipped=False)


@contextlib.contextmanager
def _output_lock(output: Path) -> Iterator[Path]:
    """Holds `output` as its only builder, and gives a folder beside it, on the same disk, to build in."""
    if output.exists() and not (output / files.BUILT_JSON).is_file() and (not output.is_dir() or any(output.iterdir())):
        raise UsageError(f"{output}: exists and is not a built dataset; choose another output")
    side = output.parent / f".{output.name}"
    with manifest.folder_lock(side):
        yield side / manifest.TEMP_FOLDER


def _given_vocabulary(output: Path, options: BuildOptions) -> Vocabulary | None:
    if options.vocab is not None:
        return Vocabulary.load(options.vocab)
    if not options.overwrite and (output / files.VOCAB_JSON).is_file():
        return Vocabulary.load(output / files.VOCAB_JSON)
    return None


def _content(source: Source, options: BuildOptions) -> dict[str, Any]:
    """What decides the bytes of a build, but for the vocabulary."""
    return {
        "utterances": scan.content_hash(source.utterances),
        "similar": scan.content_hash(source.similar),
        "codec": dataclasses.asdict(source.spec),
        "validation_fraction": options.validation_fraction,
        "layout": {"batch_rows": options.batch_utterances, "file_batches": options.file_batches},
    }


def _up_to_date(output: Path, content: dict[str, Any], vocabulary: Vocabulary) -> bool:
    if not (output / files.BUILT_JSON).is_file():
        return False
    try:
        index = Index(output)
    except (ContractError, UsageError):  # damaged, incomplete, or of another version: it is built anew
        return False
    sizes = {path.name: path.stat().st_size for path in output.glob("*.arrow")}
    whole = sizes == index.built["files"]
    return whole and index.built["content"] == content and index.vocabulary == vocabulary


def _write(
    source: Source,
    catalogue: scan.Catalogue,
    folder: Path,
    options: BuildOptions,
    content: dict[str, Any],
    progress: Progress | None,
) -> dict[str, Any]:
    folder.mkdir(parents=True)
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
    )
    reader = EntryReader(source, catalogue, scan.scan_similar(source.similar, table))
    with reader:
        while writer.done < len(table):
            last = min(writer.done + options.batch_utterances, len(table))
            writer.write(reader.read(range(writer.done, last)))
            if progress is not None:
                progress(last, len(table))
    writer.finish(table.ids, len(catalogue.speakers))
    vocabulary.save(folder / files.VOCAB_JSON, folder)
    built = built_json(writer, source.spec, vocabulary, catalogue.speakers, content)
    for name in built["files"]:
        _sync(folder / name)
    manifest.write_json(folder / files.BUILT_JSON, built, folder)
    (folder / manifest.TEMP_FOLDER).rmdir()
    return built


def built_json(
    writer: files.Writer,
    spec: CodecSpec,
    vocabulary: Vocabulary,
    speakers: tuple[str, ...],
    content: dict[str, Any],
) -> dict[str, Any]:
    """built.json of a finished writer. Nothing in it depends on the time, the machine or the order of the input."""
    columns = writer.columns
    frames = int(columns["num_frames"].sum(dtype=np.int64))
    counts = {
        "train": int((columns["split"] == files.TRAIN).sum()),
        "validation": int((columns["split"] == files.VALIDATION).sum()),
        "with_similar": int((columns["num_similar"] > 0).sum()),
        "frames": frames,
    }
    per_language = np.bincount(columns["language"], minlength=len(vocabulary.languages))
    return {
        "version": files.BUILT_VERSION,
        "fingerprint": writer.fingerprint,
        "codec": dataclasses.asdict(spec),
        "vocab_sha256": vocabulary.sha256,
        "counts": counts,
        "languages": dict(zip(vocabulary.languages, per_language.tolist(), strict=True)),
        "layout": {"batch_rows": writer.batch_rows, "file_batches": writer.file_batches},
        "content": content,
        "files": {path.name: path.stat().st_size for path in sorted(writer.folder.glob("*.arrow"))},
        "speakers": list(speakers),
    }


def _swap(temp: Path, output: Path) -> None:
    if output.exists():
        os.rename(output, temp / "old")
    os.rename(temp / "new", output)
    _sync(output)
    _sync(output.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _report(output: Path, built: dict[str, Any], started: float, *, skipped: bool) -> BuildReport:
    spec = manifest.from_row(CodecSpec, built["codec"], "codec")
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
    )
