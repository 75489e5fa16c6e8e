"""A corpus into metadata/recordings.jsonl: who speaks, where, in which file, and what the corpus says of it.

    vall-e import folder VOICES WORK

Rate and length come from the audio's header, once; every later stage reads them here. What changed, came or went since
an earlier import is found by comparing the rows with the corpus.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vall_e import audio, config, layout, stage, storage, update
from vall_e.corpora.recording_row import is_current, make_worker, side_id
from vall_e.corpora.registry import AUTO, FOLDER, RESULT_OPTIONS, ImportOptions, detect, load_corpus
from vall_e.executor import make_executor
from vall_e.types import (
    Recording,
    Reject,
    RejectReason,
    UsageError,
    recording_id_of,
)

STAGE = "import"
LIBRARIES = ("soundfile", "soxr", "av", "lhotse", "pysubs2", "praatio")


@dataclass(frozen=True)
class Draft:
    """What a corpus lists: a recording without rate and length, or a reject. `number` is its place in the corpus."""

    number: int
    found: Recording | Reject
    duration_s: float = 0.0

    @property
    def id(self) -> str:
        return self.found.id


def import_corpus(root: Path, metadata: Path, options: ImportOptions) -> stage.StageReport:
    """Brings META/recordings.jsonl up to date: new recordings are added; changed and gone ones are reported.

    With `update` those are dropped first, here and from the transcripts and rejects, so that they are imported and
    transcribed again.

    Args:
        root: the corpus.
        metadata: the folder for recordings.jsonl.
        options: see ImportOptions.

    Raises:
        UsageError: no such folder, nothing in it is audio, or the rows are of another corpus.
    """
    started = time.monotonic()
    root = Path(storage.require_voices(root).absolute())
    roots = audio.Roots(root, tuple(Path(storage.require_voices(each).absolute()) for each in options.audio_root))
    executor = make_executor(options.executor, options.workers)
    with storage.folder_lock(metadata):
        head = storage.read_json(metadata / layout.METADATA_JSON) or {}
        named = options.corpus != AUTO
        options = _resolve(options, {} if options.overwrite else head, root)
        corpus = load_corpus(options)
        if not options.overwrite:
            _check_head(metadata, head, root, options)
        if options.update and not options.overwrite:
            drop(metadata, _compare(corpus, roots, metadata))
        results = stage.Results(metadata, STAGE, layout.RECORDINGS, key="id")
        report = stage.StageReport(stage=STAGE)
        changes = update.Changes()
        if not named and options.corpus != FOLDER:
            report.notes.append(f"{storage.printable(root)} is read as {options.corpus}; --corpus says otherwise")

        def start() -> None:
            if options.overwrite:
                _clear(metadata)
                results.load()
            _write_head(metadata, roots, options)

        drafts = _drafts(corpus, roots, metadata, changes, results, report, everything=options.overwrite)
        worker = functools.partial(make_worker, roots, options)
        stage.run_stage(results, drafts, worker, _Ordered(executor), report, start=start)
        if not report.num_rows and not report.rejects:
            nothing = f"none of its {report.num_ignored} files is audio by its extension"
            raise UsageError(f"{storage.printable(root)}: {nothing}")
        if (storage.printable(root.resolve()), _shown(roots.others)) != (
            head.get("input_audio"),
            head.get("audio_roots", []),
        ):
            _write_head(metadata, roots, options)
        report.notes += changes.notes
        report.notes += [
            f"{stage.plural(count, 'recording')}: {note}, see {layout.NOTES}"
            for note, count in sorted(stage.num_notes(metadata).items())
        ]
    report.wall_s = time.monotonic() - started
    return report


class _Ordered:
    """An executor whose results come in the order of the items, so that recordings.jsonl does not depend on workers."""

    def __init__(self, executor: Any) -> None:
        self.executor, self.num_workers = executor, executor.num_workers

    def map(self, make_worker: Any, items: Iterable[Any], **more: Any) -> Iterator[Any]:
        order: list[str] = []
        waiting: dict[str, stage.Outcome] = {}

        def noted() -> Iterator[stage.Bunch]:
            for bunch in items:
                order.extend(item.id for item in bunch.items)
                yield bunch

        for found in self.executor.map(make_worker, noted(), **more):
            waiting |= {outcome.item_id: outcome for outcome in found}
            while order and order[0] in waiting:
                yield [waiting.pop(order.pop(0))]


def _drafts(
    corpus: Any,
    roots: audio.Roots,
    metadata: Path,
    changes: update.Changes,
    results: stage.Results,
    report: stage.StageReport,
    *,
    everything: bool,
) -> Iterator[Draft]:
    """What is new in the corpus; fills `changes` and the counts of `report` on the way."""
    known = storage.RowIndex(metadata / layout.RECORDINGS, "id")
    seen = np.zeros(len(known), bool)
    ids: set[int] = set()
    for number, found in enumerate(corpus.recordings(roots.corpus)):
        report.num_items += 1
        digest = hash(found.id)  # of this process alone: ids of 200,000 lines would be 20 MB
        if digest in ids:
            found = _duplicate(found, number)
        ids.add(digest)
        places = _places(known, found.id) if isinstance(found, Recording) and not everything else []
        if places:
            report.num_resumed += 1
            seen[places] = True
            rows = [known.place(place).read(Recording) for place in places]
            changes.changed += [row.id for row in rows if not is_current(found, row, roots)]
        elif everything or not results.is_done(found.id):
            yield Draft(number, found)
        else:
            report.num_resumed += 1
    report.num_ignored = getattr(corpus, "num_ignored", 0)
    report.notes += getattr(corpus, "notes", [])
    if not everything:
        changes.gone += [_name(known, int(number)) for number in np.flatnonzero(~seen)]


def _duplicate(found: Recording | Reject, number: int) -> Reject:
    detail = f"the id {found.id!r} was there before (this is item {number + 1} of the corpus); ids must differ"
    return Reject(id=f"{found.id}#{number + 1}", stage=STAGE, reason=RejectReason.DUPLICATE_ID, detail=detail)


def _places(known: storage.RowIndex, recording_id: str) -> list[int]:
    """Where the rows of a recording stand: one, or one of each channel (`--channels split`); none unless all do."""
    place = known.find(recording_id)
    if place >= 0:
        return [place]
    first = known.find(side_id(recording_id, 0))
    if first < 0:
        return []
    num_channels = known.place(first).read(Recording).num_channels
    places = [known.find(side_id(recording_id, channel)) for channel in range(num_channels)]
    return [] if min(places) < 0 else places


def _name(index: storage.RowIndex, number: int) -> str:
    return str(index.place(number).read(dict)["id"])


def _compare(corpus: Any, roots: audio.Roots, metadata: Path) -> set[str]:
    """Ids of the recordings that changed or went since they were imported."""
    changes = update.Changes()
    results = stage.Results(metadata, STAGE, layout.RECORDINGS, key="id")
    nothing = stage.StageReport(stage=STAGE)
    for _ in _drafts(corpus, roots, metadata, changes, results, nothing, everything=False):
        pass
    return changes.ids


def drop(metadata: Path, stale: set[str]) -> None:
    """Rewrites transcripts, rejects and recordings without `stale` ones, and without rejects whose cause may be gone.

    recordings.jsonl comes last: a kill before it leaves the recordings stale, and the next update begins again.
    """

    def is_dropped(reject: Any) -> bool:
        recording = recording_id_of(str(reject.get("id")))
        return reject.get("stage") == STAGE or reject.get("reason") in update.RETRIED or recording in stale

    if (metadata / layout.REJECTS).exists():
        stage.drop_rejects(metadata, is_dropped)
    (metadata / layout.DEATHS).unlink(missing_ok=True)
    if stale and (metadata / layout.NOTES).exists():
        kept = (row for _, row in storage.read_json_lines(metadata / layout.NOTES) if row.get("id") not in stale)
        storage.write_json_lines(metadata / layout.NOTES, kept, metadata)
    if stale:
        for name, key in ((layout.TRANSCRIPTS, "recording_id"), (layout.RECORDINGS, "id")):
            path = metadata / name
            if path.exists():
                kept = (row for _, row in storage.read_json_lines(path) if row.get(key) not in stale)
                storage.write_json_lines(path, kept, metadata)


def _clear(metadata: Path) -> None:
    """Drops what an earlier run imported and the transcripts of it."""
    for name in (layout.TRANSCRIPTS, layout.RECORDINGS, layout.REJECTS, layout.NOTES, layout.DEATHS):
        (metadata / name).unlink(missing_ok=True)


def _check_head(metadata: Path, head: dict[str, Any], root: Path, options: ImportOptions) -> None:
    stage.check_folder(metadata, head.get("input_audio"), root)
    recorded = head.get("corpus", FOLDER)
    if head and recorded != options.corpus:
        raise UsageError(f"{metadata}: imported as {recorded!r}, now {options.corpus!r}; {stage.OVERWRITE_ADVICE}")
    if "corpus" in head:
        stage.check_same(metadata, head.get(STAGE) or {}, options)


def _resolve(options: ImportOptions, head: dict[str, Any], root: Path) -> ImportOptions:
    """With the kind of corpus in place of `auto`: that of the head, else the one whose marker files are there."""
    if options.corpus != AUTO:
        return options
    return dataclasses.replace(options, corpus=head.get("corpus", FOLDER) if head else detect(root))


def options_of(head: dict[str, Any], **more: Any) -> ImportOptions:
    """The options of an import that its head tells, so that a later stage adds to it in the same way."""
    recorded = {name: value for name, value in (head.get(STAGE) or {}).items() if name in RESULT_OPTIONS}
    corpus = head.get("corpus", FOLDER if head else AUTO)
    roots = tuple(map(Path, head.get("audio_roots", [])))
    return ImportOptions(corpus=corpus, audio_root=roots, **recorded, **more)


def _write_head(metadata: Path, roots: audio.Roots, options: ImportOptions) -> None:
    path = metadata / layout.METADATA_JSON
    head = {} if options.overwrite else (storage.read_json(path) or {})
    versions = dict(head.get("versions") or {}) | storage.versions(LIBRARIES)
    head |= {"schema_version": storage.SCHEMA_VERSION, "input_audio": storage.printable(roots.corpus.resolve())}
    head["audio_roots"] = _shown(roots.others)
    head |= {"corpus": options.corpus, STAGE: options.result_options, "versions": versions}
    storage.write_json(path, head, metadata)


def _shown(folders: Iterable[Path]) -> list[str]:
    return [storage.printable(folder.resolve()) for folder in folders]


def roots_of(metadata: Path, root: Path) -> audio.Roots:
    """Where the paths in META/recordings.jsonl lie: below the corpus, and the audio roots of its import."""
    head = storage.read_json(metadata / layout.METADATA_JSON) or {}
    return audio.Roots(root, tuple(map(Path, head.get("audio_roots", []))))


def corpus_root(input_audio: Path | None, metadata: Path) -> Path:
    """The absolute folder that `Recording.path` is relative to: `input_audio`, or None for that of the import.

    Raises:
        UsageError: no such folder, or neither the caller nor an import says where the corpus is.
    """
    if input_audio is None:
        recorded = (storage.read_json(metadata / layout.METADATA_JSON) or {}).get("input_audio")
        if recorded is None:
            raise UsageError(f"{metadata}: does not say where the audio is; give --input-audio")
        input_audio = Path(recorded)
    return storage.require_voices(input_audio).absolute()


def require_recordings(input_audio: Path | None, metadata: Path, *, executor: str, workers: int) -> audio.Roots:
    """Imports, where META/recordings.jsonl is missing → where the paths in it lie.

    Args:
        input_audio: the corpus; None: where the import says it is.
        metadata: the folder of recordings.jsonl.
        executor, workers: for the import, if one is needed.

    Raises:
        UsageError: no such folder, or another one than was imported.
    """
    root = corpus_root(input_audio, metadata)
    head = storage.read_json(metadata / layout.METADATA_JSON) or {}
    stage.check_folder(metadata, head.get("input_audio"), root)
    if not (metadata / layout.RECORDINGS).exists():
        import_corpus(root, metadata, options_of(head, executor=executor, workers=workers))
    return roots_of(metadata, root)


def main(argv: Sequence[str] | None = None, *, prog: str = "vall-e import") -> int:
    parser = argparse.ArgumentParser(prog=prog, description=(__doc__ or "").split("\n")[0])
    parser.add_argument("corpus", help="kind of corpus, like folder")
    parser.add_argument("path", type=Path, help="where it is")
    parser.add_argument("work", type=Path, help="folder for the results; recordings.jsonl goes into WORK/metadata")
    config.add_options(parser, ImportOptions, without=("corpus",))
    config.add_max_reject_ratio(parser)
    args = parser.parse_args(argv)
    options = config.resolve(ImportOptions, args, STAGE)
    report = import_corpus(args.path, args.work / layout.METADATA_FOLDER, options)
    return report.finish(args.max_reject_ratio)


if __name__ == "__main__":
    config.run_main(main)
