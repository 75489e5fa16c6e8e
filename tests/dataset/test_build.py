"""From a dataset folder to Arrow files: what comes back, what is refused, and what a kill leaves."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from vall_e import storage
from vall_e.dataset import scan
from vall_e.dataset.__main__ import main
from vall_e.dataset.build import BuildOptions, build
from vall_e.dataset.index import Index
from vall_e.dataset.vocab import Vocabulary
from vall_e.types import ContractError, Reject, UsageError, Utterance

SMALL = BuildOptions(batch_utterances=4, file_batches=2)


def digest(folder: Path) -> Any:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_every_row_comes_back_as_it_went_in(built: Path, rows: list[Utterance], tools: SimpleNamespace) -> None:
    index = Index(built)
    by_id = {row.id: row for row in rows}
    similar = {row["id"]: row["similar"] for row in tools.similar_rows(rows)}
    assert [index.id(row) for row in range(len(index))] == sorted(by_id)
    assert len(list(built.glob("rows-*.arrow"))) == -(-len(rows) // 8)
    for number in range(len(index)):
        row = by_id[index.id(number)]
        np.testing.assert_array_equal(index.codes(number), tools.codes_of(row))
        assert index.codes(number).dtype == np.uint16
        assert index.vocabulary.decode(index.tokens(number)) == row.phonemes
        assert index.num_frames[number] == row.num_frames
        assert index.num_tokens[number] == len(row.phonemes) + 2
        assert index.speakers[index.speaker[number]] == row.speaker_id
        assert index.vocabulary.languages[index.language[number]] == row.language
        found, scores = index.similar(number)
        assert [index.id(other) for other in found] == [name for name, _ in similar[row.id]]
        np.testing.assert_allclose(scores, [score for _, score in similar[row.id]], rtol=1e-6)


def test_speaker_lists_hold_every_utterance_once_training_first(built: Path) -> None:
    index = Index(built)
    assert {0, 1} == set(index.split.tolist()), "the fixture has both splits"
    for speaker in range(len(index.speakers)):
        everyone = index.speaker_rows(speaker, training_only=False)
        training = index.speaker_rows(speaker, training_only=True)
        assert sorted(everyone) == np.flatnonzero(index.speaker == speaker).tolist()
        assert sorted(training) == np.flatnonzero((index.speaker == speaker) & (index.split == 0)).tolist()


def test_columns_are_views_of_the_file_not_copies(built: Path) -> None:
    index = Index(built)
    for name in ("num_frames", "speaker", "split", "id_hash"):
        assert not getattr(index, name).flags.owndata
        assert not getattr(index, name).flags.writeable
    assert not index.codes(0).flags.owndata


def test_the_order_of_the_input_does_not_change_a_byte(
    rows: list[Utterance], tools: SimpleNamespace, make: Callable[..., Path]
) -> None:
    similar = tools.similar_rows(rows)
    first = build(make(rows, similar, "a"), make([], None, "a") / "built", SMALL).output
    random.Random(1).shuffle(similar)
    shuffled = random.Random(2).sample(rows, len(rows))
    second = build(make(shuffled, similar, "b"), make([], None, "b") / "built", SMALL).output
    assert digest(first) == digest(second)


def test_slices_of_a_recording_share_their_split_and_new_data_moves_none(
    tools: SimpleNamespace, make: Callable[..., Path]
) -> None:
    few, many = tools.corpus(recordings=20), tools.corpus(recordings=40)
    options = BuildOptions(validation_fraction=0.3)
    splits = []
    for name, rows in (("few", few), ("many", many)):
        folder = make(rows, None, name)
        index = Index(build(folder, folder / "built", options).output)
        splits.append({index.id(row): int(index.split[row]) for row in range(len(index))})
    assert all(splits[1][name] == split for name, split in splits[0].items())
    for row in many:
        assert splits[1][row.id] == splits[1][f"{row.recording_id}-00000"]
    assert 0.15 < np.mean(list(splits[1].values())) < 0.45


def test_a_second_build_skips_and_new_data_does_not(
    rows: list[Utterance], make: Callable[..., Path], tools: SimpleNamespace
) -> None:
    folder = make(rows[1:])
    first = build(folder, folder / "built", SMALL)
    before = (folder / "built" / "built.json").stat().st_ino
    again = build(folder, folder / "built", SMALL)
    assert not first.skipped and again.skipped
    assert (folder / "built" / "built.json").stat().st_ino == before
    assert dataclasses.replace(again, wall_s=0, skipped=False) == dataclasses.replace(first, wall_s=0)
    tools.write(folder, rows[:1])
    grown = build(folder, folder / "built", SMALL)
    assert not grown.skipped and grown.utterances == len(rows)


def test_a_damaged_build_is_not_taken_for_up_to_date(rows: list[Utterance], make: Callable[..., Path]) -> None:
    folder = make(rows)
    output = build(folder, folder / "built", SMALL).output
    whole = digest(output)
    os.truncate(output / "rows-00001.arrow", 100)
    assert not build(folder, output, SMALL).skipped
    assert digest(output) == whole
    (output / "vocab.json").unlink()
    assert not build(folder, output, SMALL).skipped
    assert digest(output) == whole


def test_a_given_vocabulary_stays_as_it_is_and_an_unknown_phone_is_named(
    rows: list[Utterance], make: Callable[..., Path], tools: SimpleNamespace
) -> None:
    folder = make(rows)
    output = build(folder, folder / "built", SMALL).output
    vocabulary = Vocabulary.load(output / "vocab.json")
    assert "".join(vocabulary.phones) == "".join(sorted(set("".join(row.phonemes for row in rows))))
    odd = tools.utterance("g/s0/odd.wav", None, frames=9, phonemes="aɮ")
    tools.write(folder, [odd])
    given = dataclasses.replace(SMALL, vocab=output / "vocab.json")
    with pytest.raises(ContractError, match=r"g/s0/odd\.wav needs phone 'ɮ' \(U\+026E\)"):
        build(folder, output, given)
    assert Vocabulary.load(output / "vocab.json") == vocabulary, "the old build still stands"


def test_new_phones_come_after_the_known_ones_whose_ids_stay(
    rows: list[Utterance], make: Callable[..., Path], tools: SimpleNamespace
) -> None:
    folder = make(rows)
    output = build(folder, folder / "built", SMALL).output
    before = Vocabulary.load(output / "vocab.json")
    new = [tools.utterance("g/s0/new.wav", None, frames=9, phonemes="ħa!ɮ", language="aa")]
    tools.write(folder, new)
    report = build(folder, output, SMALL)
    assert report.new_phones == ("!", "ħ", "ɮ") and report.new_languages == ("aa",)
    line = "the vocabulary grew by 3 phones ('!', 'ħ', 'ɮ'): a trained model needs as many more rows of its text embed"
    assert line in report.line()
    assert "grew by 1 language ('aa')" in report.line()
    index = Index(output)
    assert index.vocabulary.phones == (*before.phones, "!", "ħ", "ɮ")
    assert index.vocabulary.languages == (*before.languages, "aa")
    by_id = {row.id: row for row in [*rows, *new]}
    for number in range(len(index)):
        row = by_id[index.id(number)]
        assert index.vocabulary.decode(index.tokens(number)) == row.phonemes
        assert index.vocabulary.languages[index.language[number]] == row.language
        if row in rows:
            assert index.tokens(number).tolist() == before.encode(row.phonemes, "").tolist()
    again = build(folder, output, SMALL)
    assert again.skipped and "grew" not in again.line()
    anew = build(folder, output, dataclasses.replace(SMALL, overwrite=True))
    assert Vocabulary.load(output / "vocab.json").phones == tuple(sorted(index.vocabulary.phones))
    assert "grew" not in anew.line()


def test_what_a_given_vocabulary_lacks_is_named_for_several_utterances(
    rows: list[Utterance], make: Callable[..., Path], tools: SimpleNamespace, tmp_path: Path
) -> None:
    Vocabulary.of("".join(row.phonemes for row in rows), ["en", "ja"]).save(tmp_path / "vocab.json", tmp_path)
    odd = [tools.utterance(f"g/s/{n}.wav", None, frames=9, phonemes=text) for n, text in enumerate(["ħɮ", "ħa", "!"])]
    odd.append(tools.utterance("g/s/de.wav", None, frames=9, language="de"))
    folder = make([*rows, *odd])
    with pytest.raises(ContractError) as caught:
        build(folder, folder / "built", dataclasses.replace(SMALL, vocab=tmp_path / "vocab.json"))
    message = str(caught.value)
    assert "g/s/0.wav needs phone 'ħ' (U+0127), phone 'ɮ' (U+026E); g/s/2.wav needs phone '!' (U+0021)" in message
    assert "g/s/de.wav needs language 'de'" in message and "g/s/1.wav" not in message


def test_given_vocabulary_decides_the_ids(rows: list[Utterance], make: Callable[..., Path], tmp_path: Path) -> None:
    wide = Vocabulary.of("".join(row.phonemes for row in rows) + "AZ", ["de", "en", "ja"])
    wide.save(tmp_path / "wide.json", tmp_path)
    folder = make(rows)
    index = Index(build(folder, folder / "built", dataclasses.replace(SMALL, vocab=tmp_path / "wide.json")).output)
    assert index.vocabulary == wide
    narrow = Vocabulary.of("abc", ["en"])
    narrow.save(tmp_path / "narrow.json", tmp_path)
    with pytest.raises(ContractError, match="not in the vocabulary to keep to"):
        build(folder, folder / "other", dataclasses.replace(SMALL, vocab=tmp_path / "narrow.json"))
    assert not (folder / "other").exists()


def test_changed_vocabulary_file_is_refused(tmp_path: Path) -> None:
    Vocabulary.of("abc", ["en"]).save(tmp_path / "vocab.json", tmp_path)
    text = (tmp_path / "vocab.json").read_text()
    assert Vocabulary.load(tmp_path / "vocab.json") == Vocabulary.of("cba", ["en"])
    (tmp_path / "vocab.json").write_text(text.replace('"c"', '"d"'))
    with pytest.raises(ContractError, match="does not match its hash"):
        Vocabulary.load(tmp_path / "vocab.json")


def spoil(folder: Path, row: Any, how: str) -> Any:
    codes = np.load(folder / row.codes)
    if how == "missing":
        (folder / row.codes).unlink()
    elif how == "levels":
        np.save(folder / row.codes, codes[:-1])
    elif how == "frames":
        np.save(folder / row.codes, codes[:, :-1])
    elif how == "code":
        codes[-1, -1] = 64
        np.save(folder / row.codes, codes)
    elif how == "dtype":
        np.save(folder / row.codes, codes.astype(np.int64))
    elif how == "torn":
        os.truncate(folder / row.codes, 140)
    else:
        (folder / row.codes).write_bytes(b"not an array")


@pytest.mark.parametrize("how", ["missing", "levels", "frames", "code", "dtype", "torn", "junk"])
def test_an_array_that_breaks_its_promise_is_named(rows: list[Utterance], make: Callable[..., Path], how: str) -> None:
    folder = make(rows)
    spoil(folder, rows[5], how)
    with pytest.raises(ContractError, match=rows[5].id):
        build(folder, folder / "built", SMALL)
    assert not (folder / "built").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"codes": "../outside.npy"},
        {"codec": "other"},
        {"num_frames": 0},
        {"num_samples": 0},
        {"start_samples": -1},
        {"start_samples": 2**70},
        {"phonemes": ""},
        {"phonemes": "a\ud800"},
    ],
)
def test_a_row_that_breaks_the_contract_is_refused(
    rows: list[Utterance], make: Callable[..., Path], change: Any
) -> None:
    folder = make(rows)
    bad = storage.to_row(msgspec.structs.replace(rows[2], id="g/s0/bad.wav", **change))
    with (folder / "utterances.jsonl").open("a") as file:
        file.write(json.dumps(bad) + "\n")
    with pytest.raises(ContractError, match=rf"bad\.wav|outside\.npy|utterances\.jsonl:{len(rows) + 1}"):
        build(folder, folder / "built", SMALL)


def test_an_id_that_occurs_twice_is_named(rows: list[Utterance], make: Callable[..., Path]) -> None:
    folder = make([*rows, rows[3]])
    with pytest.raises(ContractError, match=f"{rows[3].id}: two rows"):
        build(folder, folder / "built", SMALL)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "g/s0/r0.wav-00000", "similar": [["g/s0/ghost.wav", 0.5]]}, "ghost"),
        ({"id": "g/s0/ghost.wav", "similar": []}, "ghost"),
        ({"id": "g/s0/r0.wav-00000", "similar": [["g/s0/r0.wav-00000", 1.0]]}, "similar to itself"),
        ({"id": "g/s0/r0.wav-00000", "similar": [["g/s0/r1.wav-00000", 0], ["g/s0/r1.wav-00001", 1]]}, "best first"),
        ({"id": "g/s0/r0.wav-00000", "similar": ["g/s0/r1.wav-00000"]}, "expected"),
        ({"similar": []}, "expected"),
    ],
)
def test_a_similar_row_that_breaks_the_contract_is_named(
    rows: list[Utterance], make: Callable[..., Path], row: Any, message: str
) -> None:
    folder = make(rows, [row])
    with pytest.raises(ContractError, match=message):
        build(folder, folder / "built", SMALL)


def test_two_similar_lines_of_one_utterance_are_refused(
    rows: list[Utterance], make: Callable[..., Path], tools: SimpleNamespace
) -> None:
    similar = tools.similar_rows(rows)
    folder = make(rows, [*similar, similar[7]])
    with pytest.raises(ContractError, match=f"{rows[7].id}: has two lines"):
        build(folder, folder / "built", SMALL)


def test_a_torn_last_line_is_no_row(rows: list[Utterance], make: Callable[..., Path]) -> None:
    folder = make(rows)
    with (folder / "utterances.jsonl").open("a") as file:
        file.write('{"id": "g/s0/torn')
    assert build(folder, folder / "built", SMALL).utterances == len(rows)


def test_input_that_changes_under_the_build_is_noticed(
    rows: list[Utterance], make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make(rows)

    def meddle(counts: Any, *_: Any, **__: Any) -> Any:
        for done in counts:
            with (folder / "utterances.jsonl").open("a") as file:
                file.write("\n")
            yield done

    monkeypatch.setattr("vall_e.progress.track", meddle)
    with pytest.raises(ContractError, match="changed while it was read"):
        build(folder, folder / "built", SMALL)
    assert not (folder / "built").exists()


def test_a_row_that_moves_under_the_build_is_named(
    rows: list[Utterance], make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make(rows)

    def meddle(counts: Any, *_: Any, **__: Any) -> Any:
        for done in counts:
            lines = (folder / "utterances.jsonl").read_bytes().splitlines(keepends=True)
            with (folder / "utterances.jsonl").open("r+b") as file:
                file.write(b"".join(reversed(lines)))
            yield done

    monkeypatch.setattr("vall_e.progress.track", meddle)
    with pytest.raises(ContractError, match="changed while it was read|not JSON|field|can't be read as codes"):
        build(folder, folder / "built", SMALL)


def test_missing_similar_is_a_warning_and_missing_rows_are_an_error(
    rows: list[Utterance], make: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make(rows)
    report = build(folder, folder / "built", SMALL)
    assert "no similar utterances" in report.line()
    with pytest.raises(UsageError, match="no such folder"):
        build(tmp_path / "nowhere", tmp_path / "built", SMALL)
    (folder / "utterances.jsonl").write_text("")
    with pytest.raises(UsageError, match="no utterances"):
        build(folder, folder / "built", dataclasses.replace(SMALL, overwrite=True))


def test_a_folder_that_is_no_build_is_not_replaced(rows: list[Utterance], make: Callable[..., Path]) -> None:
    folder = make(rows)
    with pytest.raises(UsageError, match="not a built dataset"):
        build(folder, folder, SMALL)
    assert (folder / "utterances.jsonl").exists()


def test_files_of_two_builds_are_not_mixed(
    rows: list[Utterance], make: Callable[..., Path], tools: SimpleNamespace
) -> None:
    folder = make(rows)
    index = Index(build(folder, folder / "built", SMALL).output)
    tools.write(folder, [], tools.similar_rows(rows))
    build(folder, folder / "built", SMALL)
    with pytest.raises(ContractError, match="another build|build it again"):
        index.codes(0)


def test_id_table_finds_ids_whose_hashes_collide() -> None:
    import pyarrow as pa

    names = ["a", "b", "c", "d"]
    same = np.full(4, scan.hash_id("c", scan.ID_SALT), np.uint64)
    table = scan.IdTable(pa.array(names, pa.large_string()), same)
    assert table.rows(["c", "c", "other"]).tolist() == [2, 2, -1]
    assert table.rows([]).tolist() == []


def start_build(folder: Path) -> Any:
    argv = [sys.executable, "-m", "vall_e.dataset", "build", "--input-dataset", str(folder), "--batch-utterances", "1"]
    return subprocess.Popen([*argv, "--file-batches", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def kill_in_the_middle(folder: Path) -> Any:
    """Kills a build once some of its files are written."""
    process = start_build(folder)
    while not len(list(folder.glob(".built/.tmp/new/rows-*"))) > 3:
        assert process.poll() is None, process.communicate()
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def test_a_kill_leaves_no_half_built_folder_and_the_next_build_is_whole(
    tools: SimpleNamespace, make: Callable[..., Path]
) -> None:
    rows = tools.corpus(speakers=10, recordings=10, slices=6)
    folder = make(rows[:300])
    kill_in_the_middle(folder)
    assert not (folder / "built").exists()
    options = BuildOptions(batch_utterances=8)
    old = build(folder, folder / "built", options).output
    before = digest(old)
    tools.write(folder, rows[300:])
    kill_in_the_middle(folder)
    assert digest(old) == before
    assert build(folder, old, options).utterances == len(rows)
    assert not list(folder.glob(".built/.tmp"))


def test_a_kill_between_the_renames_of_the_swap_loses_neither_build_nor_vocabulary(
    rows: list[Utterance], make: Callable[..., Path], tools: SimpleNamespace
) -> None:
    """Else the next build makes a new vocabulary, and every model trained so far reads other phones than it learned."""
    folder = make(rows)
    output = build(folder, folder / "built", SMALL).output
    before, old = digest(output), Vocabulary.load(output / "vocab.json")
    tools.write(folder, [tools.utterance("g/s0/new.wav", None, frames=9, phonemes="!a")])
    code = (
        "import os, signal, sys; from vall_e.dataset.__main__ import main; rename = os.rename\n"
        "def rename_and_die(*names):\n    rename(*names)\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        "os.rename = rename_and_die\nmain(['build', '--input-dataset', sys.argv[1]])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL and not output.exists()
    rows_file = (folder / "utterances.jsonl").read_bytes()
    (folder / "utterances.jsonl").write_bytes(b"{}\n" + rows_file)
    with pytest.raises(ContractError):  # however the next build ends, the old one is back
        build(folder, output, SMALL)
    (folder / "utterances.jsonl").write_bytes(rows_file)
    assert digest(output) == before
    assert build(folder, output, SMALL).new_phones == ("!",)
    assert Vocabulary.load(output / "vocab.json").phones[: len(old.phones)] == old.phones
    assert sorted(path.name for path in (folder / ".built").iterdir()) == [".lock"]


def test_a_dataset_made_anew_with_the_same_rows_is_built_again(
    rows: list[Utterance], make: Callable[..., Path], tools: SimpleNamespace
) -> None:
    """`process --overwrite` with other audio of the same length: rows and sizes are the same, the codes are not."""
    folder = make(rows)
    tools.write(folder, [], made="first")
    output = build(folder, folder / "built", SMALL).output
    tools.write(folder, [], made="first")  # more was added, or nothing
    assert build(folder, output, SMALL).skipped
    codes = tools.codes_of(rows[3])[:, ::-1]
    storage.write_array(folder / rows[3].codes, codes, folder)
    tools.write(folder, [], made="second")
    assert not build(folder, output, SMALL).skipped
    index = Index(output)
    number = next(number for number in range(len(index)) if index.id(number) == rows[3].id)
    np.testing.assert_array_equal(index.codes(number), codes)
    assert build(folder, output, SMALL).skipped


def scored(rows: list[Utterance], scores: Any) -> Any:
    return [msgspec.structs.replace(row, scores={"toy": score}) for row, score in zip(rows, scores, strict=True)]


def test_gates_leave_out_what_is_past_their_limits_and_say_so(
    rows: list[Utterance], make: Callable[..., Path], tmp_path: Path
) -> None:
    """A build must not fail because a similar list names an utterance that a gate left out."""
    scores = [n / len(rows) for n in range(len(rows) - 1)] + [None]
    folder = make(scored(rows, scores))
    head = json.loads((folder / "dataset.json").read_text())
    storage.write_json(folder / "dataset.json", head | {"gates": {"toy": {"minimum": 0.5, "maximum": None}}}, folder)
    kept = {row.id for row, score in zip(rows, scores, strict=True) if score is None or score >= 0.5}
    report = build(folder, folder / "built", SMALL)
    index = Index(report.output)
    assert {index.id(number) for number in range(len(index))} == kept
    rejects = list(storage.read_rows(report.output / "rejects.jsonl", Reject))
    assert {reject.id for reject in rejects} == {row.id for row in rows} - kept
    assert {(reject.stage, reject.reason) for reject in rejects} == {("build", "gate:toy")}
    assert build(folder, folder / "built", SMALL).skipped
    lifted = build(folder, folder / "built", dataclasses.replace(SMALL, gates=("toy",)))
    assert lifted.utterances == len(rows) and not (lifted.output / "rejects.jsonl").exists()
    narrow = build(folder, folder / "built", dataclasses.replace(SMALL, gates=("toy<=0.8",)))
    assert narrow.utterances == sum(score is None or 0.5 <= score <= 0.8 for score in scores)
    with pytest.raises(UsageError, match="that pass its gates"):
        everything = [msgspec.structs.replace(row, scores={"toy": 0.0}) for row in rows]
        build(make(everything, name="none"), folder / "none", dataclasses.replace(SMALL, gates=("toy>=1",)))


@pytest.mark.parametrize("text", ["toy>", "toy>0.5", ">=1", "toy>=x", "toy>=1<=2", ""])
def test_a_threshold_of_another_form_is_refused(text: str) -> None:
    with pytest.raises((UsageError, ValueError), match="threshold"):
        BuildOptions(gates=(text,))


def test_two_builds_of_one_output_do_not_meet(rows: list[Utterance], make: Callable[..., Path]) -> None:
    folder = make(rows)
    with storage.folder_lock(folder / ".built"), pytest.raises(UsageError, match="another run"):
        build(folder, folder / "built", SMALL)


def test_command_line_builds_and_shows(
    rows: list[Utterance], make: Callable[..., Path], tools: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make(rows, tools.similar_rows(rows))
    config = folder / "config.yaml"
    config.write_text("build:\n  validation_fraction: 0.3\n")
    argv = ["build", "--input-dataset", str(folder), "--config", str(config)]
    assert main(argv) == 0
    assert f"{len(rows)} utterances" in capsys.readouterr().out
    assert Index(folder / "built").built["content"]["validation_fraction"] == 0.3
    assert main([*argv, "--validation-fraction", "0"]) == 0
    printed = capsys.readouterr()
    line = "no recording of 12 fell to validation; --validation-fraction (section build) is 0, a larger one brings some"
    assert line in printed.out and "utterances/s" in printed.out
    assert f"build: {len(rows)}/{len(rows)}, " in printed.err and "items/s" in printed.err
    assert main(["show", "--built", str(folder / "built")]) == 0
    shown = capsys.readouterr().out
    for text in ("g/s0", "ja", "train", f"{len(Index(folder / 'built').vocabulary.phones)} phones"):
        assert text in shown
    with pytest.raises(UsageError, match="not in 0..1"):
        main([*argv, "--validation-fraction", "1.5"])


def test_help_and_import_load_no_torch() -> None:
    code = (
        "import sys, vall_e.dataset, vall_e.dataset.build, vall_e.dataset.__main__ as m\n"
        "try: m.main(['build', '--help'])\nexcept SystemExit: pass\n"
        "assert not {'torch', 'pyarrow', 'rich'} & set(sys.modules), 'too much is loaded'\n"
        "assert vall_e.dataset.Batch.__name__ == 'Batch'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--validation-fraction" in done.stdout


def test_missing_build_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="vall_e.dataset build"):
        Index(tmp_path)
