"""Trees of `<group>/<speaker>/whisper.json`, as https://github.com/e-c-k-e-r/vall-e transcribes: file name → segments.

`{"a.wav": {"segments": [{"start", "end", "text", "words"}], "language": "en", "text": …}}`. The audio is
`<group>/<speaker>/a.wav` below PATH or below an audio root.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vall_e.corpora.base import language_fields, number_of, own_id, rejected, text_of
from vall_e.corpora.registry import ImportOptions
from vall_e.types import Problem, Recording, Reject, RejectReason, Segment, UsageError, Word, speaker_of

_NAME = "whisper.json"


def load(options: ImportOptions) -> WhisperJson:
    return WhisperJson()


class WhisperJson:
    """Group and speaker by the path."""

    def is_at(self, root: Path) -> bool:
        return root.is_dir() and any(next(root.glob(f"{stars}{_NAME}"), None) for stars in ("*/", "*/*/"))

    def recordings(self, root: Path) -> Iterator[Recording | Reject]:
        """See Corpus. Raises UsageError: no whisper.json, or one that is no JSON object."""
        files = sorted(root.rglob(_NAME))
        if not files:
            raise UsageError(f"{root}: no {_NAME} below it")
        for file in files:
            below = file.parent.relative_to(root).as_posix()
            try:
                content = json.loads(file.read_bytes())
            except (ValueError, RecursionError) as error:
                raise UsageError(f"{file}: not JSON: {' '.join(str(error).split())[:100]}") from None
            if not isinstance(content, dict):
                raise UsageError(f"{file}: not an object of file names")
            for name, value in content.items():
                path = name if below == "." else f"{below}/{name}"
                yield _recording(path, value)


def _recording(path: str, value: Any) -> Recording | Reject:
    if not isinstance(value, dict):
        return rejected(own_id(path), RejectReason.BAD_ROW, f"{_NAME}: not an object")
    group, speaker = speaker_of(path)
    segments, problem = to_segments(value.get("segments"))
    text = None if segments else text_of(value.get("text"))
    if problem is None and not segments and text is None:
        problem = Problem(reason=RejectReason.NO_TEXT, detail=f"{_NAME}: no segments and no text")
    return Recording(
        id=own_id(path),
        path=path,
        group=group,
        speaker=speaker,
        text=text,
        segments=segments,
        text_problem=problem,
        **language_fields(text_of(value.get("language"))),
    )


def to_segments(value: Any) -> tuple[tuple[Segment, ...], Problem | None]:
    """Segments as Whisper and WhisperX write them, in order of time, or why they can't be used."""
    found = []
    for number, each in enumerate(value if isinstance(value, list) else []):
        start_s = number_of(each.get("start")) if isinstance(each, Mapping) else None
        end_s = number_of(each.get("end")) if isinstance(each, Mapping) else None
        if start_s is None or end_s is None:
            detail = f"segment {number + 1} has no times"
            return (), Problem(reason=RejectReason.BAD_TIMES, detail=detail)
        words = tuple(_words(each.get("words")))
        text = text_of(each.get("text")) or " ".join(word.text for word in words)
        speaker = text_of(each.get("speaker"))
        found.append(Segment(text=text, start_s=start_s, end_s=end_s, words=words, speaker=speaker))
    return tuple(sorted(found, key=lambda segment: (segment.start_s, segment.end_s))), None


def _words(value: Any) -> Iterator[Word]:
    """The words, if all have times; WhisperX leaves those out of a word that it could not align."""
    found = []
    for each in value if isinstance(value, list) else []:
        text = text_of(each.get("word") or each.get("text")) if isinstance(each, Mapping) else None
        start_s, end_s = (number_of(each.get(key)) if isinstance(each, Mapping) else None for key in ("start", "end"))
        if text is None or start_s is None or end_s is None:
            return
        score = number_of(each.get("score"))
        found.append(Word(text=text, start_s=start_s, end_s=end_s, score=score))
    yield from found
