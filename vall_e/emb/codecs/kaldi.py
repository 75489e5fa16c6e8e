"""Kaldi's lists: `wav.scp` (`uttid path` a line) in, FunCodec's `codecs.txt` (`uttid [[[…], …], …]`) out, and back.

In `codecs.txt` the JSON is chunks × levels × frames, one chunk but for codecs that cut their input; what its package
writes is read here, and it reads what is written here. Beside `codecs.txt` stand `codecs.info.jsonl` (length and
loudness, which codes do not carry), `codecs.spec.json` (the codec) and `codecs.rejects.jsonl`. A line of codecs.txt is
the completion marker of its utterance: run the same command again to go on.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from vall_e import audio as audio_files
from vall_e import storage
from vall_e.emb.codecs.base import CODES_ADVICE
from vall_e.types import CodecSpec, ContractError, Record, Reject, RejectReason, UsageError, safe_path

STAGE = "qnt"
AUDIO_ADVICE = "export it again as WAV or FLAC"


class Info(Record, frozen=True, kw_only=True):
    """What codes alone do not tell: `num_samples` at the codec's rate, `scales` as the codec gave them."""

    id: str
    num_samples: int
    scales: tuple[float, ...]


@dataclass(frozen=True)
class Coded:
    """One utterance: `codes` uint16 [K,T], the samples it had at the codec's rate, and its scales [S]."""

    codes: np.ndarray
    num_samples: int
    scales: np.ndarray


