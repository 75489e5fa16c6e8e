"""What a corpus is: something that lists its recordings; and what importers share."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from vall_e.languages import parse_language
from vall_e.types import Problem, Recording, Reject, RejectReason, UsageError, has_audio_extension, is_part

STAGE = "import"
MAX_LINE_BYTES = 16_000_000
APPLE_DOUBLE = "._"  # what a Mac writes beside each file on a foreign disk: no audio, whatever the extension


class Corpus(Protocol):
    """A kind of corpus on disk: LJSpeech, Kaldi, a plain folder, …

    A corpus may have an attribute `num_ignored`: the number of files that were passed over because they are not audio,
    valid once `recordings` is exhausted; one `notes`, lines for the person about what does not fit together; and a
    method `is_at(root)`, whether its own marker files lie there, for `--corpus auto`.
    """

    def recordings(self, root: Path) -> Iterator[Recording | Reject]:
        """The recordings below `root`, always in the same order, and what can't be one, with the reason.

        No audio is opened: rate, length and identity of the file are filled in by the import. A text or language that
        is there and can't be used goes into `text_problem` or `language_problem`.

        Args:
            root: an absolute path: a folder, or the file of a manifest. `Recording.path` is relative to the folder (of
                the manifest), or to an audio root.
        """
        ...


def rejected(name: str, reason: RejectReason, detail: str) -> Reject:
    return Reject(id=name, stage=STAGE, reason=reason, detail=detail)


def own_id(name: str) -> str:
    """A corpus' own id of a recording, as ids may be here: a relative path that is no id of a part.

    Example:
        >>> own_id("LJ001-0001"), own_id("spk1-utt-00001"), own_id("/a/../b")
        ('LJ001-0001', 'spk1-utt-00001_', 'a/_/b')
    """
    parts = [part if part.strip(".") else "_" for part in name.replace("\\", "/").replace("\0", "_").split("/") if part]
    joined = "/".join(parts) or "_"
    return joined + "_" if is_part(joined) else joined


def one_line(text: str) -> str:
    """White space of any kind and length as single spaces, none at the ends."""
    return " ".join(text.split())


def language_fields(text: str | None) -> dict[str, Any]:
    """The fields `language` and `language_problem` of a Recording, from a code or a name; none of nothing."""
    if not text or not text.strip():
        return {}
    code = parse_language(text)
    if code is not None:
        return {"language": code}
    detail = f"{text.strip()[:30]!r} is not the code or name of a language of ISO 639-1"
    return {"language_problem": Problem(reason=RejectReason.LANGUAGE_UNSUPPORTED, detail=detail)}


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number, line) of a text file in UTF-8, without line ends; blank lines are left out.

    Raises:
        UsageError: names the file and the line that is no UTF-8, or too long to be one.
    """
    with path.open("rb") as file:
        number = 0
        while raw := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(raw) > MAX_LINE_BYTES:
                raise UsageError(f"{path}, line {number}: over {MAX_LINE_BYTES:,} bytes in one line; is it a manifest?")
            for part in raw.replace(b"\r\n", b"\n").rstrip(b"\n").split(b"\r"):
                try:
                    line = part.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError:
                    raise UsageError(f"{path}, line {number}: not UTF-8; convert it, with iconv say") from None
                if line.strip():
                    yield number, line


def json_lines(path: Path, root: Path) -> Iterator[tuple[str, dict[str, Any] | Reject]]:
    """(name of the line, object) for each line of a JSONL file; a Reject for a line that is no object."""
    name = path.relative_to(root).as_posix() if path != root else path.name
    for number, line in lines(path):
        where = f"{name}:{number}"
        try:
            value = json.loads(line, parse_constant=lambda name: float("nan"))
        except (ValueError, RecursionError) as error:
            yield where, rejected(where, RejectReason.BAD_ROW, f"not JSON: {' '.join(str(error).split())[:100]}")
            continue
        if isinstance(value, dict):
            yield where, value
        else:
            yield where, rejected(where, RejectReason.BAD_ROW, "not a JSON object")


def text_of(value: Any) -> str | None:
    """A text in a manifest on one line, or None for nothing or another type; numbers are names and texts too."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return one_line(str(value)) or None


def number_of(value: Any) -> float | None:
    """A finite number in a manifest, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def audio_files(root: Path) -> Iterator[str]:
    """Paths below `root`, relative to it, of the files with an extension of audio, in order; links are left out."""
    prefix = len(os.path.join(root, ""))
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            if has_audio_extension(name) and not name.startswith(APPLE_DOUBLE):
                path = os.path.join(folder, name)
                if not os.path.islink(path):
                    yield path[prefix:]


class Paths:
    """Paths as manifests write them → relative to the corpus or to an audio root.

    Args:
        root: the corpus, a folder or a manifest's file.
        audio_roots: further folders.
    """

    def __init__(self, root: Path, audio_roots: Sequence[Path] = ()) -> None:
        folders = [root if root.is_dir() else root.parent, *audio_roots]
        self._folders = [os.path.join(form, "") for each in folders for form in dict.fromkeys((each, each.resolve()))]

    def relative(self, written: str) -> str | Problem:
        """The path below one of the folders, or why there is none."""
        path = written.strip().replace("\\", "/")
        path = path.removeprefix("file://")
        if path.startswith("/"):
            path = os.path.normpath(path)
            below = next((path[len(each) :] for each in self._folders if path.startswith(each)), None)
            if below is None:
                detail = f"{written}: below neither the corpus nor an --audio-root"
                return Problem(reason=RejectReason.UNSAFE_PATH, detail=detail)
            return below
        path = os.path.normpath(path)
        if path in (".", "") or path == ".." or path.startswith("../"):
            detail = f"{written!r}: not a path below the corpus or an --audio-root"
            return Problem(reason=RejectReason.UNSAFE_PATH, detail=detail)
        return path
