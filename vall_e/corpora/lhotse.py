"""Manifests of lhotse (https://lhotse.readthedocs.io/en/latest/corpus.html): a CutSet, or recordings and supervisions.

PATH is the file of the cuts (`.jsonl`, `.jsonl.gz`, `.json`, `.yaml`), or a folder with them, or with
`recordings.jsonl.gz` and `supervisions.jsonl.gz`. Audio of a command, an address or from memory is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vall_e.corpora.base import Paths, language_fields, number_of, own_id, rejected, text_of
from vall_e.corpora.nemo import with_segments
from vall_e.corpora.registry import ImportOptions
from vall_e.corpora.rows import SCORE_KEYS
from vall_e.types import UNKNOWN_SPEAKER, BackendError, Problem, Recording, Reject, RejectReason, Segment, UsageError

_SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".yaml", ".yaml.gz")
_LINES = (".jsonl", ".jsonl.gz")
_MARKER = re.compile(r"(?:^|[-_.])cuts(?:[-_.]|$)")
_EDGE_S = 0.05  # of a recording that a supervision may leave free and still be of all of it


def load(options: ImportOptions) -> Lhotse:
    return Lhotse(options)


class Lhotse:
    """One recording for each of lhotse's, in their order, with the segments of its supervisions."""

    def __init__(self, options: ImportOptions) -> None:
        self._audio_roots = options.audio_root
        self.notes: list[str] = []

    def is_at(self, root: Path) -> bool:
        """By names alone: `cuts` is a word of the file's, or both other manifests are there."""
        if root.is_file():
            return root.name.endswith(_LINES) and _MARKER.search(root.name) is not None
        files = [path.name for path in root.iterdir() if path.name.endswith(_LINES)]
        both = all(any(kind in name for name in files) for kind in ("recordings", "supervisions"))
        return both or any(_MARKER.search(name) for name in files)

    def recordings(self, root: Path) -> Iterator[Recording | Reject]:
        """See Corpus. Raises UsageError: no manifest there, or one that lhotse can't read."""
        self.notes = []
        try:
            import lhotse
        except ImportError:
            raise BackendError('lhotse is not installed: pip install "vall-e[lhotse]"') from None
        cuts = root if root.is_file() else _file(root, "cuts")
        paths = Paths(root, self._audio_roots)
        try:
            if cuts is not None:
                audio, parts = _of_cuts(lhotse.load_manifest_lazy(cuts))
            else:
                audio, parts = self._of_two(root, lhotse)
        except (ValueError, KeyError, TypeError, AssertionError, AttributeError, EOFError, OSError) as error:
            what = " ".join(str(error).split())[:150]
            raise UsageError(f"{cuts or root}: lhotse can't read it: {type(error).__name__}: {what}") from None
        for name, recording in audio.items():
            yield _recording(name, recording, parts.get(name, []), paths)

    def _of_two(self, root: Path, lhotse: Any) -> tuple[dict[str, Any], dict[str, list[Any]]]:
        supervisions, recordings = _file(root, "supervisions"), _file(root, "recordings")
        if supervisions is None or recordings is None:
            raise UsageError(f"{root}: neither cuts nor recordings and supervisions there")
        audio = {recording.id: recording for recording in lhotse.load_manifest_lazy(recordings)}
        parts: dict[str, list[Any]] = {}
        strangers = 0
        for supervision in lhotse.load_manifest_lazy(supervisions):
            parts.setdefault(supervision.recording_id, []).append((supervision.start, supervision))
            strangers += supervision.recording_id not in audio
        if strangers:
            self.notes.append(f"{supervisions.name}: {strangers:,} supervisions name no recording")
        return audio, parts


def _file(root: Path, kind: str) -> Path | None:
    found = [path for path in sorted(root.iterdir()) if kind in path.name.lower() and path.name.endswith(_SUFFIXES)]
    return next((path for path in found if path.is_file()), None)


def _of_cuts(cuts: Any) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Recordings by id, and (start on the recording's clock, supervision) of each."""
    audio: dict[str, Any] = {}
    parts: dict[str, list[Any]] = {}
    for cut in cuts:
        recording = cut.recording
        audio.setdefault(recording.id, recording)
        for supervision in cut.supervisions:
            parts.setdefault(recording.id, []).append((cut.start + supervision.start, supervision))
    return audio, parts


def _recording(name: str, recording: Any, parts: list[tuple[float, Any]], paths: Paths) -> Recording | Reject:
    item_id = own_id(name)
    sources = recording.sources
    if len(sources) != 1 or sources[0].type != "file":
        kinds = ", ".join(source.type for source in sources) or "no source"
        detail = f"its audio is {kinds}: one file is read, a command is never run"
        return rejected(item_id, RejectReason.BAD_ROW, detail)
    path = paths.relative(str(sources[0].source))
    if isinstance(path, Problem):
        return rejected(item_id, path.reason, path.detail)
    if len(parts) == 1 and parts[0][0] <= _EDGE_S and parts[0][1].duration >= recording.duration - 2 * _EDGE_S:
        supervision = parts[0][1]
        return Recording(id=item_id, path=path, text=text_of(supervision.text), **_fields(supervision))
    found = []
    for start_s, supervision in parts:
        values = _fields(supervision)
        speaker = None if values["speaker"] == UNKNOWN_SPEAKER else values["speaker"]
        text = text_of(supervision.text) or ""
        end_s = start_s + supervision.duration
        found.append((Segment(text=text, start_s=start_s, end_s=end_s, speaker=speaker), values))
    return with_segments(item_id, path, found) if found else Recording(id=item_id, path=path)


def _fields(supervision: Any) -> dict[str, Any]:
    custom = supervision.custom or {}
    scores = {key: value for key in SCORE_KEYS if (value := number_of(custom.get(key))) is not None}
    return {
        "speaker": text_of(supervision.speaker) or UNKNOWN_SPEAKER,
        "scores": scores,
        **language_fields(text_of(supervision.language)),
    }
