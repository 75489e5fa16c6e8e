"""Speakers told apart: real voices of the demo, spliced into dialogues whose truth is known."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vall_e import audio, cli, storage
from vall_e.emb import voice
from vall_e.emb.asr import link as link_
from vall_e.emb.asr.diarize import Found, Overlap, Turn, tell_apart
from vall_e.emb.asr.diarize_embedded import EmbeddedDiarizer
from vall_e.emb.asr.diarize_pyannote import PyannoteDiarizer, found_of
from vall_e.emb.process import main as process
from vall_e.emb.transcribe import main as transcribe
from vall_e.types import (
    BackendError,
    ContractError,
    Note,
    Recording,
    Reject,
    RejectReason,
    Segment,
    Transcript,
    Utterance,
    Voice,
    Word,
)

RATE_HZ = 16_000
Spoken = list[tuple[float, float, int]]  # start, end, who


def clips_of(folder: Path, num: int = 4) -> list[np.ndarray]:
    """The first recordings of one of the demo's speakers, at most 8 s each, 16 kHz."""
    found = []
    for path in audio.find_files(folder)[:num]:
        samples, rate_hz = audio.load(path)
        found.append(audio.resample(samples[: 8 * rate_hz], rate_hz, RATE_HZ))
    return found


@pytest.fixture(scope="module")
def speakers(demo: Path) -> list[list[np.ndarray]]:
    """Clips of three people: synthetic voices of English, recorded as the demo has them."""
    return [clips_of(demo / "english" / name) for name in ("awb", "rms", "slt")]


def dialogue(path: Path, speakers: Sequence[Sequence[np.ndarray]], turns: Sequence[int], gap_s: float = 0.3) -> Spoken:
    """Writes clips one behind the other → who speaks when."""
    parts, spoken, at = [], [], 0
    used = [itertools.cycle(clips) for clips in speakers]
    for who in turns:
        clip = next(used[who])
        parts += [clip, np.zeros(round(gap_s * RATE_HZ), np.float32)]
        spoken.append((at / RATE_HZ, (at + len(clip)) / RATE_HZ, who))
        at += sum(map(len, parts[-2:]))
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.concatenate(parts), RATE_HZ)
    return spoken


def source(path: Path) -> audio.Source:
    return audio.Source(audio.probe(path, path.name), path)


def share_right(found: Sequence[tuple[float, float, object]], spoken: Spoken) -> float:
    """Share of the time of `found` in which its voice is the speaker that it stands for most; pauses don't count."""
    seconds: dict[object, dict[int, float]] = {}
    for start_s, end_s, name in found:
        for begin_s, stop_s, who in spoken:
            shared_s = max(0.0, min(end_s, stop_s) - max(start_s, begin_s))
            by_speaker = seconds.setdefault(name, {})
            by_speaker[who] = by_speaker.get(who, 0.0) + shared_s
    best = {name: max(each, key=lambda who: each[who]) for name, each in seconds.items()}
    assert len(set(best.values())) == len(best), f"a speaker has two voices: {seconds}"
    right_s = sum(seconds[name][who] for name, who in best.items())
    return right_s / sum(sum(each.values()) for each in seconds.values())


ORDER = [0, 1, 0, 2, 1, 2, 0, 1, 1, 2, 0, 2]


