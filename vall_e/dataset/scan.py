"""First pass over the input: what is there, in which order it will be written, and where its rows lie.

Of each row it keeps the id and the offset of its line, so ten million rows fit in memory; the second pass reads the
lines again, one by one, in order of id.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vall_e import scores, storage
from vall_e.dataset.vocab import Vocabulary
from vall_e.types import CodecSpec, ContractError, Reject, UsageError, Utterance, safe_path

CHUNK_ROWS = 65_536
MOST_NAMED = 5  # utterances in the error about a vocabulary that lacks what they need
SPLIT_SALT = b"vall_e.split"  # fixed: with another one, validation recordings would move into training
ID_SALT = b"vall_e.id"


def hash_id(name: str, salt: bytes) -> int:
    """64 stable bits of an id."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8, person=salt).digest(), "little")


def content_hash(path: Path) -> str:
    """Hash of a file's lines whatever their order; of no lines if it does not exist."""
    total = 0
    if path.exists():
        with path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):  # a torn last line is not a row
                    total += int.from_bytes(hashlib.blake2b(line, digest_size=32).digest(), "little")
    return f"{total % (1 << 256):064x}"


def offset_lines(path: Path) -> Iterator[tuple[str, int, bytes]]:
    """("file:line", byte offset, line) of each whole line."""
    offset = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):  # torn by a crash; only the last can be
                return
            yield f"{path}:{number}", offset, line
            offset += len(line)


def parse_line(line: bytes, where: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        raise ContractError(f"{where}: not JSON; the file was changed by hand or by the disk") from None


def read_head(path: Path) -> tuple[CodecSpec, str, dict[str, dict[str, float | None]]]:
    """The codec, the stamp of when the dataset was made, and the limits of its gates, as dataset.json has them.

    Raises:
        UsageError: no such file. ContractError: of another schema, or not a codec.
    """
    value = storage.read_json(storage.require_file(path, "`python -m vall_e.emb.process`")) or {}
    if value.get("schema_version") not in (1, storage.SCHEMA_VERSION):
        raise ContractError(f"{path}: not of schema version 1 or {storage.SCHEMA_VERSION}")
    spec = storage.from_row(CodecSpec, value.get("codec"), f"{path}: codec")
    return spec, f"{value.get('made', '')}{value.get('updated', '')}", value.get("gates") or {}


class IdTable:
    """Ids in sorted order, and the row of each. Built on 64-bit hashes; every hit is compared in full.

    Raises:
        ContractError: names an id that occurs twice.
    """

    def __init__(self, ids: Any, hashes: np.ndarray) -> None:
        self.ids = ids  # pyarrow array of n strings
        self.hashes = hashes  # uint64 [n]
        self._order = np.argsort(hashes, kind="stable")
        self._sorted = hashes[self._order]

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, names: Sequence[str]) -> np.ndarray:
        """int64 row of each name; -1 where there is none."""
        import pyarrow as pa
        import pyarrow.compute as pc

        wanted = np.array([hash_id(name, ID_SALT) for name in names], np.uint64)
        strings = pa.array(names, pa.large_string())
        found = np.full(len(names), -1, np.int64)
        open_places = np.arange(len(names))
        slots = np.searchsorted(self._sorted, wanted)
        while True:  # once, and once more for each further id of the same hash
            open_places = open_places[slots[open_places] < len(self._sorted)]
            open_places = open_places[self._sorted[slots[open_places]] == wanted[open_places]]
            if not len(open_places):
                return found
            rows = self._order[slots[open_places]]
            same = pc.equal(self.ids.take(pa.array(rows)), strings.take(pa.array(open_places)))
            hit = same.to_numpy(zero_copy_only=False)
            found[open_places[hit]] = rows[hit]
            slots[open_places] += 1
            open_places = open_places[~hit]


@dataclass(frozen=True)
class Catalogue:
    """Utterances in order of id: their table, the offset of each line, and the names that become numbers."""

    table: IdTable
    offsets: np.ndarray  # int64 [n]
    speakers: tuple[str, ...]
    vocabulary: Vocabulary
    left_out: frozenset[int] = frozenset()  # hashes of the utterances that a gate left out
    scores: tuple[str, ...] = ()  # names of all that an utterance has


def scan_utterances(
    path: Path,
    spec: CodecSpec,
    vocabulary: Vocabulary | None,
    *,
    closed: bool = False,
    limits: scores.Limits | None = None,
    on_reject: Callable[[Reject], None] = lambda reject: None,
) -> Catalogue:
    """Checks every row and sorts them by id. `vocabulary` grows by what occurs and it lacks, unless it is `closed`.

    Args:
        path: utterances.jsonl.
        spec: the dataset's codec.
        vocabulary: the one to extend; None for none.
        closed: whether a phone or language that it lacks is an error.
        limits: which utterances are left out.
        on_reject: called with each of those.

    Raises:
        ContractError: names the row at fault, or what a closed vocabulary lacks and which utterances need it.
    """
    import pyarrow as pa

    limits = limits or scores.Limits({})
    offsets = array("q")
    chunks: list[Any] = []
    ids: list[str] = []
    speakers: set[str] = set()
    phones: set[str] = set()
    languages: set[str] = set()
    known = vocabulary or Vocabulary((), ())
    lacking: list[str] = []
    left_out = array("Q")
    score_names: set[str] = set()
    for where, offset, line in offset_lines(path):
        row = storage.decode(Utterance, line, where)
        check_row(row, spec, path.parent)
        reject = limits.check(row)
        if reject is not None:
            on_reject(reject)
            left_out.append(hash_id(row.id, ID_SALT))
            continue
        if closed and (lacks := _lacks(known, set(row.phonemes) - phones, {row.language} - languages)):
            lacking.append(f"{row.id} needs {lacks}")
            if len(lacking) == MOST_NAMED:
                break
        score_names.update(limits.scores_of(row))
        phones.update(row.phonemes)
        languages.add(row.language)
        speakers.add(row.speaker_id)
        offsets.append(offset)
        ids.append(row.id)
        if len(ids) == CHUNK_ROWS:
            chunks.append(pa.array(ids, pa.large_string()))
            ids = []
    if lacking:
        raise ContractError(f"not in the vocabulary to keep to: {'; '.join(lacking)}; without --vocab it would grow")
    if not offsets:
        raise UsageError(f"{path}: no utterances in it" + (" that pass its gates" if left_out else ""))
    chunks.append(pa.array(ids, pa.large_string()))
    table, order = _sorted_table(chunks)
    grown = known if closed else known.extended(phones, languages)
    names = tuple(sorted(speakers))
    places = np.frombuffer(offsets, np.int64)[order]
    return Catalogue(table, places, names, grown, frozenset(left_out), tuple(sorted(score_names)))


