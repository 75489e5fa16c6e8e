"""Options: a dataclass per stage is the one place where an option has its name, type, default and help.

From it come the command-line flags (`top_k` → `--top-k`, `min_duration_s` → `--min-duration`, the unit in its help) and
the keys of the YAML file, one section per stage. A flag wins over the file, the file over the default. An unknown key
is an error that names the nearest known one.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import os
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from vall_e.layout import CONFIG_SECTIONS, SKIPPED_BY_FALSE
from vall_e.types import UsageError, VallEError

C = TypeVar("C")
AUTO = "auto"  # a default that the run resolves
INTERRUPTED = 130  # what a shell returns for Ctrl-C
KINDS_OF_VALUES = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", Path: "a path"}


def option(
    default: Any,
    help: str,
    *,
    choices: Sequence[str] | None = None,
    before: Any = dataclasses.MISSING,
    parse: Callable[[Any], Any] | None = None,
) -> Any:
    """A dataclass field that is also a flag and a config key.

    Args:
        default: of a run that does not set it.
        help: for `--help` and the reference.
        choices: the values that are allowed; None for any.
        before: the value under which results were made before the option existed, where that is not the default. Of
            results that do not name the option, this is what they were made with.
        parse: brings another form that a config file may have into that of the field.
    """
    metadata = {"help": help, "choices": choices, "before": before, "parse": parse}
    return dataclasses.field(default=default, metadata=metadata)


def changed(recorded: Mapping[str, Any], options: Any) -> list[tuple[str, Any, Any]]:
    """(name, recorded value, value now) of each option that results were made with otherwise.

    Args:
        recorded: what the head of the results says; an option that it does not name counts as its `before` value.
        options: an options dataclass whose `result_options` are those that change the result.
    """
    fields = {field.name: field for field in dataclasses.fields(options)}
    found = []
    for name, now in options.result_options.items():
        field = fields[name]
        before = field.metadata.get("before", dataclasses.MISSING)
        unnamed = field.default if before is dataclasses.MISSING else before
        was, now = _as_json(recorded.get(name, unnamed)), _as_json(now)
        if was != now:
            found.append((name, was, now))
    return found


def adopt(recorded: Mapping[str, Any], options: C) -> tuple[C, list[str]]:
    """Options that stand at their default take the value of the results that they are added to.

    Args:
        recorded: what the head of the results says.
        options: an options dataclass with a property `result_options`.

    Returns:
        The options, and a note for each that differs from its default now: results are never mixed or refused for an
        option that is younger than they are.
    """
    values, notes = {}, []
    results = options.result_options  # type: ignore[attr-defined]
    for field in dataclasses.fields(options):  # type: ignore[arg-type]
        before = field.metadata.get("before", dataclasses.MISSING)
        if before is dataclasses.MISSING or getattr(options, field.name) != field.default:
            continue
        if field.name not in results:  # it changes nothing beside what else was chosen
            continue
        was = recorded.get(field.name, _as_json(before))
        if was not in (_as_json(before), AUTO) and field.default != AUTO:
            continue  # chosen by a person once, and refused if it is not chosen again
        if was != _as_json(results[field.name]):
            values[field.name] = tuple(was) if isinstance(was, list) else was
            flag = field.name.replace("_", "-")
            notes.append(f"made with {flag} {_shown(was)}, and stays so; --overwrite takes the default of today")
    return dataclasses.replace(options, **values), notes  # type: ignore[type-var]


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _as_json(value: Any) -> Any:
    """As it comes back from a JSON file."""
    return list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value


def add_options(parser: argparse.ArgumentParser, cls: type, *, without: Sequence[str] = ()) -> None:
    """A flag for each field of `cls`. Flags that are not given stay away from the namespace."""
    what = "YAML file with a section per stage, or the name of one that ships, like offline"
    parser.add_argument("--config", type=Path, metavar="FILE", help=what)
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        if field.name in without:
            continue
        flag = "--" + field.name.removesuffix("_s").replace("_", "-")
        default = f" (default: {_show(field.default)})"
        extra: dict[str, Any] = {"help": field.metadata["help"].replace("%", "%%") + default.replace("%", "%%")}
        if hints[field.name] is bool:
            extra["action"] = argparse.BooleanOptionalAction
        else:
            # errors are raised later, in one place for flags and file alike
            extra["dest"] = field.name
            extra["metavar"] = field.name.split("_")[-1].upper()
            if typing.get_origin(hints[field.name]) is tuple:  # a,b or the flag again
                extra |= {"action": "extend", "type": lambda text: text.split(",")}
            if field.metadata["choices"]:
                extra["metavar"] = "{" + ",".join(field.metadata["choices"]) + "}"
        parser.add_argument(flag, default=argparse.SUPPRESS, **extra)


def add_max_reject_ratio(parser: argparse.ArgumentParser) -> None:
    """The flag of every command that can reject items: rejects are normal, too many of them need not be."""
    parser.add_argument(
        "--max-reject-ratio",
        type=float,
        metavar="RATIO",
        help="exit with status 1 when more than this share of items is rejected (default: any share is fine)",
    )


def reject_status(ratio: float, max_reject_ratio: float | None) -> int:
    """The exit status for a share of rejected items; says so where it is too large."""
    if max_reject_ratio is None or ratio <= max_reject_ratio:
        return 0
    print(f"error: {ratio:.1%} rejected, --max-reject-ratio is {max_reject_ratio:.1%}", file=sys.stderr)
    return 1


def _show(value: Any) -> str:
    text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return text.lower() if isinstance(value, bool) or value is None else text


def resolve(cls: type[C], args: argparse.Namespace, section: str) -> C:
    """The options of one stage: defaults, then `section` of `--config`, then flags.

    Raises:
        UsageError: names the key or flag, and what it may be.
    """
    file = (load_file(args.config).get(section) or {}) if args.config is not None else {}
    names = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    flags = {key: value for key, value in vars(args).items() if key in names}
    # each alone for what is wrong with one value, then both together for what is wrong with several
    known = convert(cls, file, f"{args.config}: {section}") | convert(cls, flags, "options")
    sources = [*([f"{args.config}: {section}"] if file else []), *(["options"] if flags else [])]
    return make(cls, known, " and ".join(sources) or "options")


def find_config(name: str) -> Path:
    """A path as it is, or the config of that name that ships with the package, like `offline`.

    Raises:
        UsageError: neither a file nor a name of one that ships.
    """
    path = Path(name)
    if path.suffix or len(path.parts) > 1 or path.exists():
        return path
    shipped = {file.stem: file for file in (Path(__file__).parent / "configs").glob("*.yaml")}
    if name not in shipped:
        raise UsageError(f"--config {name}: no such file, and no config that ships{nearest(name, shipped)}")
    return shipped[name]


def load_file(path: Path) -> dict[str, Any]:
    """A YAML file of sections; a bare name is that of a config that ships with the package.

    Raises:
        UsageError: it can't be read, is not YAML, or holds no mapping of sections; an unknown section.
    """
    import yaml  # not at import: `--help` does without

    path = find_config(str(path))
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{path}: can't be read as YAML: {' '.join(str(error).split())}") from None
    value = {} if value is None else value
    if not isinstance(value, dict) or not all(
        isinstance(part, dict) or part is None or (part is False and name in SKIPPED_BY_FALSE)
        for name, part in value.items()
    ):
        raise UsageError(f"{path}: expected sections of options, like 'process:' with 'audio_backend: tiny' below it")
    for section in value:
        if section not in CONFIG_SECTIONS:
            raise UsageError(f"{path}: unknown section {section!r}{nearest(str(section), CONFIG_SECTIONS)}")
    return value


def from_mapping(cls: type[C], values: Mapping[str, Any], where: str) -> C:
    """An options dataclass from keys and values.

    Raises:
        UsageError: an unknown key (the nearest known one is named) or a value of the wrong type.
    """
    return make(cls, convert(cls, values, where), where)


def convert(cls: type[C], values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The values of some options of `cls`, each of the type of its field.

    Raises:
        UsageError: as `from_mapping`.
    """
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    known: dict[str, Any] = {}
    for key, value in values.items():
        if key not in fields:
            raise UsageError(f"{where}: unknown key {key!r}{nearest(str(key), fields)}")
        parse = fields[key].metadata.get("parse")
        if parse is not None:
            value = parse(value)
        known[key] = _convert(hints[key], value, f"{where}: {key}")
        _check_choice(known[key], fields[key].metadata.get("choices"), f"{where}: {key}")
    return known


