"""Segments with times from files beside the audio: .srt and .vtt, .TextGrid of Praat, .json of Whisper and WhisperX.

pysubs2 reads subtitles (https://pysubs2.readthedocs.io), praatio TextGrids (https://timmahrt.github.io/praatIO).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from vall_e.corpora import tars
from vall_e.corpora.base import one_line, text_of
from vall_e.corpora.whisper_json import to_segments
from vall_e.types import BackendError, Segment, Word

SUFFIXES = (".srt", ".vtt", ".textgrid", ".json")  # as names are compared, in the order of preference
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]+)>")
_MARKED = re.compile("\x01([^\x02]*)\x02")
_OTHER_TAG = re.compile(r"</?[a-z][^>]*>", re.IGNORECASE)


class SubtitleError(ValueError):
    """A file that can't be read as what its extension says; the message is one line."""


def read(path: Path, content: str) -> tuple[tuple[Segment, ...], str | None]:
    """(segments in order of time, language or None) of a file beside the audio; no segments where it is none of these.

    Args:
        path: of the file, for its extension.
        content: what is in it.

    Raises:
        SubtitleError: it can't be read. BackendError: the package is missing.
    """
    suffix = path.suffix.lower()
    if suffix == ".json":
        value = tars.to_object(content.encode())
        if value is None or not isinstance(value.get("segments"), list):
            return (), None  # JSON beside the audio may be anything
        segments, problem = to_segments(value["segments"])
        if problem is not None:
            raise SubtitleError(problem.detail)
        return segments, text_of(value.get("language"))
    found = _textgrid(path, content) if suffix == ".textgrid" else _subtitles(content, suffix[1:])
    return tuple(sorted(found, key=lambda segment: (segment.start_s, segment.end_s))), None


def _subtitles(content: str, kind: str) -> list[Segment]:
    pysubs2 = _module("pysubs2")
    marked = _VOICE.sub("\x01\\1\x02", content) if kind == "vtt" else content  # the library drops the voice
    try:
        events = pysubs2.SSAFile.from_string(marked, format_=kind)
    except (pysubs2.Pysubs2Error, ValueError, IndexError, KeyError) as error:
        raise SubtitleError(f"not {kind.upper()}: {' '.join(str(error).split())[:100]}") from None
    segments = []
    for event in events:
        voices = _MARKED.findall(event.plaintext)
        text = one_line(_OTHER_TAG.sub("", _MARKED.sub(" ", event.plaintext)))
        if text and not event.is_comment:
            speaker = one_line(voices[0]) if voices else None
            segments.append(
                Segment(text=text, start_s=event.start / 1000, end_s=event.end / 1000, speaker=speaker or None)
            )
    if not segments and content.strip():
        raise SubtitleError(f"no subtitle in it that can be read as {kind.upper()}")
    return segments


def _textgrid(path: Path, content: str) -> list[Segment]:
    """Each tier of intervals is a speaker, where there are several; a tier of words gives word times."""
    textgrid = _module("praatio.textgrid")
    errors = _module("praatio.utilities.errors")
    try:
        grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=False)
    except (errors.PraatioException, ValueError, IndexError, KeyError, UnicodeError, AttributeError) as error:
        raise SubtitleError(f"not a TextGrid: {' '.join(str(error).split())[:100]}") from None
    tiers = [tier for tier in grid.tiers if hasattr(tier, "entries") and _is_intervals(tier)]
    tiers = [tier for tier in tiers if "phone" not in tier.name.lower()]
    words = [tier for tier in tiers if "word" in tier.name.lower()]
    others = [tier for tier in tiers if tier not in words]
    if words and not others:
        return [_of_words(tier, len(words) > 1) for tier in words if len(tier.entries)]
    return [
        Segment(
            text=one_line(entry.label),
            start_s=entry.start,
            end_s=entry.end,
            speaker=tier.name.strip() or None if len(others) > 1 else None,
        )
        for tier in others
        for entry in tier.entries
        if one_line(entry.label)
    ]


def _is_intervals(tier: Any) -> bool:
    return not tier.entries or hasattr(tier.entries[0], "end")


def _of_words(tier: Any, several: bool) -> Segment:
    """One segment of all words of a tier, as forced aligners write them: `words`, or `<speaker> - words`."""
    words = tuple(
        Word(text=one_line(entry.label), start_s=entry.start, end_s=entry.end)
        for entry in tier.entries
        if one_line(entry.label)
    )
    speaker = re.sub(r"\s*-?\s*words?$", "", tier.name.strip(), flags=re.IGNORECASE) if several else ""
    text = " ".join(word.text for word in words)
    return Segment(text=text, start_s=words[0].start_s, end_s=words[-1].end_s, words=words, speaker=speaker or None)


def _module(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        package = name.partition(".")[0]
        raise BackendError(f'{package} is not installed: pip install "vall-e[sidecar]"') from None
