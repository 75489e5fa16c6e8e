"""The command `vall-e`: every stage is a sub-command that is the same as its module."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import pytest

from vall_e import cli

MODULES = {
    "transcribe": "vall_e.emb.transcribe",
    "process": "vall_e.emb.process",
    "similar": "vall_e.emb.similar",
    "g2p": "vall_e.emb.g2p",
    "qnt": "vall_e.emb.qnt",
}


def help_of(main: Callable[..., object], arguments: list[str], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The help as words, without the name of the program."""
    with pytest.raises(SystemExit) as left:
        main([*arguments, "--help"])
    assert left.value.code == 0
    usage, _, rest = capsys.readouterr().out.partition("[-h]")
    assert usage.startswith("usage: ")
    return rest.split()


@pytest.mark.parametrize("command", MODULES)
def test_a_sub_command_has_the_options_and_the_help_of_its_module(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    module = importlib.import_module(MODULES[command])
    own = help_of(module.main, [], capsys)
    assert own and help_of(cli.main, [command], capsys) == own


def test_the_help_lists_every_sub_command(capsys: pytest.CaptureFixture[str]) -> None:
    listed = help_of(cli.main, [], capsys)
    assert {*MODULES, *cli.STAGES, "prepare", "report"} <= set(listed)
