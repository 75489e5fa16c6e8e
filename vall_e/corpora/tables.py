"""Tables of texts beside the audio: metadata.csv, transcripts.tsv and their like, read as a person would read them.

What separates the columns, whether there is a header line, and which column is what, is found from the content; where
two readings are possible the table is refused with the option that settles it. A row names a recording by its path
below the table, in any Unicode form, with `\\`, `./`, another letter case or audio extension, or behind a longer path,
as long as one row alone fits.
"""

from __future__ import annotations

import csv
import difflib
import functools
import io
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vall_e.languages import is_known
from vall_e.types import has_audio_extension

NAMES = (
    *("metadata.csv", "transcripts.tsv", "metadata.tsv", "transcripts.csv", "metadata.txt", "transcripts.txt"),
    *("transcript.tsv", "transcript.csv"),
)
AUDIO_FOLDERS = ("wavs", "wav", "clips", "audio")  # often left out of a table's names: LJSpeech, Common Voice
_SEPARATORS = ("|", "\t", ";", ",")
_HEADERS = {
    "name": "file audio_file audio path file_name filename wav wav_file wav_path id utt_id utterance_id name clip "
    "audio_path audio_filepath audiofile",
    "text": "text transcript transcription sentence raw_text raw_transcription utterance",
    "normalised": "normalized_text normalised_text text_normalized normalized_transcription text_normalised",
    "speaker": "speaker speaker_name speaker_id spk spk_id client_id",
    "language": "language lang locale",
}
_KIND_OF = {word: kind for kind, words in _HEADERS.items() for word in words.split()}
_NUMBER = re.compile(r"[-+]?[0-9]+(?:[.,:][0-9]+)*")
_SENTENCE = re.compile(r"[.,!?。、]\s|[.!?。]$")
_SAMPLE = 50  # rows that are compared to tell two columns of texts from a text and something else
_MAX_SPEAKER = 40  # characters of a name


class TableError(ValueError):
    """A table that can't be used as it stands; the message is one line and says what to do."""


@dataclass(frozen=True)
class Row:
    """What a table says of one recording."""

    line: int
    name: str
    text: str
    speaker: str | None = None
    language: str | None = None


@dataclass(frozen=True)
class Columns:
    """Which column is what, from 0; `texts` in the order of preference."""

    name: int
    texts: tuple[int, ...]
    speaker: int | None = None
    language: int | None = None


@dataclass
class Table:
    """A table's rows, found by the path of a recording below its folder."""

    path: Path
    rows: list[Row]
    exact: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._names = [path_form(row.name) for row in self.rows]
        for number, name in enumerate(self._names):
            self.exact.setdefault(name, number)

    @functools.cached_property
    def by_end(self) -> dict[str, list[int]]:
        """Rows by what their names end in, from each folder on; without extension and case. Few tables need it."""
        ends: dict[str, list[int]] = {}
        for number, name in enumerate(self._names):
            end = without_extension(name).casefold()
            while end:
                ends.setdefault(end, []).append(number)
                end = end.partition("/")[2]
        return ends

    def find(self, relative: str) -> int | None:
        """The number of the row of a recording, or None.

        Args:
            relative: the recording's path below the table's folder.

        Raises:
            TableError: several rows could be meant.
        """
        variants = _variants(path_form(relative))
        for name in variants:
            if name in self.exact:
                return self.exact[name]
        forms = {name.casefold() for name in variants[1::2]}
        alike = sorted({number for form in forms for number in self.by_end.get(form, ())})
        fitting = [number for number in alike if not self._is_taken(number)]
        if not fitting:
            return None
        if len({self.rows[number].text for number in fitting}) > 1:
            lines = " and ".join(str(self.rows[number].line) for number in fitting[:2])
            raise TableError(f"lines {lines} could both be meant by {relative}; name it by its path")
        return fitting[0]

    def _is_taken(self, number: int) -> bool:
        """Whether the file that a row names is there, so that the row is that file's."""
        name = self._names[number]
        return ".." not in name.split("/") and os.path.lexists(os.path.join(self.path.parent, name))


