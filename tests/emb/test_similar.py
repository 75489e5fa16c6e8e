"""Speaker-prompt lists, from files on disk to files on disk, with voices made here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spoken_dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vall_e import audio, config, storage, trained
from vall_e.corpora.importing import import_corpus
from vall_e.corpora.registry import ImportOptions
from vall_e.emb import similar
from vall_e.emb.features import top_k as top_k_
from vall_e.emb.features.slices import Slice, load_slices, overlapping, same_takes
from vall_e.emb.features.top_k import top_k
from vall_e.emb.similar import SimilarOptions
from vall_e.types import BackendError, ContractError, UsageError, Utterance, speaker_of, utterance_id

RATE_HZ = 16_000
CODES = SimilarOptions(executor="serial", similarity_backend="codes")
VOICES = {"anna": (210.0, 1.16), "ben": (110.0, 0.92), "carl": (140.0, 1.04)}  # pitch in Hz, formant scale


def speech(speaker: str, seed: int, seconds: float = 1.2) -> np.ndarray:
    """Vowels of one speaker: a pulse train, its harmonics weighted by the formants of a vocal tract of some length."""
    pitch, scale = VOICES[speaker]
    rng = np.random.default_rng([seed, len(speaker), round(pitch)])
    time = np.arange(round(seconds * RATE_HZ / 6)) / RATE_HZ
    vowels = [(300, 870, 2240), (530, 1840, 2480), (660, 1720, 2410), (730, 1090, 2440), (570, 840, 2410)]
    parts = []
    for vowel in rng.choice(len(vowels), 6):
        base = pitch * rng.uniform(0.95, 1.05)
        harmonics = base * np.arange(1, int(7_500 / base))
        formants = np.array([*vowels[vowel], 3_500, 4_500]) * scale
        weights = (1 / (1 + ((harmonics[:, None] - formants) / 90) ** 2)).sum(axis=1) + 1e-3
        phases = rng.uniform(0, 2 * np.pi, len(harmonics))
        parts.append((weights[:, None] * np.cos(2 * np.pi * harmonics[:, None] * time + phases[:, None])).sum(axis=0))
    voice = np.concatenate(parts)
    voice += 1e-3 * rng.standard_normal(len(voice))
    return (voice / np.abs(voice).max() * 0.5).astype(np.float32)


@dataclass
class Corpus:
    """A folder of voices and a dataset made of them."""

    voices: Path
    data: Path

    def add(self, recording_id: str, samples: np.ndarray, slices: Sequence[tuple[int, int]] | None = None) -> None:
        """A recording, whole or in (start, number) slices, with codes that follow its speaker."""
        path = self.voices / recording_id
        path.parent.mkdir(parents=True, exist_ok=True)
        audio.write(path, samples, RATE_HZ)
        rows = []
        for index, (start, num) in enumerate(slices or [(0, len(samples))]):
            rows.append(utterance(utterance_id(recording_id, index if slices else None), recording_id, start, num))
            rng = np.random.default_rng(list(rows[-1].id.encode()))
            offset = sum(rows[-1].speaker.encode()) % 8
            codes = (rng.integers(0, 8, (2, rows[-1].num_frames)) + offset).astype(np.uint16)
            storage.write_array(self.data / rows[-1].codes, codes, self.data)
        with storage.JsonlWriter(self.data / "utterances.jsonl") as writer:
            writer.write(rows)

    def rewrite(self, change: Any) -> None:
        """Rewrites utterances.jsonl by a function from its list of rows to another."""
        path = self.data / "utterances.jsonl"
        storage.write_json_lines(path, change([row for _, row in storage.read_json_lines(path)]), self.data)

    def run(self, options: SimilarOptions = CODES, **more: Any) -> dict[str, list[tuple[str, float]]]:
        self.refresh()
        similar.similar(self.data, options, **more)
        return self.lists()

    def refresh(self, *, update: bool = False) -> None:
        """Imports new recordings, as `transcribe` does."""
        if audio.find_files(self.voices):
            options = ImportOptions(executor="serial", update=update)
            import_corpus(self.voices, self.data.parent / "metadata", options)

    def lists(self) -> dict[str, list[tuple[str, float]]]:
        rows = [row for _, row in storage.read_json_lines(self.data / "similar.jsonl")]
        assert all(row.keys() == {"id", "similar"} for row in rows)
        assert len({row["id"] for row in rows}) == len(rows)
        return {row["id"]: [(other, score) for other, score in row["similar"]] for row in rows}

    def bytes(self) -> bytes:
        return (self.data / "similar.jsonl").read_bytes()

    def ids(self) -> set[str]:
        return {row.id for row in storage.read_rows(self.data / "utterances.jsonl", Utterance)}


def utterance(name: str, recording_id: str, start: int, num: int, text: str | None = None) -> Utterance:
    group, speaker = speaker_of(recording_id)
    return Utterance(
        id=name,
        recording_id=recording_id,
        group=group,
        speaker=speaker,
        sample_rate_hz=RATE_HZ,
        start_samples=start,
        num_samples=num,
        language="en",
        text=text or f"what {name} says",
        phonemes="a",
        words=(),
        codec="test",
        num_frames=-(-num // 320),
        codes=f"{name}.npy",
    )


@pytest.fixture
def empty(tmp_path: Path) -> Corpus:
    return empty_corpus(tmp_path)


def empty_corpus(folder: Path) -> Corpus:
    corpus = Corpus(folder / "voices", folder / "data")
    corpus.voices.mkdir(parents=True)
    spec = {"name": "test", "weights_sha256": "0" * 64, "sample_rate_hz": RATE_HZ, "hop_samples": 320}
    spec |= {"num_levels": 2, "codebook_size": 16}
    head = {"schema_version": 1, "codec": spec, "config": {"input_audio": str(corpus.voices)}}
    storage.write_json(corpus.data / "dataset.json", head, corpus.data)
    (corpus.data / "utterances.jsonl").touch()
    return corpus


def fill(corpus: Corpus) -> Corpus:
    """Three speakers: whole recordings, slices of a longer one, and one with a single utterance."""
    for seed in range(3):
        corpus.add(f"g/anna/{seed}.wav", speech("anna", seed))
        corpus.add(f"g/ben/{seed}.flac", speech("ben", seed))
    long = speech("ben", 9, 3.6)
    third = len(long) // 3
    corpus.add("g/ben/long.wav", long, [(0, third), (third, third), (third + third // 2, third)])
    corpus.add("g/carl/one.wav", speech("carl", 0))
    return corpus


@pytest.fixture
def corpus(empty: Corpus) -> Corpus:
    """As the stages before leave it: its recordings are imported."""
    fill(empty).refresh()
    return empty


# The lists


@pytest.mark.parametrize("options", [SimilarOptions(executor="serial"), CODES])
def test_lists_hold_the_other_utterances_of_the_speaker(corpus: Corpus, options: SimilarOptions) -> None:
    lists = corpus.run(options)
    assert lists.keys() == corpus.ids()
    assert lists["g/carl/one.wav"] == []
    for name, found in lists.items():
        others = [other for other, _ in found]
        scores = [score for _, score in found]
        assert name not in others
        assert all(other.split("/")[1] == name.split("/")[1] for other in others)
        assert scores == sorted(scores, reverse=True)
        assert all(-1 <= score <= 1 and score == round(score, 6) for score in scores)
    assert {other for other, _ in lists["g/anna/0.wav"]} == {"g/anna/1.wav", "g/anna/2.wav"}


@pytest.mark.parametrize("backend", ["mfcc", "codes"])
def test_among_all_a_voice_is_nearest_to_itself(corpus: Corpus, backend: str) -> None:
    for seed in range(1, 4):
        corpus.add(f"g/carl/{seed}.wav", speech("carl", seed))
    lists = corpus.run(SimilarOptions(executor="serial", similarity_backend=backend, scope="dataset", top_k=2))
    for name, found in lists.items():
        assert [other.split("/")[1] for other, _ in found] == [name.split("/")[1]] * 2, (name, found)


def test_slices_of_the_overlapping_are_left_out(corpus: Corpus) -> None:
    first, second, third = (f"g/ben/long.wav-{index:05d}" for index in range(3))
    lists = corpus.run()
    assert second not in dict(lists[third])
    assert third not in dict(lists[second])
    assert first in dict(lists[second])  # they touch but share no sample
    assert {second, third} < dict(lists[first]).keys()


def test_a_take_under_two_names_is_no_prompt_of_itself() -> None:
    """A second microphone and a copy: the same speaker, text and length, to 50 ms."""
    made = [
        ("g/anna/mic1.wav", 48_000, "hello"),
        ("g/anna/mic2.wav", 48_700, "hello"),
        ("g/anna/again.wav", 49_700, "hello"),
        ("g/anna/other.wav", 48_000, "so"),
        ("g/ben/mic1.wav", 48_000, "hello"),
    ]
    slices = [
        Slice(**{key: getattr(row, key) for key in Slice.__struct_fields__})
        for row in (utterance(name, name, 0, num, text) for name, num, text in made)
    ]
    assert [found.tolist() for found in same_takes(slices)] == [[1], [0], [], [], []]


def test_the_same_name_in_two_formats_is_two_recordings(empty: Corpus) -> None:
    empty.add("g/anna/a.wav", speech("anna", 0))
    empty.add("g/anna/a.flac", speech("anna", 0))
    empty.add("g/anna/b.wav", speech("anna", 1))
    lists = empty.run(SimilarOptions(executor="serial"))
    assert lists["g/anna/a.wav"][0] == ("g/anna/a.flac", pytest.approx(1.0, abs=1e-4))


def test_speakers_of_one_name_in_two_groups_are_two_people(empty: Corpus) -> None:
    for name in ("g/anna/a.wav", "h/anna/a.wav", "anna/a.wav"):
        empty.add(name, speech("anna", 0))
    assert empty.run() == {"anna/a.wav": [], "g/anna/a.wav": [], "h/anna/a.wav": []}


def test_equal_scores_go_by_id(empty: Corpus) -> None:
    samples = speech("anna", 0)
    for name in ("c", "a", "d", "b"):
        empty.add(f"g/anna/{name}.wav", samples)
    lists = empty.run(SimilarOptions(executor="serial", top_k=2))
    assert [other for other, _ in lists["g/anna/b.wav"]] == ["g/anna/a.wav", "g/anna/c.wav"]
    assert [other for other, _ in lists["g/anna/a.wav"]] == ["g/anna/b.wav", "g/anna/c.wav"]


def test_a_speaker_without_a_group_is_named_by_itself(empty: Corpus) -> None:
    for name in ("g/anna/a.wav", "anna/a.wav", "a.wav"):
        empty.add(name, speech("anna", 0))
    empty.run()
    names = [mark["id"] for _, mark in storage.read_json_lines(empty.data / "similar_groups.jsonl")]
    assert names == ["anna", "g/anna", "unknown"]


def test_silent_and_one_sample_utterances_have_lists(empty: Corpus) -> None:
    empty.add("g/anna/voice.wav", speech("anna", 0))
    empty.add("g/anna/other.wav", speech("anna", 1))
    empty.add("g/anna/silent.wav", np.zeros(RATE_HZ, np.float32))
    empty.add("g/anna/tiny.wav", np.full(1, 0.1, np.float32))
    lists = empty.run(SimilarOptions(executor="serial"))
    assert [score for _, score in lists["g/anna/silent.wav"]] == [0.0, 0.0, 0.0]
    assert len(lists["g/anna/tiny.wav"]) == 3


def test_an_empty_dataset_gives_an_empty_file(empty: Corpus) -> None:
    assert empty.run(SimilarOptions(executor="serial")) == {}
    assert empty.bytes() == b""


def test_a_recording_of_two_speakers_serves_both(empty: Corpus) -> None:
    """Diarised: the slices of one file belong to different people."""
    both = np.concatenate([speech("anna", 0), speech("ben", 0), speech("anna", 1), speech("ben", 1)])
    quarter = len(both) // 4
    empty.add("g/anna/talk.wav", both, [(n * quarter, quarter) for n in range(4)])
    empty.rewrite(lambda rows: [{**row, "speaker": "ben"} if n % 2 else row for n, row in enumerate(rows)])
    lists = empty.run(SimilarOptions(executor="serial"))
    found = [[other[-1] for other, _ in lists[f"g/anna/talk.wav-0000{n}"]] for n in range(4)]
    assert found == [["2"], ["3"], ["0"], ["1"]]


@pytest.mark.parametrize(("backend", "scope"), [("mfcc", "speaker"), ("codes", "dataset")])
def test_the_result_is_the_same_bytes_for_any_order_and_workers(corpus: Corpus, backend: str, scope: str) -> None:
    options = SimilarOptions(executor="serial", similarity_backend=backend, scope=scope, overwrite=True)
    corpus.run(options)
    expected = corpus.bytes()
    corpus.rewrite(lambda rows: rows[::-1])
    corpus.run(replace(options, workers=2, executor="local"))
    assert corpus.bytes() == expected


# Resume


def test_what_is_up_to_date_is_left_alone_and_loads_nothing(corpus: Corpus) -> None:
    corpus.run(SimilarOptions(executor="serial"))
    before = {path: path.stat().st_mtime_ns for path in corpus.data.rglob("*") if path.is_file()}
    code = (
        "import sys; from pathlib import Path; from vall_e.emb.similar import *; "
        f"report = similar(Path({str(corpus.data)!r}), SimilarOptions(executor='serial')); "
        "assert report.num_resumed == report.num_items == report.num_rows == 10, report; "
        "assert not {'librosa', 'torch', 'ray', 'soundfile'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    after = {path: path.stat().st_mtime_ns for path in corpus.data.rglob("*") if path.is_file()}
    before.pop(corpus.data / ".lock")
    after.pop(corpus.data / ".lock")
    assert after == before


def test_a_new_utterance_renews_its_speaker_only(corpus: Corpus) -> None:
    before = corpus.run()
    lines = corpus.bytes().splitlines()
    corpus.add("g/anna/new.wav", speech("anna", 7))
    after = corpus.run()
    assert after.keys() == corpus.ids()
    assert "g/anna/new.wav" in dict(after["g/anna/0.wav"])
    kept = [line for line in lines if b"g/anna" not in line]
    assert corpus.bytes().splitlines()[: len(kept)] == kept
    assert {name: after[name] for name in before if "ben" in name} == {n: before[n] for n in before if "ben" in n}


def test_an_utterance_that_is_gone_leaves_no_trace(corpus: Corpus) -> None:
    corpus.run()
    corpus.rewrite(lambda rows: [row for row in rows if row["id"] not in ("g/ben/0.flac", "g/carl/one.wav")])
    lists = corpus.run()
    assert lists.keys() == corpus.ids()
    assert b"g/ben/0.flac" not in corpus.bytes()
    assert corpus.run() == lists


def test_a_speaker_that_is_gone_leaves_no_trace(corpus: Corpus) -> None:
    corpus.run()
    corpus.rewrite(lambda rows: [row for row in rows if row["speaker"] != "carl"])
    assert corpus.run().keys() == corpus.ids()
    assert b"carl" not in (corpus.data / "similar_groups.jsonl").read_bytes()


def test_a_slice_that_was_cut_anew_renews_its_speaker(corpus: Corpus) -> None:
    corpus.run(SimilarOptions(executor="serial"))
    corpus.rewrite(lambda rows: [row | {"start_samples": row["start_samples"] // 2} for row in rows])
    resumed = corpus.run(SimilarOptions(executor="serial"))
    assert resumed == corpus.run(SimilarOptions(executor="serial", overwrite=True))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    corpus = fill(empty_corpus(tmp_path_factory.mktemp("finished")))
    corpus.run()
    return corpus


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), scope=st.sampled_from(["speaker", "dataset"]))
def test_a_run_killed_at_any_byte_is_taken_up(finished: Corpus, data: st.DataObject, scope: str) -> None:
    """Rows of a group come before its mark, so a kill cuts the marks, or the rows of the group after the last mark."""
    options = replace(CODES, scope=scope)
    finished.run(replace(options, overwrite=True))
    expected = finished.lists()
    rows, marks = finished.data / "similar.jsonl", finished.data / "similar_groups.jsonl"
    whole = [row["num_utterances"] for _, row in storage.read_json_lines(marks)]
    mark_lines = marks.read_bytes().splitlines(keepends=True)
    row_lines = rows.read_bytes().splitlines(keepends=True)
    num_marks = data.draw(st.integers(0, len(whole) - 1))
    start, stop = sum(whole[:num_marks]), sum(whole[: num_marks + 1])
    tail = b"".join(row_lines[start:stop])
    cut = data.draw(st.integers(0, len(tail)))
    rows.write_bytes(b"".join(row_lines[:start]) + tail[:cut])
    torn = data.draw(st.integers(0, len(mark_lines[num_marks]) - 1)) if cut == len(tail) else 0
    marks.write_bytes(b"".join(mark_lines[:num_marks]) + mark_lines[num_marks][:torn])
    assert finished.run(options) == expected


def test_lost_rows_come_back(corpus: Corpus) -> None:
    expected = corpus.run()
    (corpus.data / "similar.jsonl").unlink()
    assert corpus.run() == expected
    lines = corpus.bytes().splitlines(keepends=True)
    (corpus.data / "similar.jsonl").write_bytes(b"".join(lines[1:]))
    assert corpus.run() == expected


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"top_k": 3}, "top_k 8, now 3"),
        ({"scope": "dataset"}, "scope 'speaker', now 'dataset'"),
        ({"similarity_backend": "mfcc"}, "similarity_backend 'codes', now 'mfcc'"),
        ({"code_levels": 1}, "code_levels 0, now 1"),
    ],
)
def test_other_options_are_refused_until_overwrite(corpus: Corpus, change: dict[str, Any], named: str) -> None:
    corpus.run()
    before = corpus.bytes()
    with pytest.raises(UsageError, match=f"{named}.*--overwrite"):
        corpus.run(replace(CODES, **change))
    assert corpus.bytes() == before
    overwritten = corpus.run(replace(CODES, overwrite=True, **change))
    assert overwritten.keys() == corpus.ids()
    assert max(len(found) for found in overwritten.values()) <= replace(CODES, **change).top_k


def test_options_that_decide_nothing_may_change(corpus: Corpus) -> None:
    expected = corpus.run()
    assert corpus.run(replace(CODES, workers=2, executor="local")) == expected


def test_codes_of_another_codec_are_refused(corpus: Corpus) -> None:
    corpus.run()
    head = json.loads((corpus.data / "dataset.json").read_text())
    head["codec"]["weights_sha256"] = "1" * 64
    storage.write_json(corpus.data / "dataset.json", head, corpus.data)
    with pytest.raises(UsageError, match="weights_sha256"):
        corpus.run()


def remade(corpus: Corpus, made: str) -> None:
    head = json.loads((corpus.data / "dataset.json").read_text())
    storage.write_json(corpus.data / "dataset.json", head | {"made": made}, corpus.data)


@pytest.mark.parametrize("change", [{}, {"top_k": 1}])
def test_a_dataset_made_anew_with_the_same_rows_is_done_anew(corpus: Corpus, change: dict[str, Any]) -> None:
    """`process --overwrite` with other audio of the same length. What the old lists were made with is no matter."""
    remade(corpus, "first")
    corpus.run(SimilarOptions(executor="serial"))
    for seed, path in enumerate(sorted(corpus.voices.rglob("*.wav"))):
        samples, rate_hz = audio.load(path)
        audio.write(path, np.resize(speech("carl", 20 + seed), len(samples)), rate_hz)
    report = similar.similar(corpus.data, SimilarOptions(executor="serial"))
    assert report.num_resumed == 10, "nobody looks at the audio itself"
    before = corpus.lists()
    remade(corpus, "second")
    corpus.refresh(update=True)
    after = corpus.run(SimilarOptions(executor="serial", **change))
    assert after.keys() == before.keys() and after["g/anna/0.wav"] != before["g/anna/0.wav"]
    assert after == corpus.run(SimilarOptions(executor="serial", overwrite=True, **change))
    assert similar.similar(corpus.data, SimilarOptions(executor="serial", **change)).num_resumed == 10


# Recordings that are not there any more


def test_a_recording_that_is_gone_has_an_empty_list_and_is_in_none(corpus: Corpus) -> None:
    corpus.run(SimilarOptions(executor="serial"))
    (corpus.voices / "g/anna/0.wav").unlink()
    (corpus.voices / "g/ben/long.wav").unlink()
    corpus.add("g/anna/new.wav", speech("anna", 7))
    corpus.refresh()
    report = similar.similar(corpus.data, SimilarOptions(executor="serial"))
    lists = corpus.lists()
    assert (report.num_rows, report.num_resumed) == (11, 7), "ben's lists stand: nothing asked for his audio"
    assert lists["g/anna/0.wav"] == []
    assert {other for other, _ in lists["g/anna/1.wav"]} == {"g/anna/2.wav", "g/anna/new.wav"}
    assert "1 recording is not in the folder of audio any more, like g/anna/0.wav: its utter" in report.warnings[0]
    assert "--update of all stages leaves them out" in report.warnings[0]
    assert similar.similar(corpus.data, SimilarOptions(executor="serial")).warnings == report.warnings, "it is so still"
    assert corpus.lists() == lists


def test_a_speaker_that_is_gone_altogether_has_empty_lists(corpus: Corpus) -> None:
    for path in (corpus.voices / "g/anna").iterdir():
        path.unlink()
    (corpus.voices / "g/carl/one.wav").unlink()
    lists = corpus.run(SimilarOptions(executor="serial"))
    assert lists.keys() == corpus.ids()
    assert [name for name, found in lists.items() if found] == sorted(name for name in lists if "ben" in name)
    corpus.add("g/dora/one.wav", speech("anna", 0))
    (corpus.voices / "g/dora/one.wav").unlink()
    report = similar.similar(corpus.data, SimilarOptions(workers=2))
    assert "5 recordings are not in the folder of audio any more, like g/anna/0.wav: their" in report.warnings[0]
    assert corpus.lists()["g/dora/one.wav"] == []


def test_a_recording_that_comes_back_is_taken_in_again(corpus: Corpus) -> None:
    expected = corpus.run(SimilarOptions(executor="serial", scope="dataset"))
    away = corpus.voices / "g/anna/0.wav"
    away.rename(away.with_name("elsewhere"))
    assert corpus.run(SimilarOptions(executor="serial", scope="dataset", overwrite=True)) != expected
    away.with_name("elsewhere").rename(away)
    report = similar.similar(corpus.data, SimilarOptions(executor="serial", scope="dataset"))
    assert corpus.lists() == expected and not report.warnings


def test_a_folder_with_none_of_the_recordings_is_another_one(corpus: Corpus, tmp_path: Path) -> None:
    corpus.run(SimilarOptions(executor="serial"))
    before = corpus.bytes()
    (tmp_path / "other").mkdir()
    with pytest.raises(UsageError, match="made from .*voices, now .*other"):
        corpus.run(SimilarOptions(executor="serial", overwrite=True), input_audio=tmp_path / "other")
    assert corpus.bytes() == before


def test_an_overwrite_that_cannot_start_keeps_what_was_there(corpus: Corpus) -> None:
    corpus.run(SimilarOptions(executor="serial"))
    before = corpus.bytes()
    with pytest.raises(UsageError, match="nowhere"):
        corpus.run(SimilarOptions(executor="serial", overwrite=True), input_audio=corpus.voices / "nowhere")
    assert corpus.bytes() == before


# What is wrong, and is said


def test_no_dataset_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="vall_e.emb.process makes it"):
        similar.similar(tmp_path / "none", SimilarOptions(executor="serial"))
    assert not (tmp_path / "none").exists()


def test_audio_is_looked_for_where_the_dataset_says(corpus: Corpus) -> None:
    moved = corpus.voices.rename(corpus.voices.with_name("moved"))
    with pytest.raises(UsageError, match="no such folder of audio; give --input-audio"):
        corpus.run(SimilarOptions(executor="serial"))
    assert corpus.run(SimilarOptions(executor="serial"), input_audio=moved).keys() == corpus.ids()


def test_a_dataset_that_does_not_say_where_its_audio_is(corpus: Corpus) -> None:
    head = json.loads((corpus.data / "dataset.json").read_text())
    storage.write_json(corpus.data / "dataset.json", head | {"config": {}}, corpus.data)
    with pytest.raises(UsageError, match="give --input-audio"):
        corpus.run(SimilarOptions(executor="serial"))


def shorten(path: Path) -> None:
    samples, rate_hz = audio.load(path)
    audio.write(path, samples[:-1], rate_hz)


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("g/anna/0.wav", lambda path: audio.write(path, np.zeros(RATE_HZ * 2, np.float32), 22_050)),
        ("g/anna/2.wav", lambda path: path.write_bytes(b"RIFF")),
        ("g/ben/0.flac", lambda path: path.write_bytes(path.read_bytes()[:3000])),
        ("g/ben/1.flac", lambda path: path.write_bytes(b"")),
        ("g/ben/2.flac", shorten),
        ("g/ben/long.wav-00000", lambda path: shorten_by_half(path)),
    ],
)
def test_audio_that_changed_ends_the_run(corpus: Corpus, name: str, spoil: Any) -> None:
    spoil(corpus.voices / name.removesuffix("-00000"))
    with pytest.raises(ContractError, match=f"^{name}: .*--input-audio or run .* --update"):
        corpus.run(SimilarOptions(executor="serial"))
    assert corpus.lists().keys() < corpus.ids()


def shorten_by_half(path: Path) -> None:
    samples, rate_hz = audio.load(path)
    audio.write(path, samples[: round(len(samples) * 0.7)], rate_hz)


def test_speakers_before_the_bad_one_stay_done(corpus: Corpus) -> None:
    corpus.add("g/ben/z.flac", speech("ben", 7, 23.0))  # fills a bunch, so that carl's recording is in the next one
    corpus.refresh()
    path = corpus.voices / "g/carl/one.wav"
    kept = path.read_bytes()
    path.write_bytes(b"RIFF")
    with pytest.raises(ContractError, match="^g/carl/one.wav: "):
        corpus.run(SimilarOptions(executor="serial"))
    assert corpus.lists().keys() == corpus.ids() - {"g/carl/one.wav"}
    path.write_bytes(kept)
    report = similar.similar(corpus.data, SimilarOptions(executor="serial"))
    assert (report.num_items, report.num_resumed, report.num_rows) == (11, 10, 11)


def test_a_link_that_leaves_the_voices_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    path = corpus.voices / "g/anna/0.wav"
    target = path.rename(tmp_path / "outside.wav")
    path.symlink_to(target)
    with pytest.raises(ContractError, match="^g/anna/0.wav: .*a link that leaves"):
        corpus.run(SimilarOptions(executor="serial"))


@pytest.mark.parametrize("name", ["../voices/g/anna/0.wav", "/etc/passwd.wav", "g/../../x.wav"])
@pytest.mark.parametrize("backend", ["mfcc", "codes"])
def test_paths_from_data_stay_inside(corpus: Corpus, name: str, backend: str) -> None:
    corpus.rewrite(lambda rows: [rows[0] | {"recording_id": name, "codes": name}])
    error = ContractError if backend == "codes" else UsageError  # it is the id of no recording
    with pytest.raises(error, match="not a path below|holds none of the recordings"):
        corpus.run(SimilarOptions(executor="serial", similarity_backend=backend))


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (np.full((2, 60), 16, np.uint16), "code 16 is outside the codebook of 16"),
        (np.zeros((3, 60), np.uint16), "expected \\[2, frames\\]"),
        (np.zeros((2, 59), np.uint16), "59 frames, its row says 60"),
    ],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_codes_that_do_not_fit_name_the_utterance(
    corpus: Corpus, codes: np.ndarray, message: str, workers: int
) -> None:
    storage.write_array(corpus.data / "g/anna/1.wav.npy", codes, corpus.data)
    with pytest.raises(ContractError, match=f"^g/anna/1.wav: .*{message}"):
        corpus.run(replace(CODES, workers=workers, executor="local"))


def test_missing_codes_name_the_file(corpus: Corpus) -> None:
    (corpus.data / "g/anna/1.wav.npy").unlink()
    with pytest.raises(ContractError, match="g/anna/1.wav.npy"):
        corpus.run()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [rows[0], *rows], "g/anna/0.wav for the second time"),
        (lambda rows: [rows[0] | {"num_samples": 0}], "g/anna/0.wav: no audio"),
        (lambda rows: [rows[0] | {"start_samples": -1}], "g/anna/0.wav: no audio"),
        (lambda rows: [{key: rows[0][key] for key in rows[0] if key != "codes"}], "field codes"),
        (lambda rows: [rows[0] | {"start_samples": "0"}], "start_samples: expected int"),
    ],
)
def test_bad_rows_are_named_by_line(corpus: Corpus, change: Any, message: str) -> None:
    corpus.rewrite(change)
    with pytest.raises(ContractError, match=f"utterances.jsonl:\\d+: .*{message}"):
        corpus.run()


def test_a_missing_librosa_is_told_before_any_work(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "librosa"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "librosa", None)
    with pytest.raises(BackendError, match="backend mfcc: .*pip install"):
        corpus.run(SimilarOptions(executor="serial"))
    assert not (corpus.data / "similar.jsonl").exists()


def test_a_second_writer_is_refused(corpus: Corpus) -> None:
    with storage.folder_lock(corpus.data), pytest.raises(UsageError, match="another run"):
        corpus.run()


# The command


def command(*args: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "vall_e.emb.similar", *map(str, args)]
    return subprocess.run(line, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})


def test_the_command_reads_its_section_of_a_config_file(corpus: Corpus, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("similar:\n  similarity_backend: codes\n  top_k: 1\n")
    done = command("--input-dataset", corpus.data, "--config", file)
    assert (done.returncode, done.stdout) == (0, "similar: 10 rows, 0 rejects (none)\n")
    assert max(len(found) for found in corpus.lists().values()) == 1
    again = command("--input-dataset", corpus.data, "--config", file)
    assert again.stdout == "similar: 10 rows, 0 rejects (none); 10 of 10 items were done before\n"
    other = command("--input-dataset", corpus.data, "--config", file, "--top-k", 2)
    assert (other.returncode, other.stderr.count("\n")) == (2, 1)
    assert "top_k 1, now 2" in other.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--top-k", "0"], "top_k: 0 is below 1"),
        (["--top-k", "many"], "'many' is not a whole number"),
        (["--similarity-backend", "mfc"], "did you mean 'mfcc'?"),
        (["--scope", "spekaer"], "did you mean 'speaker'?"),
        (["--workers", "-1"], "--workers -1"),
    ],
)
def test_usage_errors(corpus: Corpus, flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        config.run_main(similar.main, ["--input-dataset", str(corpus.data), *flags])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


# The search, against a slow reference


def reference(features: np.ndarray, k: int, excluded: Sequence[Sequence[int]]) -> list[list[tuple[int, float]]]:
    found = []
    for row, left in enumerate(features.astype(np.float64)):
        others = [n for n in range(len(features)) if n != row and n not in excluded[row]]
        scores = [(n, round(float(np.sum(left * features[n].astype(np.float64))), 6)) for n in others]
        found.append(sorted(scores, key=lambda pair: (-pair[1], pair[0]))[:k])
    return found


def found_of(features: np.ndarray, k: int, excluded: Sequence[Sequence[int]]) -> list[list[tuple[int, float]]]:
    indices, scores = top_k(features, k, excluded=[np.array(banned, np.int64) for banned in excluded])
    assert indices.shape == scores.shape == (len(features), k)
    return [
        [(n, score) for n, score in zip(*pair, strict=True) if n >= 0]
        for pair in zip(indices.tolist(), scores.tolist(), strict=True)
    ]


@st.composite
def searches(draw: st.DrawFn) -> tuple[np.ndarray, int, list[list[int]]]:
    num_rows, num_dims = draw(st.integers(1, 40)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    features = rng.standard_normal((num_rows, num_dims)).astype(np.float32)
    if draw(st.booleans()):  # few distinct rows: many ties
        features = features[rng.integers(0, draw(st.integers(1, num_rows)), num_rows)]
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    features[rng.random(num_rows) < draw(st.sampled_from([0.0, 0.3]))] = 0.0
    excluded = [np.flatnonzero(rng.random(num_rows) < draw(st.sampled_from([0.0, 0.5, 1.0]))) for _ in range(num_rows)]
    return features, draw(st.integers(1, 45)), [banned.tolist() for banned in excluded]


@settings(max_examples=150, deadline=None)
@given(search=searches(), block_scores=st.sampled_from([1, 100, 1 << 22]), rescore=st.sampled_from([1, 50, 1 << 22]))
def test_search_equals_the_reference(
    search: tuple[np.ndarray, int, list[list[int]]], block_scores: int, rescore: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(top_k_, "BLOCK_SCORES", block_scores)
        patch.setattr(top_k_, "RESCORE_NUMBERS", rescore)
        found, expected = found_of(*search), reference(*search)
    for one, other in zip(found, expected, strict=True):
        # a sum in another order may fall on the other side of half of the last decimal
        np.testing.assert_allclose([score for _, score in one], [score for _, score in other], atol=1.5e-6)
    scores = search[0].astype(np.float64) @ search[0].astype(np.float64).T
    for row, one in enumerate(found):
        assert [n for n, _ in one] == [n for n, _ in sorted(one, key=lambda pair: (-pair[1], pair[0]))]
        assert row not in [n for n, _ in one]
        assert not {n for n, _ in one} & set(search[2][row])
        np.testing.assert_allclose([score for _, score in one], scores[row, [n for n, _ in one]], atol=1e-6)


@pytest.mark.parametrize("num_rows", [1023, 1024, 1025, 2500])
def test_search_over_many_columns_equals_the_reference(num_rows: int) -> None:
    """More columns than groups of columns, whole groups and broken ones, near and exact ties among them."""
    rng = np.random.default_rng(num_rows)
    features = rng.standard_normal((num_rows, 16)).astype(np.float32)
    features[::3] = features[0] + rng.standard_normal((len(features[::3]), 16)).astype(np.float32) * 1e-4
    features[1::7] = features[1]
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    excluded = [[(row + 1) % num_rows, (row + 3) % num_rows] for row in range(num_rows)]
    indices, scores = top_k(features, 8, excluded=[np.array(banned) for banned in excluded])
    exact = features.astype(np.float64) @ features.astype(np.float64).T
    np.fill_diagonal(exact, -np.inf)
    for row, banned in enumerate(excluded):
        exact[row, banned] = -np.inf
    best = -np.sort(-exact, axis=1)[:, :8]
    np.testing.assert_allclose(scores, best, atol=1e-6)
    np.testing.assert_allclose(scores, np.take_along_axis(exact, indices, axis=1), atol=1e-6)
    assert not ((np.diff(scores, axis=1) == 0) & (np.diff(indices, axis=1) < 0)).any()


def test_scores_that_differ_by_rounding_alone_are_ties() -> None:
    """All cosines are 1 to 9 decimals; float32 products differ in the 7th, and must not decide who is in the list."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal(300) + rng.standard_normal((200, 300)) * 1e-5
    rows = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
    indices, scores = top_k(rows, 4)
    np.testing.assert_array_equal(scores, 1.0)
    assert indices.tolist() == [[n for n in range(5) if n != row][:4] for row in range(200)]


