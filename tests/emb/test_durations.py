"""Durations from codes and phonemes alone: the search against one that tries everything, the stage on known truth."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spoken_dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from vall_e import storage
from vall_e.dataset import Dataset
from vall_e.dataset.build import BuildOptions, build
from vall_e.emb import hmm
from vall_e.emb.durations import DurationsOptions, durations, main
from vall_e.scores import Scores
from vall_e.types import ContractError, Durations, UsageError

SERIAL: dict[str, Any] = {"executor": "serial"}


def best_by_trying_all(model: hmm.Model, codes: np.ndarray, text: hmm.Spelling) -> float:
    """The highest total of all ways to deal the frames out, in nats."""
    emitted = model.frame_log_probs(codes)
    best = -np.inf
    count = len(text.states)
    for kept in itertools.product([False, True], repeat=count):
        if any(not keep and not free for keep, free in zip(kept, text.optional, strict=True)):
            continue
        places = [place for place in range(count) if kept[place]]
        num_frames = codes.shape[1]
        if len(places) > num_frames:
            continue
        for cuts in itertools.combinations(range(1, num_frames), len(places) - 1):
            edges = [0, *cuts, num_frames]
            total = 0.0
            for place, first, last in zip(places, edges, edges[1:], strict=False):
                total += float(emitted[first:last, text.states[place]].sum())
                total -= hmm.PAUSE_COST * bool(text.optional[place])
            best = max(best, total)
    return best


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), phonemes=st.sampled_from(["a", "ab", "a b", "aˈb,", "b a"]))
def test_the_search_finds_the_best_of_all_paths(seed: int, phonemes: str) -> None:
    rng = np.random.default_rng(seed)
    log_probs = np.log(rng.dirichlet(np.ones(6), size=(2, 5))).transpose(0, 2, 1).astype(np.float32)
    model = hmm.Model((hmm.SILENCE, "a", "b"), 2, log_probs)
    text = model.spell(phonemes)
    items = [(rng.integers(0, 6, (2, int(size))), text) for size in rng.integers(1, 9, 3)]
    for (codes, _), path in zip(items, hmm.align(model, items), strict=True):
        if codes.shape[1] < text.least_frames:
            assert path is None
            continue
        assert path is not None
        assert path.durations.sum() == codes.shape[1] == len(path.states)
        assert path.log_prob * codes.shape[1] == pytest.approx(best_by_trying_all(model, codes, text), abs=1e-3)


def test_a_batch_changes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = spoken_dataset.make(tmp_path)
    durations(tmp_path, DurationsOptions(**SERIAL))
    together = (tmp_path / "durations.jsonl").read_bytes()
    monkeypatch.setattr(hmm, "BATCH_CELLS", 1)
    durations(tmp_path, DurationsOptions(**SERIAL, overwrite=True))
    assert (tmp_path / "durations.jsonl").read_bytes() == together and len(made.rows) == together.count(b"\n")


def test_boundaries_are_found_where_the_codes_change(tmp_path: Path) -> None:
    """Of 60 short utterances whose codes were made phone by phone."""
    made = spoken_dataset.make(tmp_path)
    report = durations(tmp_path, DurationsOptions(**SERIAL))
    assert (report.num_rows, report.num_rejects) == (60, 0)
    off = []
    for row in storage.read_rows(tmp_path / "durations.jsonl", Durations):
        assert row.durations_frames is not None
        found, truth = np.array(row.durations_frames), made.durations[row.id]
        assert len(found) == len(truth) and found.sum() == truth.sum()
        off += np.abs(np.cumsum(found) - np.cumsum(truth)).tolist()
    assert np.median(off) == 0 and np.mean(np.array(off) <= 2) > 0.95


def test_they_reach_the_training_data(tmp_path: Path) -> None:
    made = spoken_dataset.make(tmp_path)
    durations(tmp_path, DurationsOptions(**SERIAL))
    build(tmp_path, tmp_path / "built", BuildOptions())
    for example in Dataset(tmp_path / "built"):
        own = np.abs(np.cumsum(example.durations) - np.cumsum(made.durations[example.id]))
        assert example.durations.sum() == example.target.shape[1] and np.median(own) <= 1


def test_a_swapped_text_fits_worse_than_others(tmp_path: Path) -> None:
    """Six of 60 utterances get a text that shares no word with their own: their scores are the six lowest."""
    made = spoken_dataset.make(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "utterances.jsonl").read_text().splitlines()]
    swapped = {3, 13, 23, 33, 43, 53}
    texts = [set(row["text"].split()) for row in rows]
    others = {number: next(n for n in range(60) if not texts[n] & texts[number]) for number in swapped}
    moved = {number: rows[other]["phonemes"] for number, other in others.items()}
    for number, phonemes in moved.items():
        rows[number]["phonemes"] = phonemes
    (tmp_path / "utterances.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    durations(tmp_path, DurationsOptions(**SERIAL))
    scores = Scores(tmp_path)
    fits = {number: scores.of(row.id)["text_fit"] for number, row in enumerate(made.rows)}
    known = {number: fit for number, fit in fits.items() if fit is not None}
    worst = sorted(known, key=lambda number: known[number])[: len(swapped & known.keys())]
    assert len(known) >= 58 and set(worst) == swapped & known.keys()


def test_word_times_hold_the_phones_and_are_compared(tmp_path: Path) -> None:
    spoken_dataset.make(tmp_path, words=True)
    durations(tmp_path, DurationsOptions(**SERIAL))
    off_s = [row.words_off_s for row in storage.read_rows(tmp_path / "durations.jsonl", Durations)]
    assert all(each is not None for each in off_s) and np.median(np.array(off_s, float)) < 0.02


def test_times_that_are_wrong_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoken_dataset.make(tmp_path, words=True)
    rows = [json.loads(line) for line in (tmp_path / "utterances.jsonl").read_text().splitlines()]
    for row in rows:
        for word in row["words"]:
            word["start_s"], word["end_s"] = word["start_s"] + 0.5, word["end_s"] + 0.5
    (tmp_path / "utterances.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["--input-dataset", str(tmp_path), "--executor", "serial"]) == 0
    assert "from where the transcripts have them: are those times right?" in capsys.readouterr().err


def test_more_phones_than_frames(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = spoken_dataset.make(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "utterances.jsonl").read_text().splitlines()]
    rows[5]["phonemes"] = "nˈaɪn " * 40
    (tmp_path / "utterances.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["--input-dataset", str(tmp_path), "--executor", "serial"]) == 0
    told = f"1 utterance of 60 with more phones than frames, like {made.rows[5].id}: no durations"
    assert told in capsys.readouterr().err
    found = {row.id: row for row in storage.read_rows(tmp_path / "durations.jsonl", Durations)}
    assert found[made.rows[5].id].durations_frames is None
    build(tmp_path, tmp_path / "built", BuildOptions())
    lengths = {example.id: len(example.durations) for example in Dataset(tmp_path / "built")}
    assert lengths[made.rows[5].id] == 0 and lengths[made.rows[6].id] > 0


def test_the_same_with_workers_and_after_a_tear(tmp_path: Path) -> None:
    spoken_dataset.make(tmp_path)
    durations(tmp_path, DurationsOptions(workers=2))
    whole = sorted((tmp_path / "durations.jsonl").read_bytes().splitlines())
    path = tmp_path / "durations.jsonl"
    path.write_bytes(path.read_bytes()[:1500])
    report = durations(tmp_path, DurationsOptions(**SERIAL))
    assert 0 < report.num_resumed < 60
    assert sorted(path.read_bytes().splitlines()) == whole
    assert durations(tmp_path, DurationsOptions(**SERIAL)).num_resumed == 60


def test_other_options_do_not_mix(tmp_path: Path) -> None:
    spoken_dataset.make(tmp_path)
    durations(tmp_path, DurationsOptions(**SERIAL))
    with pytest.raises(UsageError, match="rounds"):
        durations(tmp_path, DurationsOptions(**SERIAL, rounds=3))


def test_of_a_dataset_made_again_they_are_found_again(tmp_path: Path) -> None:
    spoken_dataset.make(tmp_path)
    durations(tmp_path, DurationsOptions(**SERIAL))
    head = json.loads((tmp_path / "dataset.json").read_text())
    (tmp_path / "dataset.json").write_text(json.dumps(head | {"made": "again"}))
    build(tmp_path, tmp_path / "built", BuildOptions())
    assert not any(len(example.durations) for example in Dataset(tmp_path / "built")), "those of another dataset"
    assert durations(tmp_path, DurationsOptions(**SERIAL)).num_resumed == 0
    build(tmp_path, tmp_path / "built", BuildOptions())
    assert all(len(example.durations) for example in Dataset(tmp_path / "built"))


def test_a_row_that_does_not_fit_is_named(tmp_path: Path) -> None:
    made = spoken_dataset.make(tmp_path)
    durations(tmp_path, DurationsOptions(**SERIAL))
    lines = (tmp_path / "durations.jsonl").read_text().splitlines()
    row = json.loads(lines[4])
    row["durations_frames"][0] += 1
    lines[4] = json.dumps(row)
    (tmp_path / "durations.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(ContractError, match=f"{row['id']}: its durations .* --overwrite"):
        build(tmp_path, tmp_path / "built", BuildOptions())
    assert row["id"] in made.durations
