"""Training data: utterances and their codes, memory-mapped, as batches for both language models.

`build` makes the Arrow files, `Dataset` gives one example per target, `make_loader` gives batches under a frame
budget. The names are loaded when they are first used, so that `python -m vall_e.dataset --help` loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vall_e.dataset.batch import Batch, collate, for_synthesis
    from vall_e.dataset.examples import Dataset, Example
    from vall_e.dataset.index import Index
    from vall_e.dataset.loader import Loader, make_loader
    from vall_e.dataset.sampler import FrameBudgetSampler
    from vall_e.dataset.vocab import Vocabulary

__all__ = [
    "Batch",
    "Dataset",
    "Example",
    "FrameBudgetSampler",
    "Index",
    "Loader",
    "Vocabulary",
    "collate",
    "for_synthesis",
    "make_loader",
]
_HOME = {
    "Batch": "batch",
    "collate": "batch",
    "for_synthesis": "batch",
    "Dataset": "examples",
    "Example": "examples",
    "Index": "index",
    "Loader": "loader",
    "make_loader": "loader",
    "FrameBudgetSampler": "sampler",
    "Vocabulary": "vocab",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
