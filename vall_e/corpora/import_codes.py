"""Code files of another tool (.enc, .dac of e-c-k-e-r/vall-e) → plain npy, uint16 [K,T].

    vall-e import-codes SOURCE OUT --levels 8 --codebook-size 1024 --codec encodec

What codec made them is not in the files: you say it, and it is written into OUT/codes.json. Files that hold anything
but arrays and plain values are rejects, and are never run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vall_e import config, layout, progress, storage
from vall_e.types import Reject, RejectReason, UsageError

STAGE = "import-codes"
SUFFIXES = (".enc", ".dac")
CODES_JSON = "codes.json"


@dataclass(frozen=True, kw_only=True)
class CodesOptions:
    """What the person knows of the codes."""

    codec: str
    levels: int
    codebook_size: int


def import_codes(source: Path, out: Path, options: CodesOptions) -> tuple[int, int]:
    """Writes OUT/<the same path>.npy for each file below `source` → (files, rejects). What is there stays.

    Raises:
        UsageError: no such folder or no such files.
    """
    if not source.is_dir():
        raise UsageError(f"{source}: no such folder")
    names = sorted(
        os.path.relpath(os.path.join(folder, name), source)
        for folder, _, files in os.walk(source)
        for name in files
        if name.endswith(SUFFIXES) and not os.path.islink(os.path.join(folder, name))
    )
    if not names:
        raise UsageError(f"{source}: no {' or '.join(SUFFIXES)} below it")
    rejects = []
    with storage.folder_lock(out):
        head = {"codec": options.codec, "levels": options.levels, "codebook_size": options.codebook_size}
        known = storage.read_json(out / CODES_JSON)
        if known is not None and known != head:
            raise UsageError(f"{out}: made as {known}, now {head}; choose another folder")
        storage.write_json(out / CODES_JSON, head, out)
        todo = [name for name in names if not (out / f"{name}.npy").exists()]
        reader = _Reader()
        try:
            for name in progress.track(todo, STAGE, len(todo)):
                problem = _convert(reader, source / name, out / f"{name}.npy", options)
                if problem is not None:
                    rejects.append(Reject(id=name, stage=STAGE, reason=RejectReason.UNREADABLE, detail=problem))
        finally:
            reader.close()
        storage.write_json_lines(out / layout.REJECTS, (storage.to_row(reject) for reject in rejects), out)
    return len(names), len(rejects)


def _convert(reader: _Reader, source: Path, target: Path, options: CodesOptions) -> str | None:
    """Writes one file, whole or not at all; why not, if it can't be."""
    unfinished = target.with_name(f".{target.name}.part")
    try:
        answer = reader.ask(source, unfinished)
        if "error" in answer:
            return str(answer["error"])
        levels, largest = int(answer["levels"]), int(answer["largest"])
        if levels < options.levels or largest >= options.codebook_size:
            found = f"{levels} levels of codes up to {largest}"
            return f"{found}, not {options.levels} of {options.codebook_size}: another codec?"
        if levels > options.levels:
            return f"{levels} levels, not {options.levels}: give the number that the files have"
        os.replace(unfinished, target)
        return None
    finally:
        unfinished.unlink(missing_ok=True)


class _Reader:
    """The process that reads pickles. One that dies on a file is started again for the next."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def ask(self, source: Path, target: Path) -> dict[str, int | str]:
        if self._process is None or self._process.poll() is not None:
            command = [sys.executable, "-m", "vall_e.corpora.unpickle"]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdin is not None and self._process.stdout is not None
        request = {"source": os.path.abspath(source), "target": os.path.abspath(target)}
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self._process.wait()
            return {"error": "the process that read it died"}
        answer: dict[str, int | str] = json.loads(line)
        return answer

    def close(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait()


def main(argv: Sequence[str] | None = None, *, prog: str = "vall-e import-codes") -> int:
    parser = argparse.ArgumentParser(prog=prog, description=(__doc__ or "").split("\n")[0])
    parser.add_argument("source", type=Path, help="a folder of .enc or .dac files")
    parser.add_argument("out", type=Path, help="folder for the .npy files")
    parser.add_argument("--codec", required=True, help="what made the codes, like encodec or dac")
    parser.add_argument("--levels", type=int, required=True, help="levels in each file")
    parser.add_argument("--codebook-size", type=int, required=True, help="entries of each codebook, like 1024")
    config.add_max_reject_ratio(parser)
    args = parser.parse_args(argv)
    options = CodesOptions(codec=args.codec, levels=args.levels, codebook_size=args.codebook_size)
    number, rejects = import_codes(args.source, args.out, options)
    print(f"{number - rejects:,} of {number:,} files in {args.out}; rejects.jsonl names the others")
    return config.reject_status(rejects / number, args.max_reject_ratio)


if __name__ == "__main__":
    config.run_main(main)
