"""Texts beside the audio: which one is taken, and what becomes of those that can't be used."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pytest
import soundfile
from audio_files import nobodys_folder

from vall_e import audio
from vall_e.corpora.folder import load
from vall_e.corpora.registry import ImportOptions
from vall_e.corpora.texts import Texts
from vall_e.emb.asr.given import GivenText
from vall_e.types import NoTranscript, Recording, RejectReason, Transcript

RATE_HZ = 16_000


@dataclass(frozen=True)
class One:
    """A recording of a corpus."""

    root: Path
    name: str


def source(root: Path, name: str) -> One:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.full(RATE_HZ // 2, 0.1), RATE_HZ, format="WAV")
    return One(root, name)


def transcribed(one: One, language: str | None = "en") -> Transcript | NoTranscript:
    """What the given text is to the recogniser `sidecar`, by way of the corpus."""
    (found,) = (each for each in load(ImportOptions()).recordings(one.root) if each.id == one.name)
    assert isinstance(found, Recording)
    header = audio.probe(one.root / one.name, one.name)
    recording = msgspec.structs.replace(found, num_samples=header.num_samples, sample_rate_hz=header.sample_rate_hz)
    (result,) = GivenText().transcribe([audio.Source(recording, one.root / one.name)], language)
    return result


def text_of(one: One) -> str:
    result = transcribed(one)
    assert isinstance(result, Transcript), result
    return result.text


def unusable(one: One) -> NoTranscript:
    result = transcribed(one)
    assert isinstance(result, NoTranscript) and result.final, result
    return result


def test_the_nearest_text_wins(tmp_path: Path) -> None:
    one = source(tmp_path, "g/s/x.wav")
    result = transcribed(one)
    assert isinstance(result, NoTranscript) and not result.final and result.reason == RejectReason.NO_TEXT
    texts = {
        "transcripts.tsv": ("g/s/x.wav\troot", "root"),
        "metadata.csv": ("g/s/x|root csv", "root csv"),
        "g/transcripts.tsv": ("s/x\tgroup", "group"),
        "g/s/transcripts.tsv": ("x.wav\tbeside", "beside"),
        "g/s/metadata.csv": ("x|beside csv", "beside csv"),
        "g/s/x.lab": ("lab", "lab"),
        "g/s/x.txt": (" txt\r\n\tin  lines\n", "txt in lines"),
        "g/s/x.normalized.txt": ("normalized", "normalized"),
    }
    for name, (content, text) in texts.items():
        (tmp_path / name).write_bytes(content.encode())
        assert text_of(one) == text


def test_one_segment_covers_the_recording(tmp_path: Path) -> None:
    one = source(tmp_path, "x.wav")
    (tmp_path / "x.txt").write_bytes(b"\xef\xbb\xbfAfter a byte order mark.\n")
    result = transcribed(one)
    assert isinstance(result, Transcript)
    (segment,) = result.segments
    assert (segment.text, segment.start_s, segment.end_s, segment.words) == (result.text, 0.0, 0.5, ())
    assert result.text == "After a byte order mark."


def test_tables(tmp_path: Path) -> None:
    table = 'file|text\nwavs_1|Dr. Who|Doctor Who\nb.wav|he said "hi"\nempty||\nno separator\n\nspaced | a  b \r\n'
    (tmp_path / "metadata.csv").write_text(table)
    assert text_of(source(tmp_path, "wavs_1.wav")) == "Doctor Who"
    assert text_of(source(tmp_path, "b.wav")) == 'he said "hi"'
    assert text_of(source(tmp_path, "spaced.wav")) == "a b"
    for name in ("b.flac", "empty.wav", "no separator.wav", "file.wav"):
        assert isinstance(transcribed(source(tmp_path, name)), NoTranscript), name


def test_further_columns(tmp_path: Path) -> None:
    """A .tsv has one text, and what follows is the speaker or the like; a .csv may have a normalised text."""
    (tmp_path / "transcripts.tsv").write_text("b.wav\thello there\tspeaker1\n")
    (tmp_path / "metadata.csv").write_text("c|Dr. Who|Doctor Who|speaker1\n")
    assert text_of(source(tmp_path, "b.wav")) == "hello there"
    assert text_of(source(tmp_path, "c.wav")) == "Doctor Who"


@pytest.mark.parametrize(
    ("name", "content", "advice"),
    [
        ("metadata.csv", "x.wav,hello there\ny.wav,and you\n", "'|'"),
        ("metadata.csv", "x.wav\thello there\n", "'|'"),
        ("metadata.csv", "x.wav|\n|hello there\n", "'|'"),
        ("transcripts.tsv", "x.wav|hello there\n", "a tab"),
    ],
)
def test_a_table_without_a_usable_row_is_named(tmp_path: Path, name: str, content: str, advice: str) -> None:
    """It was meant to give the texts, so no recogniser is asked for them."""
    one = source(tmp_path, "a/x.wav")
    (tmp_path / name).write_text(content)
    result = unusable(one)
    assert result.reason == RejectReason.NO_TEXT and name in result.detail and advice in result.detail
    (tmp_path / "a/x.txt").write_text("its own text")
    assert text_of(one) == "its own text"


@pytest.mark.parametrize("content", ["", "\n \n", "file|text\n"])
def test_a_table_with_nothing_in_it_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "metadata.csv").write_text(content)
    result = transcribed(source(tmp_path, "x.wav"))
    assert isinstance(result, NoTranscript) and not result.final


def test_the_layout_of_ljspeech(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text("LJ001-0001|Printing, in 1 sense|Printing, in one sense\n")
    assert text_of(source(tmp_path, "wavs/LJ001-0001.wav")) == "Printing, in one sense"
    assert isinstance(transcribed(source(tmp_path, "other/LJ001-0001.wav")), NoTranscript)


def test_colliding_stems_share_their_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("shared")
    assert text_of(source(tmp_path, "a.wav")) == text_of(source(tmp_path, "a.flac")) == "shared"


def test_an_empty_text_is_none(tmp_path: Path) -> None:
    one = source(tmp_path, "x.wav")
    (tmp_path / "x.normalized.txt").write_text(" \n")
    assert isinstance(transcribed(one), NoTranscript)
    (tmp_path / "x.txt").write_text("next in line")
    assert text_of(one) == "next in line"


@pytest.mark.parametrize("name", ["x.txt", "metadata.csv", "transcripts.tsv"])
@pytest.mark.parametrize("content", ["Grüße".encode("latin-1"), "hello".encode("utf-16"), "hello".encode("utf-16-le")])
def test_a_text_that_is_not_utf_8_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    one = source(tmp_path, "x.wav")
    (tmp_path / name).write_bytes(content)
    result = unusable(one)
    assert result.reason == RejectReason.NO_TEXT and name in result.detail and "convert" in result.detail


def test_a_text_as_large_as_a_film_is_refused(tmp_path: Path) -> None:
    one = source(tmp_path, "x.wav")
    (tmp_path / "x.txt").write_text("word " * 300_000)
    assert "bytes" in unusable(one).detail


def test_links(tmp_path: Path) -> None:
    root = tmp_path / "in"
    one = source(root, "x.wav")
    (tmp_path / "secret.txt").write_text("not for the data set")
    (root / "x.txt").symlink_to(tmp_path / "secret.txt")
    assert unusable(one).reason == RejectReason.LINK_OUTSIDE
    (root / "x.txt").unlink()
    (root / "x.txt").symlink_to(root / "nowhere.txt")
    assert "broken link" in unusable(one).detail
    (root / "x.txt").unlink()
    (root / "y.txt").write_text("inside")
    (root / "x.txt").symlink_to(root / "y.txt")
    assert text_of(one) == "inside"


def test_a_name_with_two_texts_is_refused(tmp_path: Path) -> None:
    one = source(tmp_path, "x.wav")
    (tmp_path / "metadata.csv").write_text("x|one\nx|one\n")
    assert text_of(one) == "one"
    (tmp_path / "metadata.csv").write_text("x|one\nx|two\n")
    assert "line 2" in unusable(one).detail


def test_language_txt_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "language.txt").write_text("en")
    assert isinstance(transcribed(source(tmp_path, "language.wav")), NoTranscript)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "The birch canoe slid on the smooth planks and nobody said a word about it."),
        ("de", "Die Kinder spielen im Garten hinter dem Haus und singen dabei ein Lied."),
        ("ja", "春になると、桜の花が咲きます。"),
        ("zh", "人人生而自由，在尊严和权利上一律平等。"),
    ],
)
def test_the_language_is_detected_the_same_way_every_time(tmp_path: Path, language: str, text: str) -> None:
    one = source(tmp_path, "x.wav")
    (tmp_path / "x.txt").write_text(text)
    results = [transcribed(one, None) for _ in range(5)]
    assert all(result == results[0] for result in results)
    assert isinstance(results[0], Transcript)
    assert results[0].language == language and 0.5 < (results[0].language_prob or 0) <= 1


def test_a_text_without_a_language_is_refused(tmp_path: Path) -> None:
    one = source(tmp_path, "x.wav")
    (tmp_path / "x.txt").write_text("1984 ... 42")
    result = transcribed(one, None)
    assert isinstance(result, NoTranscript)
    assert result.reason == RejectReason.LANGUAGE_UNSUPPORTED and "language.txt" in result.detail


@pytest.mark.parametrize("kind", ["pipe", "broken link", "forbidden"])
def test_a_language_file_that_can_not_be_read(kind: str) -> None:
    """It used to end the run, or was passed over for that of the folder above."""
    with nobodys_folder() as folder:
        (folder / "language.txt").write_text("de")
        file = folder / "s" / "language.txt"
        file.parent.mkdir()
        if kind == "pipe":
            os.mkfifo(file)
        elif kind == "broken link":
            file.symlink_to(folder / "none.txt")
        else:
            file.write_text("en")
            file.chmod(0)
        language, problem = Texts(folder).language_of(folder / "s" / "a.wav")
        assert language is None and problem is not None
        assert problem.reason == "language_unsupported" and str(file) in problem.detail
        file.unlink()
        assert Texts(folder).language_of(folder / "s" / "a.wav") == ("de", None)
