"""Each corpus through `vall-e prepare`, from its own layout into batches: nothing on the way loses who speaks what."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile
from corpora.miniatures import MINIATURES

from vall_e import cli, storage
from vall_e.dataset import Dataset
from vall_e.types import Reject, Utterance

HELD_OUT = ("dev-other", "dev", "test")


@pytest.mark.parametrize("name", MINIATURES)
def test_a_corpus_becomes_a_dataset(tmp_path: Path, name: str) -> None:
    corpus, make = MINIATURES[name]
    (tmp_path / "in").mkdir()
    made = make(tmp_path / "in")
    args = ["prepare", str(made.path), str(tmp_path / "work"), "--corpus", corpus, "--config", "offline"]
    args += ["--executor", "serial"]
    if None in {language for _, _, language, _ in made.expected.values()}:
        args += ["--languages", "en"]
    for root in made.audio_roots:
        args += ["--audio-root", str(root)]
    assert cli.main(args) == 0
    rows = storage.read_rows(tmp_path / "work" / "dataset" / "utterances.jsonl", Utterance)
    found: dict[str, list[Utterance]] = {}
    for row in sorted(rows, key=lambda row: row.start_samples):
        found.setdefault(row.recording_id, []).append(row)
    assert set(found) == set(made.expected)
    for recording_id, (speaker, text, language, split) in made.expected.items():
        whole = found[recording_id]
        assert tuple(row.text for row in whole) == (text if isinstance(text, tuple) else (text,))
        assert {row.language for row in whole} == {language or "en"} and {row.split for row in whole} == {split}
        if speaker != "unknown":
            assert {row.speaker for row in whole} == {speaker}
    built = tmp_path / "work" / "dataset" / "built"
    held_out = {row for row, (_, _, _, split) in made.expected.items() if split in HELD_OUT}
    for which, wanted in (("train", set(made.expected) - held_out), ("validation", held_out)):
        ids = {example.id for example in Dataset(built, which)} if wanted else set()
        has_no_split = {row for row, value in made.expected.items() if value[3] is None}
        assert {_recording(item) for item in ids} - has_no_split == wanted - has_no_split


def _recording(item_id: str) -> str:
    from vall_e.types import recording_id_of

    return recording_id_of(item_id)


def test_speakers_that_a_kaldi_folder_names_are_the_same_people_everywhere(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    made = MINIATURES["kaldi"][1](tmp_path / "in")
    args = ["prepare", str(made.path), str(tmp_path / "work"), "--config", "offline", "--executor", "serial"]
    assert cli.main([*args, "--audio-root", str(made.audio_roots[0])]) == 0
    rows = storage.read_rows(tmp_path / "work" / "dataset" / "utterances.jsonl", Utterance)
    assert [(row.text, row.speaker) for row in sorted(rows, key=lambda row: row.start_samples)] == [
        ("good morning ann", "bob"),
        ("good morning bob", "ann"),
    ]


def _meeting(tmp_path: Path, demo: Path) -> list[str]:
    """The command that prepares a recording of a part in English and one in German."""
    (tmp_path / "in").mkdir()
    spoken, rate_hz = soundfile.read(demo / "english/rms/interview.ogg", stop=8 * 24_000)
    soundfile.write(tmp_path / "in" / "a.wav", spoken, rate_hz)
    entry = {"audio_filepath": "a.wav", "speaker": "ann"}
    said = [("the same sentence", "en", 0.5, 3.0), ("die Zeit", "de", 3.5, 3.0)]
    lines = [
        json.dumps(entry | {"text": text, "lang": language, "offset": start_s, "duration": duration_s})
        for text, language, start_s, duration_s in said
    ]
    (tmp_path / "in" / "manifest.json").write_text("\n".join(lines))
    paths = [str(tmp_path / "in" / "manifest.json"), str(tmp_path / "work")]
    return ["prepare", *paths, "--config", "offline", "--executor", "serial"]


def test_each_segment_is_in_its_own_language(tmp_path: Path, demo: Path) -> None:
    """A NeMo manifest of a meeting in two languages: each part is phonemised by its own language's voice."""
    assert cli.main(_meeting(tmp_path, demo)) == 0
    rows = list(storage.read_rows(tmp_path / "work" / "dataset" / "utterances.jsonl", Utterance))
    assert [(row.text, row.language) for row in sorted(rows, key=lambda row: row.start_samples)] == [
        ("the same sentence", "en"),
        ("die Zeit", "de"),
    ]
    assert {row.language: row.phonemes for row in rows}["de"] == "diː tsˈaɪt"


def test_a_recording_in_two_languages_that_is_not_cut_is_refused(tmp_path: Path, demo: Path) -> None:
    args = _meeting(tmp_path, demo)
    settings = "transcribe: {backend: [sidecar]}\nprocess: {audio_backend: tiny, slice: 'false'}\n"
    (tmp_path / "whole.yaml").write_text(settings)
    cli.main([*args, "--config", str(tmp_path / "whole.yaml")])
    rejects = storage.read_rows(tmp_path / "work" / "dataset" / "rejects.jsonl", Reject)
    assert [(each.reason, each.detail) for each in rejects] == [
        ("language_unsupported", "2 languages are spoken in it, and it is not cut: --slice auto cuts it")
    ]


def test_a_language_on_the_command_line_is_that_of_every_segment(tmp_path: Path, demo: Path) -> None:
    assert cli.main([*_meeting(tmp_path, demo), "--language", "de"]) == 0
    rows = storage.read_rows(tmp_path / "work" / "dataset" / "utterances.jsonl", Utterance)
    assert [row.language for row in rows] == ["de", "de"]