class _Bad(Exception):
    def __init__(self, reason: RejectReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def encode_scp(scp: Path, output: Path, spec: CodecSpec, encode: Callable[[Path], Coded]) -> int:
    """Codes every recording of `scp` into `output`; gives the exit status.

    A bad entry is reported on stderr and in the rejects, and the next one is coded. Paths are relative to the working
    folder, as in Kaldi. Commands (`sox … |`) are not run.

    Raises:
        UsageError: no such list, or `output` holds codes of another codec. ContractError: a codec breaks its promise.
        OSError: `output` can't be written, or its disk is full.
    """
    entries = _read_lines(scp)
    with storage.folder_lock(output.parent):
        _check_spec(output, spec)
        done = _drop_torn_line(output)
        rejects: list[Reject] = []
        seen: set[str] = set()
        num_new = 0
        with output.open("a", encoding="utf-8") as lines, storage.JsonlWriter(_beside(output, "info.jsonl")) as infos:
            for number, line in entries:
                uttid, _, value = line.partition(" ")
                try:
                    if uttid in seen:
                        raise _Bad(RejectReason.BAD_NAME, "the utterance is in the list twice")
                    seen.add(uttid)
                    if uttid in done:
                        continue
                    coded = _encode_entry(uttid, value.strip(), encode)
                except _Bad as error:
                    rejects.append(_tell(uttid or f"line {number}", error))
                    continue
                scales = tuple(float(scale) for scale in coded.scales)
                infos.write([Info(id=uttid, num_samples=coded.num_samples, scales=scales)])
                _write_line(lines, uttid, coded.codes)
                lines.flush()
                num_new += 1
        storage.write_json_lines(_beside(output, "rejects.jsonl"), map(storage.to_row, rejects), output.parent)
    print(f"{output}: {len(done) + num_new} utterances, {len(rejects)} rejects; {len(done)} were done before")
    return 0 if done or num_new else 1


def decode_codes(
    codes_txt: Path, folder: Path, spec: CodecSpec, decode: Callable[[np.ndarray, np.ndarray | None], np.ndarray]
) -> int:
    """Audio `folder/<uttid>.wav` of every line of `codes_txt`; gives the exit status. Audio that is there stays.

    Loudness and length are those of the original where `codecs.info.jsonl` is beside the codes.

    Raises:
        UsageError: no such file, or codes of another codec.
    """
    lines = _read_lines(codes_txt)
    _check_spec(codes_txt, spec, is_written=False)
    infos = {info.id: info for info in storage.read_rows(_beside(codes_txt, "info.jsonl"), Info)}
    rejects: list[Reject] = []
    num_new = num_old = 0
    with storage.folder_lock(folder):
        for number, line in lines:
            uttid, _, text = line.partition(" ")
            try:
                target = _audio_path(folder, uttid)
                if target.exists():
                    num_old += 1
                    continue
                codes = parse_codes(text, spec)
                info = infos.get(uttid)
                scales = None if info is None else np.array(info.scales, np.float32)
                audio = decode(codes, scales)[..., : None if info is None else info.num_samples]
                _write_audio(target, audio, spec, folder)
                num_new += 1
            except ContractError as error:  # codes that were changed and no longer fit what is known of them
                rejects.append(_tell(uttid, _Bad(RejectReason.UNREADABLE, str(error))))
            except _Bad as error:
                rejects.append(_tell(uttid or f"line {number}", error))
        storage.write_json_lines(folder / "rejects.jsonl", map(storage.to_row, rejects), folder)
    print(f"{folder}: {num_new + num_old} utterances, {len(rejects)} rejects; {num_old} were there before")
    return 0 if num_new + num_old else 1


def parse_codes(text: str, spec: CodecSpec) -> np.ndarray:
    """JSON of chunks × levels × frames, or of levels × frames → uint16 [K,T], chunks one after the other.

    Raises:
        _Bad: not such codes, or not of this codec.
    """
    try:
        found = json.loads(text)
        chunks = found if isinstance(found[0][0], list) else [found]
        parts = [np.array(chunk) for chunk in chunks]
        if any(part.ndim != 2 or part.dtype.kind != "i" for part in parts):
            raise ValueError("expected rows of whole numbers, all equally long")
        codes = np.concatenate(parts, axis=1)
    except (ValueError, TypeError, LookupError, RecursionError, OverflowError) as error:
        raise _Bad(RejectReason.UNREADABLE, f"not codes: {error}") from None
    if not 1 <= codes.shape[0] <= spec.num_levels or codes.shape[1] == 0:
        detail = f"codes of shape {codes.shape}, this codec has 1 to {spec.num_levels} levels; {CODES_ADVICE}"
        raise _Bad(RejectReason.UNREADABLE, detail)
    if codes.min() < 0 or codes.max() >= spec.codebook_size:
        detail = f"codes from {codes.min()} to {codes.max()}, not 0..{spec.codebook_size - 1}; {CODES_ADVICE}"
        raise _Bad(RejectReason.UNREADABLE, detail)
    return codes.astype(np.uint16)


def _write_line(lines: TextIO, uttid: str, codes: np.ndarray) -> None:
    """Level by level: all codes of hours as Python's numbers would take more memory than their audio."""
    lines.write(f"{uttid} [[")
    for level, row in enumerate(codes):
        lines.write(", " * (level > 0) + json.dumps(row.tolist()))
    lines.write("]]\n")


def _encode_entry(uttid: str, value: str, encode: Callable[[Path], Coded]) -> Coded:
    if not value:
        raise _Bad(RejectReason.UNREADABLE, "no path: a line is `uttid path`")
    if value.endswith("|") or value.startswith("|"):
        raise _Bad(RejectReason.UNREADABLE, "a command; commands are not run, write its audio to a file first")
    if "\0" in value:
        raise _Bad(RejectReason.BAD_NAME, "a path can't hold NUL")
    path = Path(value)
    try:
        is_file = path.is_file()
    except OSError as error:
        raise _Bad(RejectReason.UNREADABLE, f"{value}: {error.strerror}") from None
    if not is_file:
        raise _Bad(RejectReason.UNREADABLE, f"no file {value}")
    try:
        return encode(path)
    except audio_files.AudioError as error:
        raise _Bad(error.reason, f"{value}: {error.detail}; {AUDIO_ADVICE}") from None
    except ContractError as error:
        raise ContractError(f"{uttid}: {error}") from None


def _read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number, line) of lines that are not empty, white space made single; the file is opened at once."""
    storage.require_file(path, "your recipe")

    def lines() -> Iterator[tuple[int, str]]:
        with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
            for number, line in enumerate(file, start=1):
                uttid, *rest = line.strip().split(maxsplit=1)[:2] or [""]
                if uttid:
                    yield number, f"{uttid} {rest[0] if rest else ''}"

    return lines()


def _drop_torn_line(output: Path) -> set[str]:
    """Utterances of the whole lines of `output`; what a kill left of a last one is cut off."""
    done: set[str] = set()
    length = 0
    if not output.exists():
        return done
    with output.open("rb+") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            length += len(line)
            done.add(line.partition(b" ")[0].decode(errors="replace"))
        file.truncate(length)
    return done


def _check_spec(codes_txt: Path, spec: CodecSpec, *, is_written: bool = True) -> None:
    """Codes of one file are of one codec; where they are decoded, fewer levels than the codec's will do."""
    path = _beside(codes_txt, "spec.json")
    found, own = storage.read_json(path), json.loads(json.dumps(storage.to_row(spec)))
    if found is None:
        if is_written and codes_txt.exists() and codes_txt.stat().st_size:
            raise UsageError(f"{codes_txt}: not written by this program; choose another --output")
        if is_written:
            storage.write_json(path, own, codes_txt.parent)
        return
    free = set() if is_written else {"num_levels"}
    different = [key for key in own if key not in free and found.get(key) != own[key]]
    if different:
        key = different[0]
        raise UsageError(f"{codes_txt}: its codes have {key} {found.get(key)}, this codec's is {own[key]}")


def _audio_path(folder: Path, uttid: str) -> Path:
    try:
        return safe_path(folder, uttid if uttid.endswith(".wav") else uttid + ".wav")
    except ContractError as error:
        raise _Bad(RejectReason.UNSAFE_PATH, str(error)) from None


def _write_audio(target: Path, audio: np.ndarray, spec: CodecSpec, folder: Path) -> None:
    """Whole or not at all: written below the folder's own temporary one, then renamed."""
    temporary = folder / storage.TEMP_FOLDER / "audio.wav"
    try:
        temporary.parent.mkdir(exist_ok=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        audio_files.write(temporary, audio, spec.sample_rate_hz)
        temporary.replace(target)
    except (NotADirectoryError, FileExistsError) as error:
        raise _Bad(RejectReason.BAD_NAME, f"{target}: {error.strerror}") from None


def _beside(codes_txt: Path, ending: str) -> Path:
    return codes_txt.with_name(f"{codes_txt.stem}.{ending}")


def _tell(item: str, error: _Bad) -> Reject:
    item = item.encode(errors="backslashreplace").decode()
    print(f"{STAGE}: {item}: {error.reason}: {error}", file=sys.stderr)
    return Reject(id=item, stage=STAGE, reason=error.reason, detail=str(error))
