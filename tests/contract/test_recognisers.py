"""One suite for every recogniser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from vall_e import audio
from vall_e.corpora.texts import Texts
from vall_e.emb.asr.base import Recogniser
from vall_e.emb.asr.registry import RECOGNISERS, RecogniserOptions
from vall_e.types import NoTranscript, Transcript

CLIPS = ("english/awb/a.mp3", "english/awb/d.ogg", "english/awb/b.mp3", "english/slt/slt_0004.wav")


@pytest.fixture(scope="module")
def sources(demo: Path) -> list[audio.Source]:
    texts = Texts(demo)
    found = []
    for name in CLIPS:
        recording = msgspec.structs.replace(audio.probe(demo / name, name), text=texts.given(demo / name).text)
        found.append(audio.Source(recording, demo / name))
    return found


@pytest.fixture(scope="module")
def options(whisper_models: dict[str, Any]) -> RecogniserOptions:
    return RecogniserOptions(compute_type="float32", **whisper_models)


@pytest.fixture(scope="module", params=sorted(RECOGNISERS))
def recogniser(request: pytest.FixtureRequest, options: RecogniserOptions) -> Recogniser:
    return RECOGNISERS.load(request.param)(options)


@pytest.fixture(scope="module")
def results(recogniser: Recogniser, sources: list[audio.Source]) -> list[Transcript | NoTranscript]:
    return recogniser.transcribe(sources, "en")


def test_as_many_out_as_in(
    recogniser: Recogniser, sources: list[audio.Source], results: list[Transcript | NoTranscript]
) -> None:
    assert [result.recording_id for result in results if isinstance(result, Transcript)] == list(CLIPS)
    assert recogniser.transcribe([], "en") == []


def test_together_is_as_alone_and_as_before(
    recogniser: Recogniser, sources: list[audio.Source], results: list[Transcript | NoTranscript]
) -> None:
    alone = [recogniser.transcribe([source], "en")[0] for source in reversed(sources)]
    assert alone[::-1] == results


def test_texts_and_times(sources: list[audio.Source], results: list[Transcript | NoTranscript]) -> None:
    for source, result in zip(sources, results, strict=True):
        assert isinstance(result, Transcript)
        assert result.text == " ".join(result.text.split()) != ""
        assert result.text == " ".join(segment.text for segment in result.segments)
        end_s = 0.0
        for segment in result.segments:
            assert segment.text and end_s <= segment.start_s < segment.end_s <= source.recording.duration_s
            end_s, word_end_s = segment.end_s, segment.start_s
            for word in segment.words:
                assert word.text and word_end_s <= word.start_s <= word.end_s <= segment.end_s
                assert word.score is None or 0 <= word.score <= 1
                word_end_s = word.end_s


def test_the_result_says_where_it_is_from(recogniser: Recogniser, results: list[Transcript | NoTranscript]) -> None:
    name, version = recogniser.name_and_version.split(" ")
    assert name in RECOGNISERS and version[0].isdigit()
    assert all(isinstance(result, Transcript) and result.backend == f"{name} {version}" for result in results)
    assert all(isinstance(result, Transcript) and result.language == "en" for result in results)


def test_a_file_that_breaks_off_is_one_items_loss(
    recogniser: Recogniser, sources: list[audio.Source], tmp_path: Path
) -> None:
    name = "english/slt/slt_0004.wav"
    broken = tmp_path / "slt_0004.wav"
    broken.write_bytes((sources[-1].path).read_bytes()[:20_000])
    half = audio.Source(audio.probe(sources[-1].path, name), broken)
    result, whole = recogniser.transcribe([half, sources[0]], "en")
    assert isinstance(result, NoTranscript) and isinstance(whole, Transcript)
