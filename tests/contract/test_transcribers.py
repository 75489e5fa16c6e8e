"""One suite for every transcriber."""

from __future__ import annotations

from pathlib import Path

import pytest

from vall_e import audio
from vall_e.emb import transcribe
from vall_e.emb.transcribe import REGISTRY, TranscribeOptions
from vall_e.types import Transcript, Unheard

CLIPS = ("english/awb/a.mp3", "english/awb/d.ogg", "english/awb/b.mp3", "english/slt/slt_0004.wav")


@pytest.fixture(scope="module")
def sources(demo: Path) -> list[audio.Source]:
    return [audio.Source(audio.probe(demo / name, name), demo / name, demo) for name in CLIPS]


@pytest.fixture(scope="module")
def options(whisper_models: dict[str, str]) -> TranscribeOptions:
    return TranscribeOptions(compute_type="float32", **whisper_models)


@pytest.fixture(scope="module", params=sorted(REGISTRY))
def transcriber(request: pytest.FixtureRequest, options: TranscribeOptions) -> transcribe.Transcriber:
    return REGISTRY[request.param](options)


@pytest.fixture(scope="module")
def results(transcriber: transcribe.Transcriber, sources: list[audio.Source]) -> list[Transcript | Unheard]:
    return transcriber.transcribe(sources, "en")


def test_as_many_out_as_in(
    transcriber: transcribe.Transcriber, sources: list[audio.Source], results: list[Transcript | Unheard]
) -> None:
    assert [result.recording_id for result in results if isinstance(result, Transcript)] == list(CLIPS)
    assert transcriber.transcribe([], "en") == []


def test_together_is_as_alone_and_as_before(
    transcriber: transcribe.Transcriber, sources: list[audio.Source], results: list[Transcript | Unheard]
) -> None:
    alone = [transcriber.transcribe([source], "en")[0] for source in reversed(sources)]
    assert alone[::-1] == results


def test_texts_and_times(sources: list[audio.Source], results: list[Transcript | Unheard]) -> None:
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


def test_the_result_says_where_it_is_from(
    transcriber: transcribe.Transcriber, results: list[Transcript | Unheard]
) -> None:
    name, version = transcriber.name_and_version.split(" ")
    assert name in REGISTRY and version[0].isdigit()
    assert all(isinstance(result, Transcript) and result.backend == f"{name} {version}" for result in results)
    assert all(isinstance(result, Transcript) and result.language == "en" for result in results)


def test_a_file_that_breaks_off_is_one_items_loss(
    transcriber: transcribe.Transcriber, sources: list[audio.Source], tmp_path: Path
) -> None:
    name = "english/slt/slt_0004.wav"
    broken = tmp_path / "slt_0004.wav"
    broken.write_bytes((sources[-1].path).read_bytes()[:20_000])
    half = audio.Source(audio.probe(sources[-1].path, name), broken, tmp_path)
    result, whole = transcriber.transcribe([half, sources[0]], "en")
    assert isinstance(result, Unheard) and isinstance(whole, Transcript)
