"""Rows and arrays on disk: read back as written, resumed after a tear at any byte, whole or absent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vall_e import storage
from vall_e.storage import JsonlWriter, from_row, read_json_lines, read_rows, to_row
from vall_e.types import ContractError, Reject, RejectReason, Segment, Transcript, UsageError, Utterance, Word

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
finite = st.floats(allow_nan=False, allow_infinity=False)
words = st.builds(Word, text=text, start_s=finite, end_s=finite, score=st.none() | finite)
segments = st.builds(
    Segment,
    text=text,
    start_s=finite,
    end_s=finite,
    words=st.lists(words, max_size=3).map(tuple),
    speaker=st.none() | text,
)
transcripts = st.builds(
    Transcript,
    recording_id=text,
    language=text,
    language_prob=st.none() | finite,
    text=text,
    segments=st.lists(segments, max_size=3).map(tuple),
    backend=text,
)
rejects = st.builds(Reject, id=text, stage=text, reason=st.sampled_from(RejectReason), detail=text)


@given(st.lists(transcripts, max_size=4), st.lists(rejects, max_size=4))
def test_records_come_back_as_written(
    tmp_path_factory: pytest.TempPathFactory, said: list[Transcript], refused: list[Reject]
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    for name, records in (("t.jsonl", said), ("r.jsonl", refused)):
        with JsonlWriter(folder / name) as writer:
            writer.write(records)
    assert list(read_rows(folder / "t.jsonl", Transcript)) == said
    assert list(read_rows(folder / "r.jsonl", Reject)) == refused


ROWS: list[dict[str, Any]] = [
    {"id": "a"},
    {"id": "é話\n\u2028"},
    {"id": "z" * 40, "more": [1, None, {"x": "}\n"}]},
    {"id": ""},
]


def whole_lines(rows: list[dict[str, Any]]) -> list[bytes]:
    return [json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows]


@pytest.mark.parametrize("cut", range(sum(len(line) for line in whole_lines(ROWS)) + 1))
def test_a_file_torn_at_any_byte_goes_on_from_its_last_whole_row(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "rows.jsonl"
    lines = whole_lines(ROWS)
    path.write_bytes(b"".join(lines)[:cut])
    num_whole = sum(len(b"".join(lines[: n + 1])) <= cut for n in range(len(lines)))
    assert [row for _, row in read_json_lines(path)] == ROWS[:num_whole]
    with JsonlWriter(path) as writer:
        writer.write(ROWS[num_whole:])
    assert path.read_bytes() == b"".join(lines)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 200_000), min_size=1, max_size=4), st.integers(0, 200_000))
def test_rows_longer_than_the_blocks_of_the_search_for_the_tear(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], torn: int
) -> None:
    path = tmp_path_factory.mktemp("long") / "rows.jsonl"
    lines = whole_lines([{"id": "x" * length} for length in lengths])
    path.write_bytes(b"".join(lines) + (b'{"id": "' + b"y" * torn)[: torn + 1])
    JsonlWriter(path).close()
    assert path.read_bytes() == b"".join(lines)


@pytest.mark.parametrize("tail", [b"\0\0\0\0", b"\0\0\n", b'{"id": \n', b"7\n", b"\n"])
def test_a_tail_that_is_no_row_is_dropped(tmp_path: Path, tail: bytes) -> None:
    """A crash of the machine can leave zeros where the last row should be."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"id": "a"}\n' + tail)
    assert [row for _, row in read_json_lines(path)] == [{"id": "a"}]
    JsonlWriter(path).close()
    assert path.read_bytes() == b'{"id": "a"}\n'


