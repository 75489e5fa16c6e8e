"""How many frames each phone takes, learnt from the corpus' own codes and phonemes: no model from outside.

    python -m vall_e.emb.durations --input-dataset DATA

A small model of the phones (see `vall_e.emb.hmm`) is trained on part of the corpus, then aligns every utterance:
DATA/durations.jsonl gets a row each, `{"id", "durations_frames", "score"}`. The score tells how much better the own
text fits than other texts of the corpus do, in nats a frame; it also lies in scores.jsonl, as `text_fit`, for gates.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import io
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vall_e import config, layout, progress, scores, stage, storage
from vall_e.emb import hmm
from vall_e.executor import EXECUTORS, make_executor
from vall_e.types import CodecSpec, ContractError, Durations, Utterance, safe_path
from vall_e.units import PHONE, kind_of

STAGE = "durations"
VERSION = 1  # of the method: rows of two versions do not mix
GATE = "text_fit"
NUM_OTHERS = 4  # texts that the own one is compared with
POOL = 200  # texts of a language that those are chosen from
WORD_TOLERANCE_S = 0.15  # by which a phone may lie outside of its word, where the words' times are known
FREE = frozenset({"executor", "workers", "overwrite"})  # options that do not change the result


@dataclass(frozen=True, kw_only=True)
class DurationsOptions:
    """Options of this stage: flags, and keys of the section `durations` in a config file."""

    levels: int = config.option(2, "levels of codes, from the first, that phones are told from")
    rounds: int = config.option(10, "passes over the training part")
    train_hours: float = config.option(5.0, "of the corpus, chosen by a hash of the ids, that the model learns from")
    executor: str = config.option("local", "where workers run", choices=EXECUTORS)
    workers: int = config.option(1, "processes, one thread each; 0 is one per core")
    overwrite: bool = config.option(False, "start from scratch: learn again, and drop the rows of an earlier run")

    def __post_init__(self) -> None:
        if self.levels < 1 or self.rounds < 1 or self.train_hours <= 0:
            raise ValueError("levels and rounds are at least 1, and train_hours is above 0")

    @property
    def result_options(self) -> dict[str, Any]:
        """The options that change the result: what a resumed run must share with the one before."""
        return {"levels": self.levels, "rounds": self.rounds, "train_hours": self.train_hours}


def durations(input_dataset: Path, options: DurationsOptions) -> stage.StageReport:
    """Brings DATA/durations.jsonl up to date.

    Utterances that came later are aligned by the model that is there; where the dataset was made again or updated, or
    with `overwrite`, everything is.

    Args:
        input_dataset: what `process` wrote.
        options: see DurationsOptions.

    Raises:
        UsageError: no dataset, or rows made with other options.
    """
    started = time.monotonic()
    utterances = storage.require_file(input_dataset / layout.UTTERANCES, layout.MADE_BY[layout.UTTERANCES])
    head = storage.read_json(input_dataset / layout.DATASET_JSON) or {}
    spec = storage.from_row(CodecSpec, head.get("codec"), f"{input_dataset / layout.DATASET_JSON}: codec")
    made = {"version": VERSION, "made": f"{head.get('made', '')}{head.get('updated', '')}", "codec": head["codec"]}
    executor = make_executor(options.executor, options.workers)
    with storage.folder_lock(input_dataset):
        rows = storage.RowIndex(utterances, "id", value=stage.duration_of)
        results = stage.Results(input_dataset, STAGE, layout.DURATIONS, key="id")
        known = storage.read_json(input_dataset / layout.DURATIONS_JSON) or {}
        is_current = {name: known.get(name) for name in made} == made
        if is_current and not options.overwrite:
            stage.check_same(input_dataset / layout.DURATIONS, known["options"], options)
        report = stage.StageReport(stage=STAGE, num_items=len(rows))
        if not is_current or options.overwrite or not (input_dataset / layout.DURATIONS_MODEL).is_file():
            for name in (layout.DURATIONS_JSON, layout.DURATIONS_MODEL):  # without them, no row counts
                (input_dataset / name).unlink(missing_ok=True)
            results.clear()
            if len(rows):
                _learn(input_dataset, rows, spec, made, options)
        todo = stage.left(rows, results.is_done)
        report.num_resumed = len(rows) - len(todo)
        stage.run_stage(
            results,
            stage.tasks(rows, todo),
            functools.partial(Worker, input_dataset, spec),
            executor,
            report,
            total_items=len(todo),
            total_audio_s=float(rows.values[todo].sum()),
        )
        report.notes += _finish(input_dataset)
    report.wall_s = time.monotonic() - started
    return report


def read_codes(dataset: Path, row: Utterance, num_levels: int) -> np.ndarray:
    """uint16 [K,T], the first levels.

    Raises:
        ContractError: the array is not what the row promises.
    """
    codes = storage.read_array(safe_path(dataset, row.codes))[:num_levels]
    if codes.shape[1] != row.num_frames:
        raise ContractError(f"{row.id}: its array has {codes.shape[1]} frames, its row says {row.num_frames}")
    return np.array(codes)


# Learning


def _learn(
    dataset: Path, rows: storage.RowIndex, spec: CodecSpec, made: Mapping[str, Any], options: DurationsOptions
) -> None:
    """Trains the model of the phones and writes it down, with texts to compare with."""
    levels = min(options.levels, spec.num_levels)
    chosen = [rows.place(number).read(Utterance) for number in _training_rows(rows, options.train_hours)]
    codes = [read_codes(dataset, row, levels) for row in chosen]
    phones = sorted({phone for row in chosen for phone in row.phonemes if kind_of(phone) == PHONE})
    names = (hmm.SILENCE, *phones)
    sub_states = 2 if spec.frame_rate_hz >= hmm.FINE_HZ else 1
    shape = (levels, spec.codebook_size, 1 + sub_states * len(phones))
    model = hmm.Counts(*shape).model(names, sub_states)
    texts = [model.spell(row.phonemes) for row in chosen]
    for number in progress.track(iter(range(options.rounds + 1)), f"{STAGE}: learn", options.rounds + 1):
        items = list(zip(codes, texts, strict=True))
        dealt = [hmm.evenly(text, own.shape[1]) for own, text in items] if number == 0 else None
        paths: Sequence[hmm.Path | None] = dealt or hmm.align(model, items)
        counts = hmm.Counts(*shape)
        for own, path in zip(codes, paths, strict=True):
            if path is not None:
                counts.add(own, path.states)
        model = counts.model(names, sub_states)
    content = io.BytesIO()
    np.savez(content, log_probs=model.log_probs)
    storage.write_whole(dataset / layout.DURATIONS_MODEL, lambda file: file.write(content.getvalue()), dataset)
    pool: dict[str, list[str]] = defaultdict(list)
    for row in chosen:
        if len(pool[row.language]) < POOL and row.phonemes not in pool[row.language]:
            pool[row.language].append(row.phonemes)
    head = {"options": options.result_options, "phones": phones, "sub_states": sub_states, "texts": pool, **made}
    storage.write_json(dataset / layout.DURATIONS_JSON, head, dataset)


def _training_rows(rows: storage.RowIndex, hours: float) -> list[int]:
    """Numbers of the rows to learn from, in an order that the ids alone decide."""
    order = sorted(
        (hashlib.blake2b(f"durations {name}".encode(), digest_size=8).digest(), number)
        for number, name in enumerate(rows.ids())
    )
    total_s = np.cumsum(rows.values[[number for _, number in order]], dtype=np.float64)
    return [number for _, number in order[: 1 + int(np.searchsorted(total_s, 3600 * hours))]]


def load_model(dataset: Path, num_levels: int) -> tuple[hmm.Model, dict[str, list[str]]]:
    """(the model of the phones, texts by language) that an earlier run learnt."""
    head = storage.read_json(dataset / layout.DURATIONS_JSON) or {}
    with np.load(dataset / layout.DURATIONS_MODEL, allow_pickle=False) as file:
        log_probs = file["log_probs"]
    model = hmm.Model((hmm.SILENCE, *head["phones"]), head["sub_states"], log_probs)
    return model, head["texts"]


# Aligning


class Worker:
    """Aligns utterances, and compares each with other texts."""

    def __init__(self, dataset: Path, spec: CodecSpec) -> None:
        self.dataset, self.frame_rate_hz = dataset, float(spec.frame_rate_hz)
        self.model, texts = load_model(dataset, spec.num_levels)
        self.pool = {
            language: [(text, self.model.spell(text)) for text in sorted(found)] for language, found in texts.items()
        }

    def __call__(self, bunch: stage.Bunch) -> list[stage.Outcome]:
        """Utterances of a bunch share the batches of the search; each row is as if it were alone."""
        rows = [task.places[0].read(Utterance) for task in bunch.items]
        codes = [read_codes(self.dataset, row, self.model.num_levels) for row in rows]
        texts = [self.model.spell(row.phonemes) for row in rows]
        bounded = [hmm.within(text, _windows(row, self.frame_rate_hz)) for row, text in zip(rows, texts, strict=True)]
        paths = hmm.align(self.model, list(zip(codes, bounded, strict=True)))
        others = [self._others(row, text, own.shape[1]) for row, text, own in zip(rows, texts, codes, strict=True)]
        flat = [(own, other) for own, found in zip(codes, others, strict=True) for other in found]
        fits = iter(hmm.align(self.model, [*zip(codes, texts, strict=True), *flat]))
        own_fits = [next(fits) for _ in rows]
        outcomes = []
        for row, path, fit, found in zip(rows, paths, own_fits, others, strict=True):
            rest = [other.log_prob for other in (next(fits) for _ in found) if other is not None]
            score = round(fit.log_prob - float(np.mean(rest)), 4) if fit is not None and rest else None
            frames = None if path is None else tuple(path.durations.tolist())
            off_s = None if fit is None else _words_off_s(row, fit, self.frame_rate_hz)
            line = Durations(id=row.id, durations_frames=frames, score=score, words_off_s=off_s)
            outcomes.append(stage.Outcome(item_id=row.id, rows=(line,), audio_s=row.duration_s))
        return outcomes

    def _others(self, row: Utterance, own: hmm.Spelling, num_frames: int) -> list[hmm.Spelling]:
        """Texts of the same language that are about as long as its own."""
        able = [
            (abs(len(other.units.places) - len(own.units.places)), text, other)
            for text, other in self.pool.get(row.language, ())
            if text != row.phonemes and other.least_frames <= num_frames
        ]
        return [other for _, _, other in sorted(able, key=lambda each: each[:2])[:NUM_OTHERS]]


def _word_of_token(row: Utterance) -> list[tuple[int, int]]:
    """(token, word) of each phone; nothing where the words have no times, or are not those of the phonemes."""
    if not row.words or any(word.interpolated for word in row.words):
        return []
    found: list[tuple[int, int]] = []
    number, inside = -1, False
    for token, phone in enumerate(row.phonemes, start=1):
        if phone.isspace():
            inside = False
        elif kind_of(phone) == PHONE:
            number, inside = number if inside else number + 1, True
            found.append((token, number))
    return found if number + 1 == len(row.words) else []


def _windows(row: Utterance, frame_rate_hz: float) -> list[tuple[int, float, float]]:
    """(token, first frame, last frame) of each phone whose word has times."""
    found = []
    for token, number in _word_of_token(row):
        word = row.words[number]
        begin_s, end_s = word.start_s - WORD_TOLERANCE_S, word.end_s + WORD_TOLERANCE_S
        found.append((token, begin_s * frame_rate_hz, end_s * frame_rate_hz))
    return found


def _words_off_s(row: Utterance, path: hmm.Path, frame_rate_hz: float) -> float | None:
    """Median distance between the starts of words on a path and those that the recogniser gave."""
    first: dict[int, int] = {}
    for token, number in _word_of_token(row):
        first.setdefault(number, token)
    if not first:
        return None
    starts = np.concatenate([[0], np.cumsum(path.durations)])
    off = [abs(starts[token] / frame_rate_hz - row.words[number].start_s) for number, token in first.items()]
    return round(float(np.median(off)), 4)


def _finish(dataset: Path) -> list[str]:
    """Copies new scores to scores.jsonl; says what could not be aligned, and where known word times differ."""
    have = scores.Scores(dataset)
    new, unaligned, total = [], [], 0
    off_s: list[float] = []
    for found in storage.read_rows(dataset / layout.DURATIONS, Durations):
        total += 1
        if found.durations_frames is None:
            unaligned.append(found.id)
        if found.words_off_s is not None:
            off_s.append(found.words_off_s)
        if have.of(found.id).get(GATE, "none") != found.score:
            new.append({"id": found.id, "scores": {GATE: found.score}})
    if new:
        with storage.JsonlWriter(dataset / layout.SCORES) as writer:
            writer.write(new)
    notes = []
    if unaligned:
        what = f"{stage.plural(unaligned, 'utterance')} of {total:,}"
        notes.append(f"{what} with more phones than frames, like {unaligned[0]}: no durations")
    if off_s and np.median(off_s) > WORD_TOLERANCE_S:
        off = f"words begin {np.median(off_s):.2f} s (median)"
        notes.append(f"{off} from where the transcripts have them: are those times right?")
    return notes


def main(argv: Sequence[str] | None = None, *, prog: str = "python -m vall_e.emb.durations") -> int:
    parser = argparse.ArgumentParser(prog=prog, description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--input-dataset", type=Path, required=True, metavar="DATA", help="what process wrote")
    config.add_options(parser, DurationsOptions)
    args = parser.parse_args(argv)
    options = config.resolve(DurationsOptions, args, STAGE)
    return durations(args.input_dataset, options).finish(None)


if __name__ == "__main__":
    config.run_main(main)
