"""Codes decoded and listened to again: a text that is not that of its sound is found."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpora.miniatures import write
from hypothesis import given, settings
from hypothesis import strategies as st

from vall_e import cli, scores, storage
from vall_e.emb.text.written import characters, edit_path
from vall_e.emb.verify import NAMES
from vall_e.types import UsageError, Utterance


@pytest.fixture(scope="module")
def work(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of known texts, two of which are swapped; and one in German."""
    root = tmp_path_factory.mktemp("verify")
    rows = dict(line.split("|")[:2] for line in (demo / "english" / "slt" / "metadata.csv").read_text().splitlines())
    names = sorted(rows)[:4]
    texts = {name: rows[name] for name in names}
    texts[names[0]], texts[names[1]] = texts[names[1]], texts[names[0]]
    for name in names:
        source = next(path for path in (demo / "english" / "slt").iterdir() if path.stem == Path(name).stem)
        target = root / "in" / "g" / "slt" / source.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
        write(target.with_suffix(".txt"), texts[name])
    write(root / "in" / "g" / "slt" / "language.txt", "en")
    other = root / "in" / "g" / "hans" / "a.wav"
    other.parent.mkdir()
    other.write_bytes(source.read_bytes())
    write(other.with_suffix(".txt"), "Guten Tag, wie geht es?")
    write(other.with_name("language.txt"), "de")
    args = ["prepare", str(root / "in"), str(root / "work"), "--config", "offline", "--executor", "serial"]
    assert cli.main(args) == 0
    return root / "work"


def found(work: Path) -> dict[str, dict[str, float]]:
    rows = storage.read_rows(work / "dataset" / "utterances.jsonl", Utterance)
    later = scores.Scores(work / "dataset")
    of_verify = {row.id: {k: v for k, v in later.of(row.id).items() if k in (*NAMES, "heard_language")} for row in rows}
    return {name: {k: v for k, v in each.items() if v is not None} for name, each in of_verify.items()}


def test_wrong_pairs_have_the_worst_scores(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify", str(work), "--executor", "serial"]) == 0
    shown = capsys.readouterr().out
    assert "4 utterances scored" in shown and "1 utterances are in languages that pocketsphinx does not know" in shown
    values = found(work)
    first, second, right, also_right = (values[name] for name in sorted(values) if "slt" in name)
    assert not values["g/hans/a.wav"]
    assert all(set(each) == set(NAMES) for each in (right, also_right))
    for pair in (right, also_right):
        assert pair["align_score"] > -1 and pair["align_margin"] > 0.5 and pair["cer_margin"] > 0
    for swapped in (first, second):
        assert swapped["align_score"] < -1.5 and swapped["align_margin"] < 0
        assert swapped["cer"] > max(right["cer"], also_right["cer"]) and swapped["cer_margin"] < right["cer_margin"]


def test_what_has_scores_is_not_listened_to_again(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = found(work)
    assert cli.main(["verify", str(work), "--executor", "serial"]) == 0
    assert "0 utterances scored" in capsys.readouterr().out and found(work) == before
    assert cli.main(["audit", str(work), "--no-worst"]) == 0
    assert "align_margin" in capsys.readouterr().out
    assert {name: each["cer"] for name, each in found(work).items() if "cer" in each} == {
        name: each["cer"] for name, each in before.items() if "cer" in each
    }


def test_what_does_not_listen_is_refused(work: Path) -> None:
    with pytest.raises(UsageError, match="sidecar does not listen"):
        cli.main(["verify", str(work), "--backend", "sidecar"])


@settings(deadline=None)
@given(own=st.text("abc", max_size=5), heard=st.text("abc", max_size=5))
def test_edit_distance_agrees_with_its_definition(own: str, heard: str) -> None:
    def slow(a: str, b: str) -> int:
        if not a or not b:
            return len(a) + len(b)
        return min(slow(a[1:], b) + 1, slow(a, b[1:]) + 1, slow(a[1:], b[1:]) + (a[0] != b[0]))

    distance, wrong = edit_path(own, heard)
    assert distance == slow(own, heard)
    assert len(wrong) <= distance and all(0 <= place < len(own) for place in wrong)
    assert (distance == 0) == (not wrong) or not own


def test_characters_are_letters_and_digits() -> None:
    assert characters("It's TEN o'clock — José’s 2nd!") == "itstenoclockjoses2nd"
    assert characters("今日は、いい天気。") == "今日はいい天気"
