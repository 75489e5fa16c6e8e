"""From a folder of speech to batches, as a person runs it; and that audio, codes, text and prompts belong together."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from vall_e import audio, storage
from vall_e.cli import STAGES, SharedOptions, load_options
from vall_e.cli import main as vall_e
from vall_e.config import load_file
from vall_e.dataset import Dataset, make_loader
from vall_e.emb import qnt
from vall_e.types import Reject, Transcript, UsageError, Utterance, recording_id_of

REPOSITORY = Path(__file__).resolve().parents[1]
OFFLINE = REPOSITORY / "configs" / "offline.yaml"


def command(voices: Path, work: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "vall_e.cli", "prepare", str(voices), str(work), "--config", str(OFFLINE), *more]


def snapshot(root: Path) -> dict[str, str]:
    """What every file below `root` holds; links by their target."""
    found = {}
    for path in sorted(root.rglob("*")):
        if path.is_symlink():
            found[str(path)] = "-> " + os.readlink(path)
        elif path.is_file():
            found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory, demo: Path) -> Path:
    """The demo corpus among everything that people keep in such folders."""
    root = tmp_path_factory.mktemp("end to end") / "my voices 🎙"
    shutil.copytree(demo, root)
    odd = root / "odd" / "names"
    odd.mkdir(parents=True)
    clip, rate_hz = audio.load(demo / "english" / "awb" / "b.mp3")
    text = (demo / "english" / "awb" / "b.txt").read_text()
    for name in ("-rf.wav", 'it\'s "quoted".flac', "two\nlines.wav", "喋る.wav", "a.wav", "a.flac", "$(true).ogg"):
        audio.write(odd / name, clip, rate_hz)
        (odd / name).with_suffix(".txt").write_text(text)
    (odd / "language.txt").write_text("en")
    bad = root / "bad" / "files"
    bad.mkdir(parents=True)
    (bad / "empty.wav").write_bytes(b"")
    (bad / "text.mp3").write_text("I am no audio.")
    (bad / "notes.pdf").write_text("ignored")
    soundfile.write(bad / "header.wav", clip[:0], rate_hz)
    soundfile.write(bad / "one.wav", np.array([0.5]), rate_hz)
    (bad / "one.txt").write_text("one")
    soundfile.write(bad / "silent.wav", np.zeros(rate_hz), rate_hz)
    soundfile.write(bad / "nan.wav", np.full(rate_hz, np.nan), rate_hz, subtype="FLOAT")
    flac = (odd / "a.flac").read_bytes()
    (bad / "truncated.flac").write_bytes(flac[: len(flac) // 2])
    (bad / "folder.wav").mkdir()
    shutil.copy(odd / "a.wav", bad / "folder.wav" / "inside.wav")
    (bad / "folder.wav" / "inside.txt").write_text(text)
    (bad / "loop").symlink_to(root)
    outside = root.parent / "outside.wav"
    shutil.copy(odd / "a.wav", outside)
    (bad / "link.wav").symlink_to(outside)
    (bad / "broken.wav").symlink_to(bad / "nowhere.wav")
    os.mkfifo(bad / "pipe.wav")
    return root


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, voices: Path) -> Path:
    folder = tmp_path_factory.mktemp("work") / "results"
    before = snapshot(voices.parent)
    done = subprocess.run(command(voices, folder), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "every input is accounted for" in done.stdout
    assert snapshot(voices.parent) == before, "the input was touched"
    return folder


def utterances(work: Path) -> dict[str, Utterance]:
    return {row.id: row for row in storage.read_rows(work / "dataset" / "utterances.jsonl", Utterance)}


def rejects(work: Path) -> list[Reject]:
    rows = [storage.read_rows(work / part / "rejects.jsonl", Reject) for part in ("metadata", "dataset")]
    return [reject for part in rows for reject in part]


def test_every_file_is_in_exactly_one_place(work: Path, voices: Path) -> None:
    transcribed = {row.recording_id for row in storage.read_rows(work / "metadata" / "transcripts.jsonl", Transcript)}
    early = {reject.id for reject in rejects(work) if reject.stage in ("import", "transcribe")}
    assert not transcribed & early
    files = {path.relative_to(voices).as_posix() for path in audio.find_files(voices)}
    others = {"folder.wav", "loop", "link.wav", "broken.wav", "pipe.wav"}  # no files, but named like audio or links
    assert transcribed | early == files | {f"bad/files/{name}" for name in others}
    cut = {row.recording_id for row in utterances(work).values()}
    late = {recording_id_of(reject.id) for reject in rejects(work) if reject.stage == "process"}
    assert cut | late == transcribed


def test_bad_files_are_rejected_for_what_they_are(work: Path) -> None:
    reasons = {reject.id.removeprefix("bad/files/"): str(reject.reason) for reject in rejects(work)}
    assert reasons == {
        "empty.wav": "empty",
        "text.mp3": "unreadable",
        "header.wav": "empty",
        "one.wav": "too_short",
        "silent.wav": "silent",
        "nan.wav": "non_finite",
        "truncated.flac": "truncated",
        "folder.wav": "not_a_file",
        "loop": "link_inside",
        "link.wav": "link_outside",
        "broken.wav": "unreadable",
        "pipe.wav": "not_a_file",
        "english/talk/meeting.ogg-00000": "too_long",  # its text has no times, and --align was not asked for
    }


def test_odd_names_come_through(work: Path) -> None:
    names = {row.recording_id.removeprefix("odd/names/") for row in utterances(work).values() if row.group == "odd"}
    assert names == {"-rf.wav", 'it\'s "quoted".flac', "two\nlines.wav", "喋る.wav", "a.wav", "a.flac", "$(true).ogg"}
    assert "bad/files/folder.wav/inside.wav" in utterances(work)


def spectrum(samples: np.ndarray) -> np.ndarray:
    """Log magnitude spectrogram [frames, bins] at 24 kHz, without its overall level."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, 1024)[::512] * np.hanning(1024)
    power = np.log(np.abs(np.fft.rfft(frames))[:, 2:400] + 1e-3)
    return power - power.mean()


