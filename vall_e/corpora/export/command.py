"""The utterances of a WORK folder into the layout of another tool.

    vall-e export lhotse WORK OUT

What is written can be imported again under the same name. OUT appears once it is whole.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from vall_e import config, layout, progress, storage
from vall_e.corpora.export.base import Exporter, Work
from vall_e.corpora.export.registry import EXPORTERS
from vall_e.types import UsageError

STAGE = "export"


def export(name: str, work: Path, out: Path) -> int:
    """Writes all utterances → their number.

    Args:
        name: of the layout, see EXPORTERS.
        work: a folder that `prepare` made.
        out: a folder that is not there yet, or is empty.

    Raises:
        UsageError: no dataset in `work`, its audio is gone, or something lies in `out`. BackendError: a package is
        missing.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out}: not empty; choose a new folder")
    exporter: Exporter = EXPORTERS.load(name)()
    source = Work(work)
    unfinished = out.with_name(f"{out.name}{layout.TEMP_FOLDER}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    total = 0
    with storage.folder_lock(work / layout.DATASET_FOLDER):
        for number in progress.track(exporter.export(source, unfinished), STAGE, len(source), num_items=int):
            total += number
    if out.exists():
        out.rmdir()
    os.rename(unfinished, out)
    return total


def main(argv: Sequence[str] | None = None, *, prog: str = "vall-e export") -> int:
    parser = argparse.ArgumentParser(prog=prog, description=(__doc__ or "").split("\n")[0])
    parser.add_argument("layout", help=f"one of {', '.join(EXPORTERS)}, or that of an installed package")
    parser.add_argument("work", type=Path, help="a folder that prepare made")
    parser.add_argument("out", type=Path, help="a new folder for the result")
    args = parser.parse_args(argv)
    EXPORTERS.check(args.layout)
    print(f"{export(args.layout, args.work, args.out):,} utterances in {args.out}")
    return 0


if __name__ == "__main__":
    config.run_main(main)