def test_damage_before_the_end_is_told_by_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"id": "a"}\n{"id": \n{"id": "c"}\n')
    with pytest.raises(ContractError, match="rows.jsonl:2: not a JSON object"):
        list(read_json_lines(path))


def test_no_file_has_no_rows(tmp_path: Path) -> None:
    assert list(read_json_lines(tmp_path / "none")) == []


def test_a_row_is_in_the_file_once_write_returns(tmp_path: Path) -> None:
    with JsonlWriter(tmp_path / "deep" / "rows.jsonl") as writer:
        writer.write([{"id": "é"}])
        assert writer.path.read_text(encoding="utf-8") == '{"id": "é"}\n'
        writer.write([])
        writer.write([{"id": "b"}, {"id": "c"}])
        assert len(writer.path.read_bytes().splitlines()) == 3


GOOD = {
    "recording_id": "a.wav",
    "language": "en",
    "language_prob": 0.5,
    "text": "a",
    "segments": [{"text": "a", "start_s": 0, "end_s": 1.5, "words": [{"text": "a", "start_s": 0.0, "end_s": 1.0}]}],
    "backend": "x",
}


def test_keys_with_defaults_may_be_missing_and_whole_seconds_are_floats() -> None:
    transcript = from_row(Transcript, GOOD)
    assert transcript.segments[0].words[0].score is None
    assert type(transcript.segments[0].start_s) is float
    assert from_row(Transcript, to_row(transcript) | {"segments": []}).segments == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"extra": 1}, "unknown field extra"),
        ({"text": 5}, "text: expected str, got int"),
        ({"text": None}, "text: expected str, got null"),
        ({"language_prob": "0.5"}, "language_prob: expected float.*, got str"),
        ({"language_prob": True}, "language_prob: expected float.*, got bool"),
        ({"segments": "a"}, "segments: expected array"),
        ({"segments": [5]}, "segments\\[0\\]: expected object, got int"),
        ({"segments": [{"text": "a", "start_s": 0.0}]}, "segments\\[0\\]: .*end_s"),
        ({"segments": [{"text": "a", "start_s": 0.0, "end_s": 1.0, "words": [{}]}]}, "words\\[0\\]: "),
    ],
)
def test_a_row_that_breaks_its_record_is_named_by_line_and_key(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps(GOOD) + "\n" + json.dumps(GOOD | change) + "\n" + json.dumps(GOOD) + "\n")
    with pytest.raises(ContractError, match=f"t.jsonl:2: ?.*{said}"):
        list(read_rows(path, Transcript))
    with pytest.raises(ContractError, match=f"^here: ?.*{said}"):
        from_row(Transcript, GOOD | change, "here")


@pytest.mark.parametrize("change", [{"text": "half \ud83d"}, {"language_prob": float("nan")}, {"language_prob": 1e999}])
def test_what_is_no_json_is_named_by_line(tmp_path: Path, change: dict[str, Any]) -> None:
    """NaN and half surrogate pairs used to end a run later, where no row was named."""
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps(GOOD) + "\n" + json.dumps(GOOD | change) + "\n" + json.dumps(GOOD) + "\n")
    with pytest.raises(ContractError, match="t.jsonl:2: "):
        list(read_rows(path, Transcript))


def test_a_reason_outside_the_set_is_refused_and_one_of_a_gate_is_not() -> None:
    row = {"id": "a", "stage": "s", "reason": "bored", "detail": ""}
    with pytest.raises(ContractError, match="'bored' is not a valid RejectReason"):
        from_row(Reject, row, "f")
    assert from_row(Reject, row | {"reason": "silent"}).reason is RejectReason.SILENT
    assert from_row(Reject, row | {"reason": "gate:snr"}).reason == "gate:snr"


def test_the_keys_of_a_row_are_the_fields() -> None:
    assert to_row(from_row(Transcript, GOOD)).keys() == set(Transcript.__struct_fields__)
    names = set(Utterance.__struct_fields__)
    assert {"id", "recording_id", "start_samples", "num_samples", "codec", "num_frames", "codes"} < names


# Whole or absent


def test_an_array_comes_back_mapped_and_is_plain_npy(tmp_path: Path) -> None:
    codes = np.arange(16, dtype=np.uint16).reshape(2, 8)[:, ::2]
    path = tmp_path / "g" / "s" / "a.wav.npy"
    storage.write_array(path, codes, tmp_path)
    found = storage.read_array(path)
    assert isinstance(found, np.memmap)
    np.testing.assert_array_equal(found, codes)
    np.testing.assert_array_equal(np.load(path, allow_pickle=False), codes)
    assert list((tmp_path / storage.TEMP_FOLDER).iterdir()) == []


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    storage.write_json(path, {"a": 1}, tmp_path)
    with pytest.raises(ValueError, match="JSON compliant"):
        storage.write_json(path, {"a": float("nan")}, tmp_path)
    with pytest.raises(ValueError, match="Object arrays"):
        storage.write_array(tmp_path / "a.npy", np.array([{}], dtype=object), tmp_path)

    def rows() -> Any:
        yield {"id": "a"}
        raise OSError("disk")

    storage.write_json_lines(tmp_path / "rows.jsonl", [{"id": "kept"}], tmp_path)
    with pytest.raises(OSError, match="disk"):
        storage.write_json_lines(tmp_path / "rows.jsonl", rows(), tmp_path)
    assert storage.read_json(path) == {"a": 1}
    assert not (tmp_path / "a.npy").exists()
    assert list(read_json_lines(tmp_path / "rows.jsonl")) == [(1, {"id": "kept"})]
    assert list((tmp_path / storage.TEMP_FOLDER).iterdir()) == []