def test_codes_sound_like_their_own_audio_and_no_other(work: Path, voices: Path) -> None:
    """Decode each utterance and look for the nearest stretch of audio of the same length among all: it is its own."""
    codec = qnt.load_codec(qnt.CodecOptions(audio_backend="tiny"))
    rows = [row for row in utterances(work).values() if row.group not in ("odd", "bad")]  # those are all one clip
    originals, decoded = [], []
    for row in rows:
        samples, rate_hz = audio.load(voices / row.recording_id)
        cut = samples[row.start_samples : row.start_samples + row.num_samples]
        originals.append(spectrum(audio.resample(cut, rate_hz, 24_000)))
        decoded.append(spectrum(qnt.decode(codec, storage.read_array(work / "dataset" / row.codes))))
    for row, ours in zip(rows, decoded, strict=True):
        distances = []
        for other in originals:
            length = min(len(ours), len(other))
            distances.append(np.abs(ours[:length] - other[:length]).mean())
        assert rows[int(np.argmin(distances))].id == row.id


def test_text_and_sound_are_of_the_same_clip(work: Path, demo: Path) -> None:
    rows = utterances(work)
    for sidecar in demo.rglob("*.lab"):
        (recording,) = [path for path in sidecar.parent.glob(sidecar.stem + ".*") if path.suffix != ".lab"]
        row = rows[recording.relative_to(demo).as_posix()]
        assert row.text == " ".join(sidecar.read_text().split())
        assert row.language == "de"


def test_batches_hold_what_lies_on_disk(work: Path) -> None:
    rows = utterances(work)
    dataset = Dataset(work / "dataset" / "built", split="train", seed=3)
    vocabulary = json.loads((work / "dataset" / "built" / "vocab.json").read_text())
    loader = make_loader(dataset, max_frames=6_000)
    seen = []
    for batch in loader:
        for n, utterance_id in enumerate(batch.ids):
            row = rows[utterance_id]
            codes = storage.read_array(work / "dataset" / row.codes)
            length = int(batch.target_lengths[n])
            np.testing.assert_array_equal(batch.target[n, :, :length].numpy(), codes)
            tokens = batch.text[n, : int(batch.text_lengths[n])].tolist()
            assert "".join(vocabulary["phones"][token - 3] for token in tokens[1:-1]) == row.phonemes
            prompt = batch.prompt[n, :, : int(batch.prompt_lengths[n])].numpy()
            assert any(
                _contains(storage.read_array(work / "dataset" / other.codes), prompt)
                for other in rows.values()
                if other.speaker_id == row.speaker_id and other.id != row.id
            )
            seen.append(utterance_id)
        assert batch.ar().targets.max() == 1024
        assert batch.nar(7).inputs.shape[1] == 7
    assert sorted(seen) == sorted(dataset.index.id(row) for row in dataset.rows)
    assert len(seen) > 30


