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
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from vall_e import audio, config, layout, stage, storage, update
from vall_e.corpora.registry import AUTO, FOLDER, RESULT_OPTIONS, ImportOptions, detect, load_corpus
from vall_e.executor import make_executor
from vall_e.types import (
    ContractError,
    Note,
    Problem,
    Recording,
    Reject,
    RejectReason,
    Segment,
    UsageError,
    is_part,
    recording_id_of,
    safe_path,
    utterance_id,
)

STAGE = "import"
LIBRARIES = ("soundfile", "soxr", "av", "lhotse", "pysubs2", "praatio")
CLIPPED_S = 0.05  # by which a segment may end behind the audio; more is a mistake
FROM_HEADER = (
    *("sample_rate_hz", "num_samples", "num_channels", "track", "channel"),
    *("size_bytes", "modified_ns", "ends_sha256"),
)


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
        make_worker = functools.partial(_make_worker, roots, options)
        stage.run_stage(results, drafts, make_worker, _Ordered(executor), report, start=start)
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
            changes.changed += [row.id for row in rows if not _is_current(found, row, roots)]
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


def side_id(recording_id: str, channel: int) -> str:
    """The id of one channel of a recording, counted from 0, where each is a recording of its own."""
    return f"{recording_id}-channel{channel + 1}"


def _side(found: Recording, channel: int) -> Recording:
    """One channel of what the corpus lists: another speaker, and none of the text, which is of all channels."""
    problem = found.text_problem
    if problem is None and (found.text or found.segments):
        detail = "the text is of all channels, and --channels split takes each for a speaker of its own"
        problem = Problem(reason=RejectReason.NO_TEXT, detail=detail)
    return msgspec.structs.replace(
        found,
        id=side_id(found.id, channel),
        speaker=f"{found.speaker}-channel{channel + 1}",
        text=None,
        segments=(),
        text_problem=problem,
    )


def _name(index: storage.RowIndex, number: int) -> str:
    return str(index.place(number).read(dict)["id"])


def _is_current(found: Recording, row: Recording, roots: audio.Roots) -> bool:
    """Whether a row still says what the corpus says, of the file that is there now."""
    imported = {name: getattr(row, name) for name in FROM_HEADER}
    found = _timed(found, row.duration_s)[0]
    if row.id != found.id:
        assert row.channel is not None, "a side of a recording is one channel"
        found = _side(found, row.channel)
    if msgspec.structs.replace(found, **imported) != row:
        return False
    try:
        path = roots.find(row.path)
        return path is not None and audio.is_same(path, row)
    except (OSError, audio.AudioError):
        return False


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


def _make_worker(roots: audio.Roots, options: ImportOptions) -> Callable[[stage.Bunch], list[stage.Outcome]]:
    return functools.partial(_import_bunch, roots, options)


def _import_bunch(roots: audio.Roots, options: ImportOptions, bunch: stage.Bunch) -> list[stage.Outcome]:
    return [_import_one(roots, options, draft.found) for draft in bunch.items]


def _import_one(roots: audio.Roots, options: ImportOptions, found: Recording | Reject) -> stage.Outcome:
    """Fills in what the file itself says, or a reject."""
    if isinstance(found, Reject):
        return stage.Outcome(item_id=found.id, rejects=(found,))
    problem = _bad_id(found.id)
    if problem is not None:
        return _rejected(found.id, RejectReason.BAD_NAME, problem)
    try:
        path = roots.find(found.path)
        if path is None:
            return _rejected(found.id, RejectReason.UNREADABLE, f"{found.path}: no such file{_where(roots)}")
        if not roots.holds(path):
            return _rejected(found.id, RejectReason.LINK_OUTSIDE, "a link that leaves the corpus; copy its target")
        identity = audio.identify(path)
        doubts: list[str] = []
        track = None if options.audio_track is None else options.audio_track - 1
        with audio.Source(found, path).local() as local:
            header = audio.probe(local, found.id, doubts, track=track)
            channel, notes = _channel(local, found.id, header, options.channels)
        notes += tuple(Note(id=found.id, stage=STAGE, note="length_differs", detail=detail) for detail in doubts)
    except ContractError as error:
        return _rejected(found.id, RejectReason.UNSAFE_PATH, str(error))
    except OSError as error:
        return _rejected(found.id, RejectReason.UNREADABLE, str(error.strerror))
    except audio.AudioError as error:
        return _rejected(found.id, error.reason, error.detail)
    timed, rejects, clipped = _timed(found, header.duration_s)
    row = msgspec.structs.replace(
        timed,
        sample_rate_hz=header.sample_rate_hz,
        num_samples=header.num_samples,
        num_channels=header.num_channels,
        track=header.track,
        channel=channel,
        size_bytes=identity.size_bytes,
        modified_ns=identity.modified_ns,
        ends_sha256=identity.ends_sha256,
    )
    rows: tuple[Recording, ...] = (row,)
    if options.channels == "split" and header.num_channels > 1:
        sides = range(header.num_channels)
        rows = tuple(msgspec.structs.replace(_side(row, side), channel=side) for side in sides)
    return stage.Outcome(item_id=found.id, rows=rows, rejects=rejects, notes=notes + clipped)


