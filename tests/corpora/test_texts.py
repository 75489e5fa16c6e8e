"""Texts beside the audio: which one is taken, and what becomes of those that can't be used."""

from __future__ import annotations

import json
import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import soundfile
from audio_files import nobodys_folder

from vall_e import audio, storage
from vall_e.corpora.folder import load
from vall_e.corpora.registry import ImportOptions
from vall_e.corpora.texts import Texts
from vall_e.emb.asr.given import GivenText
from vall_e.emb.transcribe import TranscribeOptions, transcribe
from vall_e.types import NoTranscript, Recording, Reject, RejectReason, Transcript

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
        ("metadata.csv", "x.wav\nhello there\n", "separate them with '|'"),
        ("metadata.csv", "x.wav|\n|hello there\n", "name|text"),
        ("transcripts.tsv", "x.wav hello there\n", "'|'"),
        ("metadata.csv", "a/x.wav|one two|three four\nb.wav|so it is|and he went\n", "--text-column"),
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
@pytest.mark.parametrize("content", ["a|Grüße".encode("latin-1"), "a|hello".encode("utf-16-le")])
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


# ---- tables as people and programs write them


def import_notes(root: Path) -> list[str]:
    corpus = load(ImportOptions())
    for _ in corpus.recordings(root):
        pass
    return corpus.notes


LIKE_PEOPLE: dict[str, tuple[str, str | bytes, str]] = {
    "commas and quotes": ("metadata.csv", 'x.wav,"hello, there"\ny.wav,and you\n', "hello, there"),
    "tabs in a csv": ("metadata.csv", "x.wav\thello there\n", "hello there"),
    "semicolons": ("metadata.csv", "x;hello there\ny;and you\n", "hello there"),
    "a bar in a tsv": ("transcripts.tsv", "x.wav|hello there\n", "hello there"),
    "carriage returns": ("metadata.csv", "x|hello there\ry|and you\r", "hello there"),
    "windows": ("metadata.csv", "\ufeffx|hello there\r\n\r\ny|and you\r\n", "hello there"),
    "a header": ("metadata.csv", "audio_file|text|speaker_name\nx.wav|hello there|Anna\n", "hello there"),
    "a header in another order": ("metadata.csv", "speaker,text,path\nAnna,hello there,x.wav\n", "hello there"),
    "Common Voice": (
        "transcripts.tsv",
        "client_id\tpath\tsentence\tlocale\nab12\tx.wav\thello there\ten\n",
        "hello there",
    ),
    "a duration": ("metadata.csv", "x.wav|hello there|1.52\ny.wav|and you all|2.0\n", "hello there"),
    "a language": ("metadata.csv", "x.wav|hello there|en\ny.wav|and you all|en\n", "hello there"),
    "a speaker before the text": ("metadata.csv", "x.wav|anna|hello there\ny.wav|ben|and you all\n", "hello there"),
    "a text with a bar": ("metadata.csv", "x|hello | there\ny|and you\nz|so\n", "hello | there"),
    "quotes of the text": ("metadata.csv", '"x"|no\nx|"Hello," he said, "you."\n', '"Hello," he said, "you."'),
    "quotes of a program": ("metadata.csv", 'x|"he said ""hi"" to me"\n', 'he said "hi" to me'),
    "./": ("metadata.csv", "./x.wav|hello there\n", "hello there"),
    "an absolute path": (
        "metadata.csv",
        "/data/old/place/x.wav|hello there\n/data/old/place/y.wav|and you\n",
        "hello there",
    ),
    "backslashes": ("metadata.csv", "C:\\voices\\x.wav|hello there\n", "hello there"),
    "another case": ("metadata.csv", "X.WAV|hello there\n", "hello there"),
    "another extension": ("metadata.csv", "x.mp3|hello there\n", "hello there"),
    "metadata.txt": ("metadata.txt", "x.wav|hello there\n", "hello there"),
    "Metadata.CSV": ("Metadata.CSV", "x.wav|hello there\n", "hello there"),
    "transcripts.txt": ("transcripts.txt", "x.wav\thello there\n", "hello there"),
    "a text file in capitals": ("X.TXT", "hello there", "hello there"),
    "UTF-16": ("metadata.csv", "x|hello there\n".encode("utf-16"), "hello there"),
}


@pytest.mark.parametrize("kind", LIKE_PEOPLE)
def test_texts_as_people_write_them(tmp_path: Path, kind: str) -> None:
    name, content, text = LIKE_PEOPLE[kind]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert text_of(source(tmp_path, "x.wav")) == text


def test_names_are_compared_in_one_unicode_form(tmp_path: Path) -> None:
    one = source(tmp_path, unicodedata.normalize("NFD", "é.wav"))
    (tmp_path / "metadata.csv").write_text(unicodedata.normalize("NFC", "é|hello there\n"))
    assert text_of(one) == "hello there"
    (tmp_path / unicodedata.normalize("NFC", "é.txt")).write_text("beside")
    assert text_of(one) == "beside"