def test_search_does_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    features = rng.random((3_000, 300)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    expected = top_k(features, 8)
    monkeypatch.setattr(top_k_, "BLOCK_SCORES", 3_000 * 7)
    found = top_k(features, 8)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


def test_nothing_to_search() -> None:
    indices, scores = top_k(np.zeros((0, 5), np.float32), 3)
    assert indices.shape == scores.shape == (0, 3)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 30), st.integers(1, 12)), max_size=25))
def test_overlapping_means_a_shared_sample(pieces: list[tuple[str, int, int]]) -> None:
    slices = [
        Slice(id=f"{n}", recording_id=name, group="", speaker="s", sample_rate_hz=1, start_samples=start,
              num_samples=num, num_frames=1, codes="c")
        for n, (name, start, num) in enumerate(pieces)
    ]  # fmt: skip
    samples = [{(name, sample) for sample in range(start, start + num)} for name, start, num in pieces]
    expected = [[n for n in range(len(pieces)) if n != row and samples[n] & samples[row]] for row in range(len(pieces))]
    assert [found.tolist() for found in overlapping(slices)] == expected


def test_slices_come_sorted_by_id(corpus: Corpus) -> None:
    corpus.rewrite(lambda rows: rows[::-1])
    names = [piece.id for piece in load_slices(corpus.data)]
    assert names == sorted(corpus.ids())


