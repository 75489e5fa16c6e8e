"""Whether text and sound of each utterance belong together: the codes are decoded and listened to again.

    vall-e verify WORK [--sample 500] [--backend pocketsphinx]

What comes out lands beside the scores of the gates, in dataset/scores.jsonl, for `vall-e audit` and `build`:

- `cer`: character error rate of what is recognised against the utterance's own text;
- `cer_margin`: how much lower it is than against the best of some neighbours' texts; below 0 another text fits better;
- `edge_errors`: the share of the first and last five characters that are wrong: words that were cut;
- `align_score`, `align_edge`: log10 of the score of a frame when all of the text and nothing else is put on the sound;
  on average, and the worst of both ends (English);
- `edge_speech_s`: seconds of speech before the first word and behind the last one of the text (English);
- `align_margin`: how much higher it is than with the best of the neighbours' texts.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vall_e import audio, config, layout, progress, scores, stage, storage
from vall_e.emb.asr.align_pocketsphinx import PocketSphinxAligner
from vall_e.emb.asr.listen import ENGLISH, RATE_HZ, Listener, knows
from vall_e.emb.asr.pocketsphinx import to_int16
from vall_e.emb.asr.registry import RECOGNISERS
from vall_e.emb.codecs.base import decode, mono
from vall_e.emb.codecs.registry import load_same_codec
from vall_e.emb.text.written import characters, edit_path
from vall_e.executor import EXECUTORS, make_executor
from vall_e.types import CodecSpec, Utterance, safe_path

STAGE = "verify"
NAMES = ("cer", "cer_margin", "edge_errors", "align_score", "align_edge", "edge_speech_s", "align_margin")
NEIGHBOURS = 3  # texts of other utterances of the same language that each is compared with
EDGE_CHARACTERS = 5


@dataclass(frozen=True, kw_only=True)
class VerifyOptions:
    """Options of `vall-e verify`."""

    backend: str = config.option("pocketsphinx", "the recogniser that listens: pocketsphinx (English) or whisperx")
    model_name: str = config.option("large-v3", "whisperx: a Whisper model's name, or a folder in CTranslate2's format")
    sample: int = config.option(0, "utterances to take, by a hash of their ids; 0 is all")
    weights: Path | None = config.option(None, "weights of the codec, as the dataset was made with")
    device: str = config.option("cpu", "where the codec and whisperx run")
    executor: str = config.option("local", "where workers run", choices=EXECUTORS)
    workers: int = config.option(1, "processes, one thread each; 0 is one per core")

    def __post_init__(self) -> None:
        RECOGNISERS.check(self.backend)
        if self.backend == "sidecar":
            raise ValueError("backend: sidecar does not listen; take pocketsphinx or whisperx")
        if self.sample < 0:
            raise ValueError(f"sample: {self.sample} is below 0")


@dataclass(frozen=True)
class Item:
    """An utterance to listen to, and texts of others."""

    id: str
    duration_s: float
    row: Utterance
    others: tuple[str, ...]


def verify(work: Path, options: VerifyOptions) -> tuple[int, int]:
    """Scores what has no scores yet → (utterances scored, those that the recogniser's languages leave out).

    Raises:
        UsageError: no dataset there, or a codec of other weights. BackendError: a package is missing.
    """
    dataset = work / layout.DATASET_FOLDER
    storage.require_file(dataset / layout.UTTERANCES, layout.MADE_BY[layout.UTTERANCES])
    head = storage.read_json(dataset / layout.DATASET_JSON) or {}
    make_worker = functools.partial(Worker, dataset, head, options)
    make_worker()  # what is missing is said before hours of work
    rows = sorted(storage.read_rows(dataset / layout.UTTERANCES, Utterance), key=lambda row: row.id)
    chosen = [rows[place] for place in stage.sample([row.id for row in rows], options.sample, STAGE)]
    able = [row for row in chosen if knows(options.backend, row.language)]
    known = scores.Scores(dataset)
    done = {row.id for row in able if known.of(row.id).get("cer") is not None}
    items = list(_items([row for row in able if row.id not in done], rows))
    executor = make_executor(options.executor, options.workers, options.device)
    found = executor.map(make_worker, stage.bunches(items), split=stage.Bunch.split)
    outcomes = (outcome for part in found for outcome in part)
    total_s = sum(item.duration_s for item in items)
    with storage.folder_lock(dataset), storage.JsonlWriter(dataset / layout.SCORES) as writer:
        for outcome in progress.track(outcomes, STAGE, len(items), total_s, audio_s=lambda each: each.audio_s):
            writer.write(outcome.rows)
    return len(items), len(chosen) - len(able)


def _items(wanted: Sequence[Utterance], rows: Sequence[Utterance]) -> Iterator[Item]:
    """Each with the texts of the utterances of its language that come after it by a hash."""
    of_language: dict[str, list[Utterance]] = defaultdict(list)
    for row in rows:
        of_language[row.language].append(row)
    for row in wanted:
        pool = of_language[row.language]
        start = int.from_bytes(hashlib.sha256(row.id.encode()).digest()[:8], "little") % len(pool)
        others: list[str] = []
        for step in range(len(pool)):
            text = _text(pool[(start + step) % len(pool)])
            if text != _text(row) and text not in others:
                others.append(text)
            if len(others) == NEIGHBOURS:
                break
        yield Item(row.id, row.duration_s, row, tuple(others))


def _text(row: Utterance) -> str:
    return row.spoken or row.text


class Worker:
    """Decodes and listens."""

    def __init__(self, dataset: Path, head: dict[str, Any], options: VerifyOptions) -> None:
        import torch

        torch.set_num_threads(1)
        self.dataset = dataset
        spec = storage.from_row(CodecSpec, head.get("codec"), f"{dataset / layout.DATASET_JSON}: codec")
        made = head.get("config") or {}
        self.codec = load_same_codec(spec, made, str(dataset), device=options.device, weights=options.weights)
        self.listener = Listener(options.backend, model_name=options.model_name, device=options.device)
        self.aligner = PocketSphinxAligner(lambda word, language: word)

    def __call__(self, bunch: stage.Bunch) -> list[stage.Outcome]:
        """Short utterances of a bunch share the recogniser's batches."""
        sounds = [self._decoded(item.row) for item in bunch.items]
        heard = self.listener.texts(sounds, [item.row.language for item in bunch.items])
        outcomes = []
        for item, samples, text in zip(bunch.items, sounds, heard, strict=True):
            found = self._by_recogniser(samples, text, item)
            if item.row.language == ENGLISH:
                found |= self._by_alignment(samples, item)
            line = {"id": item.row.id, "scores": found}
            outcomes.append(stage.Outcome(item_id=item.row.id, rows=(line,), audio_s=item.row.duration_s))
        return outcomes

    def _decoded(self, row: Utterance) -> np.ndarray:
        """What a row's codes sound like: float32 [n] at 16 kHz."""
        samples = decode(self.codec, storage.read_array(safe_path(self.dataset, row.codes)))
        return audio.resample(mono(samples), self.codec.spec.sample_rate_hz, RATE_HZ)

    def _by_recogniser(self, samples: np.ndarray, text: str, item: Item) -> dict[str, float | None]:
        own, heard = characters(_text(item.row)), characters(text)
        distance, wrong = edit_path(own, heard)
        error_rate = distance / max(len(own), 1)
        others = [edit_path(other, heard)[0] / max(len(other), 1) for other in map(characters, item.others)]
        edges = [place for place in range(len(own)) if min(place, len(own) - 1 - place) < EDGE_CHARACTERS]
        found: dict[str, float | None] = {}
        if hasattr(self.listener.recogniser, "probability_of"):
            found["heard_language"] = self.listener.recogniser.probability_of(item.row.language, samples)
        return found | {
            "cer": round(error_rate, 4),
            "cer_margin": round(min(others) - error_rate, 4) if others else None,
            "edge_errors": round(sum(place in wrong for place in edges) / max(len(edges), 1), 4),
        }

    def _by_alignment(self, samples: np.ndarray, item: Item) -> dict[str, float | None]:
        whole = to_int16(samples)
        own = self.aligner.fit(whole, _text(item.row))
        others = [self.aligner.fit(whole, other).whole for other in item.others]
        margin = round(own.whole - max(others), 4) if others else None
        edges = {"align_edge": own.edge, "edge_speech_s": own.edge_speech_s}
        return {"align_score": own.whole, **edges, "align_margin": margin}


def main(argv: Sequence[str] | None = None, *, prog: str = "vall-e verify") -> int:
    parser = argparse.ArgumentParser(prog=prog, description=(__doc__ or "").split("\n")[0])
    parser.add_argument("work", type=Path, help="a folder that prepare made")
    config.add_options(parser, VerifyOptions)
    args = parser.parse_args(argv)
    options = config.resolve(VerifyOptions, args, STAGE)
    number, left_out = verify(args.work, options)
    print(f"{number:,} utterances scored; vall-e audit {args.work} shows what limits would leave out")
    if left_out:
        print(f"{left_out:,} utterances are in languages that {options.backend} does not know; they have no scores")
    return 0


if __name__ == "__main__":
    config.run_main(main)
