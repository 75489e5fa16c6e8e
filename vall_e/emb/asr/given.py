"""Texts that lie beside the audio: no recogniser at all.

For `a/b/x.wav`, the first of these that is there and not empty: `a/b/x.normalized.txt`, `a/b/x.txt`, `a/b/x.lab`, a
row of `a/b/metadata.csv`, a row of `a/b/transcripts.tsv`, then of the tables in `a/` and above, up to the input folder,
which name it by its path below them.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from vall_e import __version__, audio
from vall_e.emb.asr import segmenting
from vall_e.types import LANGUAGE_FILE, TEXT_SUFFIXES, BackendError, RejectReason, Segment, Transcript, Unheard

TABLES = {"metadata.csv": "|", "transcripts.tsv": "\t"}
AUDIO_FOLDERS = ("wavs", "wav")  # LJSpeech keeps its table above this folder and leaves the folder out of the names
MAX_TEXT_BYTES = 1_000_000
MAX_TABLE_BYTES = 256_000_000
MAX_TABLES = 16  # kept at a time; recordings come folder by folder


class _Unusable(Exception):
    """A text that is there and can't be used: the item's end, as another text than that one is not meant."""

    def __init__(self, path: Path, problem: str, reason: RejectReason = RejectReason.NO_TEXT) -> None:
        super().__init__(f"{path.name}: {problem}")
        self.unheard = Unheard(reason=reason, detail=str(self), final=True)


class Sidecar:
    """One segment over the whole recording, without word times.

    Raises:
        BackendError: at construction, where languages are to be detected and langdetect is missing.
    """

    name_and_version = f"sidecar {__version__}"

    def __init__(self, *, language_is_known: bool = False) -> None:
        if not language_is_known and importlib.util.find_spec("langdetect") is None:
            raise BackendError('sidecar: langdetect is missing; pip install "vall-e[sidecar]", or pass --language')
        self._tables: dict[Path, dict[str, str]] = {}

    def transcribe(self, sources: Sequence[audio.Source], language: str | None) -> list[Transcript | Unheard]:
        """One result per source, in order. Without a `language`, that of the text is detected."""
        return [self._read(source, language) for source in sources]

    def _read(self, source: audio.Source, language: str | None) -> Transcript | Unheard:
        try:
            text = self._find_text(source)
        except _Unusable as error:
            return error.unheard
        if not text:
            return Unheard(reason=RejectReason.NO_TEXT, detail="no text lies beside it")
        probability = None
        if language is None:
            detected = detect_language(text)
            if detected is None:
                detail = f"the language of its text can't be told; write a {LANGUAGE_FILE} or pass --language"
                return Unheard(reason=RejectReason.LANGUAGE_UNSUPPORTED, detail=detail, final=True)
            language, probability = detected
        return Transcript(
            recording_id=source.recording.id,
            language=language,
            language_prob=probability,
            text=text,
            segments=(Segment(text=text, start_s=0.0, end_s=source.recording.duration_s),),
            backend=self.name_and_version,
        )

    def _find_text(self, source: audio.Source) -> str:
        """The text on one line; empty where there is none."""
        for suffix in TEXT_SUFFIXES:
            path = source.path.parent / (source.stem + suffix)
            if path.name != LANGUAGE_FILE and (text := segmenting.one_line(_read_text(path, source.root) or "")):
                return text
        for folder in _folders(source):
            relative = source.path.relative_to(folder).as_posix()
            for name in TABLES:
                table = self._table(folder / name, source.root)
                for key in _names(relative):
                    if key in table:
                        return table[key]
        return ""

    def _table(self, path: Path, root: Path) -> dict[str, str]:
        if path not in self._tables:
            if len(self._tables) >= MAX_TABLES:
                self._tables.clear()
            self._tables[path] = _read_table(path, root)
        return self._tables[path]


def _folders(source: audio.Source) -> Iterator[Path]:
    """The recording's folder and those above it, up to the input folder."""
    for folder in source.path.parents:
        yield folder
        if folder == source.root:
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
        cells = [segmenting.one_line(cell) for cell in line.split(separator)]
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


def detect_language(text: str) -> tuple[str, float] | None:
    """(ISO 639-1 code, probability) by langdetect with a fixed seed; None where nothing tells, as in "1984"."""
    import langdetect

    langdetect.DetectorFactory.seed = 0  # it draws at random, and gives other answers from run to run without
    try:
        best = langdetect.detect_langs(text)[0]
    except langdetect.LangDetectException:
        return None
    return best.lang.partition("-")[0], round(min(1.0, best.prob), 4)