def test_the_network_is_the_one_of_the_package(demo: Path, tmp_path: Path) -> None:
    """Second engine: resemblyzer itself, in a process in which the parts that it can't import are empty."""
    samples = clips_of(demo / "english" / "rms", 1)[0] * np.float32(0.1)  # quiet, so that it is made louder
    np.save(tmp_path / "samples.npy", samples)
    script = (
        "import sys, types, numpy as np\n"
        "for name in ('webrtcvad', 'scipy.ndimage.morphology'):\n"
        "    sys.modules[name] = types.ModuleType(name)\n"
        "sys.modules['scipy.ndimage.morphology'].binary_dilation = None\n"
        "import resemblyzer\n"
        "from resemblyzer import audio\n"
        f"samples = np.load({str(tmp_path / 'samples.npy')!r})\n"
        "encoder = resemblyzer.VoiceEncoder('cpu', verbose=False)\n"
        "frames = audio.wav_to_mel_spectrogram(audio.normalize_volume(samples, -30, increase_only=True))\n"
        f"np.save({str(tmp_path / 'frames.npy')!r}, frames)\n"
        "import torch\n"
        "with torch.inference_mode():\n"
        f"    np.save({str(tmp_path / 'row.npy')!r}, encoder(torch.from_numpy(frames[None, :160])).numpy()[0])\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True)
    frames = voice.mels(samples)
    np.testing.assert_allclose(frames, np.load(tmp_path / "frames.npy"), rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(voice.embed([frames[:160]])[0], np.load(tmp_path / "row.npy"), atol=1e-5)


def test_windows_of_any_length_are_embedded_as_if_alone() -> None:
    rng = np.random.default_rng(0)
    windows = [rng.random((length, 40), np.float32) for length in (160, 40, 160, 77, 160)]
    together = voice.embed(windows)
    for row, window in zip(together, windows, strict=True):
        np.testing.assert_allclose(row, voice.embed([window])[0], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)


def test_three_voices_are_told_apart(speakers: list[list[np.ndarray]], tmp_path: Path) -> None:
    spoken = dialogue(tmp_path / "a.wav", speakers, ORDER)
    found = EmbeddedDiarizer().find(source(tmp_path / "a.wav"))
    assert found.num_voices == 3
    assert share_right([(turn.start_s, turn.end_s, turn.voice) for turn in found.turns], spoken) >= 0.95
    covered_s = sum(turn.end_s - turn.start_s for turn in found.turns)
    assert covered_s >= 0.9 * sum(end_s - start_s for start_s, end_s, _ in spoken)
    assert [turn.voice for turn in found.turns][0] == 0, "voices are numbered by when they are first heard"
    for early, late in itertools.pairwise(found.turns):
        assert early.end_s <= late.start_s


def test_one_voice_stays_one(speakers: list[list[np.ndarray]], tmp_path: Path) -> None:
    for who in range(3):
        dialogue(tmp_path / "a.wav", speakers, [who] * 6)
        assert EmbeddedDiarizer().find(source(tmp_path / "a.wav")).num_voices == 1


def test_as_many_voices_as_are_asked_for(speakers: list[list[np.ndarray]], tmp_path: Path) -> None:
    dialogue(tmp_path / "a.wav", speakers, ORDER)
    for num in (1, 2, 3):
        assert EmbeddedDiarizer(num).find(source(tmp_path / "a.wav")).num_voices == num


def test_speech_of_two_at_once_is_found(speakers: list[list[np.ndarray]], tmp_path: Path) -> None:
    dialogue(tmp_path / "a.wav", speakers, [0, 1, 0, 1])
    samples, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    first, second = speakers[1][1][: 4 * RATE_HZ], speakers[2][0][: 4 * RATE_HZ]
    size = min(len(first), len(second))
    start_s = len(samples) / RATE_HZ
    soundfile.write(tmp_path / "a.wav", np.concatenate([samples, first[:size] + second[:size]]), RATE_HZ)
    found = EmbeddedDiarizer().find(source(tmp_path / "a.wav"))
    inside_s = sum(each.end_s - max(each.start_s, start_s) for each in found.overlaps if each.end_s > start_s)
    outside_s = sum(each.end_s - each.start_s for each in found.overlaps) - inside_s
    assert inside_s > 0.4 * size / RATE_HZ and outside_s < 0.5


@pytest.mark.parametrize("kind", ["noise", "silence", "short"])
def test_what_is_no_speech_has_no_turns(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    samples = {
        "noise": 0.1 * rng.standard_normal(5 * RATE_HZ),
        "silence": np.zeros(5 * RATE_HZ),
        "short": 0.1 * rng.standard_normal(100),
    }[kind]
    soundfile.write(tmp_path / "a.wav", samples.astype(np.float32), RATE_HZ)
    assert EmbeddedDiarizer().find(source(tmp_path / "a.wav")).turns == ()


# ---- what becomes of a transcript


def recording(**changes: object) -> Recording:
    values: dict[str, object] = {"id": "a.wav", "path": "a.wav", "sample_rate_hz": 1000, "num_samples": 100_000}
    return Recording(**(values | changes))  # type: ignore[arg-type]


def transcript(*segments: Segment) -> Transcript:
    text = " ".join(segment.text for segment in segments)
    return Transcript(
        recording_id="a.wav", language="en", language_prob=None, text=text, segments=segments, backend="x"
    )


def words(*spans: tuple[str, float, float]) -> tuple[Word, ...]:
    return tuple(Word(text=text, start_s=start_s, end_s=end_s) for text, start_s, end_s in spans)


def segment(text: str, found: tuple[Word, ...]) -> Segment:
    return Segment(text=text, start_s=found[0].start_s, end_s=found[-1].end_s, words=found)


def test_a_segment_is_cut_where_the_speaker_changes() -> None:
    spoken = words(("Are", 0, 1), ("you", 1, 2), ("there", 2, 3), ("Yes", 3, 4), ("I", 4, 5), ("am", 5, 6))
    found = Found((Turn(0, 2.9, 0), Turn(3.1, 6, 1)))
    made, rejects = tell_apart(recording(), transcript(segment("Are you there? Yes, I am.", spoken)), found)
    assert [(each.speaker, each.text) for each in made.segments] == [
        ("SPEAKER_00", "Are you there?"),
        ("SPEAKER_01", "Yes, I am."),
    ]
    assert rejects == () and made.text == "Are you there? Yes, I am."


def test_words_that_several_people_speak_over_are_rejected() -> None:
    spoken = words(("one", 0, 1), ("two", 1, 2), ("three", 2, 3), ("four", 3, 4))
    found = Found((Turn(0, 2, 0), Turn(2, 4, 1)), (Overlap(1.5, 2.6),))
    made, rejects = tell_apart(recording(), transcript(segment("one two three four", spoken)), found, first_reject=3)
    assert [each.text for each in made.segments] == ["one", "four"] and made.text == "one four"
    (reject,) = rejects
    assert (reject.id, reject.reason, reject.start_s, reject.duration_s) == ("a.wav-00003", "overlapping_speech", 1, 2)


def test_a_segment_without_word_times_is_of_one_speaker_or_rejected() -> None:
    found = Found((Turn(0, 10, 0), Turn(10, 20, 1)), (Overlap(30, 40),))
    parts = [
        Segment(text="mine", start_s=0, end_s=10.5),
        Segment(text="ours", start_s=5, end_s=15),
        Segment(text="near", start_s=21, end_s=22),
    ]
    made, rejects = tell_apart(recording(), transcript(*parts), found)
    assert [(each.text, each.speaker) for each in made.segments] == [("mine", "SPEAKER_00"), ("near", "SPEAKER_01")]
    assert [reject.reason for reject in rejects] == [RejectReason.MIXED_SPEAKERS]


def test_the_corpus_knows_better() -> None:
    named = Segment(text="hello", start_s=0, end_s=5, speaker="ann")
    found = Found((Turn(0, 2, 0), Turn(2, 5, 1)))
    assert tell_apart(recording(segments=(named,)), transcript(named), found)[0].segments == (named,)
    plain = Segment(text="hello", start_s=0, end_s=5)
    alone = Found((Turn(0, 5, 0),))
    assert tell_apart(recording(speaker="ann"), transcript(plain), alone)[0].segments == (plain,)
    assert tell_apart(recording(), transcript(plain), alone)[0].segments[0].speaker == "SPEAKER_00"


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(0, 10)), min_size=1, max_size=12),
    st.lists(st.tuples(st.integers(1, 60), st.integers(0, 20), st.integers(0, 2)), min_size=1, max_size=8),
    st.lists(st.tuples(st.integers(0, 200), st.integers(1, 20)), max_size=3),
)
def test_every_word_goes_to_one_speaker_or_one_reject(
    lengths: list[tuple[int, int]], spans: list[tuple[int, int, int]], overlaps: list[tuple[int, int]]
) -> None:
    """A slow look at each word beside the code: its voice is the turn that shares most with it, else the nearest."""
    at, spoken = 0, []
    for number, (length, gap) in enumerate(lengths):
        spoken.append(Word(text=f"w{number}", start_s=at / 10, end_s=(at + length) / 10))
        at += length + gap
    at, turns = 0, []
    for length, gap, who in spans:
        turns.append(Turn(at / 10, (at + length) / 10, who))
        at += length + gap
    found = Found(tuple(turns), tuple(Overlap(start / 10, (start + size) / 10) for start, size in overlaps))
    whole = segment(" ".join(word.text for word in spoken), tuple(spoken))
    made, rejects = tell_apart(recording(), transcript(whole), found)
    owner = {word.text: part.speaker for part in made.segments for word in part.words}
    assert sum(len(part.words) for part in made.segments) == len(owner)
    refused = sum(len(reject.detail.partition(": ")[2].split()) for reject in rejects)
    assert len(owner) + min(refused, len(spoken)) >= len(spoken) - max(0, len(spoken) - 8)

    def shared(word: Word, start_s: float, end_s: float) -> float:
        return max(0.0, min(word.end_s, end_s) - max(word.start_s, start_s))

    for word in spoken:
        over_s = sum(shared(word, each.start_s, each.end_s) for each in found.overlaps)
        if over_s > 0.25 * (word.end_s - word.start_s) + 1e-9:
            assert word.text not in owner
        elif over_s < 0.25 * (word.end_s - word.start_s) - 1e-9:
            most = max(shared(word, turn.start_s, turn.end_s) for turn in turns)
            if most > 0:
                best = {turn.voice for turn in turns if shared(word, turn.start_s, turn.end_s) > most - 1e-9}
            else:
                away = [max(turn.start_s - word.end_s, word.start_s - turn.end_s) for turn in turns]
                best = {turn.voice for turn, each in zip(turns, away, strict=True) if each < min(away) + 1e-9}
            assert owner[word.text] in {f"SPEAKER_{number:02d}" for number in best}
    for part in made.segments:
        assert part.text == " ".join(word.text for word in part.words)


