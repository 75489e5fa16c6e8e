"""The stage from outside: transcripts and audio in, rows and arrays on disk, read back."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from vall_e import audio, storage
from vall_e.corpora.importing import import_corpus
from vall_e.corpora.registry import ImportOptions
from vall_e.emb import qnt
from vall_e.emb.process import ProcessOptions, main, process
from vall_e.emb.similar import SimilarOptions, similar
from vall_e.types import (
    BackendError,
    ContractError,
    Recording,
    Reject,
    Segment,
    Transcript,
    UsageError,
    Utterance,
    Word,
)

TINY = qnt.CodecOptions(audio_backend="tiny")


def options(**changes: Any) -> ProcessOptions:
    values: dict[str, Any] = {"audio_backend": "tiny", "min_duration_s": 0.1, "executor": "serial"}
    return ProcessOptions(**(values | changes))


def said(recording_id: str, text: str, language: str = "en", segments: tuple[Segment, ...] = ()) -> Transcript:
    whole = Segment(text=text, start_s=0.0, end_s=1.0)
    return Transcript(
        recording_id=recording_id,
        language=language,
        language_prob=None,
        text=text,
        segments=segments or (whole,),
        backend="test",
    )


def write_transcripts(folder: Path, transcripts: list[Transcript]) -> Path:
    folder.mkdir(exist_ok=True)
    with storage.JsonlWriter(folder / "transcripts.jsonl") as writer:
        writer.write(transcripts)
    return folder


def rows_of(dataset: Path) -> dict[str, Utterance]:
    found = list(storage.read_rows(dataset / "utterances.jsonl", Utterance))
    assert len({row.id for row in found}) == len(found), "an utterance has two rows"
    return {row.id: row for row in found}


def rejects_of(dataset: Path) -> dict[str, str]:
    found = list(storage.read_rows(dataset / "rejects.jsonl", Reject))
    assert len({row.id for row in found}) == len(found), "a reject has two rows"
    return {row.id: row.reason for row in found}


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory, demo: Path) -> Path:
    """Three speakers' clips of the demo in several formats, one of them long enough to cut."""
    root = tmp_path_factory.mktemp("voices")
    for name in ("english/awb", "english/rms", "world/haruka"):
        shutil.copytree(demo / name, root / name)
    return root


@pytest.fixture(scope="module")
def metadata(tmp_path_factory: pytest.TempPathFactory, voices: Path) -> Path:
    transcripts = []
    for path in audio.find_files(voices):
        recording_id = path.relative_to(voices).as_posix()
        japanese = "haruka" in recording_id
        text, language = ("今日は良い天気です。", "ja") if japanese else ("A clip of the demo, number 3.14.", "en")
        if recording_id.endswith("interview.ogg"):
            length = audio.probe(path, recording_id).duration_s
            times = [(start, start + 2.5) for start in np.arange(0.5, length - 3, 3.0)]
            parts = tuple(
                Segment(
                    text=f"part {n}",
                    start_s=float(start),
                    end_s=float(end),
                    words=(
                        Word(text="part", start_s=float(start), end_s=float(start) + 1.0),
                        Word(text=str(n), start_s=float(start) + 1.5, end_s=float(end)),
                    ),
                )
                for n, (start, end) in enumerate(times)
            )
            transcripts.append(said(recording_id, " ".join(part.text for part in parts), segments=parts))
        else:
            transcripts.append(said(recording_id, text, language))
    return write_transcripts(tmp_path_factory.mktemp("metadata"), transcripts)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory, voices: Path, metadata: Path) -> Path:
    folder = tmp_path_factory.mktemp("dataset")
    process(voices, metadata, folder, options())
    return folder


def test_every_recording_ends_as_a_row_or_a_reject(dataset: Path, metadata: Path) -> None:
    rows, rejects = rows_of(dataset), rejects_of(dataset)
    transcripts = list(storage.read_rows(metadata / "transcripts.jsonl", Transcript))
    assert {row.recording_id for row in rows.values()} | rejects.keys() == {row.recording_id for row in transcripts}
    assert not rejects
    assert sum(row.recording_id.endswith("interview.ogg") for row in rows.values()) > 5