def _timed(found: Recording, duration_s: float) -> tuple[Recording, tuple[Reject, ...], tuple[Note, ...]]:
    """The recording with those segments that can be in it; a reject for each other, and a note where one is clipped."""
    kept, rejects, notes = [], [], []
    for index, segment in enumerate(found.segments):
        over_s = segment.end_s - duration_s
        if 0 < over_s <= CLIPPED_S:
            detail = f"the segment at {segment.start_s:.2f} s ends {over_s * 1000:.0f} ms behind the audio: clipped"
            notes.append(Note(id=found.id, stage=STAGE, note="times_clipped", detail=detail))
            segment = _clipped(segment, duration_s)
        if 0 <= segment.start_s < segment.end_s <= duration_s:
            kept.append(segment)
            continue
        detail = f"a segment at {segment.start_s:.2f}..{segment.end_s:.2f} s of {duration_s:.2f} s of audio"
        part = utterance_id(found.id, min(index, 99_999))
        rejects.append(Reject(id=part, stage=STAGE, reason=RejectReason.BAD_TIMES, detail=detail))
    if len(kept) == len(found.segments) and not notes:
        return found, (), ()
    problem = found.text_problem
    if not kept and found.text is None:
        problem = problem or Problem(reason=RejectReason.BAD_TIMES, detail="no segment of it lies inside the audio")
    changed = msgspec.structs.replace(found, segments=tuple(kept), text_problem=problem)
    return changed, tuple(rejects), tuple(notes)


def _clipped(segment: Segment, duration_s: float) -> Segment:
    words = tuple(msgspec.structs.replace(word, end_s=min(word.end_s, duration_s)) for word in segment.words)
    return msgspec.structs.replace(segment, end_s=duration_s, words=words)


def _where(roots: audio.Roots) -> str:
    return "" if roots.corpus.is_dir() else "; if its audio lies elsewhere, pass --audio-root"


def _shown(folders: Iterable[Path]) -> list[str]:
    return [storage.printable(folder.resolve()) for folder in folders]


def _channel(path: Path, item_id: str, header: Recording, channels: str) -> tuple[int | None, tuple[Note, ...]]:
    """Which channel is read, None for all as one, and what is to be said of it."""
    if header.num_channels < 2 or channels == "split":
        return None, ()
    if channels != "mix":
        return int(channels == "right"), ()
    found = audio.channels(path, header.track)
    if found.louder is not None:
        number = found.louder + 1
        detail = f"as one the {header.num_channels} channels are nearly silent; channel {number} is read instead"
        return found.louder, (Note(id=item_id, stage=STAGE, note="channels_cancel", detail=detail),)
    if header.num_channels > 2 and not found.is_surround:
        detail = f"the mean of its {header.num_channels} channels is read: no surround sound, as far as the file says"
        return None, (Note(id=item_id, stage=STAGE, note="channels_averaged", detail=detail),)
    return None, ()


def _bad_id(name: str) -> str | None:
    """Why arrays can't be named by this id; None where they can."""
    try:
        safe_path(Path(), name)
    except ContractError:
        return "not a path below the dataset"
    if layout.is_reserved(name):
        return "a folder in its path has a name that datasets use; rename it"
    if is_part(name):
        return "ends in a dash and five digits, as ids of parts do; rename it"
    if any(len(part.encode()) > layout.MAX_ID_PART_BYTES for part in name.split("/")):
        return f"the name has over {layout.MAX_ID_PART_BYTES} bytes, which leaves no room for its array's"
    return None


def _rejected(item_id: str, reason: RejectReason, detail: str) -> stage.Outcome:
    return stage.Outcome(item_id=item_id, rejects=(Reject(id=item_id, stage=STAGE, reason=reason, detail=detail),))


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