def test_a_file_may_be_replaced_by_rows_read_from_it(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    storage.write_json_lines(path, [{"id": str(n)} for n in range(1000)], tmp_path)
    storage.write_json_lines(path, (row for _, row in read_json_lines(path) if row["id"].endswith("7")), tmp_path)
    assert [row["id"] for _, row in read_json_lines(path)] == [f"{n}" for n in range(7, 1000, 10)]


def test_a_kill_while_an_array_is_written_leaves_no_array(tmp_path: Path) -> None:
    """The process ends inside the write of the second array; the first is whole, the second is not there."""
    code = (
        "import os, sys, numpy as np; from pathlib import Path; from vall_e import storage\n"
        "root = Path(sys.argv[1]); codes = np.ones((8, 100), np.uint16)\n"
        "storage.write_array(root / 'a.npy', codes, root)\n"
        "os.fsync = lambda handle: os.kill(os.getpid(), 9)\n"  # the bytes are in the file, its name is temporary
        "storage.write_array(root / 'b.npy', codes, root)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == -9
    assert storage.read_array(tmp_path / "a.npy").shape == (8, 100)
    assert not (tmp_path / "b.npy").exists()
    assert len(list((tmp_path / storage.TEMP_FOLDER).iterdir())) == 1
    with storage.folder_lock(tmp_path):
        assert not (tmp_path / storage.TEMP_FOLDER).exists()


@pytest.mark.parametrize("array", [np.zeros((2, 3), np.int64), np.zeros(3, np.uint16), np.zeros((1, 2, 3), np.uint16)])
def test_codes_of_another_type_or_shape_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    storage.write_array(tmp_path / "a.npy", array, tmp_path)
    with pytest.raises(ContractError, match="a.npy: codes are uint16 \\[K,T\\]"):
        storage.read_array(tmp_path / "a.npy")


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    np.save(tmp_path / "a.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    with pytest.raises(ContractError, match="a.npy") as error:
        storage.read_array(tmp_path / "a.npy")
    assert "allow_pickle" not in str(error.value), "no advice to run what a file holds"
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("content", [None, b"", b"\x93NUMPY", b"not an array"])
def test_an_array_that_is_missing_or_torn_is_told_by_path(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(ContractError, match="a.npy: can't be read as codes"):
        storage.read_array(tmp_path / "a.npy")


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff\xfe"])
def test_json_files_that_hold_no_object(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(ContractError, match="x.json: "):
        storage.read_json(tmp_path / "x.json")
    assert storage.read_json(tmp_path / "none.json") is None


def test_the_hash_of_a_prefix_stays_while_rows_are_appended(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"id": "a"}\n{"id": "b"}\n{"id')
    length, digest = storage.prefix_hash(path)
    assert length == 24
    path.write_bytes(b'{"id": "a"}\n{"id": "b"}\n{"id": "c"}\n')
    assert storage.prefix_hash(path, length) == (length, digest)
    path.write_bytes(b'{"id": "a"}\n{"id": "x"}\n{"id": "c"}\n')
    assert storage.prefix_hash(path, length) != (length, digest)


# One writer


def test_a_second_process_is_refused_and_a_killed_one_lets_go(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from vall_e import storage\n"
        "with storage.folder_lock(Path(sys.argv[1])):\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(UsageError, match="another run is writing here"), storage.folder_lock(tmp_path):
            pass
        holder.kill()
    with storage.folder_lock(tmp_path):
        pass


def test_the_lock_is_free_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError), storage.folder_lock(tmp_path):
        raise KeyError
    with storage.folder_lock(tmp_path / "deep" / "er"), storage.folder_lock(tmp_path):
        pass


def test_a_missing_input_names_its_maker(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="none: no such file; the moon makes it"):
        storage.require_file(tmp_path / "none", "the moon")
