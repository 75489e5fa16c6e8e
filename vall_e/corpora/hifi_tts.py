"""Hi-Fi TTS (https://www.openslr.org/109): `<reader>_manifest_<clean|other>_<split>.json` of JSON lines, `audio/`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from vall_e.corpora.base import Paths, json_lines, own_id, rejected, text_of
from vall_e.corpora.registry import ImportOptions
from vall_e.types import Problem, Recording, Reject, RejectReason, UsageError

_MANIFEST = re.compile("([0-9]+)_manifest_(clean|other)_(train|dev|test)[.]json")


def load(options: ImportOptions) -> HiFiTTS:
    return HiFiTTS(options)


class HiFiTTS:
    """Reader and split by the manifest's name; the text as read (`text_normalized`), with its punctuation."""

    def __init__(self, options: ImportOptions) -> None:
        self._split, self._audio_roots = options.split, options.audio_root

    def is_at(self, root: Path) -> bool:
        return root.is_dir() and any(_MANIFEST.fullmatch(path.name) for path in root.iterdir())

    def recordings(self, root: Path) -> Iterator[Recording | Reject]:
        """See Corpus. Raises UsageError: no manifest, or one that is no UTF-8."""
        found = [(path, match) for path in sorted(root.iterdir()) if (match := _MANIFEST.fullmatch(path.name))]
        if not found:
            raise UsageError(f"{root}: no <reader>_manifest_<clean|other>_<split>.json there")
        paths = Paths(root, self._audio_roots)
        for manifest, match in found:
            reader, _, split = match.groups()
            if self._split not in (None, split):
                continue
            for where, row in json_lines(manifest, root):
                if isinstance(row, Reject):
                    yield row
                    continue
                written = text_of(row.get("audio_filepath"))
                path = paths.relative(written) if written else Problem(reason=RejectReason.BAD_ROW, detail="no path")
                if isinstance(path, Problem):
                    yield rejected(own_id(where), path.reason, f"{where}: {path.detail}")
                    continue
                text = next((text_of(row.get(key)) for key in ("text_normalized", "text") if row.get(key)), None)
                yield Recording(id=own_id(path), path=path, speaker=reader, language="en", text=text, split=split)