def make(cls: type[C], known: Mapping[str, Any], where: str) -> C:
    """An options dataclass; what is wrong with several values together is a UsageError that names `where`."""
    try:
        return cls(**known)
    except (ValueError, UsageError) as error:
        raise UsageError(f"{where}: {error}") from None


def _check_choice(value: Any, choices: Sequence[str] | None, where: str) -> None:
    for item in value if isinstance(value, tuple) else (value,):
        if choices and item is not None and item not in choices:
            raise UsageError(f"{where}: unknown choice {item!r}{nearest(str(item), choices)}")


def nearest(name: str, known: typing.Iterable[str]) -> str:
    """`; did you mean 'x'?`, or all that is known where nothing is near."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(names)}"


def _convert(hint: Any, value: Any, where: str) -> Any:
    """A value from YAML or from the command line (then a string) as the type of its field."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        if value is None or value == "none":
            return None
        hint = next(arg for arg in typing.get_args(hint) if arg is not type(None))
    if typing.get_origin(hint) is tuple:
        items = value.split(",") if isinstance(value, str) else value
        if not isinstance(items, list | tuple):
            raise UsageError(f"{where}: {value!r} is not a list")
        return tuple(_convert(typing.get_args(hint)[0], item, where) for item in items)
    try:
        if hint is bool and isinstance(value, str):
            return {"true": True, "false": False}[value.lower()]
        if hint in (int, float) and isinstance(value, str):
            value = hint(value)
        if hint is Path and isinstance(value, str):
            return Path(value)
        if hint is float and type(value) is int:
            return float(value)
        if hint is str and isinstance(value, bool):  # YAML reads a bare true as a bool
            return str(value).lower()
    except (KeyError, ValueError):
        raise UsageError(f"{where}: {value!r} is not {KINDS_OF_VALUES.get(hint, hint.__name__)}") from None
    if isinstance(value, float) and not abs(value) <= sys.float_info.max:
        raise UsageError(f"{where}: {value} is not a finite number")
    if not isinstance(value, hint) or (hint is not bool and isinstance(value, bool)):
        raise UsageError(f"{where}: {value!r} is not {KINDS_OF_VALUES.get(hint, hint.__name__)}")
    return value


def run_main(main: Callable[[Sequence[str] | None], int], argv: Sequence[str] | None = None) -> typing.NoReturn:
    """Runs a command and exits: one line per known error, 2 for usage, 1 for a failed run, 130 for Ctrl-C."""
    from vall_e.types import BackendError

    try:
        status = main(argv)
        sys.stdout.flush()
    except (UsageError, BackendError) as error:
        status = _complain(error, 2)
    except VallEError as error:
        status = _complain(error, 1)
    except BrokenPipeError:  # the reader, `head` say, has gone; that is its right
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    except OSError as error:  # a full disk, a missing permission: the machine's, not a bug
        status = _complain(error, 1)
    except KeyboardInterrupt as error:
        advice = str(error) or "run the same command again to resume"
        status = _complain(f"interrupted; finished items are kept: {advice}", INTERRUPTED)
    sys.exit(status)


def _complain(error: object, status: int) -> int:
    text = str(error).encode(errors="backslashreplace").decode()
    print(f"error: {text}", file=sys.stderr)
    return status
