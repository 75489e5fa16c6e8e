"""The script in examples/ as a person runs it: two trainings, with and without a limit, and both columns of figures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import spoken_dataset

from vall_e.dataset.build import BuildOptions, build
from vall_e.emb.durations import DurationsOptions, durations

SCRIPT = Path(__file__).parents[1] / "examples" / "did_my_filter_help.py"


def test_both_answers_are_printed(tmp_path: Path) -> None:
    dataset = tmp_path / "work" / "dataset"
    made = spoken_dataset.make(dataset, count=40)
    rows = [json.loads(line) for line in (dataset / "utterances.jsonl").read_text().splitlines()]
    for number, row in enumerate(rows):
        row["scores"] = {"snr_db": float(number)}
    (dataset / "utterances.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    durations(dataset, DurationsOptions(executor="serial"))
    build(dataset, dataset / "built", BuildOptions())
    settings = (
        "train: {width: 16, num_layers: 1, num_heads: 2, inner_width: 16, text_layers: 1, workers: 0, samples: 0}\n"
    )
    (tmp_path / "small.yaml").write_text(settings)
    command = [sys.executable, str(SCRIPT), str(tmp_path / "work"), "--gate", "snr_db>=20", "--minutes", "0.005"]
    done = subprocess.run([*command, "--config", str(tmp_path / "small.yaml")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    training = [number for number, row in enumerate(made.rows) if row.split == "train"]
    kept = sum(number >= 20 for number in training)
    assert lines[0] == f"{len(training)} utterances, {kept} with snr_db>=20"
    header = next(number for number, line in enumerate(lines) if line.split() == ["all", "snr_db>=20"])
    table = {line.split()[0]: [float(value) for value in line.split()[1:]] for line in lines[header + 1 :]}
    assert {"cer", "codec_cer", "length", "stopped"} <= table.keys()
    assert all(len(values) == 2 for values in table.values())
    assert table["codec_cer"][0] == table["codec_cer"][1], "the same recordings are transcribed"
    options = [json.loads((tmp_path / "work" / "filter" / name / "model.json").read_text()) for name in ("all", "kept")]
    assert [each["trained"]["gates"] for each in options] == [[], ["snr_db>=20"]]
