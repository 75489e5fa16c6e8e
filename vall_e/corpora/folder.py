"""A plain folder of speech: `<group>/<speaker>/**`, with texts and languages in files beside the audio."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from vall_e.corpora.base import APPLE_DOUBLE, STAGE
from vall_e.corpora.registry import ImportOptions
from vall_e.corpora.texts import Texts
from vall_e.types import Recording, Reject, RejectReason, has_audio_extension, speaker_of


def load(options: ImportOptions) -> Folder:
    return Folder(options.text_column, options.speaker_column)


class Folder:
    """Speaker and group are the first two folders of a recording's path (`types.speaker_of`), or a table says."""

    def __init__(self, text_column: int | None = None, speaker_column: int | None = None) -> None:
        self.num_ignored = 0
        self.notes: list[str] = []
        self._columns = text_column, speaker_column

    def recordings(self, root: Path) -> Iterator[Recording | Reject]:
        """See Corpus. Links inside `root` are not followed: no loop, and no file counted twice."""
        self.num_ignored = 0
        texts = Texts(root, *self._columns)
        for found in _walk(root, root, Path(os.path.realpath(root))):
            if isinstance(found, Path):
                yield _recording(found, root, texts)
            elif found is not None:
                yield found
            else:
                self.num_ignored += 1
        self.notes = texts.notes()


def _recording(path: Path, root: Path, texts: Texts) -> Recording:
    recording_id = os.fspath(path)[len(os.path.join(root, "")) :]
    group, speaker = speaker_of(recording_id)
    given = texts.given(path)
    language, language_problem = texts.language_of(path)
    if given.language:
        language, language_problem = given.language, None
    return Recording(
        id=recording_id,
        path=recording_id,
        group=group,
        speaker=given.speaker or speaker,
        text=given.text,
        segments=given.segments,
        text_problem=given.problem,
        language=language,
        language_problem=language_problem,
    )


def _walk(folder: Path, root: Path, real_root: Path) -> Iterator[Path | Reject | None]:
    """The audio files below `folder` in order of name, rejects, and None for each file that is not audio.

    Raises:
        PermissionError: `root` itself can't be read.
    """
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except PermissionError as error:
        if folder == root:
            raise
        yield _reject(folder, root, RejectReason.UNREADABLE, str(error))
        return
    for entry in entries:
        path = Path(entry.path)
        problem = _problem(entry, real_root)
        if problem is not None:
            yield _reject(path, root, *problem)
        elif not has_audio_extension(entry.name) or entry.name.startswith(APPLE_DOUBLE):
            if not entry.is_dir(follow_symlinks=False):
                yield None
        elif not _is_utf8(entry.path):
            yield _reject(path, root, RejectReason.BAD_NAME, "the name is not UTF-8; rename it")
        else:
            yield path
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(path, root, real_root)


def _problem(entry: os.DirEntry[str], real_root: Path) -> tuple[RejectReason, str] | None:
    """Why an entry can't be an input, whatever it holds; None for files, plain folders and what is not audio."""
    is_audio = has_audio_extension(entry.name) and not entry.name.startswith(APPLE_DOUBLE)
    if entry.is_symlink():
        target = os.path.realpath(entry.path)
        if not Path(target).is_relative_to(real_root):
            if is_audio or os.path.isdir(target):
                return RejectReason.LINK_OUTSIDE, "a link that leaves the input folder; copy or bind-mount its target"
            return None
        if os.path.isdir(target) or (is_audio and os.path.isfile(target) and has_audio_extension(target)):
            return RejectReason.LINK_INSIDE, "a link to what lies in the same input, where it is counted already"
        if not os.path.exists(target):
            return (RejectReason.UNREADABLE, "a broken link") if is_audio else None
    if not is_audio:
        return None
    try:
        mode = entry.stat().st_mode
    except OSError as error:
        return RejectReason.UNREADABLE, str(error.strerror)
    if not stat.S_ISREG(mode):
        return RejectReason.NOT_A_FILE, "a folder, pipe or device with an audio file's name"
    return None


def _reject(path: Path, root: Path, reason: RejectReason, detail: str) -> Reject:
    name = path.relative_to(root).as_posix().encode(errors="backslashreplace").decode()
    return Reject(id=name, stage=STAGE, reason=reason, detail=detail)


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # half a surrogate pair stands for a byte that is no UTF-8
        return False
    return True
