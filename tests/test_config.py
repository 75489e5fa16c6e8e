"""Options: flags over file over defaults; what is unknown or of the wrong type is named."""

from __future__ import annotations

import argparse
import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vall_e import config
from vall_e.emb.gates.registry import GateOptions
from vall_e.types import BackendError, ContractError, UsageError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    num_levels: int = config.option(8, "levels, 100 % of them")
    codec: str = config.option("tiny", "which", choices=("tiny", "encodec"))
    min_duration_s: float = config.option(0.5, "seconds")
    stress: bool = config.option(True, "marks")
    weights: Path | None = config.option(None, "file")
    languages: tuple[str, ...] = config.option((), "all of them", choices=("en", "de", "ja"))
    limit: int | None = config.option(None, "items")

    def __post_init__(self) -> None:
        if self.num_levels < 1:
            raise ValueError(f"num_levels: {self.num_levels} is below 1")


def resolve(*flags: str, file: Path | None = None) -> Options:
    parser = argparse.ArgumentParser()
    config.add_options(parser, Options)
    extra = ["--config", str(file)] if file else []
    return config.resolve(Options, parser.parse_args([*flags, *extra]), "process")


def test_defaults_alone() -> None:
    assert resolve() == Options()


def test_flags_win_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("process:\n  num_levels: 4\n  codec: encodec\n  stress: false\nsimilar:\n  anything: 1\n")
    assert resolve(file=file) == Options(num_levels=4, codec="encodec", stress=False)
    assert resolve("--num-levels", "2", "--stress", file=file) == Options(num_levels=2, codec="encodec")


def test_a_flag_equal_to_the_default_still_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("process: {num_levels: 4}\n")
    assert resolve("--num-levels", "8", file=file).num_levels == 8


FULL = Options(
    num_levels=3,
    codec="encodec",
    min_duration_s=1.0,
    stress=False,
    weights=Path("w/x.th"),
    languages=("en", "ja"),
    limit=5,
)


def test_every_type_from_flags() -> None:
    flags = ["--num-levels", "3", "--codec", "encodec", "--min-duration", "1", "--no-stress", "--weights", "w/x.th"]
    assert resolve(*flags, "--languages", "en,ja", "--limit", "5") == FULL


def test_every_type_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(
        "process:\n  num_levels: 3\n  codec: encodec\n  min_duration_s: 1\n  stress: false\n  weights: w/x.th\n"
        "  languages: [en, ja]\n  limit: 5\n"
    )
    assert resolve(file=file) == FULL
    without = dataclasses.replace(FULL, limit=None, weights=None)
    assert resolve("--limit", "none", "--weights", "none", file=file) == without


@pytest.mark.parametrize("text", ["", "# nothing\n", "process:\n", "similar: {a: 1}\n"])
def test_a_file_without_the_section_changes_nothing(tmp_path: Path, text: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    assert resolve(file=file) == Options()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_level": 3}, "where: unknown key 'num_level'; did you mean 'num_levels'?"),
        ({"zzz": 3}, "where: unknown key 'zzz'; known: codec, languages, limit, min_duration_s"),
        ({1: 3}, "where: unknown key 1"),
        ({"num_levels": "x"}, "where: num_levels: 'x' is not a whole number"),
        ({"num_levels": 1.5}, "num_levels: 1.5 is not a whole number"),
        ({"num_levels": True}, "num_levels: True is not a whole number"),
        ({"num_levels": None}, "num_levels: None is not a whole number"),
        ({"num_levels": [1]}, "num_levels: [1] is not a whole number"),
        ({"num_levels": 0}, "where: num_levels: 0 is below 1"),
        ({"min_duration_s": "long"}, "'long' is not a number"),
        ({"min_duration_s": False}, "False is not a number"),
        ({"stress": "maybe"}, "stress: 'maybe' is not true or false"),
        ({"stress": 1}, "stress: 1 is not true or false"),
        ({"codec": "encodek"}, "codec: unknown choice 'encodek'; did you mean 'encodec'?"),
        ({"codec": "qqq"}, "codec: unknown choice 'qqq'; known: encodec, tiny"),
        ({"languages": ["en", "dee"]}, "languages: unknown choice 'dee'; did you mean 'de'?"),
        ({"languages": [1]}, "languages: 1 is not a text"),
        ({"languages": 5}, "languages: 5 is not a list"),
        ({"languages": None}, "languages: None is not a list"),
        ({"languages": {"en": 1}}, "is not a list"),
        ({"weights": 5}, "weights: 5 is not a"),
    ],
)
def test_what_is_wrong_is_named(values: dict[Any, Any], message: str) -> None:
    """A number or nothing where a list is due used to end in a TypeError and a traceback."""
    with pytest.raises(UsageError) as caught:
        config.from_mapping(Options, values, "where")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.sampled_from([field.name for field in dataclasses.fields(Options)]), st.data())
def test_a_key_with_a_letter_missing_is_told_the_nearest(name: str, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(name) - 1))
    with pytest.raises(UsageError, match=f"did you mean '{name}'"):
        config.from_mapping(Options, {name[:cut] + name[cut + 1 :]: 1}, "where")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from([field.name for field in dataclasses.fields(Options)]), json_values)
