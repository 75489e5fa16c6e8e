"""The implementations of one kind (codec, recogniser, …): ours by name, those of other packages by entry point.

A registry is a dict of lazy factories, `name → "module:function"`; nothing is imported before it is asked for.
https://packaging.python.org/en/latest/specifications/entry-points
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from vall_e.config import nearest
from vall_e.types import BackendError, UsageError


class Registry:
    """The factories of one kind.

    Args:
        kind: what an implementation is called in an error, like "codec".
        group: the entry-point group in which other packages offer theirs, like "vall_e.codecs".
        builtin: name → "module:function" of those in this package.
    """

    def __init__(self, kind: str, group: str, builtin: Mapping[str, str]) -> None:
        self.kind, self.group, self.builtin = kind, group, dict(builtin)

    def __iter__(self) -> Iterator[str]:
        return iter(self.builtin)

    def __contains__(self, name: object) -> bool:
        return name in self.builtin or name in self._offered()

    def names(self) -> list[str]:
        """All names: those of this package in their order, then those that other installed packages offer."""
        return [*self.builtin, *sorted(self._offered().keys() - self.builtin.keys())]

    def check(self, name: str) -> None:
        """Raises UsageError for an unknown name; the nearest known one is named."""
        if name not in self:
            raise UsageError(f"{self.kind} {name!r} is not known{nearest(name, self.names())}")

    def load(self, name: str) -> Callable[..., Any]:
        """The factory of that name.

        Raises:
            UsageError: an unknown name. BackendError: its module can't be imported.
        """
        if name in self.builtin:
            module, _, attribute = self.builtin[name].partition(":")
            factory: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
            return factory
        self.check(name)
        entry = self._offered()[name]
        try:
            factory = entry.load()
        except (ImportError, AttributeError) as error:
            raise BackendError(f"{self.kind} {name}: {entry.value} can't be imported: {error}") from None
        return factory

    def _offered(self) -> dict[str, importlib.metadata.EntryPoint]:
        return {entry.name: entry for entry in importlib.metadata.entry_points(group=self.group)}
