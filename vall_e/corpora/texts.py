"""Texts and languages in files beside the audio of a plain folder.

The text of `a/b/x.wav` is the first of these that exists and is not empty: `a/b/x.normalized.txt`, `a/b/x.txt`,
`a/b/x.lab`, subtitles with times (`x.srt`, `x.vtt`, `x.TextGrid`, `x.json`), a row of a table in `a/b/`
(`metadata.csv`, `transcripts.tsv`, …: `tables.NAMES`), then of the tables in `a/` and above, up to the corpus root,
which name it by its path below them. Its language is in the nearest `language.txt`. File names are compared in NFC and
without regard to case.
"""

from __future__ import annotations

import codecs
import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vall_e import audio
from vall_e.corpora import subtitles, tables
from vall_e.corpora.base import one_line
from vall_e.languages import parse_language
from vall_e.types import Problem, RejectReason, Segment

TEXT_SUFFIXES = (".normalized.txt", ".txt", ".lab")  # the first that exists wins
LANGUAGE_FILE = "language.txt"  # the ISO 639-1 code of the recordings in its folder and below
MAX_TEXT_BYTES = 1_000_000
MAX_TABLE_BYTES = 256_000_000
MAX_SHOWN = 5
MAX_CACHED = 16  # tables, and folders whose files or language are known: recordings come folder by folder


@dataclass(frozen=True)
class Given:
    """What lies beside a recording: its text or why that can't be used, and what a table's row says besides."""

    text: str | None = None
    problem: Problem | None = None
    speaker: str | None = None
    language: str | None = None
    segments: tuple[Segment, ...] = ()


@dataclass(frozen=True)
class _Nearby:
    """Around the recordings of one folder: its text files by name as compared, and tables with their paths' lengths."""

    files: dict[str, str]
    tables: list[tuple[Path, int]]


@dataclass
class _Use:
    """How many rows of a table named a recording, and one of either side to show."""

    rows: list[tables.Row]
    used: bytearray
    unmatched_file: str | None = None


class _Unusable(Exception):
    """A text or language that exists and can't be used."""

    def __init__(self, path: Path, detail: str, reason: RejectReason = RejectReason.NO_TEXT) -> None:
        super().__init__(f"{path.name}: {detail}")
        self.problem = Problem(reason=reason, detail=str(self))