def _contains(codes: np.ndarray, part: np.ndarray) -> bool:
    width = part.shape[1]
    return any(np.array_equal(codes[:, n : n + width], part) for n in range(codes.shape[1] - width + 1))


def test_similar_lists_stay_within_the_speaker(work: Path) -> None:
    rows = utterances(work)
    lists = {row["id"]: row["similar"] for _, row in storage.read_json_lines(work / "dataset" / "similar.jsonl")}
    assert lists.keys() == rows.keys()
    for utterance_id, similar in lists.items():
        scores = [score for _, score in similar]
        assert scores == sorted(scores, reverse=True)
        assert all(rows[other].speaker_id == rows[utterance_id].speaker_id for other, _ in similar)
        assert utterance_id not in {other for other, _ in similar}


def test_again_does_nothing(work: Path, voices: Path) -> None:
    before = snapshot(work)
    done = subprocess.run(command(voices, work), capture_output=True, text=True, check=True)
    assert "every input is accounted for" in done.stdout
    assert snapshot(work) == before


def test_killed_anywhere_and_resumed_with_more_workers_it_is_the_same(work: Path, voices: Path, tmp_path: Path) -> None:
    """Kills a chain of two workers again and again, later each time; the end is what one run of one worker gives."""
    folder = tmp_path / "work"
    marks = {"metadata/transcripts.jsonl": 5, "dataset/utterances.jsonl": 7, "dataset/similar.jsonl": 1}
    for number, (name, num_rows) in enumerate(marks.items()):
        args = command(voices, folder, "--workers", "2")
        running = subprocess.Popen(args, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not (folder / name).exists() or (folder / name).read_bytes().count(b"\n") < num_rows:
            assert running.poll() is None, f"it ended before {name} had {num_rows} rows"
            time.sleep(0.002)
        running.send_signal(signal.SIGINT if number == 1 else signal.SIGKILL)
        assert running.wait() == (130 if number == 1 else -signal.SIGKILL), "it ended before the signal came"
    done = subprocess.run(command(voices, folder, "--workers", "2"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert utterances(folder) == utterances(work)
    assert {(item.id, item.reason) for item in rejects(folder)} == {(item.id, item.reason) for item in rejects(work)}
    for path in (work / "dataset" / "built").rglob("*.arrow"):
        assert (folder / path.relative_to(work)).read_bytes() == path.read_bytes()


def test_max_reject_ratio(work: Path, voices: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["prepare", str(voices), str(work), "--config", str(OFFLINE), "--max-reject-ratio"]
    assert vall_e([*arguments, "0.9"]) == 0
    assert vall_e([*arguments, "0.1"]) == 1
    assert "--max-reject-ratio" in capsys.readouterr().err


def test_nothing_usable_is_told_and_is_no_crash(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "voices").mkdir()
    arguments = ["prepare", str(tmp_path / "voices"), str(tmp_path / "w"), "--config", str(OFFLINE)]
    with pytest.raises(UsageError, match="none of its 0 files is audio"):
        vall_e(arguments)
    (tmp_path / "voices" / "a.mp3").write_text("no audio")
    assert vall_e(arguments) == 0
    shown = capsys.readouterr()
    assert "unreadable" in shown.out
    assert "not one row" in shown.err
    assert vall_e([*arguments, "--max-reject-ratio", "0.5"]) == 1


def test_usage_errors_name_the_fix(tmp_path: Path, voices: Path) -> None:
    config = tmp_path / "my.yaml"
    cases = {
        "proces: {}": "did you mean 'process'",
        "process: {levls: 4}": "did you mean 'levels'",
        "process: {levels: four}": "'four' is not a whole number",
        "process: [levels]": "expected sections",
        "process: {slice: maybe}": "unknown choice 'maybe'",
    }
    for text, message in cases.items():
        config.write_text(text)
        with pytest.raises(UsageError, match=message):
            vall_e(["prepare", str(voices), str(tmp_path / "w"), "--config", str(config)])
    with pytest.raises(UsageError, match="no such folder"):
        vall_e(["prepare", str(tmp_path / "none"), str(tmp_path / "w")])
    with pytest.raises(UsageError, match="lies inside the input"):
        vall_e(["prepare", str(voices), str(voices / "w"), "--config", str(OFFLINE)])
    assert not (tmp_path / "w").exists()


def test_the_default_config_spells_out_the_defaults() -> None:
    written = REPOSITORY / "configs" / "default.yaml"
    assert load_options(written, SharedOptions()) == load_options(None, SharedOptions())
    assert load_file(written).keys() == STAGES.keys()