def test_any_value_gives_options_or_a_usage_error(name: str, value: Any) -> None:
    try:
        options = config.from_mapping(Options, {name: value}, "where")
    except UsageError as error:
        assert name in str(error)
    else:
        assert type(getattr(options, name)) in (type(getattr(FULL, name)), type(None), type(Path()))


@pytest.mark.parametrize(
    "text", ["a: [", "just words", "- a\n- b\n", "process: 5\n", "process: [a]\n", "a: !!python/name:os.system\n"]
)
def test_files_that_are_no_config(tmp_path: Path, text: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match="c.yaml: "):
        resolve(file=file)


def test_a_config_file_that_is_missing_or_binary(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="none.yaml: No such file"):
        resolve(file=tmp_path / "none.yaml")
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="b.yaml: can't be read"):
        resolve(file=tmp_path / "b.yaml")


def test_the_error_says_whether_it_is_the_file_or_a_flag(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("process: {num_levels: 0}\n")
    with pytest.raises(UsageError, match="c.yaml: process: num_levels"):
        resolve(file=file)
    with pytest.raises(UsageError, match="^options: .*num_levels"):
        resolve("--num-levels", "0")


def test_a_file_is_checked_together_with_the_flags(tmp_path: Path) -> None:
    """`min_duration_s: 25` of a file was refused before `--max-duration 60` was looked at."""
    file = tmp_path / "c.yaml"
    file.write_text("process: {min_duration_s: 25}\n")
    parser = argparse.ArgumentParser()
    config.add_options(parser, GateOptions)
    options = config.resolve(GateOptions, parser.parse_args(["--config", str(file), "--max-duration", "60"]), "process")
    assert (options.min_duration_s, options.max_duration_s) == (25, 60)
    with pytest.raises(UsageError, match="c.yaml: process: durations"):
        config.resolve(GateOptions, parser.parse_args(["--config", str(file)]), "process")


@dataclasses.dataclass(frozen=True)
class Later:
    """Options of a stage that grew: `gain` did not exist when results were made, which was as with no gain."""

    levels: int = config.option(8, "levels")
    gain: float = config.option(3.0, "gain", before=0.0)
    names: tuple[str, ...] = config.option(("a",), "names")

    @property
    def result_options(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def test_a_new_option_is_compared_with_what_was_done_before_it_existed() -> None:
    """Any new option used to make every dataset refused."""
    old = {"levels": 8, "names": ["a"], "gone": 1}
    assert config.changed(old, Later(gain=0.0)) == []
    assert config.changed(old, Later()) == [("gain", 0.0, 3.0)]
    assert config.changed(old | {"gain": 3.0}, Later(levels=4)) == [("levels", 8, 4)]
    assert config.changed({}, Later(gain=0.0)) == []


def test_help_shows_flags_with_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        resolve("--help")
    text = " ".join(capsys.readouterr().out.split())
    assert "levels, 100 % of them (default: 8)" in text
    assert "--min-duration DURATION" in text or "--min-duration S" in text
    assert "--stress, --no-stress" in text
    assert "{tiny,encodec}" in text


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UsageError("u"), 2),
        (BackendError("b"), 2),
        (ContractError("c"), 1),
        (OSError(28, "No space left on device"), 1),
        (KeyboardInterrupt(), 130),
        (ContractError("half \ud800"), 1),
    ],
)
def test_known_errors_are_one_line(error: BaseException, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    def main(argv: Any) -> int:
        raise error

    with pytest.raises(SystemExit) as caught:
        config.run_main(main)
    assert caught.value.code == status
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert message.count("\n") == 1


def test_a_bug_keeps_its_traceback() -> None:
    def main(argv: Any) -> int:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        config.run_main(main)


def test_a_reader_that_leaves_is_no_error() -> None:
    code = "from vall_e import config; config.run_main(lambda argv: [print('x' * 80) for _ in range(9999)] and 0)"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ)) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grown:
    """Options of which two are younger than some results."""

    levels: int = config.option(8, "levels")
    normalise: bool = config.option(True, "in words", before=False)
    reader: str = config.option("auto", "what reads", before="old")
    unused: int = config.option(2, "of no effect beside the others, and so not in the head", before=1)
    backend: tuple[str, ...] = config.option(("given", "new"), "what recognises", before=("new",))

    @property
    def result_options(self) -> dict[str, Any]:
        values = dataclasses.asdict(self)
        del values["unused"]
        return values | {"reader": "best" if self.reader == "auto" else self.reader}


@pytest.mark.parametrize(
    ("recorded", "expected", "noted"),
    [
        ({"levels": 8}, Grown(normalise=False, reader="old", backend=("new",)), 3),
        ({"normalise": False, "reader": "best", "backend": ["given", "new"]}, Grown(normalise=False), 1),
        ({"normalise": True, "reader": "old", "backend": ["given", "new"]}, Grown(reader="old"), 1),
        ({"normalise": True, "reader": "best", "backend": ["other"]}, Grown(), 0),
    ],
)
def test_results_keep_what_is_older_than_an_option(recorded: dict[str, Any], expected: Grown, noted: int) -> None:
    options, notes = config.adopt(recorded, Grown())
    assert options == expected and len(notes) == noted
    assert all("--overwrite" in note for note in notes)
    chosen = Grown(normalise=True, reader="new", backend=("other",))
    assert config.adopt(recorded, chosen)[0].reader == "new"
    assert bool(config.changed(recorded, options)) == (recorded.get("backend") == ["other"])
