"""A Hugging Face dataset of parquet files, `data/<split>-00000-of-00001.parquet`, with FLAC in the column `audio`.

`datasets.load_dataset("parquet", …)` or `load_dataset(OUT)` opens it, with its features in the schema's metadata.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from vall_e.corpora.export.base import Work, in_shards, values_of

_TEXTS = ("id", "text", "spoken", "phonemes", "speaker", "language")
_FEATURES = {
    "audio": {"_type": "Audio"},
    **{name: {"dtype": "string", "_type": "Value"} for name in _TEXTS},
    "duration": {"dtype": "float64", "_type": "Value"},
}


def load() -> HuggingFace:
    return HuggingFace()


class HuggingFace:
    """Scores are left out: parquet has one schema, and datasets have gates of their own."""

    def export(self, work: Work, out: Path) -> Iterator[int]:
        import pyarrow as pa
        import pyarrow.parquet as parquet

        text = pa.string()
        schema = pa.schema(
            [
                ("audio", pa.struct([("bytes", pa.binary()), ("path", text)])),
                *((name, text) for name in _TEXTS),
                ("duration", pa.float64()),
            ],
            metadata={"huggingface": json.dumps({"info": {"features": _FEATURES}})},
        )
        folder = out / "data"
        folder.mkdir()
        files: dict[str, list[Path]] = defaultdict(list)
        for split, pieces in in_shards(work.pieces()):
            rows = []
            for piece in pieces:
                values = values_of(piece.row)
                name = piece.row.id.replace("/", "_") + ".flac"
                rows.append({key: values[key] for key in _FEATURES if key != "audio"})
                rows[-1]["audio"] = {"bytes": piece.flac(), "path": name}
            path = folder / f"{split}-{len(files[split]):05d}"
            parquet.write_table(pa.Table.from_pylist(rows, schema=schema), path, row_group_size=100)
            files[split].append(path)
            yield len(pieces)
        for paths in files.values():  # how many there are is known now
            for path in paths:
                os.rename(path, path.with_name(f"{path.name}-of-{len(paths):05d}.parquet"))
