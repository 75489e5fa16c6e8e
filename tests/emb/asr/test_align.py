"""Word times for a given text: found, missing and surplus parts told apart, each at its own cost alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from corpora.miniatures import write

from vall_e import audio, cli, storage
from vall_e.emb.asr.align import Alignment, Other, Placed, align
from vall_e.emb.asr.align_pocketsphinx import PocketSphinxAligner
from vall_e.emb.transcribe import say
from vall_e.types import NoTranscript, Reject, Transcript, Utterance

RATE_HZ = 16_000


@pytest.fixture(scope="module")
def aligner() -> PocketSphinxAligner:
    return PocketSphinxAligner(say)


@pytest.fixture(scope="module")
def sentences(demo: Path) -> list[tuple[str, np.ndarray]]:
    """(text, sound) of the demo's voice, 16 kHz: known texts of real recordings."""
    folder = demo / "english" / "slt"
    rows = [line.split("|") for line in (folder / "metadata.csv").read_text().splitlines()]
    found = []
    for row in rows:
        path = next(
            path for path in sorted(folder.iterdir()) if path.stem == Path(row[0]).stem and path.suffix != ".csv"
        )
        samples, rate_hz = audio.load(path)
        found.append((row[-1], audio.resample(samples, rate_hz, RATE_HZ)))
    assert len(found) >= 5
    return found