def test_whisperx_without_word_times_ends_its_segments_where_the_speaker_changes(
    speakers: list[list[np.ndarray]], whisper_models: dict[str, str], tmp_path: Path
) -> None:
    """Else a window of 30 s would hold a dialogue, of which nothing can be given to anybody."""
    spoken = dialogue(tmp_path / "voices" / "a.wav", speakers, ORDER)
    flags = ["--backend", "whisperx", "--model-name", whisper_models["model_name"], "--align-model", "off"]
    flags += ["--compute-type", "float32", "--language", "en", "--executor", "serial", "--diarize", "embedded"]
    voices = ["--input-audio", str(tmp_path / "voices"), "--output-metadata", str(tmp_path / "meta")]
    assert transcribe([*voices, *flags]) == 0
    (row,) = storage.read_rows(tmp_path / "meta" / "transcripts.jsonl", Transcript)
    found = [(segment.start_s, segment.end_s, segment.speaker) for segment in row.segments]
    assert share_right(found, spoken) >= 0.95 and len({speaker for *_, speaker in found}) == 3
    covered_s = sum(end_s - start_s for start_s, end_s, _ in found)
    assert covered_s >= 0.85 * sum(end_s - start_s for start_s, end_s, _ in spoken)
    rejects = list(storage.read_rows(tmp_path / "meta" / "rejects.jsonl", Reject))
    assert {reject.reason for reject in rejects} <= {"overlapping_speech"}


