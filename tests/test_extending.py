"""docs/extending.md: the five examples, installed as another package would be, through `prepare`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from vall_e import storage
from vall_e.dataset import Dataset
from vall_e.types import Recording, Reject, Transcript, Utterance

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = (REPOSITORY / "docs" / "extending.md").read_text(encoding="utf-8")
RATE_HZ = 16_000


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages with the examples in it."""
    folder = tmp_path_factory.mktemp("site")
    for code in blocks("python"):
        name, _, body = code.partition("\n")
        path = folder / name.removeprefix("# ")
        path.parent.mkdir(exist_ok=True)
        path.write_text(body, encoding="utf-8")
    info = folder / "toys-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1.0\n")
    (table,) = blocks("toml")
    entries = re.sub(r'\[project.entry-points."(.*)"\]', r"[\1]", table).replace('"', "")
    broken = "[vall_e.codecs]\ncoarse = toys.codec:load\nbroken = no_such_module:load\nempty = builtins:repr\n"
    (info / "entry_points.txt").write_text(entries.replace("[vall_e.codecs]\ncoarse = toys.codec:load\n", broken))
    return folder


def run(site: Path, *args: str | Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": f"{site}{os.pathsep}{REPOSITORY}"}
    command = [sys.executable, "-m", *map(str, args)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def work(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, folder = tmp_path_factory.mktemp("corpus"), tmp_path_factory.mktemp("work") / "work"
    rng = np.random.default_rng(0)
    lines = []
    for n in range(8):
        name = ("what_a_day", "good_night")[n % 2] + "abcdefgh"[n] if n < 7 else "7"
        soundfile.write(root / f"{name}.wav", rng.uniform(-0.5, 0.5, RATE_HZ) / (1 + n), RATE_HZ)
        text = {0: "so many words in a single second that nobody could say them", 1: "A given text."}.get(n, "")
        lines.append(f"{name}.wav\t{'anna' if n < 4 else 'ben'}\t{text}\n")
    (root / "clips.tsv").write_text("".join(lines) + "../outside.wav\tanna\tx\nnone.wav\tanna\tx\n")
    (config,) = blocks("yaml")
    (root / "toys.yaml").write_text(config)
    done = run(site, "vall_e.cli", "prepare", root, folder, "--corpus", "clips", "--config", root / "toys.yaml")
    assert done.returncode == 0, done.stderr
    return folder


def test_the_examples_are_short() -> None:
    assert all(len(code.splitlines()) <= 30 for code in blocks("python"))
    assert len(blocks("python")) == 5


def test_the_corpus_says_who_speaks_and_what(work: Path) -> None:
    rows = {row.id: row for row in storage.read_rows(work / "metadata" / "recordings.jsonl", Recording)}
    assert len(rows) == 8 and rows["good_nightb.wav"].text == "A given text."
    assert {row.speaker for row in rows.values()} == {"anna", "ben"}
    assert rows["what_a_daya.wav"].num_samples == RATE_HZ
    rejects = {row.id: row.reason for row in storage.read_rows(work / "metadata" / "rejects.jsonl", Reject)}
    assert rejects == {"../outside.wav": "bad_name", "none.wav": "unreadable", "7.wav": "no_text"}


def test_the_recogniser_is_asked_where_there_is_no_text(work: Path) -> None:
    rows = {row.recording_id: row for row in storage.read_rows(work / "metadata" / "transcripts.jsonl", Transcript)}
    assert rows["good_nightb.wav"].backend.startswith("sidecar ")
    assert (rows["what_a_dayc.wav"].text, rows["what_a_dayc.wav"].backend) == ("what a dayc", "filename 1.0")


def test_the_codec_codes_and_the_gate_scores(work: Path) -> None:
    rows = {row.id: row for row in storage.read_rows(work / "dataset" / "utterances.jsonl", Utterance)}
    assert len(rows) == 7
    for row in rows.values():
        assert (row.codec, row.num_frames) == ("coarse", 8_000)
        assert storage.read_array(work / "dataset" / row.codes).shape == (1, 8_000)
        assert row.scores == {"duration": 1.0, "pace": float(len(row.text))}
    (reject,) = storage.read_rows(work / "dataset" / "built" / "rejects.jsonl", Reject)
    assert (reject.id, reject.reason, reject.stage) == ("what_a_daya.wav", "gate:pace", "build")
    index = Dataset(work / "dataset" / "built", "train").index
    assert "what_a_daya.wav" not in {index.id(number) for number in range(len(index))} and len(index) == 6


def test_the_features_compare_by_loudness(work: Path) -> None:
    rows = {row["id"]: row["similar"] for _, row in storage.read_json_lines(work / "dataset" / "similar.jsonl")}
    assert [name for name, _ in rows["what_a_dayc.wav"]] == ["good_nightd.wav", "good_nightb.wav", "what_a_daya.wav"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("coarze", "did you mean 'coarse'?"),
        ("broken", "no_such_module:load can't be imported"),
        ("empty", "is no Codec"),
        ("coarse", "8 levels; it has 1"),
    ],
)
def test_what_goes_wrong_is_one_line(site: Path, tmp_path: Path, name: str, says: str) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(80), 8_000)
    flags = ("--input", tmp_path / "a.wav", "--output", tmp_path / "a.npy", "--audio-backend", name)
    done = run(site, "vall_e.emb.qnt", *flags)
    assert done.returncode == 2 and says in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "a.npy").exists()


def test_an_unknown_name_of_any_kind_names_the_nearest(site: Path, tmp_path: Path) -> None:
    (tmp_path / "voices").mkdir()
    for section, option, near in (
        ("import", "corpus: clipz", "clips"),
        ("transcribe", "backend: filenam", "filename"),
        ("process", "gates: [pase]", "pace"),
        ("similar", "similarity_backend: loudnes", "loudness"),
    ):
        (tmp_path / "c.yaml").write_text(f"{section}: {{{option}}}")
        done = run(site, "vall_e.cli", "prepare", tmp_path / "voices", tmp_path / "w", "--config", tmp_path / "c.yaml")
        assert done.returncode == 2 and f"did you mean '{near}'?" in done.stderr, done.stderr