def test_each_array_holds_the_codes_of_its_own_stretch(dataset: Path, voices: Path) -> None:
    """The slow obvious way: load the file whole, cut, resample, encode alone."""
    codec = qnt.load_codec(TINY)
    for row in rows_of(dataset).values():
        samples, rate_hz = audio.load(voices / row.recording_id)
        assert rate_hz == row.sample_rate_hz
        cut = samples[row.start_samples : row.start_samples + row.num_samples]
        codes = storage.read_array(dataset / row.codes)
        assert codes.shape == (8, row.num_frames)
        np.testing.assert_array_equal(codes, qnt.encode(codec, cut, rate_hz))


def test_rows_carry_text_phonemes_and_words(dataset: Path) -> None:
    rows = rows_of(dataset)
    assert rows["english/awb/a.mp3"].phonemes.startswith("ɐ klˈɪp")
    assert rows["english/awb/a.mp3"].group == "english"
    assert rows["english/awb/a.mp3"].speaker == "awb"
    part = rows["english/rms/interview.ogg-00002"]
    assert part.text == "part 2"
    assert [word.text for word in part.words] == ["part", "2"]
    assert part.words[0].start_s == pytest.approx(0.2, abs=1e-3)
    assert rows["world/haruka/桜.wav"].language == "ja"


def test_arrays_are_plain_npy_named_by_id(dataset: Path) -> None:
    for path in dataset.rglob("*.npy"):
        codes = np.load(path, allow_pickle=False, mmap_mode="r")
        assert codes.dtype == np.uint16
    on_disk = {path.relative_to(dataset).as_posix() for path in dataset.rglob("*.npy")}
    assert on_disk == {row_id + ".npy" for row_id in rows_of(dataset)}
    assert not (dataset / ".tmp").exists()


def test_dataset_json_says_how_it_was_made(dataset: Path) -> None:
    head = json.loads((dataset / "dataset.json").read_text())
    assert head["schema_version"] == 2
    assert head["codec"]["name"] == "tiny"
    assert head["codec"]["num_levels"] == 8
    assert head["counts"] == {"utterances": len(rows_of(dataset)), "rejects": 0}
    assert head["versions"]["torch"]


def test_workers_and_order_change_nothing(tmp_path: Path, dataset: Path, voices: Path, metadata: Path) -> None:
    transcripts = list(storage.read_rows(metadata / "transcripts.jsonl", Transcript))
    backwards = write_transcripts(tmp_path / "metadata", transcripts[::-1])
    process(voices, backwards, tmp_path / "dataset", options(workers=2, executor="local"))
    assert rows_of(tmp_path / "dataset") == rows_of(dataset)
    for row in rows_of(dataset).values():
        assert (tmp_path / "dataset" / row.codes).read_bytes() == (dataset / row.codes).read_bytes()


def test_a_second_run_does_nothing(dataset: Path, voices: Path, metadata: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in dataset.rglob("*.npy")}
    text = (dataset / "utterances.jsonl").read_bytes()
    report = process(voices, metadata, dataset, options())
    assert report.num_resumed == report.num_items
    assert (dataset / "utterances.jsonl").read_bytes() == text
    assert {path: path.stat().st_mtime_ns for path in dataset.rglob("*.npy")} == before