class Texts:
    """Reads what lies beside the recordings below `root`; tables are kept, so that each is read once a folder."""

    def __init__(self, root: Path, text_column: int | None = None, speaker_column: int | None = None) -> None:
        self.root = root
        self._columns = text_column, speaker_column
        self._tables: dict[Path, tables.Table | _Unusable] = {}
        self._nearby: dict[str, _Nearby] = {}
        self._languages: dict[str, tuple[str | None, Problem | None]] = {}
        self._uses: dict[Path, _Use] = {}
        self._num_given, self._num_without = 0, 0
        self._without: list[str] = []

    def given(self, path: Path) -> Given:
        """What lies beside a recording."""
        try:
            given = self._find(path)
        except _Unusable as error:
            given = Given(problem=error.problem)
        if given.text or given.segments or given.problem:
            self._num_given += 1
        else:
            self._num_without += 1
            if len(self._without) < MAX_SHOWN:
                self._without.append(path.relative_to(self.root).as_posix())
        return given

    def language_of(self, path: Path) -> tuple[str | None, Problem | None]:
        """(code, None), (None, why the nearest language.txt can't be used), or (None, None)."""
        folder = os.path.dirname(path)
        if folder not in self._languages:
            if len(self._languages) >= MAX_CACHED:
                self._languages.clear()
            self._languages[folder] = folder_language(self.root, path)
        return self._languages[folder]

    def notes(self) -> list[str]:
        """What does not fit together, a line each; complete once every recording was asked for."""
        notes = []
        for path, use in self._uses.items():
            name = path.relative_to(self.root).as_posix()
            missing = [row for row, used in zip(use.rows, use.used, strict=True) if not used]
            if missing and len(missing) * 2 > len(use.rows):
                example = f", a recording is {use.unmatched_file!r}" if use.unmatched_file else ""
                notes.append(
                    f"{name}: {len(use.rows) - len(missing):,} of {len(use.rows):,} rows name a recording; line "
                    f"{missing[0].line} says {missing[0].name!r}{example}"
                )
            elif missing:
                rows = "1 row names" if len(missing) == 1 else f"{len(missing):,} rows name"
                notes.append(f"{name}: {rows} no recording, like {missing[0].name!r} in line {missing[0].line}")
        if self._num_without and self._num_given:
            these = "1 recording has" if self._num_without == 1 else f"{self._num_without:,} recordings have"
            more = ", …" if self._num_without > len(self._without) else ""
            notes.append(f"{these} no text where {self._num_given:,} have one: {', '.join(self._without)}{more}")
        return notes

    def _find(self, path: Path) -> Given:
        folder, name = os.path.split(path)
        stem = name[: name.rindex(".")]
        nearby = self._near(folder)
        for suffix in TEXT_SUFFIXES:
            beside = nearby.files.get(_same_name(stem + suffix))
            if beside is None or beside == LANGUAGE_FILE:
                continue
            if text := one_line(_read_text(Path(folder, beside), self.root) or ""):
                return Given(text=text)
        for suffix in subtitles.SUFFIXES:
            beside = nearby.files.get(_same_name(stem + suffix))
            if beside is not None and (given := self._timed(Path(folder, beside))) is not None:
                return given
        for table_path, prefix in nearby.tables:
            row = self._row(table_path, str(path)[prefix:])
            if row is not None:
                return Given(text=row.text, speaker=row.speaker, language=row.language)
        return Given()

    def _timed(self, path: Path) -> Given | None:
        """The segments of a file of subtitles; None where it holds none."""
        try:
            segments, language = subtitles.read(path, _read_text(path, self.root, MAX_TABLE_BYTES) or "")
        except subtitles.SubtitleError as error:
            raise _Unusable(path, str(error)) from None
        code = parse_language(language) if language else None
        return Given(segments=segments, language=code) if segments else None

    def _row(self, table_path: Path, relative: str) -> tables.Row | None:
        table = self._table(table_path)
        try:
            number = table.find(relative)
        except tables.TableError as error:
            raise _Unusable(table_path, str(error)) from None
        use = self._uses.setdefault(table_path, _Use(table.rows, bytearray(len(table.rows))))
        if number is None:
            use.unmatched_file = use.unmatched_file or relative
            return None
        use.used[number] = 1
        return table.rows[number]

    def _near(self, folder: str) -> _Nearby:
        """What can hold a text of a folder's recordings: files in it, and the tables from it up to the root."""
        if folder not in self._nearby:
            if len(self._nearby) >= MAX_CACHED:
                self._nearby.clear()
            found = _Nearby(_listing(folder), [])
            for above in (Path(folder), *Path(folder).parents):
                files = found.files if str(above) == folder else _listing(str(above))
                names = [files[name] for name in tables.NAMES if name in files]
                found.tables.extend((above / name, len(os.path.join(above, ""))) for name in names)
                if above == self.root:
                    break
            self._nearby[folder] = found
        return self._nearby[folder]

    def _table(self, path: Path) -> tables.Table:
        if path not in self._tables:
            if len(self._tables) >= MAX_CACHED:
                self._tables.clear()
            try:
                content = _read_text(path, self.root, MAX_TABLE_BYTES) or ""
                self._tables[path] = tables.read(content, path, *self._columns)
            except tables.TableError as error:
                self._tables[path] = _Unusable(path, str(error))
            except _Unusable as error:
                self._tables[path] = error
        table = self._tables[path]
        if isinstance(table, _Unusable):
            raise table
        return table


