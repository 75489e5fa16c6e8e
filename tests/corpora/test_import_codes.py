"""Code files of another tool become plain arrays, and nothing in them is ever run."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vall_e import cli, storage
from vall_e.types import UsageError

CODES = np.random.default_rng(0).integers(0, 1024, (1, 8, 75)).astype(np.int16)


def save(path: Path, value: Any) -> None:
    """As that tool does: an array of one object."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.save(file, np.array(value, dtype=object), allow_pickle=True)


def run(root: Path, *more: str) -> list[dict[str, Any]]:
    args = ["import-codes", str(root / "in"), str(root / "out"), "--codec", "encodec", "--codebook-size", "1024"]
    assert cli.main([*args, "--levels", "8", *more]) == 0
    return [row for _, row in storage.read_json_lines(root / "out" / "rejects.jsonl")]


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_codes_become_plain_npy(tmp_path: Path) -> None:
    save(
        tmp_path / "in" / "g" / "ann" / "a.enc",
        {"codes": CODES, "metadata": {"text": "hi", "duration": np.float64(1.0)}},
    )
    save(tmp_path / "in" / "b.dac", {"codes": CODES[0].astype(np.int64), "metadata": {}})
    assert run(tmp_path) == []
    for name in ("g/ann/a.enc.npy", "b.dac.npy"):
        codes = np.load(tmp_path / "out" / name, allow_pickle=False, mmap_mode="r")
        assert codes.dtype == np.uint16
        np.testing.assert_array_equal(codes, CODES[0])
    assert storage.read_json(tmp_path / "out" / "codes.json") == {
        "codec": "encodec",
        "levels": 8,
        "codebook_size": 1024,
    }


def test_what_could_run_is_refused_by_name(tmp_path: Path) -> None:
    save(tmp_path / "in" / "good.enc", {"codes": CODES})
    save(tmp_path / "in" / "evil.enc", {"codes": CODES, "metadata": Evil(tmp_path / "ran")})
    (tmp_path / "in" / "bare.enc").write_bytes(pickle.dumps(Evil(tmp_path / "ran")))
    rejects = {row["id"]: row["detail"] for row in run(tmp_path)}
    assert set(rejects) == {"evil.enc", "bare.enc"} and all("posix.mkdir" in detail for detail in rejects.values())
    assert not (tmp_path / "ran").exists()
    assert sorted(path.name for path in (tmp_path / "out").glob("*.npy")) == ["good.enc.npy"]


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "not a file of codes"),
        (b"nothing of the kind", "not a file of codes"),
        (pickle.dumps({"codes": [1, 2, 3]}), "no array of whole numbers"),
        (pickle.dumps({"codes": CODES.astype(np.float32)}), "no array of whole numbers"),
        (pickle.dumps({"codes": CODES[0, 0]}), "are not [levels, frames]"),
        (pickle.dumps({"codes": CODES - 2000}), "are not [levels, frames]"),
        (pickle.dumps({"codes": CODES[:, :4]}), "4 levels of codes up to"),
        (pickle.dumps({"codes": CODES + 1000}), "another codec?"),
        (pickle.dumps({"codes": CODES})[:-20], "not a file of codes"),
    ],
)
def test_a_file_that_is_none_is_a_reject(tmp_path: Path, content: bytes, part: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.enc").write_bytes(content)
    (reject,) = run(tmp_path)
    assert part in reject["detail"] and not list((tmp_path / "out").glob("*.npy"))


def test_a_second_run_goes_on_and_keeps_to_its_codec(tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.enc", {"codes": CODES})
    run(tmp_path)
    before = (tmp_path / "out" / "a.enc.npy").stat().st_mtime_ns
    save(tmp_path / "in" / "b.enc", {"codes": CODES})
    run(tmp_path)
    assert (tmp_path / "out" / "b.enc.npy").exists() and (tmp_path / "out" / "a.enc.npy").stat().st_mtime_ns == before
    with pytest.raises(UsageError, match="choose another folder"):
        cli.main(
            [
                "import-codes",
                str(tmp_path / "in"),
                str(tmp_path / "out"),
                "--codec",
                "dac",
                "--levels",
                "9",
                "--codebook-size",
                "1024",
            ]
        )
