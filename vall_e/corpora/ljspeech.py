"""LJSpeech (https://keithito.com/LJ-Speech-Dataset) and its private imitations: a table of texts, a folder of audio.

The table is read as tables of a plain folder are (`tables`): two columns or three, a header or none, names with or
without extension, `|`, tab or comma. Here its rows are the corpus: audio that no row names is left out, and said.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from vall_e.corpora import tables, texts
from vall_e.corpora.base import language_fields, own_id, rejected
from vall_e.corpora.files import AudioFiles
from vall_e.corpora.registry import ImportOptions
from vall_e.types import UNKNOWN_SPEAKER, Recording, Reject, RejectReason, UsageError

_ORIGINAL = re.compile(r"LJ[0-9]{3}-[0-9]{4}")
LANGUAGE, SPEAKER = "en", "LJ"  # of the original


def load(options: ImportOptions) -> LJSpeech:
    return LJSpeech(options.text_column, options.speaker_column)


class LJSpeech:
    """`metadata.csv` and `wavs/`. The speaker is a column, else a folder above the audio, else the corpus' own one."""

    def __init__(self, text_column: int | None = None, speaker_column: int | None = None) -> None:
        self._columns = text_column, speaker_column
        self.num_ignored = 0
        self.notes: list[str] = []

    def is_at(self, root: Path) -> bool:
        """The original alone: other folders with a table are plain folders as well."""
        table = root / "metadata.csv"
        if not (root / "wavs").is_dir() or not table.is_file():
            return False
        with table.open("rb") as file:
            return _ORIGINAL.match(file.read(12).decode("utf-8-sig", errors="replace")) is not None

    def recordings(self, root: Path) -> Iterator[Recording | Reject]:
        """See Corpus. Raises UsageError: no table, or one that can't be used."""
        path = _table_path(root)
        try:
            table = tables.read(texts.read_table(path, root), path, *self._columns)
        except tables.TableError as error:
            raise UsageError(f"{path}: {error}") from None
        files = AudioFiles(root)
        for row in table.rows:
            found = files.find(row.name)
            name = own_id(tables.without_extension(tables.path_form(row.name)))
            if found is None:
                detail = f"{path.name}, line {row.line}: no audio file, or several, for {row.name!r}"
                yield rejected(name, RejectReason.UNREADABLE, detail)
                continue
            original = _ORIGINAL.fullmatch(name) is not None
            yield Recording(
                id=name,
                path=found,
                speaker=row.speaker or (SPEAKER if original else _speaker(found)),
                text=row.text,
                **language_fields(row.language or (LANGUAGE if original else None)),
            )
        self.num_ignored, self.notes = files.num_unused, files.unused_note(path.name)


def _table_path(root: Path) -> Path:
    if root.is_file():
        return root
    here = {name.name.lower(): name for name in sorted(root.iterdir(), reverse=True)}
    found = next((here[name] for name in tables.NAMES if name in here), None)
    if found is None:
        raise UsageError(f"{root}: no table of texts there, like metadata.csv")
    return found


def _speaker(path: str) -> str:
    folders = [part for part in path.split("/")[:-1] if part.lower() not in tables.AUDIO_FOLDERS]
    return folders[-1] if folders else UNKNOWN_SPEAKER