def folder_language(root: Path, path: Path) -> tuple[str | None, Problem | None]:
    """The code in the nearest `language.txt` from the recording's folder up to `root`, or why it can't be used."""
    file = next((folder / LANGUAGE_FILE for folder in _folders(path, root) if _is_there(folder / LANGUAGE_FILE)), None)
    if file is None:
        return None, None
    unsupported = RejectReason.LANGUAGE_UNSUPPORTED
    if not audio.is_inside(root, file):
        detail = f"{file}: a link that leaves the input folder"
        return None, Problem(reason=RejectReason.LINK_OUTSIDE, detail=detail)
    if not file.is_file():  # opening a pipe would wait for ever
        return None, Problem(reason=unsupported, detail=f"{file}: not a file, or a broken link")
    try:
        with file.open("rb") as opened:
            content = opened.read(100).decode("utf-8-sig", errors="replace")
    except OSError as error:
        return None, Problem(reason=unsupported, detail=f"{file}: {error.strerror}")
    match = re.fullmatch("([a-z]{2,3})([-_][a-z0-9]{2,8})*", content.strip().lower())
    if match is None:
        detail = f"{file}: {content.strip()[:20]!r} is not a code of ISO 639-1, like en"
        return None, Problem(reason=unsupported, detail=detail)
    return match[1], None


def _is_there(path: Path) -> bool:
    return os.path.lexists(path) and not os.path.isdir(path)


def _folders(path: Path, root: Path) -> Iterator[Path]:
    """The recording's folder and those above it, up to `root`."""
    for folder in path.parents:
        yield folder
        if folder == root:
            return


def _listing(folder: str) -> dict[str, str]:
    """The files of a folder that can hold a text, by their names as they are compared."""
    listing: dict[str, str] = {}
    for name in sorted(os.listdir(folder), reverse=True):  # of two names that are compared alike, the first
        key = _same_name(name)
        if key.endswith((*TEXT_SUFFIXES, *subtitles.SUFFIXES)) or key in tables.NAMES:
            listing[key] = name
    return listing


def _same_name(name: str) -> str:
    """A file's name as names are compared: in one Unicode form, without regard to case."""
    return name.lower() if name.isascii() else unicodedata.normalize("NFC", name).casefold()


def read_table(path: Path, root: Path) -> str:
    """The content of a table of texts.

    Raises:
        TableError: it leaves the corpus, is too large, can't be read or is no UTF-8.
    """
    try:
        return _read_text(path, root if root.is_dir() else root.parent, MAX_TABLE_BYTES) or ""
    except _Unusable as error:
        raise tables.TableError(str(error).removeprefix(f"{path.name}: ")) from None


def _read_text(path: Path, root: Path, limit: int = MAX_TEXT_BYTES) -> str | None:
    """The text of a file in UTF-8 or marked UTF-16; None where there is no such file.

    Raises:
        _Unusable: it leaves the input folder, is larger than `limit`, can't be read or is no UTF-8 text.
    """
    if not os.path.lexists(path) or path.is_dir():
        return None
    if not audio.is_inside(root, path):
        problem = "a link that leaves the input folder; copy its target"
        raise _Unusable(path, problem, RejectReason.LINK_OUTSIDE)
    if not path.is_file():
        raise _Unusable(path, "not a file, or a broken link")
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise _Unusable(path, f"can't be read: {error.strerror}") from None
    if len(content) > limit:
        raise _Unusable(path, f"over {limit:,} bytes, which is no transcript")
    try:
        text = content.decode(_encoding(content))
    except UnicodeDecodeError as error:
        raise _Unusable(path, f"not UTF-8 at byte {error.start}; convert it, with iconv say") from None
    if "\0" in text:
        raise _Unusable(path, "holds NUL bytes: UTF-16 without its mark, or no text; convert it to UTF-8")
    return text


def _encoding(content: bytes) -> str:
    """UTF-16 where its mark stands at the start, else UTF-8."""
    return "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
