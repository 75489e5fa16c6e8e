"""Subtitles, TextGrids and WhisperX files beside the audio: segments with times, voices as speakers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from corpora.miniatures import speech, write

from vall_e import cli, storage
from vall_e.corpora.importing import import_corpus
from vall_e.corpora.registry import ImportOptions
from vall_e.types import Note, Recording, Utterance

SRT = """1
00:00:00,200 --> 00:00:01,800
Good <i>morning</i>,
Anna.

2
00:00:02,100 --> 00:00:03,900
{\\an8}Good morning.
"""
VTT = """WEBVTT

00:00.200 --> 00:01.800
<v Bob>Good morning, Anna.

00:02.100 --> 00:03.900
<v.loud Anna>Good morning.</v>
"""
TEXTGRID = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 4
tiers? <exists>
size = {size}
item []:
{tiers}"""


def tier(number: int, name: str, intervals: list[tuple[float, float, str]]) -> str:
    lines = [f"    item [{number}]:", '        class = "IntervalTier"', f'        name = "{name}"', "        xmin = 0",
             "        xmax = 4", f"        intervals: size = {len(intervals)}"]  # fmt: skip
    for place, (start, end, text) in enumerate(intervals, start=1):
        lines += [f"        intervals [{place}]:", f"            xmin = {start}", f"            xmax = {end}"]
        lines += [f'            text = "{text}"']
    return "\n".join(lines) + "\n"


SPEAKERS = TEXTGRID.format(
    size=2,
    tiers=tier(1, "Bob", [(0, 0.2, ""), (0.2, 1.8, "Good morning, Anna."), (1.8, 4, "")])
    + tier(2, "Anna", [(0, 2.1, ""), (2.1, 3.9, "Good morning."), (3.9, 4, "")]),
)
WORDS = TEXTGRID.format(
    size=2,
    tiers=tier(1, "words", [(0, 0.2, ""), (0.2, 0.9, "good"), (0.9, 1.8, "morning"), (1.8, 4, "")])
    + tier(2, "phones", [(0, 0.2, ""), (0.2, 0.5, "G"), (0.5, 4, "")]),
)
WHISPERX = json.dumps(
    {
        "segments": [
            {"start": 0.2, "end": 1.8, "text": "Good morning, Anna.", "words": [{"word": "Good"}]},
            {"start": 2.1, "end": 3.9, "text": "Good morning.", "speaker": "SPEAKER_01"},
        ],
        "language": "en",
    }
)
BOTH = [("Good morning, Anna.", 0.2, 1.8), ("Good morning.", 2.1, 3.9)]


def rows(root: Path, metadata: Path) -> list[Recording]:
    import_corpus(root, metadata, ImportOptions(executor="serial", corpus="folder"))
    return list(storage.read_rows(metadata / "recordings.jsonl", Recording))


@pytest.mark.parametrize(
    ("name", "content", "speakers"),
    [
        ("a.srt", SRT, [None, None]),
        ("A.SRT", SRT.replace("\n", "\r\n"), [None, None]),
        ("a.vtt", VTT, ["Bob", "Anna"]),
        ("a.TextGrid", SPEAKERS, ["Bob", "Anna"]),
        ("a.json", WHISPERX, [None, "SPEAKER_01"]),
    ],
)
def test_segments_come_with_their_times_and_voices(
    tmp_path: Path, name: str, content: str, speakers: list[str | None]
) -> None:
    speech(tmp_path / "in" / "g" / "s" / "a.wav", 4.0)
    write(tmp_path / "in" / "g" / "s" / name, content)
    (row,) = rows(tmp_path / "in", tmp_path / "meta")
    assert [(each.text, each.start_s, each.end_s) for each in row.segments] == BOTH
    assert [each.speaker for each in row.segments] == speakers and row.text is None


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_subtitles_in_other_encodings(tmp_path: Path, encoding: str) -> None:
    speech(tmp_path / "in" / "a.wav", 4.0)
    write(tmp_path / "in" / "a.srt", SRT.encode(encoding))
    (row,) = rows(tmp_path / "in", tmp_path / "meta")
    assert len(row.segments) == 2


