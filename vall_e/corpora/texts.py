"""Texts and languages in files beside the audio of a plain folder.

The text of `a/b/x.wav` is the first of these that exists and is not empty: `a/b/x.normalized.txt`, `a/b/x.txt`,
`a/b/x.lab`, a row of `a/b/metadata.csv`, a row of `a/b/transcripts.tsv`, then of the tables in `a/` and above, up to
the corpus root, which name it by its path below them. Its language is in the nearest `language.txt`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from vall_e import audio
from vall_e.types import Problem, RejectReason

TEXT_SUFFIXES = (".normalized.txt", ".txt", ".lab")  # the first that exists wins
LANGUAGE_FILE = "language.txt"  # the ISO 639-1 code of the recordings in its folder and below
TABLES = {"metadata.csv": "|", "transcripts.tsv": "\t"}
AUDIO_FOLDERS = ("wavs", "wav")  # LJSpeech keeps its table above this folder and leaves the folder out of the names
MAX_TEXT_BYTES = 1_000_000
MAX_TABLE_BYTES = 256_000_000
MAX_CACHED = 16  # tables, and folders whose language is known: recordings come folder by folder


class _Unusable(Exception):
    """A text or language that exists and can't be used."""

    def __init__(self, path: Path, detail: str, reason: RejectReason = RejectReason.NO_TEXT) -> None:
        super().__init__(f"{path.name}: {detail}")
        self.problem = Problem(reason=reason, detail=str(self))


class Texts:
    """Reads what lies beside the recordings below `root`; tables are kept, so that each is read once a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._tables: dict[Path, dict[str, str] | _Unusable] = {}
        self._languages: dict[Path, tuple[str | None, Problem | None]] = {}

    def text_of(self, path: Path) -> tuple[str | None, Problem | None]:
        """(text on one line, None), (None, why the text that exists can't be used), or (None, None)."""
        try:
            return self._find_text(path) or None, None
        except _Unusable as error:
            return None, error.problem

    def language_of(self, path: Path) -> tuple[str | None, Problem | None]:
        """(code, None), (None, why the nearest language.txt can't be used), or (None, None)."""
        folder = path.parent
        if folder not in self._languages:
            if len(self._languages) >= MAX_CACHED:
                self._languages.clear()
            self._languages[folder] = folder_language(self.root, path)
        return self._languages[folder]

    def _find_text(self, path: Path) -> str:
        stem = PurePosixPath(path.name).stem
        for suffix in TEXT_SUFFIXES:
            beside = path.parent / (stem + suffix)
            if beside.name != LANGUAGE_FILE and (text := one_line(_read_text(beside, self.root) or "")):
                return text
        for folder in _folders(path, self.root):
            relative = path.relative_to(folder).as_posix()
            for name in TABLES:
                table = self._table(folder / name)
                for key in _names(relative):
                    if key in table:
                        return table[key]
        return ""

    def _table(self, path: Path) -> dict[str, str]:
        if path not in self._tables:
            if len(self._tables) >= MAX_CACHED:
                self._tables.clear()
            try:
                self._tables[path] = _read_table(path, self.root)
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


def one_line(text: str) -> str:
    """White space of any kind and length as single spaces, none at the ends."""
    return " ".join(text.split())


def _is_there(path: Path) -> bool:
    return os.path.lexists(path) and not os.path.isdir(path)


def _folders(path: Path, root: Path) -> Iterator[Path]:
    """The recording's folder and those above it, up to `root`."""
    for folder in path.parents:
        yield folder
        if folder == root:
            return


def _names(relative: str) -> Iterator[str]:
    """What a table may call a recording: with or without its extension, with or without LJSpeech's `wavs/`."""
    first, _, rest = relative.partition("/")
    for name in (relative, rest) if rest and first in AUDIO_FOLDERS else (relative,):
        yield name
        yield name.removesuffix(PurePosixPath(name).suffix)


def _read_table(path: Path, root: Path) -> dict[str, str]:
    """name → text of `name|text`, `name|text|normalised text` or `name<TAB>text`; rows without a text are left out.

    Raises:
        _Unusable: a name with two texts; or lines, but none that has a name and a text.
    """
    content = _read_text(path, root, MAX_TABLE_BYTES) or ""
    separator = TABLES[path.name]
    table: dict[str, str] = {}
    header = False
    for number, line in enumerate(content.split("\n")):
        cells = [one_line(cell) for cell in line.split(separator)]
        if number == 0 and [cell.lower() for cell in cells[:2]] == ["file", "text"]:
            header = True
        elif len(cells) > 1 and cells[0]:
            # what follows the text of a .tsv is another column, in a .csv it is the normalised text
            texts = cells[1:3] if path.suffix == ".csv" else cells[1:2]
            text = next((cell for cell in reversed(texts) if cell), "")
            if text and table.setdefault(cells[0], text) != text:
                raise _Unusable(path, f"line {number + 1} gives {cells[0]!r} a second text; keep one")
    if content.strip() and not table and not header:
        name = {"|": "'|'", "\t": "a tab"}[separator]
        raise _Unusable(path, f"not one line is a name and a text with {name} between them; separate them so")
    return table


def _read_text(path: Path, root: Path, limit: int = MAX_TEXT_BYTES) -> str | None:
    """A UTF-8 file's text; None where there is no such file.

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
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _Unusable(path, f"not UTF-8 at byte {error.start}; convert it, with iconv say") from None
    if "\0" in text:
        raise _Unusable(path, "holds NUL bytes: UTF-16, or no text; convert it to UTF-8")
    return text
