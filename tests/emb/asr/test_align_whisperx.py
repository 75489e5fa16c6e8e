"""Word times by a Wav2Vec2 model that really reads: a language of tones, and texts with parts missing or besides."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tone_letters
from hypothesis import given, settings
from hypothesis import strategies as st
from tone_letters import RATE_HZ, SPACE_S

from vall_e import audio, cli, storage
from vall_e.emb.asr.align import Alignment, align
from vall_e.emb.asr.align_whisperx import AWAY, CHANGED, EDITED, GAP, IN_GAP, WhisperXAligner, match
from vall_e.emb.transcribe import say
from vall_e.types import NoTranscript, Reject, Transcript, Utterance


def reference(heard: str, text: str, expected: int | None) -> float:
    """The least cost, cell by cell with every gap tried; without `expected` all of the text must be used."""
    size = len(text)

    def gap(length: int) -> float:
        return min(EDITED * length, GAP + IN_GAP * length) if length else 0.0

    def across(row: list[float]) -> list[float]:
        return [min(row[k] + gap(j - k) for k in range(j + 1)) for j in range(size + 1)]

    table = [[AWAY * abs(j - expected) if expected is not None else gap(j) for j in range(size + 1)]]
    for i in range(1, len(heard) + 1):
        row = []
        for j in range(size + 1):
            best = min(table[k][j] + gap(i - k) for k in range(i))
            if j:
                best = min(best, table[i - 1][j - 1] + CHANGED * (heard[i - 1] != text[j - 1]))
            row.append(best)
        table.append(across(row))
    return min(table[-1]) if expected is not None else table[-1][-1]


@settings(deadline=None, max_examples=60)
@given(st.text("abc", max_size=12), st.text("abc", max_size=14), st.integers(0, 14))
def test_matches_are_those_of_least_cost(heard: str, text: str, expected: int) -> None:
    expected = min(expected, len(text))
    found = match(heard, text, expected)
    pairs = [(i, int(j)) for i, j in enumerate(found) if j >= 0]
    assert all(heard[i] == text[j] for i, j in pairs)
    assert [j for _, j in pairs] == sorted({j for _, j in pairs})
    least = reference(heard, text, expected)
    if not pairs:
        return
    # what the matches cost: what lies between two of them as cheaply as may be, and both ends free in the text
    (first_i, first_j), (last_i, last_j) = pairs[0], pairs[-1]
    cost = sum(
        reference(heard[i + 1 : k], text[j + 1 : m], None) for (i, j), (k, m) in zip(pairs, pairs[1:], strict=False)
    )
    cost += min(
        AWAY * abs(start - expected) + reference(heard[:first_i], text[start:first_j], None)
        for start in range(first_j + 1)
    )
    rest = heard[last_i + 1 :]
    cost += min(reference(rest, text[last_j + 1 : end], None) for end in range(last_j + 1, len(text) + 1))
    assert cost <= least + 1e-6


# ---- a recording of tones


WORDS = (
    *("river", "house", "garden", "winter", "letter", "yellow", "bottle", "captain", "bridge", "teacher", "quiet"),
    *("morning", "paper", "sailor", "forest", "thunder", "village", "blanket", "pepper", "shadow", "mountain"),
    *("ticket", "orange", "candle", "window", "basket", "pocket", "rabbit", "silver", "hammer"),
)


def sentences(num: int) -> list[str]:
    chance = random.Random(0)
    made = [" ".join(chance.choice(WORDS) for _ in range(chance.randint(4, 8))) for _ in range(num)]
    return [each.capitalize() + "." for each in made]


def recording(path: Path, spoken: Sequence[str]) -> list[tuple[float, float]]:
    """Writes sentences half a second apart → when each is said."""
    parts, times, at = [], [], 0
    for number, text in enumerate(spoken):
        samples = tone_letters.say(text, seed=number)
        parts += [samples, np.zeros(RATE_HZ // 2, np.float32)]
        times.append((at / RATE_HZ, (at + len(samples)) / RATE_HZ))
        at += sum(map(len, parts[-2:]))
    soundfile.write(path, np.concatenate(parts), RATE_HZ)
    return times


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tone_letters.build_reader(tmp_path_factory.mktemp("reader") / "wav2vec2")


@pytest.fixture(scope="module")
def aligner(reader: Path) -> WhisperXAligner:
    return WhisperXAligner(say, str(reader), "cpu")


def aligned(aligner: WhisperXAligner, path: Path, text: str) -> Alignment | NoTranscript:
    source = audio.Source(audio.probe(path, path.name), path)
    given = Transcript(
        recording_id="a.wav", language="fi", language_prob=None, text=text, segments=(), backend="sidecar"
    )
    return align(aligner, source, given)


def words_of(found: Alignment) -> list[str]:
    return [word.text for segment in found.transcript.segments for word in segment.words]


def test_words_lie_where_they_are_said(aligner: WhisperXAligner, tmp_path: Path) -> None:
    spoken = sentences(30)  # over two minutes: several windows
    recording(tmp_path / "a.wav", spoken)
    found = aligned(aligner, tmp_path / "a.wav", " ".join(spoken))
    assert isinstance(found, Alignment) and found.rejects == ()
    assert words_of(found) == " ".join(spoken).split()
    assert " ".join(segment.text for segment in found.transcript.segments) == " ".join(spoken)
    placed = [word for segment in found.transcript.segments for word in segment.words]
    at_s, number, right = 0.0, 0, 0
    for text in spoken:
        clock_s = at_s + 0.05
        for place, word in enumerate(text.split()):
            found_word, end_s = placed[number], clock_s + _length_s(word)
            # its first letter may reach into the silence before it, the last one into that behind it
            early_s = SPACE_S + 0.08 if place else 0.3
            right += -early_s < found_word.start_s - clock_s < 0.08 and -0.12 < found_word.end_s - end_s < 0.3
            assert found_word.interpolated is False
            clock_s = end_s + SPACE_S
            number += 1
        at_s += len(tone_letters.say(text)) / RATE_HZ + 0.5
    assert right >= 0.95 * number, "whisperx' own search misses a word now and then"


def _length_s(word: str) -> float:
    return (tone_letters.TONE_S + tone_letters.GAP_S) * len(word.strip("."))


def test_what_is_missing_or_besides_costs_itself_alone(aligner: WhisperXAligner, tmp_path: Path) -> None:
    every = sentences(24)
    spoken = [text for number, text in enumerate(every) if number not in (3, 15, 16)]
    written = [text for number, text in enumerate(every) if number not in (8, 20)]
    times = recording(tmp_path / "a.wav", spoken)
    found = aligned(aligner, tmp_path / "a.wav", " ".join(written))
    assert isinstance(found, Alignment)
    both = [text for text in written if text in spoken]
    assert words_of(found) == " ".join(both).split()
    missing = [reject for reject in found.rejects if "not in the sound" in reject.detail]
    assert [int(reject.detail.split()[0]) for reject in missing] == [
        len(every[3].split()),
        len(every[15].split()) + len(every[16].split()),
    ]
    others = [reject for reject in found.rejects if "not in the text" in reject.detail]
    assert len(others) == 2
    for reject, text in zip(others, (every[8], every[20]), strict=True):
        start_s, end_s = times[spoken.index(text)]
        assert reject.start_s is not None and reject.duration_s is not None
        assert start_s - 0.1 <= reject.start_s and reject.start_s + reject.duration_s <= end_s + 0.1
        assert reject.duration_s > 0.8 * (end_s - start_s)


def test_the_text_of_another_recording_is_refused(aligner: WhisperXAligner, tmp_path: Path) -> None:
    every = sentences(20)
    recording(tmp_path / "a.wav", every[:6])
    found = aligned(aligner, tmp_path / "a.wav", "Nobody would ever have said anything of what was printed there.")
    assert isinstance(found, NoTranscript) and found.reason == "text_mismatch"


def test_a_recording_without_sound_of_letters(aligner: WhisperXAligner, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(5 * RATE_HZ), RATE_HZ)
    assert isinstance(aligned(aligner, tmp_path / "a.wav", "some words"), NoTranscript)


def test_languages(reader: Path) -> None:
    assert WhisperXAligner(say, str(reader), "cpu").supports("fi")
    assert not WhisperXAligner(say, str(reader), "cpu").supports("ja"), "no words with spaces between"
    by_language = WhisperXAligner(say, "auto", "cpu")
    assert by_language.supports("de") and not by_language.supports("sw")


def test_a_long_recording_with_its_text_is_cut_between_words(reader: Path, tmp_path: Path) -> None:
    """Through the commands, in a language that pocketsphinx does not know."""
    spoken = sentences(12)
    voices = tmp_path / "voices" / "ann"
    voices.mkdir(parents=True)
    recording(voices / "a.wav", spoken)
    (voices / "a.txt").write_text(" ".join(spoken))
    (voices / "language.txt").write_text("fi")
    config = tmp_path / "config.yaml"
    config.write_text(
        f"transcribe: {{backend: [sidecar], align: whisperx, align_model: {reader}, executor: serial}}\n"
        "process: {audio_backend: tiny, executor: serial}\nsimilar: {executor: serial}\n"
    )
    work = tmp_path / "work"
    assert cli.main(["prepare", str(tmp_path / "voices"), str(work), "--config", str(config)]) == 0
    rows = list(storage.read_rows(work / "dataset" / "utterances.jsonl", Utterance))
    assert " ".join(row.text for row in rows) == " ".join(spoken) and len(rows) > 3
    assert list(storage.read_rows(work / "metadata" / "rejects.jsonl", Reject)) == []
