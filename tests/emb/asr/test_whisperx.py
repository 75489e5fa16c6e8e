"""WhisperX through its real package, with tiny random models: what it says means nothing, its promises do."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vall_e import audio
from vall_e.emb.asr import segmenting
from vall_e.emb.asr.whisperx import WhisperX
from vall_e.types import BackendError, NoTranscript, RejectReason, Transcript

RATE_HZ = 16_000


def source(root: Path, name: str) -> audio.Source:
    return audio.Source(audio.probe(root / name, name), root / name)


def make(models: dict[str, str], **changes: Any) -> WhisperX:
    values: dict[str, Any] = {"batch_size": 4, "device": "cpu", "compute_type": "float32", **models, **changes}
    return WhisperX(**values)


@pytest.fixture(scope="module")
def engine(whisper_models: dict[str, str]) -> WhisperX:
    return make(whisper_models)


@pytest.fixture(scope="module")
def interview(demo: Path) -> audio.Source:
    return source(demo, "english/rms/interview.ogg")


def hear(engine: WhisperX, one: audio.Source, language: str | None = None) -> Transcript:
    (result,) = engine.transcribe([one], language)
    assert isinstance(result, Transcript), result
    return result


@pytest.mark.parametrize("compute_type", ["float32", "int8"])
def test_the_batch_size_changes_nothing(
    whisper_models: dict[str, str], interview: audio.Source, compute_type: str
) -> None:
    results = [
        hear(make(whisper_models, batch_size=size, compute_type=compute_type), interview, "en") for size in (1, 8)
    ]
    assert results[0] == results[1]
    assert len(results[0].segments) >= 2


def test_the_language_is_detected_with_its_probability(engine: WhisperX, interview: audio.Source) -> None:
    detected = hear(engine, interview)
    assert detected.language_prob is not None and 0 < detected.language_prob <= 1
    assert 2 <= len(detected.language) <= 3
    given = hear(engine, interview, detected.language)
    assert given.language_prob is None and given.segments == detected.segments


def test_a_detection_can_be_narrowed(whisper_models: dict[str, str], interview: audio.Source) -> None:
    narrow = make(whisper_models, languages=("ja", "de"))
    detected = hear(narrow, interview)
    assert detected.language in ("ja", "de") and 0.5 <= (detected.language_prob or 0) <= 1


def test_words_are_timed(engine: WhisperX, interview: audio.Source) -> None:
    result = hear(engine, interview, "en")
    timed = [segment for segment in result.segments if segment.words]  # too long a text for its sound is not timed
    words = [word for segment in timed for word in segment.words]
    assert len(words) > 20 and all(word.score is not None and 0 <= word.score <= 1 for word in words)
    for segment in timed:
        assert " ".join(word.text for word in segment.words) == segment.text
    times = [time for word in words for time in (word.start_s, word.end_s)]
    assert times == sorted(times) and times[0] >= 0 and times[-1] <= interview.recording.duration_s
    assert len(set(times)) > len(words)


def test_a_language_without_spaces_has_one_word_per_character(engine: WhisperX, interview: audio.Source) -> None:
    result = hear(engine, interview, "ja")
    timed = [segment for segment in result.segments if segment.words]
    assert timed
    for segment in timed:
        assert [word.text for word in segment.words] == list(segment.text.replace(" ", ""))


def test_without_alignment_there_are_no_words(
    whisper_models: dict[str, str], interview: audio.Source, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not any(segment.words for segment in hear(make(whisper_models, align_model="off"), interview, "en").segments)
    unknown = make(whisper_models, align_model="auto")
    for _ in range(2):
        assert not any(segment.words for segment in hear(unknown, interview, "is").segments)
    output = capsys.readouterr()
    assert output.err.count("no alignment model for 'is'") == 1
    assert output.out == ""


def test_an_alignment_model_that_cannot_be_fetched_ends_the_run(
    whisper_models: dict[str, str], interview: audio.Source
) -> None:
    with pytest.raises(BackendError, match="--align-model"):
        make(whisper_models, align_model="auto").transcribe([interview], "ja")


def test_a_language_that_whisper_does_not_know(engine: WhisperX, interview: audio.Source) -> None:
    (result,) = engine.transcribe([interview], "xx")
    assert isinstance(result, NoTranscript) and result.reason == RejectReason.LANGUAGE_UNSUPPORTED


@pytest.mark.parametrize("num", [1, 399, 400, 8_000])
def test_no_speech(engine: WhisperX, tmp_path: Path, num: int) -> None:
    audio.write(tmp_path / "a.wav", 0.01 * np.sin(np.arange(num) / 50).astype(np.float32), RATE_HZ)
    (result,) = engine.transcribe([source(tmp_path, "a.wav")], None)
    assert isinstance(result, NoTranscript) and result.reason == RejectReason.NO_SPEECH


def test_pieces_of_a_long_recording_are_put_together(
    engine: WhisperX, interview: audio.Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut in a pause into pieces of 20 s at most, every piece is transcribed, at its place."""
    monkeypatch.setattr("vall_e.emb.asr.whisperx.PIECE_S", 20.0)
    monkeypatch.setattr("vall_e.emb.asr.whisperx.SEARCH_S", 8.0)
    cuts = [start / RATE_HZ for start, _ in segmenting.pieces(interview, RATE_HZ, 20.0, 8.0)]
    result = hear(engine, interview, "en")
    with_words = {sum(cut <= segment.start_s for cut in cuts) for segment in result.segments}
    assert with_words == set(range(1, len(cuts) + 1)) and len(cuts) >= 3
    for segment in result.segments:
        assert not any(segment.start_s < cut < segment.end_s for cut in cuts)


def test_pieces_are_gapless_and_cut_where_it_is_quiet(interview: audio.Source) -> None:
    whole = np.concatenate(list(interview.blocks(RATE_HZ, 60.0)))
    pieces = list(segmenting.pieces(interview, RATE_HZ, 12.0, 6.0))
    np.testing.assert_allclose(np.concatenate([samples for _, samples in pieces]), whole, atol=1e-3)
    assert max(len(samples) for _, samples in pieces) <= 12 * RATE_HZ
    assert [start for start, _ in pieces] == [0, *itertools.accumulate(len(samples) for _, samples in pieces[:-1])]
    for start, _ in pieces[1:]:
        assert np.abs(whole[start - 160 : start + 160]).max() < 0.01


def test_what_is_missing_is_told_at_once(whisper_models: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="neither in the cache nor can it be fetched.*sidecar,pocketsphinx"):
        make(whisper_models, model_name="tiny")
    with pytest.raises(BackendError, match="large-v3"):  # names the known ones
        make(whisper_models, model_name="giant")
    with pytest.raises(BackendError, match="no model.bin in it"):
        make(whisper_models, model_name=str(tmp_path))
    with pytest.raises(BackendError, match="no config.json in it"):
        make(whisper_models, align_model=str(tmp_path))
    with pytest.raises(BackendError, match="float32"):
        make(whisper_models, compute_type="float13")


def test_it_leaves_no_module_behind_that_fails_when_looked_at(engine: WhisperX, interview: audio.Source) -> None:
    """speechbrain's lazy modules made `inspect` fail in the same process, and with it every hypothesis test after."""
    hear(engine, interview, "en")
    for name, module in list(sys.modules.items()):
        assert hasattr(module, "__name__") or not hasattr(module, "__file__"), name
