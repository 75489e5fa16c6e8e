"""Scores of utterances: what each measures, by rules and made sounds; and that builds keep to their limits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from corpora.miniatures import write

from vall_e import audio, cli, storage
from vall_e.emb.gates import sound
from vall_e.emb.gates.base import GateInput
from vall_e.emb.gates.corpus import Rows, duplicate, rate_z
from vall_e.emb.gates.registry import GATES, GateOptions
from vall_e.emb.gates.repeats import repeated_share
from vall_e.types import Reject, UsageError, Utterance, Word

RATE_HZ = 24_000


def score(name: str, **seen: object) -> float | None:
    values: dict[str, object] = {"duration_s": 2.0, "sample_rate_hz": RATE_HZ, "text": "", "language": "en"}
    found: float | None = GATES.load(name)(GateOptions()).score(GateInput(**(values | seen)))  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize("level_db", [0, 10, 20, 30])
def test_snr_of_the_model_that_it_assumes(level_db: int) -> None:
    """Kim and Stern (2008): amplitudes of speech follow a gamma distribution of shape 0.4, noise is Gaussian."""
    rng = np.random.default_rng(5)
    speech_like = rng.gamma(0.4, size=200_000) * rng.choice((-1, 1), 200_000)
    speech_like /= np.sqrt(np.mean(speech_like**2))
    noise = rng.standard_normal(200_000) * 10 ** (-level_db / 20)
    samples = (0.05 * (speech_like + noise)).astype(np.float32)
    assert sound.snr_db(samples) == pytest.approx(level_db, abs=2)


def test_snr_of_a_voice_falls_with_its_noise(demo: Path) -> None:
    samples, _ = audio.load(sorted((demo / "english" / "slt").glob("*.wav"))[0])
    noise = np.random.default_rng(0).standard_normal(len(samples)).astype(np.float32) * np.sqrt(np.mean(samples**2))
    found = [sound.snr_db(samples + noise * 10 ** (-level / 20)) for level in (40, 30, 20, 10, 0)]
    assert found == sorted(found, key=lambda value: -(value or 0)) and (found[2] or 0) == pytest.approx(20, abs=5)


def test_clipping_is_seen_where_samples_lie_at_the_ceiling() -> None:
    time = np.arange(RATE_HZ) / RATE_HZ
    sine = (0.9 * np.sin(2 * np.pi * 200 * time)).astype(np.float32)
    assert sound.clipped_share(sine) == 0  # its top is not flat
    clipped = np.clip(sine, -0.45, 0.45)
    assert sound.clipped_share(clipped) == pytest.approx(2 / 3, abs=0.02)  # |sin| > 1/2 for two thirds of a period
    assert sound.clipped_share(np.clip(2 * sine, -1, 1)) > 0.5
    rng = np.random.default_rng(0)
    assert sound.clipped_share((0.1 * rng.standard_normal(RATE_HZ)).astype(np.float32)) == 0


@pytest.mark.parametrize("from_hz", [8_000, 16_000, 24_000])
def test_bandwidth_is_that_of_the_first_recording(demo: Path, from_hz: int) -> None:
    """Telephone speech sold as 24 kHz."""
    noise = (0.1 * np.random.default_rng(1).standard_normal(3 * from_hz)).astype(np.float32)
    found = sound.bandwidth_hz(audio.resample(noise, from_hz, RATE_HZ), RATE_HZ)
    assert found == pytest.approx(from_hz / 2, rel=0.06)


def test_silence_offset_and_loudness() -> None:
    time = np.arange(2 * 48_000) / 48_000
    sine = np.sin(2 * np.pi * 997 * time).astype(np.float32)
    assert sound.loudness_lufs(sine, 48_000) == pytest.approx(-3.01, abs=0.05)  # ITU-R BS.1770-4, annex 1
    half = np.concatenate([0.5 * sine, np.zeros_like(sine)])
    assert sound.silence_share(half, 48_000) == pytest.approx(0.5, abs=0.01)
    assert score("dc_offset", samples=np.full(100, -0.25, np.float32)) == 0.25


@pytest.mark.parametrize(
    "name", ["snr_db", "clipped_share", "dc_offset", "bandwidth_hz", "silence_share", "loudness_lufs"]
)
@pytest.mark.parametrize("samples", [np.zeros(5, np.float32), np.zeros(RATE_HZ, np.float32), np.ones(3, np.float32)])
def test_what_can_not_be_measured_is_null_or_a_number(name: str, samples: np.ndarray) -> None:
    found = score(name, samples=samples)
    assert found is None or np.isfinite(found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one two three", 0.0),
        ("no no", 0.0),
        ("no no no", 1.0),
        ("and then he said he said he said stop", 6 / 9),
        ("", None),
        ("哈哈哈哈 你好", 4 / 6),
    ],
)
def test_the_share_of_text_that_repeats_itself(text: str, expected: float | None) -> None:
    found = score("repeated", text=text)
    assert found == (None if expected is None else pytest.approx(expected, abs=1e-3))


def test_repeats_agree_with_a_slow_search() -> None:
    rng = np.random.default_rng(3)
    for _ in range(300):
        words = [str(word) for word in rng.integers(0, 3, rng.integers(1, 14))]
        marked: set[int] = set()
        for size in range(1, 5):
            for start in range(len(words)):
                for times in range(3, len(words) // size + 1):
                    if words[start : start + size * times] == words[start : start + size] * times:
                        marked.update(range(start, start + size * times))
        assert repeated_share(words) == pytest.approx(len(marked) / len(words))


def test_text_that_recognisers_make_up() -> None:
    assert score("hallucinated", text="Thanks for watching!") == 1.0
    assert score("hallucinated", text="Ich ging nach Hause. Untertitel im Auftrag des ZDF") == pytest.approx(
        5 / 9, abs=1e-3
    )
    assert score("hallucinated", text="He was watching the thanks.") == 0.0
    assert score("hallucinated", text="ご視聴ありがとうございました", language="ja") == 1.0


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("Guten Tag", "de", 1.0),
        ("Добрый день", "en", 0.0),
        ("Добрый день", "ru", 1.0),
        ("東京へ行くTV", "ja", 5 / 7),
        ("नमस्ते", "hi", 1.0),
        ("你好", "zh", 1.0),
        ("123", "en", None),
    ],
)
def test_letters_of_the_language(text: str, language: str, expected: float | None) -> None:
    found = score("script_share", text=text, language=language)
    assert found == (None if expected is None else pytest.approx(expected, abs=1e-3))


def test_words_and_rates() -> None:
    words = (Word(text="a", start_s=0, end_s=1, score=0.5), Word(text="b", start_s=1, end_s=2, score=1.0))
    assert (score("word_score", words=words), score("least_word_score", words=words)) == (0.75, 0.5)
    assert score("word_score", words=(Word(text="a", start_s=0, end_s=1),)) is None
    assert score("chars_per_s", text="It's ten.") == 3.0 and score("phonemes_per_s", phonemes="tˈɛn, ˈɪts") == 3.0
    assert score("unique_words", text="a b c d a b c d") == 0.5 and score("unique_words", text="a a") is None


def test_dnsmos_hears_noise(demo: Path) -> None:
    samples, rate_hz = audio.load(sorted((demo / "english" / "slt").glob("*.wav"))[0])
    noisy = samples + 0.05 * np.random.default_rng(0).standard_normal(len(samples)).astype(np.float32)
    clean, spoiled = (score("dnsmos", samples=each, sample_rate_hz=rate_hz) for each in (samples, noisy))
    assert clean is not None and spoiled is not None and 1 <= spoiled < clean <= 5


def utterance(name: str, language: str, rate: float | None) -> Utterance:
    return Utterance(
        id=name, recording_id=name, group="", speaker="s", sample_rate_hz=RATE_HZ, start_samples=0, num_samples=RATE_HZ,
        language=language, text="t", phonemes="t", words=(), codec="c", num_frames=75, codes=f"{name}.npy",
        scores={"phonemes_per_s": rate},
    )  # fmt: skip


def test_pace_is_compared_within_a_language() -> None:
    rng = np.random.default_rng(0)
    rows = [utterance(f"en{n}", "en", float(value)) for n, value in enumerate(rng.normal(12, 1, 500))]
    rows += [utterance(f"ja{n}", "ja", float(value)) for n, value in enumerate(rng.normal(20, 2, 500))]
    rows += [utterance("slow", "en", 6.0), utterance("fast", "ja", 30.0), utterance("rare", "xh", 9.0)]
    found = rate_z(Rows(lambda: rows, lambda row: np.zeros((1, 1), np.uint16)))
    assert found["slow"] == pytest.approx(-6, abs=0.7) and found["fast"] == pytest.approx(5, abs=0.7)
    assert found["rare"] is None
    assert sum(abs(value or 0) > 3.5 for value in found.values()) <= 3 + 2


def test_copies_are_found_and_the_first_is_kept() -> None:
    rng = np.random.default_rng(0)
    codes = {f"u{n:03d}": rng.integers(0, 1024, (2, 300)).astype(np.uint16) for n in range(50)}
    codes["v-copy"] = codes["u007"].copy()
    codes["w-part"] = np.concatenate([codes["u009"][:, 20:], rng.integers(0, 1024, (2, 40)).astype(np.uint16)], axis=1)
    rows = [utterance(name, "en", None) for name in sorted(codes)]
    found = duplicate(Rows(lambda: rows, lambda row: codes[row.id]))
    assert found["v-copy"] == 1.0 and (found["w-part"] or 0) > 0.7
    assert all(found[name] == 0.0 for name in codes if name.startswith("u"))


@pytest.fixture(scope="module")
def work(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    clips = sorted((demo / "english" / "slt").glob("*.wav"))
    root = tmp_path_factory.mktemp("audit")
    texts = {
        "a": "It was ten o'clock.",
        "b": "Thanks for watching!",
        "c": "Good morning to you all.",
        "d": "He went home.",
    }
    for (name, text), clip in zip(texts.items(), clips, strict=False):
        (root / "in" / "g" / "ann").mkdir(parents=True, exist_ok=True)
        (root / "in" / "g" / "ann" / f"{name}.wav").write_bytes(clip.read_bytes())
        write(root / "in" / "g" / "ann" / f"{name}.txt", text)
    (root / "in" / "g" / "bob").mkdir()
    (root / "in" / "g" / "bob" / "again.wav").write_bytes((root / "in" / "g" / "ann" / "a.wav").read_bytes())
    write(root / "in" / "g" / "bob" / "again.txt", texts["a"])
    args = ["prepare", str(root / "in"), str(root / "work"), "--config", "offline", "--executor", "serial"]
    assert cli.main([*args, "--language", "en"]) == 0
    return root / "work"


def built(work: Path, *more: str) -> tuple[set[str], dict[str, str]]:
    """Ids that a build holds, and the reasons of what it left out."""
    dataset = work / "dataset"
    args = ["build", "--input-dataset", str(dataset), "--output", str(dataset / "built"), *more]
    assert cli.main(args) == 0
    rejects = {row.id: str(row.reason) for row in storage.read_rows(dataset / "built" / "rejects.jsonl", Reject)}
    return {row.id for row in storage.read_rows(dataset / "utterances.jsonl", Utterance)} - set(rejects), rejects


def test_hallucinated_text_is_left_out_of_a_build_by_default(work: Path) -> None:
    kept, rejects = built(work)
    assert rejects == {"g/ann/b.wav": "gate:hallucinated"} and len(kept) == 4


def test_an_audit_shows_the_worst_and_its_limits_are_built(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["audit", str(work)]) == 0
    shown = capsys.readouterr().out
    assert "duplicate" in shown and "the limits of the next build leave out 1 utterances" in shown
    page = (work / "audit" / "index.html").read_text()
    assert "Thanks for watching!" in page
    samples, _ = audio.load(work / "audit" / "hallucinated" / "01.flac")
    want, _ = audio.load(work.parent / "in" / "g" / "ann" / "b.wav")
    np.testing.assert_allclose(samples, want, atol=1 / 32_768)
    first = (work / "dataset" / "scores.jsonl").read_text()
    assert (
        cli.main(["audit", str(work), "--no-worst"]) == 0 and (work / "dataset" / "scores.jsonl").read_text() == first
    )
    assert cli.main(["audit", str(work), "--apply", "duplicate<=0.5", "--apply", "hallucinated"]) == 0
    assert yaml.safe_load((work / "dataset" / "gates.yaml").read_text()) == {"duplicate": {"max": 0.5}}
    assert built(work)[1] == {"g/ann/b.wav": "gate:hallucinated", "g/bob/again.wav": "gate:duplicate"}
    assert built(work, "--gates", "duplicate,hallucinated")[1] == {}
    with pytest.raises(UsageError, match="did you mean 'duplicate'"):
        cli.main(["audit", str(work), "--apply", "duplicat<=0.5"])


def test_limits_in_a_config_file(work: Path, tmp_path: Path) -> None:
    (work / "dataset" / "gates.yaml").unlink(missing_ok=True)
    config = tmp_path / "my.yaml"
    config.write_text(json.dumps({"build": {"gates": {"hallucinated": None, "duration": {"min": 1, "max": 1.9}}}}))
    with pytest.raises(UsageError, match="no utterances in it that pass its gates"):
        built(work, "--config", str(config))
    config.write_text(json.dumps({"build": {"gates": {"duration": {"least": 1}}}}))
    with pytest.raises(UsageError, match="is not like"):
        built(work, "--config", str(config))


def test_two_people_at_once(demo: Path) -> None:
    one, other = (
        audio.resample(*audio.load(demo / "english" / name), RATE_HZ)
        for name in ("rms/three.flac", "slt/slt_0001.wav")
    )
    size = min(len(one), len(other))
    both = np.concatenate([one, one[:size] + other[:size]])
    alone = score("overlap_share", samples=one, duration_s=len(one) / RATE_HZ)
    mixed = score("overlap_share", samples=both, duration_s=len(both) / RATE_HZ)
    assert alone is not None and mixed is not None and alone < 0.05
    assert 0.3 * size / len(both) < mixed <= size / len(both) + 0.1


@pytest.mark.parametrize(
    ("text", "language", "low", "high"),
    [
        ("The old man walked slowly along the river.", "en", 0.9, 1.0),
        ("Der alte Mann ging langsam am Fluss entlang.", "en", 0.0, 0.1),
        ("Der alte Mann ging langsam am Fluss entlang.", "de", 0.5, 1.0),
        ("Yes.", "en", None, None),  # too short to tell
        ("Saluton, mia kara malnova amiko el la urbo.", "eo", None, None),  # a language that langdetect lacks
    ],
)
def test_a_text_of_another_language(text: str, language: str, low: float | None, high: float | None) -> None:
    found = score("text_language", text=text, language=language)
    assert (found is None) == (low is None)
    if found is not None and low is not None and high is not None:
        assert low <= found <= high