@pytest.mark.parametrize("backend", ["codec", "model", "hidden", "codes"])
def test_features_of_codes_find_the_speaker(tmp_path: Path, backend: str) -> None:
    """Two speakers whose codes differ: of the whole dataset, most of the similar ones are of the same one."""
    made = spoken_dataset.make(tmp_path, count=60)
    options: dict[str, Any] = {
        "similarity_backend": backend,
        "model": "tiny",
        "scope": "dataset",
        "top_k": 3,
        "executor": "serial",
    }
    similar.similar(tmp_path, SimilarOptions(**options))
    speakers = {row.id: row.speaker for row in made.rows}
    lists = [row for _, row in storage.read_json_lines(tmp_path / "similar.jsonl")]
    same = [speakers[row["id"]] == speakers[other] for row in lists for other, _ in row["similar"]]
    assert len(lists) == 60 and np.mean(same) > 0.75, "by chance it is 0.49"


def test_the_back_end_is_the_codec_where_it_has_vectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, corpus: Corpus
) -> None:
    """Existing lists keep theirs; a codec that can't be used is reported."""
    spoken_dataset.make(tmp_path, count=12)
    auto = SimilarOptions(executor="serial")

    def run(options: SimilarOptions, folder: Path = tmp_path) -> tuple[str, list[str]]:
        report = similar.similar(folder, options)
        return json.loads((folder / "similar.json").read_text())["similarity_backend"], report.notes

    assert run(auto) == ("codec", []) == run(auto)
    assert run(replace(auto, similarity_backend="codes", overwrite=True)) == ("codes", []) == run(auto)
    assert run(replace(auto, overwrite=True)) == ("codec", [])
    monkeypatch.setattr(trained, "codebooks_of", lambda codec: None)
    with pytest.raises(UsageError, match="the codec tiny offers no vectors; choose codes"):
        run(replace(auto, similarity_backend="codec", overwrite=True))
    found, (note,) = run(auto, corpus.data)  # its codec is none of ours
    assert found == "mfcc" and note.startswith("by mfcc, as the codec can't be used: ")
    assert run(auto, corpus.data) == ("mfcc", [])


def test_lists_of_another_model_do_not_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoken_dataset.make(tmp_path, count=12)
    options = SimilarOptions(similarity_backend="model", model="tiny", executor="serial")
    similar.similar(tmp_path, options)
    monkeypatch.setattr(trained, "fingerprint", lambda folder: "another")
    with pytest.raises(UsageError, match="model_sha256"):
        similar.similar(tmp_path, options)


def test_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="give --model RUN"):
        SimilarOptions(similarity_backend="hidden")
