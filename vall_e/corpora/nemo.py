"""NeMo manifests, https://docs.nvidia.com/nemo-framework/user-guide/latest/nemotoolkit/asr/datasets.html: JSON lines.

`{"audio_filepath": "a.wav", "duration": 3.1, "text": "…", "offset": 0.0, "speaker": …, "lang": …}`. Lines of the same
file with an offset are segments of one recording. PATH is the manifest, or a folder with one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from vall_e.corpora import rows
from vall_e.corpora.base import Paths, json_lines, number_of, own_id, rejected, text_of
from vall_e.corpora.registry import ImportOptions
from vall_e.types import UNKNOWN_SPEAKER, Problem, Recording, Reject, RejectReason, Segment, UsageError

_SUFFIXES = (".json", ".jsonl")


def load(options: ImportOptions) -> Nemo:
    return Nemo(options)


class Nemo:
    """Recordings in the order in which their files come first."""

    def __init__(self, options: ImportOptions) -> None:
        self._audio_roots = options.audio_root

    def is_at(self, root: Path) -> bool:
        """A manifest's file alone, by its first line."""
        return root.is_file() and root.suffix in _SUFFIXES and _is_manifest(root)

    def recordings(self, root: Path) -> Iterator[Recording | Reject]:
        """See Corpus. Raises UsageError: no manifest, or one that is no UTF-8."""
        folder = root if root.is_dir() else root.parent
        manifests = [root] if root.is_file() else [path for path in sorted(root.iterdir()) if self.is_at(path)]
        if not manifests:
            raise UsageError(f"{root}: no manifest with the key audio_filepath there")
        paths = Paths(root, self._audio_roots)
        whole: list[Recording | Reject] = []
        parts: dict[str, list[tuple[Segment, dict[str, Any]]]] = {}
        for manifest in manifests:
            for where, row in json_lines(manifest, folder):
                if isinstance(row, Reject):
                    whole.append(row)
                    continue
                written = text_of(row.get("audio_filepath"))
                path = (
                    paths.relative(written)
                    if written
                    else Problem(reason=RejectReason.BAD_ROW, detail="no audio_filepath")
                )
                if isinstance(path, Problem):
                    whole.append(rejected(own_id(where), path.reason, f"{where}: {path.detail}"))
                    continue
                values = rows.fields(row)
                offset_s, duration_s = number_of(row.get("offset")), number_of(row.get("duration"))
                if offset_s is None:
                    whole.append(Recording(id=own_id(path), path=path, **values))
                elif duration_s is None:
                    whole.append(rejected(own_id(where), RejectReason.BAD_TIMES, f"{where}: an offset, no duration"))
                else:
                    segment = Segment(
                        text=values["text"] or "",
                        start_s=offset_s,
                        end_s=offset_s + duration_s,
                        speaker=None if values["speaker"] == UNKNOWN_SPEAKER else values["speaker"],
                    )
                    parts.setdefault(path, []).append((segment, values))
        yield from whole
        for path, found in parts.items():
            yield with_segments(own_id(path), path, found)


def with_segments(item_id: str, path: str, found: list[tuple[Segment, dict[str, Any]]], **more: Any) -> Recording:
    """A recording of segments with the fields of their rows: one speaker and language, if all have the same.

    Of several languages, each segment has its own.
    """
    found = sorted(found, key=lambda each: (each[0].start_s, each[0].end_s))
    speakers = {values["speaker"] for _, values in found}
    languages = {values.get("language") for _, values in found}
    problem = next((values["language_problem"] for _, values in found if values.get("language_problem")), None)
    if len(languages) > 1 and None in languages and problem is None:
        named = ", ".join(sorted(str(language) for language in languages if language))
        detail = f"some of its segments name no language, others {named}"
        problem = Problem(reason=RejectReason.LANGUAGE_UNSUPPORTED, detail=detail)
    if len(languages) > 1 and problem is None:
        found = [(msgspec.structs.replace(segment, language=values["language"]), values) for segment, values in found]
    return Recording(
        id=item_id,
        path=path,
        speaker=speakers.pop() if len(speakers) == 1 else UNKNOWN_SPEAKER,
        segments=tuple(segment for segment, _ in found),
        language=languages.pop() if len(languages) == 1 else None,
        language_problem=problem,
        **more,
    )


def _is_manifest(path: Path) -> bool:
    with path.open("rb") as file:
        first = file.readline(100_000)
    try:
        value = json.loads(first.decode("utf-8-sig"))
    except ValueError:
        return False
    return isinstance(value, dict) and "audio_filepath" in value