# ---- one speaker in several recordings


def test_voices_of_several_recordings_get_one_name(speakers: list[list[np.ndarray]], tmp_path: Path) -> None:
    transcripts = []
    for name, order in (("a.wav", [0, 1, 0, 1, 0, 1]), ("b.wav", [1, 2, 1, 2, 1, 2]), ("c.wav", [2, 0, 2, 0])):
        dialogue(tmp_path / name, speakers, order)
        one = source(tmp_path / name)
        voices = link_.voices_of(one, EmbeddedDiarizer().find(one), {"SPEAKER_00", "SPEAKER_01"})
        made = Transcript(
            recording_id=name, language="en", language_prob=None, text="", segments=(), backend="x", voices=voices
        )
        transcripts.append(made)
    expected = {("a.wav", 0): 0, ("a.wav", 1): 1, ("b.wav", 0): 1, ("b.wav", 1): 2, ("c.wav", 0): 2, ("c.wav", 1): 0}
    recordings = [recording(id=each.recording_id, path=each.recording_id) for each in transcripts]
    results = []
    for folder, made_in in (("x", transcripts), ("y", transcripts[::-1])):
        (tmp_path / folder).mkdir()
        link_.link(recordings, made_in, tmp_path / folder, 0.8)
        names = link_.speakers_of(tmp_path / folder)
        found = {(name, number): names[name][f"SPEAKER_{number:02d}"] for name, number in expected}
        assert len(set(found.values())) == 3
        assert len({(found[key], who) for key, who in expected.items()}) == 3, found
        results.append(found)
    assert results[0] == results[1], "the order in which recordings come changes nothing"


def linked(tmp_path: Path, rows: Sequence[tuple[str, Sequence[float]]], group: str = "") -> list[Note]:
    """Links recordings of one voice each."""
    made = []
    for name, vector in rows:
        unit = np.asarray(vector) / np.linalg.norm(vector)
        voices = (Voice(name="SPEAKER_00", speech_s=10.0, embedding=tuple(unit.tolist())),)
        made.append(
            Transcript(
                recording_id=name, language="en", language_prob=None, text="", segments=(), backend="x", voices=voices
            )
        )
    recordings = [recording(id=name, path=name, group=group) for name, _ in rows]
    return link_.link(recordings, made, tmp_path, 0.8)


