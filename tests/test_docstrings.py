"""The examples in docstrings run."""

from __future__ import annotations

import doctest
import importlib

import pytest

MODULES = (
    "vall_e.types",
    "vall_e.languages",
    "vall_e.emb.codecs.edit",
    "vall_e.emb.codecs.registry",
    "vall_e.emb.text.registry",
    "vall_e.audio.read",
    "vall_e.stage",
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_a_module_run(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted and not result.failed