def _lacks(vocabulary: Vocabulary, phones: set[str], languages: set[str]) -> str:
    """What of these the vocabulary does not have, for an error; empty if it has them all."""
    found = [f"phone {phone!r} (U+{ord(phone):04X})" for phone in sorted(phones - vocabulary.token_of.keys())]
    found += [f"language {language!r}" for language in sorted(languages - vocabulary.language_ids.keys())]
    return ", ".join(found)


def _sorted_table(chunks: list[Any]) -> tuple[IdTable, np.ndarray]:
    """The table, and the places of its rows in `chunks`, which is emptied: each copy of the ids weighs."""
    import pyarrow as pa
    import pyarrow.compute as pc

    unsorted = pa.concat_arrays(chunks)
    chunks.clear()
    order = pc.sort_indices(unsorted)
    ids = unsorted.take(order)
    del unsorted
    twice = pc.equal(ids.slice(1), ids.slice(0, len(ids) - 1)).to_numpy(zero_copy_only=False)
    if twice.any():
        raise ContractError(f"{ids[int(np.argmax(twice))]}: two rows have this id")
    hashes = np.fromiter((hash_id(name.as_py(), ID_SALT) for name in ids), np.uint64, len(ids))
    return IdTable(ids, hashes), order.to_numpy().astype(np.int64)


def check_row(row: Utterance, spec: CodecSpec, root: Path) -> None:
    """Raises:
    ContractError: names the utterance and what is wrong with its row.
    """
    safe_path(root, row.codes)
    try:
        "".join((row.id, row.recording_id, row.speaker_id, row.language, row.phonemes)).encode()
    except UnicodeEncodeError:
        raise ContractError(f"{row.id!r}: holds text that is not Unicode") from None
    if row.codec != spec.name:
        raise ContractError(f"{row.id}: coded by {row.codec!r}, the dataset is of {spec.name!r}")
    if row.num_frames < 1 or row.num_samples < 1 or row.start_samples < 0:
        raise ContractError(f"{row.id}: frames and samples are counts, found {row.num_frames} and {row.num_samples}")
    if row.start_samples + row.num_samples >= 2**63:
        raise ContractError(f"{row.id}: lies {row.start_samples} samples into its recording; no audio is that long")
    if not row.phonemes:
        raise ContractError(f"{row.id}: has no phonemes")


def scan_similar(path: Path, table: IdTable, left_out: frozenset[int] = frozenset()) -> np.ndarray:
    """int64 [n]: offset of the line with each utterance's similar ones; -1 where there is none.

    Args:
        path: similar.jsonl.
        table: the utterances.
        left_out: hashes of those that a gate left out.

    Raises:
        ContractError: names an id that the dataset does not have, or that has two lines.
    """
    offsets = np.full(len(table), -1, np.int64)
    names: list[str] = []
    starts = array("q")

    def add_chunk() -> None:
        for name, row, start in zip(names, table.rows(names), starts, strict=True):
            if row < 0 and hash_id(name, ID_SALT) in left_out:
                continue
            if row < 0:
                raise ContractError(f"{path}: {name}: no such utterance in the dataset")
            if offsets[row] >= 0:
                raise ContractError(f"{path}: {name}: has two lines")
            offsets[row] = start
        names.clear()
        del starts[:]

    if path.exists():
        for where, offset, line in offset_lines(path):
            names.append(similar_of(parse_line(line, where), where)[0])
            starts.append(offset)
            if len(names) == CHUNK_ROWS:
                add_chunk()
    if names:
        add_chunk()
    return offsets


def similar_of(value: Any, where: str) -> tuple[str, list[str], list[float]]:
    """(id, similar ids, their scores), best first.

    Raises:
        ContractError: a row of another form, scores out of order, or an utterance similar to itself.
    """
    try:
        name = value["id"]
        others = [other for other, _ in value["similar"]]
        scores = [float(score) for _, score in value["similar"]]
        "".join((name, *others)).encode()
    except (KeyError, TypeError, ValueError):
        raise ContractError(f'{where}: expected {{"id": …, "similar": [[id, score], …]}}') from None
    if name in others:
        raise ContractError(f"{where}: {name}: is listed as similar to itself")
    if not all(a >= b for a, b in zip(scores, scores[1:], strict=False)) or not np.isfinite(scores).all():
        raise ContractError(f"{where}: {name}: scores are not best first")
    return name, others, scores
