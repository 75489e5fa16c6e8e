"""The demo corpus in the repository is what its README promises."""

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import av
import pytest

DEMO = Path(__file__).resolve().parents[2] / "data" / "demo"
VOICES = DEMO / "voices"
AUDIO = {".wav", ".flac", ".ogg", ".mp3", ".m4a"}
TEXTS = (".txt", ".normalized.txt", ".lab")


def recordings() -> list[Path]:
    return sorted(path for path in VOICES.rglob("*") if path.suffix in AUDIO)


def measure(path: Path) -> tuple[int, int, float]:
    """(rate in hertz, channels, length in seconds) by decoding all of it."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        samples = sum(frame.samples for frame in container.decode(stream))
        return stream.rate, stream.channels, samples / stream.rate


def language_of(path: Path) -> str:
    for folder in (path.parent, path.parent.parent):
        if (folder / "language.txt").exists():
            return (folder / "language.txt").read_text(encoding="utf-8").strip()
    return ""


def text_of(path: Path) -> str:
    for ending in TEXTS:
        sidecar = path.with_name(path.stem + ending)
        if sidecar.exists():
            return sidecar.read_text(encoding="utf-8").strip()
    table = path.parent / "metadata.csv"
    if table.exists():
        rows = csv.reader(table.read_text(encoding="utf-8").splitlines(), delimiter="|", quoting=csv.QUOTE_NONE)
        return {row[0]: row[1] for row in rows}.get(path.stem, "")
    return ""


def test_speakers_and_clips() -> None:
    speakers: dict[Path, int] = {}
    for path in recordings():
        assert len(path.relative_to(VOICES).parts) == 3  # group/speaker/file
        speakers[path.parent] = speakers.get(path.parent, 0) + 1
    assert len(recordings()) == 28
    assert speakers.pop(VOICES / "english" / "talk") == 1  # three people in one recording
    assert len(speakers) >= 4
    assert len({folder.parent for folder in speakers}) == 2
    assert min(speakers.values()) >= 3


def test_every_clip_decodes_and_rates_and_lengths_vary() -> None:
    measured = {path: measure(path) for path in recordings()}
    lengths = {path.name: length for path, (_, _, length) in measured.items()}
    assert all(35 <= lengths.pop(name) <= 45 for name in ("interview.ogg", "meeting.ogg"))
    assert all(2 <= length <= 8 for length in lengths.values()), lengths
    assert {rate for rate, _, _ in measured.values()} >= {16_000, 22_050, 24_000, 44_100, 48_000}
    assert [path.name for path, (_, channels, _) in measured.items() if channels == 2] == ["es_2.wav"]
    assert {path.suffix for path in measured} == AUDIO


def test_texts_and_languages() -> None:
    by_language: dict[str, int] = {}
    for path in recordings():
        if text_of(path):
            by_language[language_of(path)] = by_language.get(language_of(path), 0) + 1
    assert by_language == {"en": 9, "ja": 5, "de": 4, "es": 4}


def test_some_english_clips_leave_work_to_the_recogniser() -> None:
    silent = [path.relative_to(VOICES).as_posix() for path in recordings() if not text_of(path)]
    assert "english/rms/interview.ogg" in silent
    assert len(silent) == 6
    assert all(name.startswith("english/") for name in silent)


def test_every_kind_of_sidecar_occurs() -> None:
    names = [path.name for path in VOICES.rglob("*") if path.is_file() and path.suffix not in AUDIO]
    assert "metadata.csv" in names
    for ending in TEXTS:
        assert any(name.endswith(ending) and name != "language.txt" for name in names)


def test_every_file_has_its_place() -> None:
    """Nothing lies around: each file is audio, the text of one, or a table of a folder."""
    stems = {path.with_name(path.stem) for path in recordings()}
    for path in VOICES.rglob("*"):
        if path.is_file() and path.suffix not in AUDIO and path.name not in ("language.txt", "metadata.csv"):
            ending = next(ending for ending in (".normalized.txt", ".txt", ".lab") if path.name.endswith(ending))
            assert path.with_name(path.name.removesuffix(ending)) in stems


def test_small_enough_for_the_repository() -> None:
    assert sum(path.stat().st_size for path in DEMO.rglob("*") if path.is_file()) < 3_000_000


@pytest.mark.skipif(
    not (shutil.which("flite") and shutil.which("espeak-ng")), reason="needs the programs flite and espeak-ng"
)
def test_the_script_makes_the_same_names_and_texts_again(tmp_path: Path) -> None:
    """Audio bytes depend on the versions of encoders and synthesisers, so names, texts and lengths are compared."""
    script = DEMO.parent / "make_demo.py"
    subprocess.run([sys.executable, str(script), "--output", str(tmp_path / "voices")], check=True)
    made = {path.relative_to(tmp_path / "voices") for path in (tmp_path / "voices").rglob("*") if path.is_file()}
    kept = {path.relative_to(VOICES) for path in VOICES.rglob("*") if path.is_file()}
    assert made == kept
    for name in made:
        if name.suffix in AUDIO:
            assert measure(tmp_path / "voices" / name)[2] == pytest.approx(measure(VOICES / name)[2], rel=0.2)
        else:
            assert (tmp_path / "voices" / name).read_bytes() == (VOICES / name).read_bytes()
