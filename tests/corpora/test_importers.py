"""Each corpus from its own layout: right ids, speakers, texts, languages and splits, and what is wrong is said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from audio_files import RATE_HZ, tone
from corpora.miniatures import MINIATURES, Miniature, sound_bytes, speech, tar, write

from vall_e import audio, storage
from vall_e.corpora.importing import import_corpus, roots_of
from vall_e.corpora.registry import CORPORA, ImportOptions
from vall_e.types import Recording, UsageError


def imported(made: Miniature, metadata: Path, corpus: str) -> dict[str, Recording]:
    options = ImportOptions(executor="serial", corpus=corpus, audio_root=made.audio_roots, **made.options)
    report = import_corpus(made.path, metadata, options)
    assert dict(report.rejects) == made.rejects
    return {row.id: row for row in storage.read_rows(metadata / "recordings.jsonl", Recording)}


def test_every_importer_has_a_miniature() -> None:
    assert {corpus for corpus, _ in MINIATURES.values()} == set(CORPORA) - {"folder"}


@pytest.mark.parametrize("name", MINIATURES)
def test_a_corpus_is_read_from_its_own_layout(tmp_path: Path, name: str) -> None:
    corpus, make = MINIATURES[name]
    (tmp_path / "in").mkdir()
    made = make(tmp_path / "in")
    rows = imported(made, tmp_path / "meta", corpus)
    found = {
        row.id: (row.speaker, tuple(each.text for each in row.segments) or row.text, row.language, row.split)
        for row in rows.values()
    }
    assert found == made.expected
    roots = roots_of(tmp_path / "meta", made.path)
    for row in rows.values():
        source = audio.locate(roots, row)
        assert source is not None
        samples = np.concatenate(list(source.blocks(row.sample_rate_hz, 0.5)))
        assert len(samples) == row.num_samples and np.abs(samples).max() > 0.1
        (cut,) = source.slices([(100, 3_000)])
        np.testing.assert_array_equal(cut, samples[100:3_100])


@pytest.mark.parametrize("name", MINIATURES)
def test_auto_finds_a_corpus_by_its_own_marker_files(tmp_path: Path, name: str) -> None:
    corpus, make = MINIATURES[name]
    (tmp_path / "in").mkdir()
    made = make(tmp_path / "in")
    options = ImportOptions(executor="serial", audio_root=made.audio_roots)
    report = import_corpus(made.path, tmp_path / "meta", options)
    head = json.loads((tmp_path / "meta" / "metadata.json").read_text())
    assert head["corpus"] == corpus
    assert any(f"is read as {corpus}; --corpus says otherwise" in note for note in report.notes)
    again = import_corpus(made.path, tmp_path / "meta", ImportOptions(executor="serial", audio_root=made.audio_roots))
    assert again.num_resumed == len(made.expected) + sum(made.rejects.values())
    assert not [note for note in again.notes if "changed" in note]
    with pytest.raises(UsageError, match="imported as"):
        import_corpus(made.path, tmp_path / "meta", ImportOptions(executor="serial", corpus="folder"))


@pytest.mark.parametrize(
    "name", ["backup.tar", "table.parquet", "cuts.json", "haircuts.jsonl", "train.txt", "content.txt"]
)
def test_a_folder_of_speech_with_other_things_in_it_stays_one(tmp_path: Path, name: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    speech(tmp_path / "in" / "ann" / "a.wav")
    write(tmp_path / "in" / "ann" / "a.txt", "a text")
    if name.endswith(".parquet"):
        parquet.write_table(pa.table({"id": [1], "text": ["x"]}), tmp_path / "in" / name)
    elif name.endswith(".tar"):
        tar(tmp_path / "in" / name, {"b.wav": sound_bytes("b.wav")})
    else:
        write(tmp_path / "in" / name, "{}\n")
    import_corpus(tmp_path / "in", tmp_path / "meta", ImportOptions(executor="serial"))
    assert json.loads((tmp_path / "meta" / "metadata.json").read_text())["corpus"] == "folder"


def test_a_plain_folder_stays_one(tmp_path: Path) -> None:
    speech(tmp_path / "in" / "g" / "ann" / "a.wav")
    write(tmp_path / "in" / "g" / "ann" / "a.txt", "a text")
    import_corpus(tmp_path / "in", tmp_path / "meta", ImportOptions(executor="serial"))
    assert json.loads((tmp_path / "meta" / "metadata.json").read_text())["corpus"] == "folder"


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("a|one two|one two\nb|three|three\n", {"a": ("unknown", "one two"), "b": ("unknown", "three")}),
        ("a.wav|one two\nb.wav|three four\n", {"a": ("unknown", "one two"), "b": ("unknown", "three four")}),
        ("\ufeffa|one two\r\nb|three four\r\n", {"a": ("unknown", "one two"), "b": ("unknown", "three four")}),
        ("file,text,speaker\na,\"one, two\",ann\nb,three four,bob\n", {"a": ("ann", "one, two"), "b": ("bob", "three four")}),
        ('wavs/a.wav|"one" two\nwavs/b.wav|three "four"\n', {"wavs/a": ("unknown", '"one" two'), "wavs/b": ("unknown", 'three "four"')}),
    ],
)  # fmt: skip
def test_private_imitations_of_ljspeech(tmp_path: Path, table: str, expected: dict[str, tuple[str, str]]) -> None:
    for name in "ab":
        speech(tmp_path / "in" / "wavs" / f"{name}.wav")
    write(tmp_path / "in" / "metadata.csv", table)
    rows = imported(Miniature(tmp_path / "in", {}), tmp_path / "meta", "ljspeech")
    assert {name: (row.speaker, row.text) for name, row in rows.items()} == expected


def test_ljspeech_says_what_does_not_fit(tmp_path: Path) -> None:
    speech(tmp_path / "in" / "wavs" / "ann" / "a.wav")
    speech(tmp_path / "in" / "wavs" / "ann" / "extra.wav")
    write(tmp_path / "in" / "metadata.csv", "a|one\nmissing|two\n")
    report = import_corpus(tmp_path / "in", tmp_path / "meta", ImportOptions(executor="serial", corpus="ljspeech"))
    assert dict(report.rejects) == {"unreadable": 1} and report.num_rows == 1 and report.num_ignored == 1
    assert "1 audio file is named by no row of metadata.csv, and left out: wavs/ann/extra.wav" in report.notes
    (row,) = storage.read_rows(tmp_path / "meta" / "recordings.jsonl", Recording)
    assert row.speaker == "ann"


@pytest.mark.parametrize(
    ("mic", "ids"), [("2", {"p225_001_mic2"}), ("both", {"p225_001_mic1", "p225_001_mic2", "s5_002_mic1"})]
)
def test_the_microphones_of_vctk(tmp_path: Path, mic: str, ids: set[str]) -> None:
    (tmp_path / "in").mkdir()
    made = MINIATURES["vctk"][1](tmp_path / "in")
    made.options = {"mic": mic}
    assert set(imported(made, tmp_path / "meta", "vctk")) == ids


def test_votes_of_common_voice_are_kept(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    rows = imported(MINIATURES["common_voice"][1](tmp_path / "in"), tmp_path / "meta", "common_voice")
    assert {tuple(row.scores.items()) for row in rows.values()} == {(("up_votes", 2.0), ("down_votes", 1.0))}


@pytest.mark.parametrize(
    ("corpus", "files", "message"),
    [
        ("common_voice", {"validated.tsv": b"client_id\tpath\tsentence\n\xff\xfe\t1\t2\n", "clips/a.mp3": b""}, "validated.tsv, line 2: not UTF-8"),
        ("common_voice", {"validated.tsv": b"who\twhat\n", "clips/a.mp3": b""}, "no column client_id, path, sentence"),
        ("kaldi", {"wav.scp": b"a a.wav\n", "segments": b"u a 0.0\n"}, "segments, line 1: not <utterance>"),
        ("ljspeech", {"metadata.csv": b"only a text in each line\nand another\n"}, "metadata.csv: most lines have no"),
        ("ljspeech", {"notes.md": b""}, "no table of texts there"),
        ("whisper_json", {"g/s/whisper.json": b"{nope"}, "whisper.json: not JSON"),
        ("webdataset", {"a.tar": b"this is no tar at all" * 100}, "a.tar: not an uncompressed tar"),
        ("huggingface", {"a.parquet": b"PAR1 not really"}, "a.parquet: can't be read"),
        ("nemo", {"a.txt": b""}, "no manifest with the key audio_filepath"),
        ("lhotse", {"cuts.jsonl": b'{"type": "MonoCut", "id": "x"}\n'}, "lhotse can't read it"),
        ("mls", {"a.txt": b""}, "no train/transcripts.txt"),
        ("libritts", {"a.txt": b""}, "no subset like train-clean-100"),
        ("hifi_tts", {"a.txt": b""}, "no <reader>_manifest"),
        ("vctk", {"a.txt": b""}, "none of wav48_silence_trimmed"),
        ("aishell3", {"a.txt": b""}, "no train/content.txt"),
        ("jsut", {"a.txt": b""}, "no <part>/transcript_utf8.txt"),
    ],
)  # fmt: skip
def test_a_manifest_that_can_not_be_read_is_named(
    tmp_path: Path, corpus: str, files: dict[str, bytes], message: str
) -> None:
    for name, content in files.items():
        write(tmp_path / "in" / name, content)
    with pytest.raises(UsageError) as caught:
        import_corpus(tmp_path / "in", tmp_path / "meta", ImportOptions(executor="serial", corpus=corpus))
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("[1, 2]", "bad_row"),
        ("{broken", "bad_row"),
        ('{"text": "no path"}', "bad_row"),
        ('{"audio_filepath": "../a.wav", "text": "x"}', "unsafe_path"),
        ('{"audio_filepath": "/elsewhere/a.wav", "text": "x"}', "unsafe_path"),
        ('{"audio_filepath": "gone.wav", "text": "x"}', "unreadable"),
        ('{"audio_filepath": "a.wav", "offset": 1.0, "text": "x"}', "bad_times"),
        ('{"audio_filepath": "a.wav", "text": "twice"}', "duplicate_id"),
    ],
)
def test_a_bad_row_is_a_reject_with_its_line(tmp_path: Path, row: str, reason: str) -> None:
    speech(tmp_path / "in" / "a.wav")
    good = '{"audio_filepath": "a.wav", "text": "a good one", "lang": "en"}'
    write(tmp_path / "in" / "m.jsonl", f"{good}\n{row}\n")
    report = import_corpus(
        tmp_path / "in" / "m.jsonl", tmp_path / "meta", ImportOptions(executor="serial", corpus="nemo")
    )
    assert dict(report.rejects) == {reason: 1}
    again = import_corpus(
        tmp_path / "in" / "m.jsonl", tmp_path / "meta", ImportOptions(executor="serial", corpus="nemo")
    )
    assert dict(again.rejects) == {reason: 1} and again.num_resumed == again.num_items == 2


def test_a_reject_of_a_path_names_the_option(tmp_path: Path) -> None:
    speech(tmp_path / "far" / "a.wav")
    write(
        tmp_path / "in" / "m.jsonl", json.dumps({"audio_filepath": str(tmp_path / "far" / "a.wav"), "text": "x"}) + "\n"
    )
    options = ImportOptions(executor="serial", corpus="nemo")
    import_corpus(tmp_path / "in" / "m.jsonl", tmp_path / "meta", options)
    ((_, reject),) = storage.read_json_lines(tmp_path / "meta" / "rejects.jsonl")
    assert "--audio-root" in reject["detail"]
    there = ImportOptions(executor="serial", corpus="nemo", audio_root=(tmp_path / "far",), update=True)
    report = import_corpus(tmp_path / "in" / "m.jsonl", tmp_path / "meta", there)
    assert report.num_rows == 1 and not report.rejects


def test_a_member_that_changed_is_said(tmp_path: Path) -> None:
    members = {"a.wav": sound_bytes("a.wav"), "a.txt": b"a text"}
    tar(tmp_path / "in" / "x.tar", members)
    options = ImportOptions(executor="serial", corpus="webdataset")
    import_corpus(tmp_path / "in", tmp_path / "meta", options)
    tar(tmp_path / "in" / "x.tar", members | {"b.wav": sound_bytes("b.wav"), "b.txt": b"more"})
    report = import_corpus(tmp_path / "in", tmp_path / "meta", options)
    assert report.num_rows == 2 and any("1 recording changed" in note for note in report.notes)


def test_links_in_a_tar_are_refused(tmp_path: Path) -> None:
    import tarfile

    write(tmp_path / "secret.wav", sound_bytes("a.wav"))
    (tmp_path / "in").mkdir()
    with tarfile.open(tmp_path / "in" / "x.tar", "w") as file:
        info = tarfile.TarInfo("a.wav")
        info.type, info.linkname = tarfile.SYMTYPE, str(tmp_path / "secret.wav")
        file.addfile(info)
    report = import_corpus(tmp_path / "in", tmp_path / "meta", ImportOptions(executor="serial", corpus="webdataset"))
    assert dict(report.rejects) == {"unsafe_path": 1}


def test_of_wav_scp_nothing_is_run(tmp_path: Path) -> None:
    write(tmp_path / "in" / "wav.scp", f"a touch {tmp_path / 'ran'} |\nb | touch {tmp_path / 'ran'}\n")
    report = import_corpus(tmp_path / "in", tmp_path / "meta", ImportOptions(executor="serial", corpus="kaldi"))
    assert dict(report.rejects) == {"bad_row": 2} and not (tmp_path / "ran").exists()


def test_ids_that_look_like_parts_are_changed(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(RATE_HZ), RATE_HZ)
    write(tmp_path / "wav.scp", "spk-00001 a.wav\n")
    write(tmp_path / "text", "spk-00001 some words\n")
    import_corpus(tmp_path, tmp_path.parent / "meta", ImportOptions(executor="serial", corpus="kaldi"))
    (row,) = storage.read_rows(tmp_path.parent / "meta" / "recordings.jsonl", Recording)
    assert row.id == "spk-00001_"


def test_segments_of_several_languages_are_not_taken_for_one(tmp_path: Path) -> None:
    """A Kaldi folder whose utt2lang differs within a recording: the first one's language is not that of the others."""
    root = tmp_path / "in"
    root.mkdir()
    soundfile.write(root / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(48_000), 16_000)
    (root / "wav.scp").write_text("a a.wav\n")
    (root / "segments").write_text("u1 a 0.0 1.0\nu2 a 1.0 2.0\n")
    (root / "text").write_text("u1 good morning\nu2 guten Morgen\n")
    (root / "utt2lang").write_text("u1 en\nu2 de\n")
    import_corpus(root, tmp_path / "meta", ImportOptions(executor="serial", corpus="kaldi"))
    (row,) = storage.read_rows(tmp_path / "meta" / "recordings.jsonl", Recording)
    assert row.language is None and row.language_problem is None
    assert [segment.language for segment in row.segments] == ["en", "de"]
    (root / "utt2lang").write_text("u1 en\n")  # of the other nothing is known
    options = ImportOptions(executor="serial", corpus="kaldi", overwrite=True)
    import_corpus(root, tmp_path / "meta", options)
    (row,) = storage.read_rows(tmp_path / "meta" / "recordings.jsonl", Recording)
    assert row.language is None and row.language_problem is not None
    assert "some of its segments name no language, others en" in row.language_problem.detail
    (root / "utt2lang").write_text("u1 en\nu2 en\n")
    options = ImportOptions(executor="serial", corpus="kaldi", overwrite=True)
    import_corpus(root, tmp_path / "meta", options)
    (row,) = storage.read_rows(tmp_path / "meta" / "recordings.jsonl", Recording)
    assert row.language == "en" and row.language_problem is None
