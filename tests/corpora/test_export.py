"""What is exported is imported again: the same utterances, texts, speakers, languages and sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from corpora.miniatures import MINIATURES, speech, write

from vall_e import audio, cli, storage
from vall_e.corpora.export.base import Work
from vall_e.corpora.importing import import_corpus, roots_of
from vall_e.corpora.registry import ImportOptions
from vall_e.types import Recording

LAYOUTS = ("kaldi", "lhotse", "huggingface", "webdataset")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whole files, segments of one, audio in a tar, names with spaces; two speakers, two languages."""
    root = tmp_path_factory.mktemp("export")
    voices = root / "voices"
    speech(voices / "g" / "ann" / "one file.wav")
    write(voices / "g" / "ann" / "one file.txt", "It was ten o'clock.")
    speech(voices / "g" / "bob" / "two.flac", 4.0)
    times = "1\n00:00:00,200 --> 00:00:01,800\nGuten Tag.\n\n2\n00:00:02,100 --> 00:00:03,900\nGute Nacht.\n"
    write(voices / "g" / "bob" / "two.srt", times)
    for speaker, code in (("ann", "en"), ("bob", "de")):
        write(voices / "g" / speaker / "language.txt", code)
    args = ["prepare", str(voices), str(root / "work"), "--config", "offline", "--executor", "serial"]
    assert cli.main(args) == 0
    return root / "work"


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_round_trip_keeps_text_speaker_language_and_sound(work: Path, tmp_path: Path, name: str) -> None:
    assert cli.main(["export", name, str(work), str(tmp_path / "out")]) == 0
    path = tmp_path / "out" / "cuts.jsonl.gz" if name == "lhotse" else tmp_path / "out"
    options = ImportOptions(executor="serial", corpus=name, audio_root=(work.parent / "voices",))
    report = import_corpus(path, tmp_path / "meta", options)
    assert not report.rejects
    found = {}
    roots = roots_of(tmp_path / "meta", path)
    for row in storage.read_rows(tmp_path / "meta" / "recordings.jsonl", Recording):
        source = audio.locate(roots, row)
        assert source is not None
        samples = np.concatenate(list(source.blocks(row.sample_rate_hz, 1.0)))
        parts: list[tuple[str | None, str, float, float]] = [
            (each.text, each.speaker or row.speaker, each.start_s, each.end_s) for each in row.segments
        ]
        for text, speaker, start_s, end_s in parts or [(row.text, row.speaker, 0.0, row.duration_s)]:
            start, end = round(start_s * row.sample_rate_hz), round(end_s * row.sample_rate_hz)
            found[text] = (speaker, row.language, samples[start:end])
    pieces = list(Work(work).pieces())
    assert len(pieces) == 3 and set(found) == {piece.row.text for piece in pieces}
    for piece in pieces:
        speaker, language, samples = found[piece.row.text]
        assert (speaker, language) == (piece.row.speaker_id, piece.row.language)
        np.testing.assert_allclose(samples, piece.samples, atol=1 / 32_768)


def test_a_member_of_a_tar_is_exported_to_every_layout(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    made = MINIATURES["webdataset"][1](tmp_path / "in")
    args = ["prepare", str(made.path), str(tmp_path / "work"), "--config", "offline", "--executor", "serial"]
    assert cli.main([*args, "--languages", "en"]) == 0
    for name in LAYOUTS:
        assert cli.main(["export", name, str(tmp_path / "work"), str(tmp_path / name)]) == 0
    scp = (tmp_path / "kaldi" / "wav.scp").read_text().split()
    assert all((tmp_path / "kaldi" / path).is_file() for path in scp[1::2])


def test_shar_is_read_by_lhotse(work: Path, tmp_path: Path) -> None:
    from lhotse import CutSet

    cli.main(["export", "lhotse", str(work), str(tmp_path / "out")])
    cuts = list(CutSet.from_shar(in_dir=str(tmp_path / "out" / "shar")))
    assert sorted(cut.supervisions[0].text for cut in cuts) == ["Gute Nacht.", "Guten Tag.", "It was ten o'clock."]
    assert {cut.supervisions[0].custom["phonemes"] for cut in cuts} == {row.phonemes for row in Work(work).rows()}


def test_kaldi_files_are_sorted_as_its_tools_ask(work: Path, tmp_path: Path) -> None:
    cli.main(["export", "kaldi", str(work), str(tmp_path / "out")])
    for path in (tmp_path / "out").glob("*"):
        if path.is_file():
            lines = path.read_bytes().splitlines()
            assert lines == sorted(lines)
    keys = [line.split()[0] for line in (tmp_path / "out" / "utt2spk").read_text().splitlines()]
    assert keys == [line.split()[0] for line in (tmp_path / "out" / "text").read_text().splitlines()]


def test_nothing_is_overwritten(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from vall_e import config

    write(tmp_path / "out" / "mine", "x")
    with pytest.raises(SystemExit) as caught:
        config.run_main(cli.main, ["export", "kaldi", str(work), str(tmp_path / "out")])
    assert caught.value.code == 2 and "not empty" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        config.run_main(cli.main, ["export", "kaldy", str(work), str(tmp_path / "new")])
    assert "did you mean 'kaldi'" in capsys.readouterr().err