def test_names_that_were_given_stay(tmp_path: Path) -> None:
    first = [("a", (1.0, 0.0)), ("b", (0.0, 1.0))]
    linked(tmp_path, first)
    names = link_.speakers_of(tmp_path)
    assert names["a"] != names["b"]
    linked(tmp_path, [("0", (0.0, 1.0)), *first, ("c", (0.9, 0.1))])
    later = link_.speakers_of(tmp_path)
    assert {name: later[name] for name in "ab"} == names
    assert later["c"] == names["a"] and later["0"] == names["b"]


def test_a_recording_that_was_transcribed_again_is_linked_again(tmp_path: Path) -> None:
    linked(tmp_path, [("a", (1.0, 0.0)), ("b", (0.0, 1.0))])
    linked(tmp_path, [("a", (0.0, 1.0)), ("b", (0.0, 1.0))])
    names = link_.speakers_of(tmp_path)
    assert names["a"] == names["b"] and len(names) == 2


def test_a_doubtful_voice_is_noted(tmp_path: Path) -> None:
    near = (np.cos(np.arccos(0.78)), np.sin(np.arccos(0.78)))
    (note,) = linked(tmp_path, [("a", (1.0, 0.0)), ("b", near)])
    assert note.note == "doubtful_speaker" and "not taken for" in note.detail and "0.780" in note.detail


def test_two_voices_of_one_recording_are_two_people(tmp_path: Path) -> None:
    voices = tuple(Voice(name=f"SPEAKER_0{n}", speech_s=9.0, embedding=(1.0, 0.0)) for n in range(2))
    made = Transcript(
        recording_id="a", language="en", language_prob=None, text="", segments=(), backend="x", voices=voices
    )
    link_.link([recording(id="a")], [made], tmp_path, 0.8)
    assert len(set(link_.speakers_of(tmp_path)["a"].values())) == 2


# ---- pyannote


def test_turns_and_overlaps_of_tracks() -> None:
    found = found_of([(0.0, 5.0, "b"), (1.0, 2.0, "a"), (4.0, 8.0, "a"), (9.0, 10.0, "a")])
    assert found.overlaps == (Overlap(1.0, 2.0), Overlap(4.0, 5.0))
    assert found.turns == (Turn(0.0, 1.0, 0), Turn(2.0, 4.0, 0), Turn(5.0, 8.0, 1), Turn(9.0, 10.0, 1))


@pytest.fixture(scope="module")
def pyannote_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline's config.yaml: segmentation with the weights that whisperx brings, voices by random weights."""
    from vall_e.emb import overlap

    segmentation = overlap._model()
    from pyannote.audio.models.embedding import XVectorSincNet

    torch.manual_seed(0)
    embedding = XVectorSincNet()
    folder = tmp_path_factory.mktemp("pyannote")
    from pyannote.audio.core.task import Problem, Resolution, Specifications

    embedding.specifications = Specifications(
        problem=Problem.REPRESENTATION, resolution=Resolution.CHUNK, duration=3.0, classes=["a", "b"]
    )
    for name, model in (("segmentation", segmentation), ("embedding", embedding)):
        kind = type(model)
        checkpoint = {
            "state_dict": model.state_dict(),
            "hyper_parameters": dict(model.hparams),
            "pytorch-lightning_version": "2.0.0",
            "pyannote.audio": {
                "versions": {"torch": "2.0.0", "pyannote.audio": "3.0.0"},
                "architecture": {"module": kind.__module__, "class": kind.__name__},
                "specifications": model.specifications,
            },
        }
        torch.save(checkpoint, folder / f"{name}.bin")
    (folder / "config.yaml").write_text(
        "version: 3.1.0\n"
        "pipeline:\n"
        "  name: pyannote.audio.pipelines.SpeakerDiarization\n"
        "  params:\n"
        "    clustering: AgglomerativeClustering\n"
        f"    embedding: {folder}/embedding.bin\n"
        f"    segmentation: {folder}/segmentation.bin\n"
        "params:\n"
        "  clustering: {method: centroid, min_cluster_size: 4, threshold: 0.7}\n"
        "  segmentation: {min_duration_off: 0.0, threshold: 0.5}\n"
    )
    return folder / "config.yaml"