@pytest.mark.parametrize("cut", range(1, 8))
def test_resume_after_a_tear_at_any_place(
    tmp_path: Path, dataset: Path, voices: Path, metadata: Path, cut: int
) -> None:
    """Rows of a recording may be half there, the last line torn, arrays without rows: the end is the same."""
    copy = tmp_path / "dataset"
    shutil.copytree(dataset, copy)
    head = json.loads((copy / "dataset.json").read_text())
    (copy / "dataset.json").write_text(json.dumps(head | {"counts": None}))
    rows = copy / "utterances.jsonl"
    whole = rows.read_bytes()
    rows.write_bytes(whole[: len(whole) * cut // 8 + cut])
    process(voices, metadata, copy, options())
    assert rows_of(copy) == rows_of(dataset)


def test_killed_in_the_middle_it_goes_on(tmp_path: Path, dataset: Path, voices: Path, metadata: Path) -> None:
    command: list[str | Path] = [sys.executable, "-m", "vall_e.emb.process"]
    command += ["--audio-backend", "tiny", "--min-duration", "0.1"]
    command += ["--input-audio", voices, "--input-metadata", metadata, "--output-dataset", tmp_path / "dataset"]
    rows = tmp_path / "dataset" / "utterances.jsonl"
    running = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (rows.exists() and rows.read_bytes().count(b"\n") >= 2):
        assert running.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert 2 <= rows.read_bytes().count(b"\n") < len(rows_of(dataset)), "killed too late to prove anything"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "were done before" in done.stdout
    assert rows_of(tmp_path / "dataset") == rows_of(dataset)
    assert not (tmp_path / "dataset" / ".tmp").exists()


def test_other_options_do_not_mix_into_a_dataset(dataset: Path, voices: Path, metadata: Path, tmp_path: Path) -> None:
    copy = tmp_path / "dataset"
    shutil.copytree(dataset, copy)
    for changes in ({"levels": 4}, {"stress": False}, {"slice": "false"}, {"max_duration_s": 5.0}):
        with pytest.raises(UsageError, match="--overwrite"):
            process(voices, metadata, copy, options(**changes))
    assert rows_of(copy) == rows_of(dataset)
    process(voices, metadata, copy, options(levels=4, overwrite=True))
    assert {np.load(path).shape[0] for path in copy.rglob("*.npy")} == {4}


def test_other_weights_do_not_mix_into_a_dataset(
    dataset: Path, voices: Path, metadata: Path, tmp_path: Path, encodec_weights: Path
) -> None:
    copy = tmp_path / "dataset"
    shutil.copytree(dataset, copy)
    head = json.loads((copy / "dataset.json").read_text())
    head["codec"]["weights_sha256"] = "0" * 64
    (copy / "dataset.json").write_text(json.dumps(head))
    lines = (copy / "done.jsonl").read_bytes().splitlines(keepends=True)
    (copy / "done.jsonl").write_bytes(b"".join(lines[:-1]))  # one recording is left to do
    with pytest.raises(UsageError, match="weights 000000000000"):
        process(voices, metadata, copy, options())


def test_texts_that_changed_are_reported_and_redone_when_asked(
    dataset: Path, voices: Path, metadata: Path, tmp_path: Path
) -> None:
    """The finished rows used to keep the old texts and say nothing."""
    copy, meta = tmp_path / "dataset", tmp_path / "metadata"
    shutil.copytree(dataset, copy)
    shutil.copytree(metadata, meta)
    transcripts = list(storage.read_rows(metadata / "transcripts.jsonl", Transcript))
    (meta / "transcripts.jsonl").unlink()
    other = [said(row.recording_id, "something else") if "awb" in row.recording_id else row for row in transcripts]
    write_transcripts(meta, other)
    for _ in range(2):
        (warning,) = process(voices, meta, copy, options()).warnings
        assert "4 recordings changed since" in warning and "--update" in warning
    assert rows_of(copy) == rows_of(dataset)
    report = process(voices, meta, copy, options(update=True))
    assert report.warnings == () and report.num_items - report.num_resumed == 4
    found = rows_of(copy)
    assert {row.text for row in found.values() if row.speaker == "awb"} == {"something else"}
    assert {key: row for key, row in found.items() if row.speaker != "awb"} == {
        key: row for key, row in rows_of(dataset).items() if row.speaker != "awb"
    }
    assert process(voices, meta, copy, options()).warnings == ()


def test_audio_that_changed_since_it_was_transcribed_is_rejected(voices: Path, metadata: Path, tmp_path: Path) -> None:
    """It used to become a row: the sound of one recording with the text of another."""
    root, meta = tmp_path / "voices", tmp_path / "meta"
    shutil.copytree(voices / "english" / "awb", root / "english" / "awb")
    transcripts = storage.read_rows(metadata / "transcripts.jsonl", Transcript)
    write_transcripts(meta, [row for row in transcripts if "awb" in row.recording_id])
    import_corpus(root, meta, ImportOptions(executor="serial"))
    shutil.copy(root / "english" / "awb" / "b.mp3", root / "english" / "awb" / "a.mp3")
    process(root, meta, tmp_path / "dataset", options())
    assert rejects_of(tmp_path / "dataset") == {"english/awb/a.mp3": "changed"}
    import_corpus(root, meta, ImportOptions(update=True, executor="serial"))
    write_transcripts(meta, [said("english/awb/a.mp3", "the words of b")])
    assert process(root, meta, tmp_path / "dataset", options(update=True)).rejects == {}
    assert rows_of(tmp_path / "dataset")["english/awb/a.mp3"].text == "the words of b"


def test_a_transcript_of_no_recording_is_reported(voices: Path, metadata: Path, tmp_path: Path) -> None:
    transcripts = list(storage.read_rows(metadata / "transcripts.jsonl", Transcript))
    longer = write_transcripts(tmp_path / "longer", [*transcripts[:2], said("english/awb/gone.wav", "gone")])
    (warning,) = process(voices, longer, tmp_path / "data", options()).warnings
    assert "1 transcript names a recording that is not in recordings.jsonl, like english/awb/gone.wav" in warning


def test_a_recording_that_is_not_there_is_tried_again(voices: Path, metadata: Path, tmp_path: Path) -> None:
    """A disk that is not mounted costs nothing for good."""
    root = tmp_path / "voices"
    shutil.copytree(voices / "english" / "awb", root / "english" / "awb")
    meta = write_transcripts(tmp_path / "meta", [said("english/awb/a.mp3", "a"), said("english/awb/b.mp3", "b")])
    import_corpus(root, meta, ImportOptions(executor="serial"))
    (root / "english" / "awb" / "a.mp3").rename(tmp_path / "a.mp3")
    (warning,) = process(root, meta, tmp_path / "data", options()).warnings
    assert "1 recording is not there any more, like english/awb/a.mp3" in warning
    assert list(rows_of(tmp_path / "data")) == ["english/awb/b.mp3"] and rejects_of(tmp_path / "data") == {}
    (tmp_path / "a.mp3").rename(root / "english" / "awb" / "a.mp3")
    assert process(root, meta, tmp_path / "data", options()).num_rows == 2


def test_another_folder_of_audio_does_not_mix_into_a_dataset(voices: Path, metadata: Path, tmp_path: Path) -> None:
    """The texts of one folder with the sound of another: the same names in both, and nobody would have noticed."""
    root, copy, moved, meta = (tmp_path / name for name in ("voices", "copy", "moved", "meta"))
    shutil.copytree(voices / "english" / "awb", root / "english" / "awb")
    shutil.copytree(root, copy)
    write_transcripts(meta, [said("english/awb/a.mp3", "a text")])
    process(root, meta, tmp_path / "data", options())
    with pytest.raises(UsageError, match="made from"):
        process(copy, meta, tmp_path / "data", options())
    root.rename(moved)
    report = process(moved, meta, tmp_path / "data", options())
    assert report.num_resumed == report.num_items, "a folder that was moved is followed"
    assert json.loads((tmp_path / "data" / "dataset.json").read_text())["config"]["input_audio"] == str(moved)
    with pytest.raises(UsageError, match="no such folder"):
        process(tmp_path / "unmounted", meta, tmp_path / "other", options())


def test_overwriting_can_be_killed(dataset: Path, voices: Path, metadata: Path, tmp_path: Path) -> None:
    """Arrays used to go before their rows: killed in between, the rows stood and were taken for done."""
    copy = tmp_path / "dataset"
    shutil.copytree(dataset, copy)
    (copy / "utterances.jsonl").rename(copy / "utterances.old.jsonl")
    for path in sorted(copy.rglob("*.npy"))[:5]:
        path.unlink()
    process(voices, metadata, copy, options())
    assert rows_of(copy) == rows_of(dataset)
    assert not (copy / "utterances.old.jsonl").exists()
    assert {path.name for path in copy.rglob("*.npy")} == {path.name for path in dataset.rglob("*.npy")}


def test_from_scratch_it_has_another_stamp(dataset: Path, voices: Path, metadata: Path, tmp_path: Path) -> None:
    copy = tmp_path / "dataset"
    shutil.copytree(dataset, copy)

    def made() -> str:
        return str(json.loads((copy / "dataset.json").read_text())["made"])

    first = made()
    process(voices, metadata, copy, options())
    assert made() == first
    process(voices, metadata, copy, options(overwrite=True))
    assert made() > first


def test_a_call_that_fails_writes_no_head(voices: Path, metadata: Path, tmp_path: Path) -> None:
    """`--levels 4 --workers -1` failed, and `--levels 8` was then refused."""
    with pytest.raises(UsageError, match="--workers"):
        process(voices, metadata, tmp_path / "data", options(levels=4, workers=-1))
    with pytest.raises(UsageError, match="levels"):
        process(voices, metadata, tmp_path / "data", options(levels=99))
    assert not (tmp_path / "data" / "dataset.json").exists()


def test_audio_damaged_behind_its_first_slices_leaves_no_arrays(demo: Path, tmp_path: Path) -> None:
    """Arrays of the slices before the damage used to stay, named by no row and removed by nothing."""
    root = tmp_path / "voices"
    root.mkdir()
    samples, rate_hz = audio.load(demo / "english" / "rms" / "interview.ogg")
    samples = np.concatenate([samples] * 2)
    samples[-100:] = np.nan
    soundfile.write(root / "a.wav", samples, rate_hz, subtype="FLOAT")
    shutil.copy(demo / "english" / "awb" / "a.mp3", root / "b.mp3")
    segments = tuple(
        Segment(text="some words", start_s=float(n), end_s=n + 4.5) for n in range(0, len(samples) // rate_hz - 5, 5)
    ) + (Segment(text="the end", start_s=len(samples) / rate_hz - 3, end_s=len(samples) / rate_hz),)
    meta = write_transcripts(tmp_path / "meta", [said("a.wav", "x", segments=segments), said("b.mp3", "fine")])
    process(root, meta, tmp_path / "data", options())
    assert rejects_of(tmp_path / "data") == {"a.wav": "non_finite"}
    assert [path.name for path in (tmp_path / "data").rglob("*.npy")] == ["b.mp3.npy"]
    assert list(rows_of(tmp_path / "data")) == ["b.mp3"]


UPDATED = (
    *("utterances.old.jsonl", "dataset.json", "similar.jsonl", "similar_groups.jsonl"),
    *("utterances.jsonl", "done.jsonl"),
)


@pytest.mark.parametrize("stop_before", UPDATED)
def test_an_update_stopped_before_any_file_is_taken_up(
    dataset: Path, voices: Path, metadata: Path, tmp_path: Path, stop_before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, meta = tmp_path / "dataset", tmp_path / "metadata"
    shutil.copytree(dataset, copy)
    shutil.copytree(metadata, meta)
    lists = SimilarOptions(similarity_backend="codes", executor="serial")
    similar(copy, lists)
    transcripts = list(storage.read_rows(metadata / "transcripts.jsonl", Transcript))
    (meta / "transcripts.jsonl").unlink()
    other = [said(row.recording_id, "new") if "rms" in row.recording_id else row for row in transcripts]
    write_transcripts(meta, other)
    replace = os.replace

    def killed(source: str, target: Path) -> None:
        if Path(target).name == stop_before:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        process(voices, meta, copy, options(update=True))
    monkeypatch.undo()
    assert process(voices, meta, copy, options(update=True)).warnings == ()
    process(voices, meta, tmp_path / "scratch", options())
    assert rows_of(copy) == rows_of(tmp_path / "scratch")
    arrays, expected = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.npy")}
        for folder in (copy, tmp_path / "scratch")
    )
    assert arrays == expected
    similar(copy, lists)
    similar(tmp_path / "scratch", lists)
    assert sorted((copy / "similar.jsonl").read_text().splitlines()) == sorted(
        (tmp_path / "scratch" / "similar.jsonl").read_text().splitlines()
    )


def test_a_dataset_of_version_1_is_resumed(dataset: Path, voices: Path, metadata: Path, tmp_path: Path) -> None:
    """Made by the version before: no recordings.jsonl, no done.jsonl, no scores; transcripts known by their bytes."""
    copy, meta = tmp_path / "dataset", tmp_path / "metadata"
    shutil.copytree(dataset, copy)
    meta.mkdir()
    shutil.copy(metadata / "transcripts.jsonl", meta)
    (copy / "done.jsonl").unlink()
    rows = [row for _, row in storage.read_json_lines(copy / "utterances.jsonl")]
    old = [{key: value for key, value in row.items() if key != "scores"} for row in rows]
    storage.write_json_lines(copy / "utterances.jsonl", old, copy)
    head = json.loads((copy / "dataset.json").read_text())
    num_bytes, sha256 = storage.prefix_hash(meta / "transcripts.jsonl")
    config = {key: value for key, value in head["config"].items() if key != "gates"}
    head = {key: head[key] for key in ("made", "codec", "versions", "counts")} | {"config": config, "schema_version": 1}
    head |= {"transcripts": {"bytes": num_bytes, "sha256": sha256}}
    (copy / "dataset.json").write_text(json.dumps(head))
    report = process(voices, meta, copy, options())
    assert report.num_resumed == report.num_items
    (warning,) = report.warnings
    assert "made with gates duration, and stays so" in warning
    assert (copy / "done.jsonl").exists() and (meta / "recordings.jsonl").exists()
    head["transcripts"]["sha256"] = "0" * 64
    (copy / "dataset.json").write_text(json.dumps(head))
    with pytest.raises(UsageError, match="recreated"):
        process(voices, meta, copy, options())


def test_a_recording_twice_is_refused(tmp_path: Path, voices: Path) -> None:
    """One row and the other's array used to be the result."""
    meta = write_transcripts(tmp_path / "meta", [said("english/awb/a.mp3", "one"), said("english/awb/a.mp3", "two")])
    with pytest.raises(ContractError, match=r"transcripts.jsonl:2: english/awb/a.mp3 for the second time"):
        process(voices, meta, tmp_path / "data", options())


def test_names_that_a_dataset_uses_itself_are_rejected(tmp_path: Path, demo: Path) -> None:
    """Arrays of a group named .tmp were swept away with the temporary files, while their rows stood."""
    names = ["s.jsonl/a/x.mp3", ".tmp/a/x.mp3", "built/a/x.mp3", "g/s/b.wav.npy/x.mp3", "g/s/b.wav-00001"]
    for name in [*names[:-1], "g/s/b.wav"]:
        path = tmp_path / "voices" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(demo / "english" / "awb" / "a.mp3", path)
    meta = write_transcripts(tmp_path / "meta", [said(name, "a text") for name in [*names[:-1], "g/s/b.wav"]])
    process(tmp_path / "voices", meta, tmp_path / "data", options())
    assert rejects_of(meta) == dict.fromkeys(names[:-1], "bad_name")
    assert list(rows_of(tmp_path / "data")) == ["g/s/b.wav"]


def test_weights_are_looked_at_even_if_all_is_done(dataset: Path, voices: Path, metadata: Path, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="none.safetensors"):
        process(voices, metadata, dataset, options(weights=tmp_path / "none.safetensors"))


def test_bad_recordings_and_texts_are_rejected_with_their_reason(tmp_path: Path, demo: Path) -> None:
    root = tmp_path / "voices" / "g" / "s"
    root.mkdir(parents=True)
    tone = (0.1 * np.sin(np.arange(16_000) / 20)).astype(np.float32)
    good, long = {"text": "fine"}, Segment(text="long", start_s=0.0, end_s=21.0)
    cases: dict[str, tuple[np.ndarray | bytes, dict[str, Any], str]] = {
        "nan.wav": (np.full(16_000, np.nan, np.float32), good, "non_finite"),
        "silent.wav": (np.zeros(16_000, np.float32), good, "silent"),
        "one.wav": (tone[:1], good, "too_short"),
        "header.wav": (tone[:0], good, "empty"),
        "empty.wav": (b"", good, "empty"),
        "text.mp3": (b"not audio at all" * 100, good, "unreadable"),
        "long.wav": (np.tile(tone, 21), {"text": "long", "segments": (long,)}, "too_long"),
        "blank.wav": (tone, {"text": "  "}, "no_text"),
        "marks.wav": (tone, {"text": "... !?"}, "no_phonemes"),
        "klingon.wav": (tone, {"text": "nuqneH", "language": "tlh-x-none"}, "language_unsupported"),
        "kanji.wav": (tone, {"text": "漢字 in English"}, "lost_characters"),
    }
    for name, (content, _, _) in cases.items():
        if isinstance(content, bytes):
            (root / name).write_bytes(content)
        else:
            soundfile.write(root / name, content, 16_000, subtype="FLOAT")
    transcripts = [said(f"g/s/{name}", **text) for name, (_, text, _) in cases.items()]
    outside = tmp_path / "outside.wav"
    soundfile.write(outside, tone, 16_000)
    (root / "link.wav").symlink_to(outside)
    transcripts += [said("../outside.wav", "x"), said(str(outside), "x"), said("g/s/link.wav", "x")]
    shutil.copy(demo / "english" / "awb" / "a.mp3", root / "good one.mp3")
    transcripts.append(said("g/s/good one.mp3", "A good one."))
    report = process(
        tmp_path / "voices", write_transcripts(tmp_path / "meta", transcripts), tmp_path / "data", options()
    )
    expected = {f"g/s/{name}".replace("long.wav", "long.wav-00000"): reason for name, (_, _, reason) in cases.items()}
    imported = rejects_of(tmp_path / "meta")
    assert imported.pop("g/s/link.wav") == "link_outside"
    assert rejects_of(tmp_path / "data") | imported == expected and not rejects_of(tmp_path / "data").keys() & imported
    assert list(rows_of(tmp_path / "data")) == ["g/s/good one.mp3"]
    assert report.num_rejects == len(expected) - len(imported)
    (warning,) = report.warnings
    assert "6 transcripts name recordings that are not in recordings.jsonl" in warning


def test_paths_of_a_manifest_are_not_trusted(tmp_path: Path, voices: Path) -> None:
    """recordings.jsonl may come from anywhere."""
    meta = write_transcripts(tmp_path / "meta", [said(name, "x") for name in ("a.wav", "b.wav")])
    soundfile.write(tmp_path / "outside.wav", np.ones(16_000) / 2, 16_000)
    rows = [
        Recording(id="a.wav", path="../outside.wav", sample_rate_hz=16_000, num_samples=16_000),
        Recording(id="b.wav", path=str(tmp_path / "outside.wav"), sample_rate_hz=16_000, num_samples=16_000),
    ]
    with storage.JsonlWriter(meta / "recordings.jsonl") as writer:
        writer.write(rows)
    process(voices, meta, tmp_path / "data", options())
    assert rejects_of(tmp_path / "data") == dict.fromkeys(("a.wav", "b.wav"), "unsafe_path")


def test_exit_status_and_messages(
    tmp_path: Path, voices: Path, metadata: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    transcripts = [said("english/awb/b.mp3", "漢字"), said("english/awb/a.mp3", "Fine.")]
    empty = write_transcripts(tmp_path / "meta", transcripts)
    command = ["--input-audio", str(voices), "--output-dataset", str(tmp_path / "data"), "--audio-backend", "tiny"]
    assert main([*command, "--input-metadata", str(empty)]) == 0
    assert "1 row, 1 reject (1 lost_characters)" in capsys.readouterr().out
    assert main([*command, "--input-metadata", str(empty), "--max-reject-ratio", "0.5"]) == 0
    assert main([*command, "--input-metadata", str(empty), "--max-reject-ratio", "0.4"]) == 1
    assert "50.0% rejected" in capsys.readouterr().err
    with pytest.raises(UsageError, match=r"transcripts.jsonl: no such file; python -m vall_e.emb.transcribe"):
        main([*command, "--input-metadata", str(tmp_path)])
    with pytest.raises(UsageError, match="durations"):
        main([*command, "--input-metadata", str(empty), "--min-duration", "30"])


def test_a_damaged_manifest_is_named_by_line(tmp_path: Path, voices: Path) -> None:
    meta = write_transcripts(tmp_path / "meta", [said(f"english/awb/{name}.mp3", "x") for name in "ab"])
    path = meta / "transcripts.jsonl"
    path.write_text(path.read_text().replace('"text": "x", "segments"', '"txt": "x", "segments"', 1))
    with pytest.raises(ContractError, match=r"transcripts.jsonl:1: .*unknown field txt"):
        process(voices, meta, tmp_path / "data", options())


def test_numbers_are_kept_as_written_and_as_spoken(tmp_path: Path, demo: Path) -> None:
    root = tmp_path / "in"
    root.mkdir()
    for name in ("a", "b"):
        shutil.copy(demo / "english/awb/c.wav", root / f"{name}.wav")
    meta = write_transcripts(tmp_path / "meta", [said("a.wav", "It cost $3.50."), said("b.wav", "At 10:30:15.")])
    process(root, meta, tmp_path / "data", options())
    (row,) = rows_of(tmp_path / "data").values()
    assert (row.text, row.spoken) == ("It cost $3.50.", "It cost three dollars fifty.")
    assert rejects_of(tmp_path / "data") == {"b.wav": "no_reading"}
    head = json.loads((tmp_path / "data" / "dataset.json").read_text())["config"]
    assert head["normalise"] is True and head["japanese"] == "openjtalk"


def test_a_dataset_from_before_numbers_were_words_stays_as_it_was_made(tmp_path: Path, demo: Path) -> None:
    """Its head does not name the options that are younger, and two ways are never mixed in one."""
    root = tmp_path / "in"
    root.mkdir()
    shutil.copy(demo / "english/awb/c.wav", root / "a.wav")
    meta = write_transcripts(tmp_path / "meta", [said("a.wav", "It cost $3.50.")])
    process(root, meta, tmp_path / "data", options(normalise=False, japanese="pykakasi"))
    path = tmp_path / "data" / "dataset.json"
    head = json.loads(path.read_text())
    for key in ("normalise", "japanese", "lexicon"):
        del head["config"][key]
    path.write_text(json.dumps(head))
    shutil.copy(demo / "english/awb/c.wav", root / "b.wav")
    import_corpus(root, meta, ImportOptions(executor="serial"))
    write_transcripts(meta, [said("b.wav", "It cost $3.50.")])
    report = process(root, meta, tmp_path / "data", options())
    rows = rows_of(tmp_path / "data")
    assert rows["b.wav"].phonemes == rows["a.wav"].phonemes and rows["b.wav"].spoken == "It cost $3.50."
    assert any("normalise false, and stays so" in note for note in report.notes)
    process(root, meta, tmp_path / "data", options(overwrite=True))
    assert rows_of(tmp_path / "data")["b.wav"].spoken == "It cost three dollars fifty."


def test_languages_as_people_write_them(voices: Path, tmp_path: Path) -> None:
    """Transcripts that a person wrote: a code of three letters, a name, a region, and one that is no language."""
    names = [path.relative_to(voices).as_posix() for path in audio.find_files(voices / "english" / "awb")]
    written = ["eng", "English", "en-GB", "xx"]
    transcripts = [said(name, "A clip of the demo.", code) for name, code in zip(names, written, strict=False)]
    folder = write_transcripts(tmp_path / "meta", transcripts)
    process(voices, folder, tmp_path / "dataset", options())
    assert {row.language for row in rows_of(tmp_path / "dataset").values()} == {"en"}
    assert rejects_of(tmp_path / "dataset") == {names[3]: "language_unsupported"}
