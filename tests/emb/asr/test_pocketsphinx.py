"""PocketSphinx through its real package and model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from vall_e import audio
from vall_e.emb.asr import pocketsphinx
from vall_e.types import NoTranscript, RejectReason, Transcript

RATE_HZ = pocketsphinx.RATE_HZ


def source(root: Path, name: str) -> audio.Source:
    return audio.Source(audio.probe(root / name, name), root / name)


@pytest.fixture(scope="module")
def engine() -> pocketsphinx.PocketSphinx:
    return pocketsphinx.PocketSphinx()


def hear(engine: pocketsphinx.PocketSphinx, *sources: audio.Source) -> list[Transcript]:
    results = engine.transcribe(sources, None)
    assert all(isinstance(result, Transcript) for result in results)
    return [result for result in results if isinstance(result, Transcript)]


def word_errors(want: list[str], found: list[str]) -> int:
    """Levenshtein's distance between lists of words."""
    row = list(range(len(found) + 1))
    for number, word in enumerate(want, start=1):
        previous, row[0] = row[0], number
        for place, other in enumerate(found, start=1):
            previous, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, previous + (word != other))
    return row[-1]


def test_words_of_the_demo_voice(demo: Path, engine: pocketsphinx.PocketSphinx) -> None:
    texts = {
        "one.flac": "the boy was there when the sun rose in the morning",
        "three.flac": "the source of the huge river is the clear spring",
        "four.wav": "please help the woman to find her black dog",
    }
    results = hear(engine, *(source(demo, f"english/rms/{name}") for name in texts))
    pairs = zip(texts.values(), results, strict=True)
    errors = sum(word_errors(text.split(), result.text.split()) for text, result in pairs)
    assert errors <= 3  # of 30 words
    assert all(result.language == "en" and result.language_prob is None for result in results)


def test_pauses_make_segments_and_words_keep_their_times(demo: Path, engine: pocketsphinx.PocketSphinx) -> None:
    """The eight sentences of the interview are 0.8 s apart, and words lie where there is sound."""
    one = source(demo, "english/rms/interview.ogg")
    (result,) = hear(engine, one)
    assert len(result.segments) == 8
    samples, rate_hz = audio.load(one.path)
    loudness = [
        np.sqrt(np.square(samples[round(word.start_s * rate_hz) : round(word.end_s * rate_hz)]).mean())
        for segment in result.segments
        for word in segment.words
    ]
    assert min(loudness) > 0.01
    assert not any("<" in segment.text or "(" in segment.text for segment in result.segments)


def test_what_is_heard_does_not_depend_on_what_was_heard_before(demo: Path) -> None:
    first, second = source(demo, "english/rms/one.flac"), source(demo, "english/awb/c.wav")
    forward = hear(pocketsphinx.PocketSphinx(), first, second)
    backward = hear(pocketsphinx.PocketSphinx(), second, first)
    assert forward == backward[::-1]


def test_another_language_is_refused_with_advice(demo: Path, engine: pocketsphinx.PocketSphinx) -> None:
    one = source(demo, "english/rms/one.flac")
    results = engine.transcribe([one, one], "ja")
    assert len(results) == 2
    for result in results:
        assert isinstance(result, NoTranscript) and result.reason == RejectReason.LANGUAGE_UNSUPPORTED
        assert "'ja'" in result.detail and "whisperx" in result.detail


def test_noise_is_no_speech(tmp_path: Path, engine: pocketsphinx.PocketSphinx) -> None:
    audio.write(tmp_path / "hum.wav", 0.001 * np.sin(np.arange(RATE_HZ) / 10).astype(np.float32), RATE_HZ)
    (result,) = engine.transcribe([source(tmp_path, "hum.wav")], "en")
    assert isinstance(result, NoTranscript) and result.reason == RejectReason.NO_SPEECH and not result.final


@pytest.mark.parametrize("num", [1, 2, 479, 480, 481, 960, 16_000])
def test_short_recordings(tmp_path: Path, engine: pocketsphinx.PocketSphinx, num: int) -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(num).astype(np.float32)
    audio.write(tmp_path / "short.wav", noise, RATE_HZ)
    (result,) = engine.transcribe([source(tmp_path, "short.wav")], "en")
    assert isinstance(result, Transcript | NoTranscript)


def blocks_of(samples: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(samples), size):
        yield samples[start : start + size]


def test_stretches_do_not_depend_on_the_blocks_and_hold_the_audio_as_it_is(demo: Path) -> None:
    samples, rate_hz = audio.load(demo / "english/rms/interview.ogg")
    samples = audio.resample(samples, rate_hz, RATE_HZ)
    whole = list(pocketsphinx.utterances(iter([samples])))
    for size in (100, 4_321, 16_000):
        pieces = list(pocketsphinx.utterances(blocks_of(samples, size)))
        assert [start for start, _ in pieces] == [start for start, _ in whole]
        assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(pieces, whole, strict=True))
    end = 0
    for start, piece in whole:
        assert end <= start
        end = start + len(piece)
        np.testing.assert_allclose(piece / 32767, samples[start:end].clip(-1, 1), atol=2e-5)
    assert end <= len(samples)


def test_sound_that_never_pauses_is_cut(demo: Path) -> None:
    """75 s without a pause: stretches follow one another without a gap, none longer than 30 s and a frame."""
    one, rate_hz = audio.load(demo / "english/rms/one.flac")
    samples = np.tile(audio.resample(one, rate_hz, RATE_HZ)[4_000:-8_000], 40)[: 75 * RATE_HZ]
    samples = samples + 0.05 * np.random.default_rng(0).standard_normal(len(samples)).astype(np.float32)
    found = list(pocketsphinx.utterances(blocks_of(samples, 50_000)))
    assert len(found) >= 3
    assert all(len(piece) <= pocketsphinx.LONGEST + 480 for _, piece in found)
    for (start, piece), (following, _) in zip(found, found[1:], strict=False):
        assert start + len(piece) == following
