"""What lies on disk: JSON lines, whole files, arrays; appended, or written whole or not at all."""

from vall_e.storage.arrays import CODE_DTYPE, read_array, write_array
from vall_e.storage.files import (
    SCHEMA_VERSION,
    TEMP_FOLDER,
    folder_lock,
    is_another_folder,
    printable,
    read_json,
    require_file,
    require_voices,
    versions,
    write_json,
    write_whole,
)
from vall_e.storage.index import IdSet, RowIndex, RowPlace
from vall_e.storage.jsonl import (
    JsonlWriter,
    prefix_hash,
    read_json_lines,
    read_rows,
    write_json_lines,
)
from vall_e.storage.records import decode, from_row, to_row

__all__ = [
    "CODE_DTYPE",
    "SCHEMA_VERSION",
    "TEMP_FOLDER",
    "JsonlWriter",
    "IdSet",
    "RowIndex",
    "RowPlace",
    "decode",
    "folder_lock",
    "from_row",
    "is_another_folder",
    "prefix_hash",
    "printable",
    "read_array",
    "read_json",
    "read_json_lines",
    "read_rows",
    "require_file",
    "require_voices",
    "to_row",
    "versions",
    "write_array",
    "write_json",
    "write_json_lines",
    "write_whole",
]