def test_pyannote_from_a_local_folder(
    pyannote_pipeline: Path, speakers: list[list[np.ndarray]], tmp_path: Path
) -> None:
    """Its voices mean nothing with random weights; that speech is found where it is, does."""
    spoken = dialogue(tmp_path / "a.wav", speakers, [0, 1, 0], gap_s=2.0)
    found = PyannoteDiarizer(str(pyannote_pipeline.parent)).find(source(tmp_path / "a.wav"))
    covered_s = sum(
        max(0.0, min(turn.end_s, end_s) - max(turn.start_s, start_s))
        for turn in found.turns
        for start_s, end_s, _ in spoken
    )
    assert covered_s > 0.8 * sum(end_s - start_s for start_s, end_s, _ in spoken)
    assert covered_s > 0.8 * sum(turn.end_s - turn.start_s for turn in found.turns)


def test_a_pipeline_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="no such file"):
        PyannoteDiarizer(str(tmp_path / "config.yaml"))
    (tmp_path / "config.yaml").write_text("pipeline: {name: pyannote.audio.pipelines.Nothing}")
    soundfile.write(tmp_path / "a.wav", np.zeros(RATE_HZ), RATE_HZ)
    with pytest.raises(BackendError, match="can't be loaded"):
        PyannoteDiarizer(str(tmp_path)).find(source(tmp_path / "a.wav"))


# ---- through the commands


def test_a_dialogue_without_a_text_becomes_utterances_of_each_speaker(
    speakers: list[list[np.ndarray]], tmp_path: Path
) -> None:
    spoken = dialogue(tmp_path / "voices" / "a.wav", speakers, ORDER)
    (tmp_path / "voices" / "language.txt").write_text("en")
    work = tmp_path / "work"
    flags = ["--config", "offline", "--executor", "serial", "--diarize", "embedded", "--link-speakers"]
    assert cli.main(["prepare", str(tmp_path / "voices"), str(work), *flags]) == 0
    rows = list(storage.read_rows(work / "dataset" / "utterances.jsonl", Utterance))
    found = [
        (row.start_samples / RATE_HZ, (row.start_samples + row.num_samples) / RATE_HZ, row.speaker) for row in rows
    ]
    assert share_right(found, spoken) >= 0.95
    assert {row.speaker for row in rows} == {"voice-0000", "voice-0001", "voice-0002"}
    covered_s = sum(end_s - start_s for start_s, end_s, _ in found)
    rejects = list(storage.read_rows(work / "metadata" / "rejects.jsonl", Reject))
    assert {reject.reason for reject in rejects} <= {"overlapping_speech"}
    assert covered_s >= 0.85 * sum(end_s - start_s for start_s, end_s, _ in spoken)
    head = storage.read_json(work / "metadata" / "metadata.json")
    assert head is not None and head["transcribe"]["diarize"] == "embedded"


def test_what_is_not_linked_yet_is_not_processed(
    speakers: list[list[np.ndarray]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A transcribe that was killed before it linked: process alone would give voices names that do not stay."""
    dialogue(tmp_path / "voices" / "a.wav", speakers, [0, 1, 0, 1])
    (tmp_path / "voices" / "language.txt").write_text("en")
    meta = tmp_path / "meta"
    heard = ["--config", "offline", "--executor", "serial", "--diarize", "embedded", "--link-speakers"]
    voices = ["--input-audio", str(tmp_path / "voices")]
    assert transcribe([*voices, "--output-metadata", str(meta), *heard]) == 0
    (meta / "speakers.jsonl").unlink()
    flags = ["--input-metadata", str(meta), "--output-dataset", str(tmp_path / "data"), "--audio-backend", "tiny"]
    with pytest.raises(ContractError, match="not linked yet"):
        process([*voices, *flags, "--executor", "serial"])
    assert transcribe([*voices, "--output-metadata", str(meta), *heard]) == 0, "resumed: it links what is left"
    assert process([*voices, *flags, "--executor", "serial"]) == 0
    rows = list(storage.read_rows(tmp_path / "data" / "utterances.jsonl", Utterance))
    assert {row.speaker for row in rows} == {"voice-0000", "voice-0001"}


def test_linking_asks_for_speakers(tmp_path: Path) -> None:
    from vall_e.emb.transcribe import TranscribeOptions

    with pytest.raises(ValueError, match="needs --diarize"):
        TranscribeOptions(link_speakers=True)
