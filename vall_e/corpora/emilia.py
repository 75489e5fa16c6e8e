"""Emilia (https://huggingface.co/datasets/amphion/Emilia-Dataset): json + mp3, as files, JSONL and folders, or tars.

Its tars are WebDatasets, `EN/EN-B000000.tar`; elsewhere a `.jsonl` names the mp3 of each line, or a `.json` stands
beside each mp3. All have the keys text, speaker, language, dnsmos.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vall_e.corpora import rows, tars
from vall_e.corpora.base import Paths, audio_files, json_lines, own_id, rejected, text_of
from vall_e.corpora.files import AudioFiles
from vall_e.corpora.registry import ImportOptions
from vall_e.corpora.webdataset import recording as sample_recording
from vall_e.types import Problem, Recording, Reject, RejectReason

_TAR = re.compile("[A-Z]{2}-B[0-9]{6}")
_JSONL = re.compile("[A-Z]{2}_B[0-9]{5,6}")
_MP3 = re.compile("[A-Z]{2}_B[0-9]{5,6}_S[0-9]{5}_W[0-9]{6}")


def load(options: ImportOptions) -> Emilia:
    return Emilia(options)


class Emilia:
    """Ids, speakers, languages and DNSMOS scores are those of its JSON."""

    def __init__(self, options: ImportOptions) -> None:
        self._audio_roots = options.audio_root
        self.num_ignored = 0

    def is_at(self, root: Path) -> bool:
        if not root.is_dir():
            return False
        names = [path for pattern in ("*", "*/*") for path in root.glob(pattern)]
        return any(
            _TAR.fullmatch(path.stem) if path.suffix == ".tar" else path.suffix == ".jsonl" and _JSONL.match(path.stem)
            for path in names
        )

    def recordings(self, root: Path) -> Iterator[Recording | Reject]:
        """See Corpus. Raises UsageError: a tar that is damaged or compressed, a manifest that is no UTF-8."""
        self.num_ignored = 0
        for path in sorted(root.rglob("*.tar")):
            name = path.relative_to(root).as_posix()
            for sample in tars.samples(path, name):
                if isinstance(sample, Reject):
                    yield sample
                elif sample.audio is None:
                    self.num_ignored += 1
                else:
                    yield _named(sample_recording(sample, name, None), sample.json())
        manifests = sorted(root.rglob("*.jsonl"))
        if manifests:
            files, paths = AudioFiles(root), Paths(root, self._audio_roots)
            for manifest in manifests:
                for where, row in json_lines(manifest, root):
                    yield row if isinstance(row, Reject) else self._row(row, where, files, paths)
            self.num_ignored += files.num_unused
            return
        for name in audio_files(root):
            beside = (root / name).with_suffix(".json")
            if not beside.is_file():
                self.num_ignored += 1
                continue
            content = tars.to_object(beside.read_bytes()[: tars.MAX_SIDE_BYTES])
            if content is None:
                yield rejected(name, RejectReason.BAD_ROW, f"{beside.name}: not a JSON object")
            else:
                yield Recording(id=_id(content, name), path=name, **rows.fields(content))

    def _row(self, row: dict[str, Any], where: str, files: AudioFiles, paths: Paths) -> Recording | Reject:
        written = text_of(row.get("wav")) or text_of(row.get("path")) or ""
        path = files.find(written) if written else None
        if path is None:
            found = paths.relative(written) if written else Problem(reason=RejectReason.BAD_ROW, detail="no key wav")
            if isinstance(found, Problem):
                return rejected(own_id(where), found.reason, f"{where}: {found.detail}")
            path = found
        return Recording(id=_id(row, path), path=path, **rows.fields(row))


def _id(row: dict[str, Any], otherwise: str) -> str:
    found = rows.first_text({key.lower(): value for key, value in row.items()}, rows.ID_KEYS)
    return own_id(found if found and _MP3.fullmatch(found) else otherwise)


def _named(found: Recording | Reject, row: dict[str, Any] | None) -> Recording | Reject:
    import msgspec

    if isinstance(found, Reject) or row is None:
        return found
    return msgspec.structs.replace(found, id=_id(row, found.id))
