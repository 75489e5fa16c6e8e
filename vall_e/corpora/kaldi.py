"""A Kaldi data folder (https://kaldi-asr.org/doc/data_prep.html): wav.scp, text, utt2spk, perhaps segments.

A line of wav.scp that is a command (it ends in a pipe) is refused, never run.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vall_e.corpora.base import Paths, language_fields, lines, number_of, one_line, own_id, rejected
from vall_e.corpora.nemo import with_segments
from vall_e.corpora.registry import ImportOptions
from vall_e.types import UNKNOWN_SPEAKER, Problem, Recording, Reject, RejectReason, Segment, UsageError


def load(options: ImportOptions) -> Kaldi:
    return Kaldi(options)


class Kaldi:
    """With `segments` a recording has those of its utterances, in order of time; else each utterance is a file."""

    def __init__(self, options: ImportOptions) -> None:
        self._audio_roots = options.audio_root
        self.notes: list[str] = []

    def is_at(self, root: Path) -> bool:
        return (root / "wav.scp").is_file()

    def recordings(self, root: Path) -> Iterator[Recording | Reject]:
        """See Corpus. Raises UsageError: no wav.scp, a file that is no UTF-8."""
        if not self.is_at(root):
            raise UsageError(f"{root}: no wav.scp there")
        self.notes = []
        texts, speakers, languages = (_map(root / name) for name in ("text", "utt2spk", "utt2lang"))
        segments = _segments(root / "segments") if (root / "segments").is_file() else None
        paths = Paths(root, self._audio_roots)
        seen = set()
        for number, line in lines(root / "wav.scp"):
            name, _, written = line.strip().partition(" ")
            where = f"wav.scp, line {number}"
            written = written.strip()
            seen.add(name)
            if written.endswith("|") or written.startswith("|"):
                detail = f"{where}: a command, which is never run; write its output to a file and name that"
                yield rejected(own_id(name), RejectReason.BAD_ROW, detail)
                continue
            path = paths.relative(written) if written else Problem(reason=RejectReason.BAD_ROW, detail="no path")
            if isinstance(path, Problem):
                yield rejected(own_id(name), path.reason, f"{where}: {path.detail}")
                continue
            if segments is None:
                text = texts.get(name)
                language = language_fields(languages.get(name))
                speaker = speakers.get(name, UNKNOWN_SPEAKER)
                yield Recording(id=own_id(name), path=path, speaker=speaker, text=text or None, **language)
            else:
                yield self._with_segments(name, path, segments.get(name, []), texts, speakers, languages)
        for what, names in (("text", texts), ("utt2spk", speakers)):
            known = seen if segments is None else {each[0] for found in segments.values() for each in found}
            strangers = [name for name in names if name not in known]
            if strangers:
                count = "1 line names" if len(strangers) == 1 else f"{len(strangers):,} lines name"
                self.notes.append(f"{what}: {count} nothing in wav.scp or segments, like {strangers[0]!r}")

    def _with_segments(
        self,
        name: str,
        path: str,
        found: list[tuple[str, Any, Any]],
        texts: dict[str, str],
        speakers: dict[str, str],
        languages: dict[str, str],
    ) -> Recording | Reject:
        parts = []
        for utterance, begin, end in found:
            start_s, end_s = number_of(begin), number_of(end)
            if start_s is None or end_s is None:
                detail = f"segments: {utterance}: {begin} {end} are no times"
                return rejected(own_id(name), RejectReason.BAD_TIMES, detail)
            speaker = speakers.get(utterance)
            segment = Segment(text=texts.get(utterance, ""), start_s=start_s, end_s=end_s, speaker=speaker)
            language = language_fields(languages.get(utterance))
            parts.append((segment, {"speaker": speaker or UNKNOWN_SPEAKER, **language}))
        return with_segments(own_id(name), path, parts)


def _map(path: Path) -> dict[str, str]:
    """Lines `key value` of a file; nothing where there is no such file."""
    if not path.is_file():
        return {}
    return {line.split(maxsplit=1)[0]: one_line(" ".join(line.split(maxsplit=1)[1:])) for _, line in lines(path)}


def _segments(path: Path) -> dict[str, list[tuple[str, Any, Any]]]:
    """(utterance, begin, end) of each recording.

    Raises:
        UsageError: a line that has no four words.
    """
    found: dict[str, list[tuple[str, Any, Any]]] = {}
    for number, line in lines(path):
        words = line.split()
        if len(words) != 4:
            raise UsageError(f"{path}, line {number}: not <utterance> <recording> <begin> <end>")
        found.setdefault(words[1], []).append((words[0], words[2], words[3]))
    return found