def long_recording(path: Path, parts: Sequence[np.ndarray]) -> audio.Source:
    gap = np.zeros(RATE_HZ // 2, np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.concatenate([piece for part in parts for piece in (part, gap)]), RATE_HZ)
    return audio.Source(audio.probe(path, path.name), path)


def given(text: str) -> Transcript:
    return Transcript(
        recording_id="a.wav", language="en", language_prob=None, text=text, segments=(), backend="sidecar"
    )


def aligned(aligner: PocketSphinxAligner, source: audio.Source, text: str) -> Alignment:
    found = align(aligner, source, given(text))
    assert isinstance(found, Alignment)
    return found


def words_of(found: Alignment) -> list[str]:
    return [word.text for segment in found.transcript.segments for word in segment.words]


def test_every_word_lies_where_its_sentence_is_spoken(
    aligner: PocketSphinxAligner, sentences: list[tuple[str, np.ndarray]], tmp_path: Path
) -> None:
    order = [0, 1, 2, 3, 4, 1, 0, 3, 2, 4] * 3  # sentences come again: only the place in the text tells them apart
    source = long_recording(tmp_path / "a.wav", [sentences[number][1] for number in order])
    text = " ".join(sentences[number][0] for number in order)
    found = aligned(aligner, source, text)
    assert found.rejects == () and words_of(found) == text.split()
    placed = [word for segment in found.transcript.segments for word in segment.words]
    place, start_s = 0, 0.0
    for number in order:
        spoken, samples = sentences[number]
        end_s = start_s + len(samples) / RATE_HZ
        for _ in spoken.split():
            assert start_s - 0.1 <= placed[place].start_s < placed[place].end_s <= end_s + 0.1
            place += 1
        start_s = end_s + 0.5
    assert " ".join(segment.text for segment in found.transcript.segments) == text


def test_a_sentence_that_was_left_out_costs_itself_alone(
    aligner: PocketSphinxAligner, sentences: list[tuple[str, np.ndarray]], tmp_path: Path
) -> None:
    source = long_recording(tmp_path / "a.wav", [sentences[number][1] for number in (0, 1, 3, 4)])
    found = aligned(aligner, source, " ".join(text for text, _ in sentences[:5]))
    assert words_of(found) == " ".join(sentences[number][0] for number in (0, 1, 3, 4)).split()
    (reject,) = found.rejects
    assert reject.reason == "text_mismatch" and f"{len(sentences[2][0].split())} words of the text" in reject.detail
    gap_s = sum(len(sentences[number][1]) / RATE_HZ + 0.5 for number in (0, 1))
    assert reject.start_s == pytest.approx(gap_s, abs=1.0)


def test_what_was_said_besides_is_in_no_segment(
    aligner: PocketSphinxAligner, sentences: list[tuple[str, np.ndarray]], tmp_path: Path
) -> None:
    source = long_recording(tmp_path / "a.wav", [samples for _, samples in sentences[:5]])
    found = aligned(aligner, source, " ".join(sentences[number][0] for number in (0, 1, 3, 4)))
    assert words_of(found) == " ".join(sentences[number][0] for number in (0, 1, 3, 4)).split()
    begin_s = sum(len(sentences[number][1]) / RATE_HZ + 0.5 for number in (0, 1))
    end_s = begin_s + len(sentences[2][1]) / RATE_HZ
    (reject,) = [each for each in found.rejects if "not in the text" in each.detail]
    assert reject.start_s is not None and reject.duration_s is not None
    assert begin_s - 0.3 <= reject.start_s and reject.start_s + reject.duration_s <= end_s + 0.6
    assert reject.duration_s > 0.5 * (end_s - begin_s)
    for segment in found.transcript.segments:
        assert segment.end_s <= begin_s + 0.2 or segment.start_s >= end_s - 0.2


def test_the_text_of_another_recording_is_refused(
    aligner: PocketSphinxAligner, sentences: list[tuple[str, np.ndarray]], tmp_path: Path
) -> None:
    source = long_recording(tmp_path / "a.wav", [sentences[number][1] for number in (0, 1)])
    other = "Completely different words were printed on this page. Nobody here would ever read them aloud to you."
    found = align(aligner, source, given(other))
    assert isinstance(found, NoTranscript) and found.reason == "text_mismatch" and found.final


def test_numbers_and_names_that_no_dictionary_has_are_placed(
    aligner: PocketSphinxAligner, sentences: list[tuple[str, np.ndarray]], tmp_path: Path
) -> None:
    text, samples = sentences[0]
    source = long_recording(tmp_path / "a.wav", [samples])
    words = text.split()
    found = list(aligner.place(source, [*words, "Xyzzyplugh", "—", "$3.50"], "en"))
    assert [each.index for each in found if isinstance(each, Placed)][: len(words)] == list(range(len(words)))


class Made:
    """An aligner whose findings are written down."""

    name_and_version = "made"

    def __init__(self, found: Sequence[Placed | Other]) -> None:
        self._found = found

    def supports(self, language: str) -> bool:
        return True

    def place(self, source: audio.Source, words: Sequence[str], language: str) -> Iterator[Placed | Other]:
        yield from self._found


def test_segments_end_with_sentences_pauses_and_what_does_not_fit(tmp_path: Path) -> None:
    source = long_recording(tmp_path / "a.wav", [np.zeros(20 * RATE_HZ, np.float32)])
    text = "One two three. — Four five six, seven eight nine ten"
    times = [(0, 0), (1, 4), (2, 6), (4, 7), (5, 8), (7, 9), (8, 11), (9, 11.9), (10, 12.5)]
    placed = [Placed(index, start_s, start_s + 0.5, 0.5) for index, start_s in times]
    found = align(Made([*placed[:7], Other(11.55, 11.85), *placed[7:]]), source, given(text))
    assert isinstance(found, Alignment)
    assert [segment.text for segment in found.transcript.segments] == [
        "One",  # a pause of 3.5 s
        "two",  # a pause of 1.5 s
        "three. — Four five",  # six is missing
        "seven",  # a pause
        "eight",  # something else was said
        "nine ten",
    ]
    assert any("1 words of the text are not in the sound: six," in each.detail for each in found.rejects)


def test_a_long_recording_with_a_text_becomes_utterances(
    sentences: list[tuple[str, np.ndarray]], tmp_path: Path
) -> None:
    """Longer than --max-duration and without times it used to be a reject as a whole."""
    order = [0, 1, 2, 3, 4] * 3
    long_recording(tmp_path / "in" / "g" / "ann" / "a.wav", [sentences[number][1] for number in order])
    write(tmp_path / "in" / "g" / "ann" / "a.txt", " ".join(sentences[number][0] for number in order))
    base = ["prepare", str(tmp_path / "in"), "--config", "offline", "--executor", "serial", "--language", "en"]
    assert cli.main([*base[:2], str(tmp_path / "work"), *base[2:], "--align", "pocketsphinx"]) == 0
    rows = sorted(
        storage.read_rows(tmp_path / "work" / "dataset" / "utterances.jsonl", Utterance),
        key=lambda row: row.start_samples,
    )
    assert len(rows) >= 3
    assert " ".join(row.text for row in rows) == " ".join(sentences[number][0] for number in order)
    assert all(row.words and (row.scores["word_score"] or 0) > 0.1 for row in rows)
    assert not list(storage.read_rows(tmp_path / "work" / "metadata" / "rejects.jsonl", Reject))


def test_a_language_that_is_not_aligned_is_said(sentences: list[tuple[str, np.ndarray]], tmp_path: Path) -> None:
    long_recording(tmp_path / "in" / "a.wav", [sentences[0][1]])
    write(tmp_path / "in" / "a.txt", "Guten Tag.")
    args = ["transcribe", "--input-audio", str(tmp_path / "in"), "--output-metadata", str(tmp_path / "meta")]
    assert cli.main([*args, "--backend", "sidecar", "--language", "de", "--align", "pocketsphinx"]) == 0
    ((_, note),) = storage.read_json_lines(tmp_path / "meta" / "notes.jsonl")
    assert note["note"] == "not_aligned" and "'de'" in note["detail"]
