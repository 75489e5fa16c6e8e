"""A Hugging Face audio dataset on disk (https://huggingface.co/docs/datasets): parquet, or the arrow of `save_to_disk`.

Read by pyarrow; the audio is in the rows, or a path beside them. Columns are known by their names (`rows`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vall_e import audio
from vall_e.corpora import rows
from vall_e.corpora.base import Paths, own_id, rejected
from vall_e.corpora.registry import ImportOptions
from vall_e.corpora.webdataset import split_of
from vall_e.types import Problem, Recording, Reject, RejectReason, UsageError

_AUDIO_COLUMNS = ("audio", "file", "wav", "mp3", "speech")
_BATCH_ROWS = 1_000


def load(options: ImportOptions) -> HuggingFace:
    return HuggingFace(options)


class HuggingFace:
    """Rows in order of file and row; the split is that of the file's name or folder."""

    def __init__(self, options: ImportOptions) -> None:
        self._split, self._audio_roots, self._text_column = options.split, options.audio_root, options.text_column

    def is_at(self, root: Path) -> bool:
        """By `datasets`' own files, or a parquet file with a column of audio."""
        if root.is_file():
            return root.suffix == ".parquet" and _holds_audio(root)
        if any((root / name).is_file() for name in ("dataset_info.json", "dataset_dict.json")):
            return True
        found = next((path for mark in ("*.parquet", "data/*.parquet") for path in sorted(root.glob(mark))), None)
        return found is not None and _holds_audio(found)

    def recordings(self, root: Path) -> Iterator[Recording | Reject]:
        """See Corpus. Raises UsageError: no such file, one that is damaged, or without a column of audio."""
        folder = root if root.is_dir() else root.parent
        files = (
            [root]
            if root.is_file()
            else sorted(
                path
                for suffix in (".parquet", ".arrow")
                for path in root.rglob(f"*{suffix}")
                if "cache-" not in path.name
            )
        )
        if not files:
            raise UsageError(f"{root}: no .parquet or .arrow there")
        paths = Paths(root, self._audio_roots)
        for file in files:
            name = file.relative_to(folder).as_posix()
            split = split_of(name)
            if self._split not in (None, split):
                continue
            yield from self._rows(file, name, split, paths)

    def _rows(self, file: Path, name: str, split: str | None, paths: Paths) -> Iterator[Recording | Reject]:
        import pyarrow as pa

        try:
            column, texts, number = None, None, 0
            for batch in _batches(file):
                if column is None:
                    column = _audio_column(batch.schema, file)
                    texts = self._text_name(batch.schema, file)
                for row in _without_bytes(batch, column).to_pylist():
                    yield self._recording(row, column, texts, f"{name}/{number}", (name, number), split, paths)
                    number += 1
        except (pa.ArrowException, OSError) as error:
            raise UsageError(f"{file}: can't be read: {' '.join(str(error).split())[:150]}") from None

    def _text_name(self, schema: Any, file: Path) -> str | None:
        if self._text_column is None:
            return None
        if not 1 <= self._text_column <= len(schema):
            raise UsageError(f"{file}: --text-column {self._text_column}: the table has {len(schema)} columns")
        return str(schema.names[self._text_column - 1])

    def _recording(
        self,
        row: dict[str, Any],
        column: str,
        texts: str | None,
        where: str,
        place: tuple[str, int],
        split: str | None,
        paths: Paths,
    ) -> Recording | Reject:
        values = rows.fields({key: value for key, value in row.items() if key != column}, texts)
        item_id = own_id(rows.first_text({key.lower(): value for key, value in row.items()}, rows.ID_KEYS) or where)
        if split is not None and "/" not in item_id and item_id != where:
            item_id = f"{split}/{item_id}"
        cell = row[column]
        written = cell["path"] if isinstance(cell, dict) else cell
        if isinstance(cell, dict) and cell["bytes"]:
            member = audio.row_member(column, place[1])
            return Recording(id=item_id, path=place[0], member=member, split=split, **values)
        if not isinstance(written, str) or not written:
            return rejected(item_id, RejectReason.UNREADABLE, f"{where}: neither audio nor a path in {column!r}")
        path = paths.relative(written)
        if isinstance(path, Problem):
            return rejected(item_id, path.reason, f"{where}: {path.detail}")
        return Recording(id=item_id, path=path, split=split, **values)


def _batches(file: Path) -> Iterator[Any]:
    if file.suffix == ".arrow":
        yield from audio.arrow_batches(file)
        return
    import pyarrow.parquet as parquet

    yield from parquet.ParquetFile(file).iter_batches(_BATCH_ROWS)


def _audio_column(schema: Any, file: Path) -> str:
    """The column of audio: a struct of bytes and path, or one of a usual name that holds paths."""
    structs = _audio_structs(schema)
    names = structs or [name for name in _AUDIO_COLUMNS if name in schema.names]
    if not names:
        raise UsageError(f"{file}: no column of audio among {', '.join(schema.names)}")
    return str(next((name for name in _AUDIO_COLUMNS if name in names), names[0]))


def _holds_audio(file: Path) -> bool:
    """Whether a parquet file has a column of audio."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    try:
        schema = parquet.read_schema(file)
    except (pa.ArrowException, OSError):
        return False
    return bool(_audio_structs(schema))


def _audio_structs(schema: Any) -> list[str]:
    """The columns of structs with bytes, as `datasets` writes audio."""
    import pyarrow.types as kinds

    return [field.name for field in schema if kinds.is_struct(field.type) and field.type.get_field_index("bytes") >= 0]


def _without_bytes(batch: Any, column: str) -> Any:
    """The batch with true in place of each row's audio, so that listing holds none of it in memory."""
    import pyarrow as pa
    import pyarrow.compute as pc

    place = batch.schema.get_field_index(column)
    cells = batch.column(place)
    if not pa.types.is_struct(cells.type):
        return batch
    there = pc.fill_null(pc.greater(pc.binary_length(pc.struct_field(cells, "bytes")), 0), False)
    has_path = cells.type.get_field_index("path") >= 0
    paths = pc.struct_field(cells, "path") if has_path else pa.nulls(len(cells), pa.string())
    slim = pa.StructArray.from_arrays([there, paths], ["bytes", "path"])
    return batch.set_column(place, column, slim)
