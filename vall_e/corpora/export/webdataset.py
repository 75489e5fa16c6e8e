"""WebDataset tars: `<split>-000000.tar` of `<number>.flac` and `<number>.json`."""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from vall_e.corpora.export.base import Work, in_shards, values_of


def load() -> WebDataset:
    return WebDataset()


class WebDataset:
    """Keys count from 0 in each tar; the utterance's own id is in its JSON."""

    def export(self, work: Work, out: Path) -> Iterator[int]:
        numbers: Counter[str] = Counter()
        for split, pieces in in_shards(work.pieces()):
            with tarfile.open(out / f"{split}-{numbers[split]:06d}.tar", "w") as tar:
                for key, piece in enumerate(pieces):
                    content = json.dumps(values_of(piece.row), ensure_ascii=False).encode()
                    for suffix, value in (("json", content), ("flac", piece.flac())):
                        info = tarfile.TarInfo(f"{key:06d}.{suffix}")
                        info.size = len(value)
                        tar.addfile(info, io.BytesIO(value))
            numbers[split] += 1
            yield len(pieces)