def read(content: str, path: Path, text_column: int | None = None, speaker_column: int | None = None) -> Table:
    """A table's rows; those without a name or a text are left out.

    Args:
        content: the decoded file.
        path: of the table, for its extension and for messages.
        text_column, speaker_column: which columns hold them, from 1; None: found from the content.

    Raises:
        TableError: no columns, two readings, or a name with two texts.
    """
    lines = [(number, line) for number, line in enumerate(_lines(content), start=1) if line.strip()]
    if not lines:
        return Table(path, [])
    separator = _separator([line for _, line in lines], path)
    cells = _cells(lines, separator)
    header = _header(cells[0][1])
    named = header is not None
    if named:
        cells = cells[1:]
    if not cells:
        return Table(path, [])
    usual = Counter(len(row) for _, row in cells).most_common(1)[0][0]
    if header is not None and len(header) < usual:  # it does not name every column
        header = None
    usual = max(usual, len(header or ()))
    columns = _columns([row for _, row in cells], header, usual, text_column, speaker_column)
    raw_of = dict(lines)
    rows: dict[str, Row] = {}
    for line, row in cells:
        found = _row(line, raw_of[line], row, columns, usual, separator)
        if found is None:
            continue
        if rows.setdefault(found.name, found).text != found.text:
            raise TableError(f"line {line} gives {found.name!r} a second text; keep one")
    if not rows and not named:
        raise TableError("not one line is a name and a text; write name|text")
    return Table(path, list(rows.values()))


def path_form(name: str) -> str:
    """A path as names are compared: NFC, with /, without ./ and doubled separators."""
    name = name.strip() if name.isascii() else unicodedata.normalize("NFC", name.strip())
    name = name.replace("\\", "/")
    if name and not name.startswith(("/", "./")) and "//" not in name and "/./" not in name and name[-1] != "/":
        return name
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _lines(content: str) -> list[str]:
    """Lines that end in LF, CRLF or CR."""
    return content.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _separator(lines: Sequence[str], path: Path) -> str:
    """What stands between the columns of most lines.

    Raises:
        TableError: nothing does.
    """
    order = ("\t", *_SEPARATORS) if path.suffix.lower() == ".tsv" else _SEPARATORS
    for separator in order:
        if sum(separator in line for line in lines) * 2 >= len(lines):
            return separator
    raise TableError("most lines have no '|', tab, ';' or ',' between a name and a text; separate them with '|'")


def _cells(lines: list[tuple[int, str]], separator: str) -> list[tuple[int, list[str]]]:
    """Cells of each line. A comma table is read with its quotes; elsewhere quotes belong to the text."""
    if separator != ",":
        return [(number, _split(line, separator)) for number, line in lines]
    numbers = [number for number, _ in lines]
    rows = csv.reader(io.StringIO("\n".join(line for _, line in lines)), strict=False)
    out = []
    try:
        for row in rows:
            number = numbers[min(rows.line_num, len(numbers)) - 1]
            out.append((number, [_one_line(cell) for cell in row]))
    except csv.Error as error:  # a quote that is never closed
        line = numbers[min(rows.line_num, len(numbers)) - 1]
        raise TableError(f"line {line}: {error}; close its quotes, or separate the columns with '|'") from None
    return out


def _split(line: str, separator: str) -> list[str]:
    return [unquoted(_one_line(cell)) for cell in line.split(separator)]


def unquoted(cell: str) -> str:
    """Without the quotes that a program put around it, which doubled those inside."""
    inner = cell[1:-1]
    if len(cell) > 2 and cell[0] == cell[-1] == '"' and '""' in inner and '"' not in inner.replace('""', ""):
        return inner.replace('""', '"')
    return cell


def _header(first: Sequence[str]) -> list[str | None] | None:
    """The kind of each column, if the first line names a recording's column and a text's."""
    kinds = [_KIND_OF.get(cell.lower().replace(" ", "_")) for cell in first]
    return kinds if "name" in kinds and ("text" in kinds or "normalised" in kinds) else None


def _columns(
    rows: list[list[str]],
    header: list[str | None] | None,
    usual: int,
    text_column: int | None,
    speaker_column: int | None,
) -> Columns:
    for option, column in (("--text-column", text_column), ("--speaker-column", speaker_column)):
        if column is not None and not 1 <= column <= usual:
            raise TableError(f"{option} {column}: the table has {usual} columns")
    speaker = None if speaker_column is None else speaker_column - 1
    if header is not None:
        found = {kind: place for place, kind in reversed(list(enumerate(header))) if kind}
        texts = tuple(found[kind] for kind in ("normalised", "text") if kind in found)
        texts = texts if text_column is None else (text_column - 1,)
        speaker = found.get("speaker") if speaker is None else speaker
        return Columns(found["name"], texts, speaker, found.get("language"))
    whole = [row for row in rows if len(row) >= usual]
    name = _name_column(whole, usual)
    others = [place for place in range(usual) if place not in (name, speaker)]
    if text_column is not None:
        rest = [place for place in others if place != text_column - 1]
        if speaker is None:
            speaker = next((place for place in rest if _is_speaker(whole, place)), None)
        return Columns(name, (text_column - 1,), speaker)
    return _guess(whole, name, others, speaker)


