"""Writes docs/reference/ from the code: options, records, reject reasons.

python docs/make_reference.py            # writes
python docs/make_reference.py --check    # exit status 1 where a page is not what the code says
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import importlib
import inspect
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from vall_e import types
from vall_e.cli import STAGES

FOLDER = Path(__file__).parent / "reference"
TOOLS = {
    "train": ("vall_e.train", "TrainOptions"),
    "synthesize": ("vall_e.synthesize", "SynthesizeOptions"),
    "mix": ("vall_e.emb.mix", "MixOptions"),
    "g2p": ("vall_e.emb.text.registry", "G2pOptions"),
    "qnt": ("vall_e.emb.codecs.registry", "CodecOptions"),
}
RECORDS = {
    types.Recording: ("metadata/recordings.jsonl", "one row per recording, written by `import`"),
    types.Transcript: ("metadata/transcripts.jsonl", "one row per recording, written by `transcribe`"),
    types.Segment: ("", "part of a transcript"),
    types.Word: ("", "part of a segment or an utterance"),
    types.Utterance: ("dataset/utterances.jsonl", "one row per utterance, written by `process`"),
    types.Durations: ("dataset/durations.jsonl", "one row per utterance, written by `durations`"),
    types.Mixture: ("mixtures.jsonl", "one row per mixture, written by `mix`"),
    types.Reject: ("rejects.jsonl", "in `metadata/`, `dataset/` and `dataset/built/`: what was left out, and why"),
    types.CodecSpec: ("", "`codec` in `dataset/dataset.json`"),
}
WORD = types.Word(text="Hello", start_s=0.12, end_s=0.48, score=0.98)
EXAMPLES: dict[type, Any] = {
    types.Recording: types.Recording(
        id="en/ann/a.wav",
        path="en/ann/a.wav",
        group="en",
        speaker="ann",
        language="en",
        sample_rate_hz=24_000,
        num_samples=24_000,
        num_channels=1,
        size_bytes=48_044,
        modified_ns=1_764_201_600_000_000_000,
        ends_sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        text="Hello.",
    ),
    types.Transcript: types.Transcript(
        recording_id="en/ann/a.wav",
        language="en",
        language_prob=None,
        text="Hello.",
        segments=(types.Segment(text="Hello.", start_s=0.0, end_s=1.0, words=(WORD,)),),
        backend="whisperx 3.4.2",
    ),
    types.Utterance: types.Utterance(
        id="en/ann/a.wav",
        recording_id="en/ann/a.wav",
        group="en",
        speaker="ann",
        sample_rate_hz=24_000,
        start_samples=0,
        num_samples=24_000,
        language="en",
        text="Hello.",
        phonemes="həlˈoʊ.",
        words=(WORD,),
        codec="encodec",
        num_frames=75,
        codes="en/ann/a.wav.npy",
        scores={"duration": 1.0},
    ),
    types.Reject: types.Reject(id="en/ann/b.wav", stage="import", reason=types.RejectReason.EMPTY, detail="no samples"),
}
RETRY = """`vall-e report WORK` counts rejects by reason and shows an example of each. To look at them, read
`rejects.jsonl`, for instance with `grep '"too_long"' WORK/dataset/rejects.jsonl`. `--update` tries again those whose
recording, text or language changed, and all with the reasons `changed`, `worker_died` and `unreadable`. `--overwrite`
starts the stage from scratch."""


def options_page() -> Iterator[str]:
    yield "# Options\n\nEach option is a flag of its stage and a key of its section in a config file. A flag wins over "
    yield "the file.\n"
    for section, (module, name) in (STAGES | TOOLS).items():
        cls: Any = getattr(importlib.import_module(module), name)
        hints = typing.get_type_hints(cls)
        yield f"\n## {section}\n\n| flag | key | type | default | |\n|---|---|---|---|---|\n"
        for field in dataclasses.fields(cls):
            flag = "--" + field.name.removesuffix("_s").replace("_", "-")
            choices = field.metadata["choices"]
            what = field.metadata["help"].replace("|", "\\|") + (f" ({', '.join(choices)})" if choices else "")
            yield f"| `{flag}` | `{field.name}` | {_type(hints[field.name])} | {_value(field.default)} | {what} |\n"


def records_page() -> Iterator[str]:
    yield "# Records\n\nEvery file of rows is JSON lines: UTF-8, one object a line, the keys below. Units are in the "
    yield "names: `_s` seconds,\n`_hz` hertz, `_samples` samples at the recording's own rate, `_frames` codec frames.\n"
    for cls, (file, what) in RECORDS.items():
        title = f"{cls.__name__}: `{file}`" if file else cls.__name__
        yield f"\n## {title}\n\n{what[:1].upper()}{what[1:]}.\n\n| key | type | default |\n|---|---|---|\n"
        hints = typing.get_type_hints(cls)
        for field in msgspec.structs.fields(cls):  # type: ignore[arg-type]
            value = None if field.default is msgspec.NODEFAULT else field.default
            default = "required" if field.required else _value(value)
            yield f"| `{field.name}` | {_type(hints[field.name])} | {default} |\n"
        if cls in EXAMPLES:
            yield f"\n```json\n{msgspec.json.format(msgspec.json.encode(EXAMPLES[cls]), indent=2).decode()}\n```\n"
    yield "\n## Speaker prompts: `dataset/similar.jsonl`\n\nBest first; the scores are cosines with 6 decimals.\n\n"
    yield '```json\n{"id": "en/ann/a.wav", "similar": [["en/ann/c.wav", 0.912345]]}\n```\n'


def rejects_page() -> Iterator[str]:
    yield f"# Reject reasons\n\n{RETRY}\n\n| reason | meaning |\n|---|---|\n"
    source = inspect.getsource(types.RejectReason)
    lines = source.splitlines()
    for node in ast.parse(source).body[0].body:  # type: ignore[attr-defined]
        if isinstance(node, ast.Assign):
            _, _, comment = lines[node.lineno - 1].partition("  # ")
            reason = ast.literal_eval(node.value)
            yield f"| `{reason}` | {comment or reason.replace('_', ' ')} |\n"
    yield "| `gate:<name>` | the score of a gate is outside its limits |\n"


def _type(hint: Any) -> str:
    text = hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)
    for name in ("vall_e.types.", "pathlib.", "typing."):
        text = text.replace(name, "")
    return text.replace("|", "\\|").replace("NoneType", "None")


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        return f"`{','.join(map(str, value))}`" if value else "none"
    if value in (None, dataclasses.MISSING, {}):
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


PAGES = {"options.md": options_page, "records.md": records_page, "rejects.md": rejects_page}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare only")
    check = parser.parse_args().check
    status = 0
    for name, page in PAGES.items():
        path, text = FOLDER / name, "".join(page())
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            print(f"{path}: is not what the code says; run python docs/make_reference.py", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
