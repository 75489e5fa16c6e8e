"""One recording of a corpus → its row: what the file itself says, and what of the corpus' own words can't be.

What a worker of the import does.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import msgspec

from vall_e import audio, layout, stage
from vall_e.corpora.registry import ImportOptions
from vall_e.types import (
    ContractError,
    Note,
    Problem,
    Recording,
    Reject,
    RejectReason,
    Segment,
    is_part,
    safe_path,
    utterance_id,
)

STAGE = "import"
FROM_HEADER = (
    *("sample_rate_hz", "num_samples", "num_channels", "track", "channel"),
    *("size_bytes", "modified_ns", "ends_sha256"),
)
CLIPPED_S = 0.05  # by which a segment may end behind the audio; more is a mistake


def make_worker(roots: audio.Roots, options: ImportOptions) -> Callable[[stage.Bunch], list[stage.Outcome]]:
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
        start_s, end_s = (min(max(0.0, each), duration_s) for each in (segment.start_s, segment.end_s))
        reject = Reject(id=part, stage=STAGE, reason=RejectReason.BAD_TIMES, detail=detail)
        rejects.append(msgspec.structs.replace(reject, start_s=start_s, duration_s=round(max(0.0, end_s - start_s), 6)))
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


def is_current(found: Recording, row: Recording, roots: audio.Roots) -> bool:
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
