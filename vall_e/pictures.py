"""Drawing into files, where matplotlib is installed."""

from __future__ import annotations

from typing import Any


def find_pyplot() -> Any | None:
    """matplotlib's pyplot, which needs no screen; None where it is not installed."""
    try:
        import matplotlib
    except ModuleNotFoundError:
        return None
    matplotlib.use("agg")
    from matplotlib import pyplot

    return pyplot