def _name_column(rows: list[list[str]], usual: int) -> int:
    """The column of file names: the first whose cells have audio extensions, else the first column."""
    for place in range(usual):
        if sum(has_audio_extension(row[place]) for row in rows) * 2 >= len(rows):
            return place
    return 0


def _guess(rows: list[list[str]], name: int, others: list[int], speaker: int | None) -> Columns:
    language = None
    texts = []
    for place in others:
        cells = [row[place] for row in rows if row[place]]
        if not cells or all(_NUMBER.fullmatch(cell) for cell in cells):
            continue
        if len(others) > 1 and all(is_known(cell.lower().replace("_", "-").partition("-")[0]) for cell in cells):
            language = place
        else:
            texts.append(place)
    if len(texts) > 1 and speaker is None:
        spaced = {place: _has_spaces(rows, place) for place in texts}
        names = [place for place in texts if _is_speaker(rows, place) and (not spaced[place] or _repeats(rows, place))]
        if len(names) == 1 and any(spaced[place] for place in texts if place not in names):
            speaker = names[0]
            texts = [place for place in texts if place != speaker]
    if len(texts) == 2 and _are_versions(rows, *texts):
        texts = texts[::-1]  # LJSpeech: the text as written, then with its numbers in words
    elif len(texts) > 1:
        places = " or ".join(str(place + 1) for place in texts)
        raise TableError(f"its text could be in column {places}; say which with --text-column (and --speaker-column)")
    return Columns(name, tuple(texts), speaker, language)


def _has_spaces(rows: list[list[str]], place: int) -> bool:
    cells = [row[place] for row in rows if row[place]]
    return sum(" " in cell for cell in cells) * 2 >= len(cells)


def _repeats(rows: list[list[str]], place: int) -> bool:
    cells = [row[place] for row in rows if row[place]]
    return len(cells) >= 4 and len(set(cells)) * 2 <= len(cells)


def _is_speaker(rows: list[list[str]], place: int) -> bool:
    """Whether a column can hold names: short, without the marks of a sentence."""
    cells = [row[place] for row in rows if row[place]]
    return bool(cells) and all(len(cell) <= _MAX_SPEAKER and not _SENTENCE.search(cell) for cell in cells)


def _are_versions(rows: list[list[str]], first: int, second: int) -> bool:
    """Whether two columns hold the same text twice, as written and normalised."""
    pairs = [(row[first], row[second]) for row in rows if row[first] and row[second]][:_SAMPLE]
    close = sum(difflib.SequenceMatcher(None, a.lower(), b.lower(), autojunk=False).ratio() >= 0.5 for a, b in pairs)
    return close * 2 >= len(pairs)


def _row(line: int, raw: str, cells: list[str], columns: Columns, usual: int, separator: str) -> Row | None:
    if len(cells) > usual and max(columns.texts, default=0) == usual - 1:  # the separator inside the text
        last = separator.join(raw.split(separator)[usual - 1 :]) if separator != "," else ",".join(cells[usual - 1 :])
        cells = [*cells[: usual - 1], _one_line(last)]

    def cell(place: int | None) -> str | None:
        return cells[place] if place is not None and place < len(cells) and cells[place] else None

    name = cell(columns.name)
    text = next((found for place in columns.texts if (found := cell(place))), None)
    if name is None or text is None:
        return None
    language = cell(columns.language)
    code = None if language is None else language.lower().replace("_", "-").partition("-")[0]
    return Row(line, name, text, cell(columns.speaker), code)


def _variants(key: str) -> list[str]:
    """What a table may call a recording: with, then without its extension; then without the folder of all audio."""
    forms = [key, without_extension(key)]
    first, _, rest = key.partition("/")
    if rest and first.lower() in AUDIO_FOLDERS:
        forms += [rest, without_extension(rest)]
    return forms


def without_extension(name: str) -> str:
    return name[: name.rindex(".")] if has_audio_extension(name) else name


def _one_line(text: str) -> str:
    return " ".join(text.split())