def test_an_id_with_dots(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text("p.1.2|hello there\np.1.3|and you\n")
    assert text_of(source(tmp_path, "p.1.2.wav")) == "hello there"


def test_speakers_and_languages_of_a_table(tmp_path: Path) -> None:
    source(tmp_path, "x.wav"), source(tmp_path, "y.wav")
    (tmp_path / "metadata.csv").write_text("x.wav|anna|hello there|en\ny.wav|ben|so it is|de\n")
    found = [each for each in load(ImportOptions()).recordings(tmp_path) if isinstance(each, Recording)]
    assert [(each.speaker, each.language, each.text) for each in found] == [
        ("anna", "en", "hello there"),
        ("ben", "de", "so it is"),
    ]


def test_columns_can_be_named(tmp_path: Path) -> None:
    source(tmp_path, "x.wav")
    (tmp_path / "metadata.csv").write_text("x.wav|one two|three four\n")
    options = ImportOptions(text_column=3, speaker_column=2)
    (found,) = load(options).recordings(tmp_path)
    assert isinstance(found, Recording) and (found.text, found.speaker) == ("three four", "one two")
    (found,) = load(ImportOptions(text_column=4)).recordings(tmp_path)
    assert isinstance(found, Recording) and found.text_problem is not None
    assert "--text-column 4: the table has 3 columns" in found.text_problem.detail


def test_a_row_that_names_another_file_is_not_taken(tmp_path: Path) -> None:
    """x.mp3 is there and has its own row, so x.wav has none."""
    source(tmp_path, "x.mp3")
    (tmp_path / "metadata.csv").write_text("x.mp3|hello there\n")
    assert isinstance(transcribed(source(tmp_path, "x.wav")), NoTranscript)


def test_a_quote_that_is_never_closed_is_named(tmp_path: Path) -> None:
    """Python's csv module gives up on a cell of 128 KiB, which ended the run."""
    rows = "".join(f"file{n}.wav,this is what is said\n" for n in range(6_000))
    (tmp_path / "metadata.csv").write_text('x.wav,"hello there\n' + rows)
    assert "close its quotes" in unusable(source(tmp_path, "x.wav")).detail


def test_two_rows_that_could_be_meant_are_named(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text("/a/x.wav|hello there\n/b/x.wav|and you\n")
    assert "lines 1 and 2" in unusable(source(tmp_path, "x.wav")).detail


def test_what_matches_nothing_is_said(tmp_path: Path) -> None:
    for name in ("g/a.wav", "g/b.wav", "g/c.wav"):
        source(tmp_path, name)
    (tmp_path / "metadata.csv").write_text("foo_1|hello there\nfoo_2|and you\n")
    assert import_notes(tmp_path) == [
        "metadata.csv: 0 of 2 rows name a recording; line 1 says 'foo_1', a recording is 'g/a.wav'"
    ]
    (tmp_path / "metadata.csv").write_text("g/a|hello there\ng/b|and you\nfoo|so\n")
    assert import_notes(tmp_path) == [
        "metadata.csv: 1 row names no recording, like 'foo' in line 3",
        "1 recording has no text where 2 have one: g/c.wav",
    ]


# ---- the language of given texts

GERMAN = ["Die Kinder spielen im Garten hinter dem Haus.", "Sie singen dabei ein Lied.", "Na so was."]
ENGLISH = ["Nobody said a word about it.", "The birch canoe slid on the planks.", "So it is."]


def speakers_corpus(root: Path, **speakers: list[str]) -> None:
    for speaker, texts in speakers.items():
        for number, text in enumerate(texts):
            source(root, f"g/{speaker}/{number}.wav")
            (root / "g" / speaker / f"{number}.txt").write_text(text)


def transcripts_of(root: Path, meta: Path, **options: Any) -> dict[str, tuple[str, float | None]]:
    given = TranscribeOptions(executor="serial", backend=("sidecar",), **options)
    transcribe(root, meta, given)
    rows = storage.read_rows(meta / "transcripts.jsonl", Transcript)
    return {row.recording_id: (row.language, row.language_prob) for row in rows}


def test_a_language_is_guessed_from_all_texts_of_a_speaker(tmp_path: Path) -> None:
    """Of short texts by themselves two in three are right."""
    speakers_corpus(tmp_path / "in", lena=GERMAN, anna=ENGLISH)
    found = transcripts_of(tmp_path / "in", tmp_path / "meta")
    assert {name: language for name, (language, _) in found.items()} == {
        **{f"g/lena/{n}.wav": "de" for n in range(3)},
        **{f"g/anna/{n}.wav": "en" for n in range(3)},
    }
    assert len({probability for name, (_, probability) in found.items() if "lena" in name}) == 1
    rows = [json.loads(line) for line in (tmp_path / "meta" / "languages.jsonl").read_text().splitlines()]
    assert [(row["speaker"], row["language"]) for row in rows] == [("g/anna", "en"), ("g/lena", "de")]
    speakers_corpus(tmp_path / "in", lena=[*GERMAN, "It is so."])
    assert transcripts_of(tmp_path / "in", tmp_path / "meta")["g/lena/3.wav"][0] == "de"


def test_a_guess_that_is_not_sure_is_rejected_and_can_be_narrowed(tmp_path: Path) -> None:
    speakers_corpus(tmp_path / "in", lena=["Na so was."])
    assert transcripts_of(tmp_path / "in", tmp_path / "meta", min_language_prob=1.0, language_from="recording") == {}
    (reject,) = storage.read_rows(tmp_path / "meta" / "rejects.jsonl", Reject)
    assert reject.reason == RejectReason.LANGUAGE_UNSURE and "--languages" in reject.detail
    found = transcripts_of(tmp_path / "in", tmp_path / "meta2", languages=("de", "ja"), min_language_prob=0.0)
    assert found["g/lena/0.wav"][0] in ("de", "ja")
    with pytest.raises(ValueError, match="'xx'"):
        TranscribeOptions(languages=("xx",))