def test_a_tier_of_words_gives_word_times(tmp_path: Path) -> None:
    """As the Montreal Forced Aligner writes it, phones beside the words."""
    speech(tmp_path / "in" / "a.wav", 4.0)
    write(tmp_path / "in" / "a.TextGrid", WORDS)
    (row,) = rows(tmp_path / "in", tmp_path / "meta")
    (segment,) = row.segments
    assert [(word.text, word.start_s, word.end_s) for word in segment.words] == [
        ("good", 0.2, 0.9),
        ("morning", 0.9, 1.8),
    ]


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("a.srt", "это не субтитры".encode("cp1251"), "not UTF-8"),
        ("a.srt", b"no subtitles at all", "no subtitle in it"),
        ("a.TextGrid", b"nothing of a grid", "not a TextGrid"),
        ("a.json", b'{"segments": [{"text": "no times"}]}', "has no times"),
    ],
)
def test_a_file_that_can_not_be_read_is_not_replaced_by_a_guess(
    tmp_path: Path, name: str, content: bytes, part: str
) -> None:
    speech(tmp_path / "in" / "a.wav", 4.0)
    write(tmp_path / "in" / name, content)
    (row,) = rows(tmp_path / "in", tmp_path / "meta")
    assert row.text_problem is not None and part in row.text_problem.detail and name in row.text_problem.detail


def test_json_of_another_kind_is_no_text(tmp_path: Path) -> None:
    speech(tmp_path / "in" / "a.wav", 4.0)
    write(tmp_path / "in" / "a.json", '{"album": "x"}')
    (row,) = rows(tmp_path / "in", tmp_path / "meta")
    assert (row.text, row.segments, row.text_problem) == (None, (), None)


def test_times_that_can_not_be_are_rejects_of_their_segment_alone(tmp_path: Path) -> None:
    speech(tmp_path / "in" / "a.wav", 4.0)
    late = "3\n00:00:03,950 --> 00:00:04,030\nclipped\n\n4\n00:00:05,000 --> 00:00:06,000\nbehind the end\n"
    write(tmp_path / "in" / "a.srt", SRT + "\n" + late)
    (row,) = rows(tmp_path / "in", tmp_path / "meta")
    assert [segment.text for segment in row.segments][-1] == "clipped" and row.segments[-1].end_s == 4.0
    ((_, reject),) = storage.read_json_lines(tmp_path / "meta" / "rejects.jsonl")
    assert reject["id"] == "a.wav-00003" and reject["reason"] == "bad_times"
    (note,) = storage.read_rows(tmp_path / "meta" / "notes.jsonl", Note)
    assert note.note == "times_clipped" and "30 ms" in note.detail
    report = import_corpus(tmp_path / "in", tmp_path / "meta", ImportOptions(executor="serial"))
    assert report.num_resumed == 1 and not [line for line in report.notes if "changed" in line]


def test_subtitles_become_utterances_of_their_voices(tmp_path: Path) -> None:
    speech(tmp_path / "in" / "g" / "s" / "a.wav", 4.0)
    write(tmp_path / "in" / "g" / "s" / "a.vtt", VTT)
    args = ["prepare", str(tmp_path / "in"), str(tmp_path / "work"), "--config", "offline", "--executor", "serial"]
    assert cli.main([*args, "--language", "en"]) == 0
    utterances = storage.read_rows(tmp_path / "work" / "dataset" / "utterances.jsonl", Utterance)
    assert [(row.text, row.speaker_id) for row in sorted(utterances, key=lambda row: row.start_samples)] == [
        ("Good morning, Anna.", "g/Bob"),
        ("Good morning.", "g/Anna"),
    ]
