"""Rows found by id without holding them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vall_e.storage import IdSet, RowIndex
from vall_e.types import ContractError

names = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), unique=True, max_size=30)


@given(names, names)
def test_a_set_holds_its_ids_and_no_others(inside: list[str], others: list[str]) -> None:
    found = IdSet(inside)
    assert len(found) == len(inside)
    assert [found.find(name) for name in inside] == list(range(len(inside)))
    assert not any(name in found for name in set(others) - set(inside))


@given(names)
def test_rows_are_found_where_they_stand(tmp_path_factory: pytest.TempPathFactory, ids: list[str]) -> None:
    path = tmp_path_factory.mktemp("index") / "rows.jsonl"
    lines = [json.dumps({"id": name, "n": n}).encode() + b"\n" for n, name in enumerate(ids)]
    path.write_bytes(b"".join(lines) + b'{"id')
    index = RowIndex(path, "id", value=lambda row: row["n"] * 2)
    assert list(index.ids()) == ids
    assert index.values.tolist() == [2 * n for n in range(len(ids))]
    for n, name in enumerate(ids):
        place = index.get(name)
        assert place is not None and place.read(dict) == {"id": name, "n": n} and place.line == n + 1
    assert index.get("not among them") is None


def test_what_is_wrong_is_named_by_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    assert len(RowIndex(path, "id")) == 0
    path.write_text('{"id": "a"}\n{"id": "b"}\n{"id": "a"}\n')
    with pytest.raises(ContractError, match="rows.jsonl:3: a for the second time"):
        RowIndex(path, "id")
    path.write_text('{"id": "a"}\n{"name": "b"}\n')
    with pytest.raises(ContractError, match="rows.jsonl:2: not a row with 'id'"):
        RowIndex(path, "id")
    path.write_text('{"id": "a"}\nxx\n{"id": "b"}\n')
    with pytest.raises(ContractError, match="rows.jsonl:2: not a JSON object"):
        RowIndex(path, "id")
