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
from vall_e.emb import qnt
from vall_e.emb.process import ProcessOptions, main, process
from vall_e.types import BackendError, ContractError, Reject, Segment, Transcript, UsageError, Utterance, Word

TINY = qnt.CodecOptions(audio_backend="tiny")


def options(**changes: Any) -> ProcessOptions:
    return ProcessOptions(**({"audio_backend": "tiny", "min_duration_s": 0.1} | changes))


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
    for recording_id, path in audio.scan(voices, "test").found:
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
    assert head["schema_version"] == 1
    assert head["codec"]["name"] == "tiny"
    assert head["codec"]["num_levels"] == 8
    assert head["counts"] == {"utterances": len(rows_of(dataset)), "rejects": 0}
    assert head["versions"]["torch"]


def test_workers_and_order_change_nothing(tmp_path: Path, dataset: Path, voices: Path, metadata: Path) -> None:
    transcripts = list(storage.read_rows(metadata / "transcripts.jsonl", Transcript))
    backwards = write_transcripts(tmp_path / "metadata", transcripts[::-1])
    process(voices, backwards, tmp_path / "dataset", options(workers=2))
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
    command = [sys.executable, "-m", "vall_e.emb.process", "--audio-backend", "tiny", "--min-duration", "0.1"]
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
    copy, more = tmp_path / "dataset", tmp_path / "metadata"
    shutil.copytree(dataset, copy)
    shutil.copytree(metadata, more)
    head = json.loads((copy / "dataset.json").read_text())
    head["codec"]["weights_sha256"] = "0" * 64
    (copy / "dataset.json").write_text(json.dumps(head))
    with storage.JsonlWriter(more / "transcripts.jsonl") as writer:
        writer.write([said("english/awb/new.wav", "new")])
    with pytest.raises(UsageError, match="weights 000000000000"):
        process(voices, more, copy, options())


def test_texts_that_were_replaced_do_not_pass_unseen(
    dataset: Path, voices: Path, metadata: Path, tmp_path: Path
) -> None:
    """Transcribed anew with another recogniser, the finished rows would keep the old texts and say nothing."""
    copy = tmp_path / "dataset"
    shutil.copytree(dataset, copy)
    transcripts = list(storage.read_rows(metadata / "transcripts.jsonl", Transcript))
    other = [said(row.recording_id, "something else", row.language) for row in transcripts]
    with pytest.raises(UsageError, match="made anew"):
        process(voices, write_transcripts(tmp_path / "other", other), copy, options())
    longer = write_transcripts(tmp_path / "longer", [*transcripts, said("english/awb/gone.wav", "gone")])
    report = process(voices, longer, copy, options())
    assert report.num_rows == len(transcripts) - 1 + sum("interview" in key for key in rows_of(dataset))
    assert rejects_of(copy) == {}
    assert report.warnings == ("process: 1 recordings are not there any more, like english/awb/gone.wav",)
    assert process(voices, longer, copy, options()).num_resumed < report.num_items, "it is looked for again"


def test_another_folder_of_audio_does_not_mix_into_a_dataset(
    dataset: Path, voices: Path, metadata: Path, tmp_path: Path
) -> None:
    """The texts of one folder with the sound of another: the same names in both, and nobody would have noticed."""
    copy, moved = tmp_path / "dataset", tmp_path / "moved"
    shutil.copytree(dataset, copy)
    shutil.copytree(voices, moved)
    with pytest.raises(UsageError, match="made from"):
        process(moved, metadata, copy, options())
    head = json.loads((copy / "dataset.json").read_text())
    head["config"]["input_audio"] = str(tmp_path / "gone")
    (copy / "dataset.json").write_text(json.dumps(head))
    report = process(moved, metadata, copy, options())
    assert report.num_resumed == report.num_items, "a folder that was moved is followed"
    assert json.loads((copy / "dataset.json").read_text())["config"]["input_audio"] == str(moved)
    with pytest.raises(UsageError, match="no such folder"):
        process(tmp_path / "unmounted", metadata, tmp_path / "other", options())


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


def test_made_anew_it_has_another_stamp(dataset: Path, voices: Path, metadata: Path, tmp_path: Path) -> None:
    copy = tmp_path / "dataset"
    shutil.copytree(dataset, copy)

    def made() -> str:
        return str(json.loads((copy / "dataset.json").read_text())["made"])

    first = made()
    process(voices, metadata, copy, options())
    assert made() == first
    process(voices, metadata, copy, options(overwrite=True))
    assert made() > first


def test_a_recording_twice_is_refused(tmp_path: Path, voices: Path) -> None:
    """One row and the other's array used to be the result."""
    meta = write_transcripts(tmp_path / "meta", [said("english/awb/a.mp3", "one"), said("english/awb/a.mp3", "two")])
    with pytest.raises(ContractError, match=r"transcripts.jsonl:2: english/awb/a.mp3 for the second time"):
        process(voices, meta, tmp_path / "data", options())


def test_names_that_a_dataset_uses_itself_are_rejected(tmp_path: Path, demo: Path) -> None:
    """Arrays of a group named .tmp were swept away with the temporary files, while their rows stood."""
    names = ["s.jsonl/a/x.mp3", ".tmp/a/x.mp3", "built/a/x.mp3", "g/s/b.wav.npy/x.mp3", "g/s/b.wav"]
    for name in names:
        path = tmp_path / "voices" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(demo / "english" / "awb" / "a.mp3", path)
    meta = write_transcripts(tmp_path / "meta", [said(name, "a text") for name in names])
    process(tmp_path / "voices", meta, tmp_path / "data", options())
    assert rejects_of(tmp_path / "data") == dict.fromkeys(names[:-1], "bad_name")
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
    expected |= {"../outside.wav": "unsafe_path", str(outside): "unsafe_path", "g/s/link.wav": "link_outside"}
    assert rejects_of(tmp_path / "data") == expected
    assert list(rows_of(tmp_path / "data")) == ["g/s/good one.mp3"]
    assert report.num_rejects == len(expected)


def test_exit_status_and_messages(
    tmp_path: Path, voices: Path, metadata: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = write_transcripts(tmp_path / "meta", [said("../a.wav", "x"), said("english/awb/a.mp3", "Fine.")])
    command = ["--input-audio", str(voices), "--output-dataset", str(tmp_path / "data"), "--audio-backend", "tiny"]
    assert main([*command, "--input-metadata", str(empty)]) == 0
    assert "1 rows, 1 rejects (1 unsafe_path)" in capsys.readouterr().out
    assert main([*command, "--input-metadata", str(empty), "--max-reject-ratio", "0.5"]) == 0
    assert main([*command, "--input-metadata", str(empty), "--max-reject-ratio", "0.4"]) == 1
    assert "50.0% rejected" in capsys.readouterr().err
    with pytest.raises(UsageError, match=r"transcripts.jsonl: no such file; python -m vall_e.emb.transcribe"):
        main([*command, "--input-metadata", str(tmp_path)])
    with pytest.raises(UsageError, match="durations"):
        main([*command, "--input-metadata", str(empty), "--min-duration", "30"])


def test_a_damaged_manifest_is_named_by_line(tmp_path: Path, voices: Path) -> None:
    meta = write_transcripts(tmp_path / "meta", [said("a/b.wav", "x"), said("a/c.wav", "x")])
    path = meta / "transcripts.jsonl"
    path.write_text(path.read_text().replace('"text": "x", "segments"', '"txt": "x", "segments"', 1))
    with pytest.raises(ContractError, match=r"transcripts.jsonl:1: Transcript has no key 'txt'"):
        process(voices, meta, tmp_path / "data", options())
