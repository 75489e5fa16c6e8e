"""Utterances mixed with noise and with other voices, encoded: what a model learns tasks beside speaking from.

    python -m vall_e.emb.mix --input-dataset DATA --noises FOLDER --output-mixtures DATA/mixtures

Of each utterance one mixture with a noise from FOLDER, and one with an utterance of another speaker; without --noises
the latter alone. OUTPUT gets codes uint16 [K,T] of the utterance's own length: `noise/<id>.npy`, `noise_alone/<id>.npy`
(the noise as it is in the mixture) and `voice/<id>.npy`; mixtures.jsonl says what each was made of. What is mixed is
drawn from the seed and the utterance's id. The tasks are those of SpeechX (arXiv:2308.06873, section 3.2).
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vall_e import audio, config, layout, stage, storage
from vall_e.dataset.scan import ID_SALT, hash_id, read_head
from vall_e.dataset.tasks import ALONE, NOISE, VOICE
from vall_e.emb.codecs.base import encode_prepared, prepare
from vall_e.emb.codecs.registry import load_same_codec
from vall_e.emb.features.slices import MADE_BY, RecordingSlices, Slice, load_slices
from vall_e.emb.slice_audio import Source, dataset_json, open_audio, read_slices
from vall_e.executor import EXECUTORS, make_executor
from vall_e.types import (
    CodecSpec,
    ContractError,
    Mixture,
    Recording,
    Reject,
    RejectReason,
    UsageError,
    speaker_key,
)

STAGE = "mix"
VERSION = 1
DRAWS = 32  # of another utterance, until one is of another speaker
PEAK = 0.999  # of a mixture that would be louder than a file can hold


@dataclass(frozen=True, kw_only=True)
class MixOptions:
    """Options of this command: flags, and keys of the section `mix` in a config file."""

    noise_min_db: float = config.option(-5.0, "least level of an utterance above its noise, in dB")
    noise_max_db: float = config.option(20.0, "most of it; the level is drawn between both")
    voice_min_db: float = config.option(-5.0, "least level of an utterance above the other voice, in dB")
    voice_max_db: float = config.option(5.0, "most of it")
    seed: int = config.option(0, "of all that is drawn")
    weights: Path | None = config.option(None, "of the codec, where they are not its back end's own")
    device: str = config.option("cpu", "where the codec runs")
    workers: int = config.option(1, "processes; 0 for one per core")
    executor: str = config.option("local", "where they run", choices=EXECUTORS)
    overwrite: bool = config.option(False, "start from scratch: drop the mixtures of an earlier run")

    def __post_init__(self) -> None:
        if self.noise_min_db > self.noise_max_db or self.voice_min_db > self.voice_max_db:
            raise ValueError("the least level is above the most")
        if self.seed < 0:
            raise ValueError(f"seed: {self.seed} is negative")

    @property
    def result_options(self) -> dict[str, Any]:
        """The options that change the result."""
        names = ("noise_min_db", "noise_max_db", "voice_min_db", "voice_max_db", "seed")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Noise:
    """A span of a noise file: `name` below the folder of noises, and samples at the file's own rate."""

    name: str
    start_samples: int
    num_samples: int
    sample_rate_hz: int


@dataclass(frozen=True)
class Item:
    """An utterance, and what it is mixed with at which level above it."""

    id: str
    kind: str
    own: RecordingSlices
    other: RecordingSlices | Noise
    level_db: float

    @property
    def duration_s(self) -> float:
        return self.own.duration_s


def mix(
    input_dataset: Path,
    output: Path,
    options: MixOptions,
    *,
    noises: Path | None = None,
    input_audio: Path | None = None,
    input_metadata: Path | None = None,
) -> stage.StageReport:
    """Makes the mixtures, or what is left of them.

    Args:
        input_dataset: what `process` wrote.
        output: the folder for mixtures.jsonl and the arrays.
        options: see MixOptions.
        noises: a folder of audio; None: mixtures with other voices only.
        input_audio: the corpus; None: where the dataset says it is.
        input_metadata: the folder of recordings.jsonl; None: where the dataset says it is.

    Raises:
        UsageError: no dataset, no audio, no noise in the folder, or mixtures of other options, noises or codes.
    """
    started = time.monotonic()
    spec, made, _ = read_head(input_dataset / layout.DATASET_JSON)
    slices = load_slices(input_dataset)
    executor = make_executor(options.executor, options.workers, options.device)
    source = open_audio(input_dataset, input_audio, input_metadata, executor=options.executor, workers=options.workers)
    found, notes = ([], []) if noises is None else _noises(noises)
    head = {"version": VERSION, "made": made, "codec": storage.to_row(spec), "noises": _digest(found)}
    output.mkdir(parents=True, exist_ok=True)
    with storage.folder_lock(output):
        results = stage.Results(output, STAGE, layout.MIXTURES, key="id")
        known = storage.read_json(output / layout.MIXTURES_JSON)
        if known is not None and not options.overwrite:
            stage.check_same(output, known["options"], options)
            for name, value in head.items():
                if known.get(name) != value:
                    raise UsageError(f"{output}: made with another {name}; {stage.OVERWRITE_ADVICE}")
        else:
            results.clear()
            storage.write_json(output / layout.MIXTURES_JSON, {**head, "options": options.result_options}, output)
        kinds = [NOISE] if found else []
        if len({speaker_key(piece.group, piece.speaker) for piece in slices}) > 1:
            kinds.append(VOICE)
        else:
            notes.append("one speaker only: no mixtures with another voice")
        here = {name for name in {piece.recording_id for piece in slices} if source.is_there(name)}
        present = [piece for piece in slices if piece.recording_id in here]
        items = [item for item in _items(slices, here, found, kinds, source, options) if not results.is_done(item.id)]
        report = stage.StageReport(stage=STAGE, num_items=len(kinds) * len(slices), notes=notes)
        report.num_resumed = results.num_rows
        stage.run_stage(
            results,
            items,
            functools.partial(Worker, source, output, noises, spec, options),
            executor,
            report,
            total_items=len(items),
            total_audio_s=sum(item.duration_s for item in items),
        )
        if len(present) < len(slices):
            missing = stage.plural(len(slices) - len(present), "utterance")
            report.notes.append(f"{missing}: the audio is not there any more")
    report.wall_s = time.monotonic() - started
    return report


def _noises(folder: Path) -> tuple[list[Recording], list[str]]:
    """The noises in order of their paths, and what of the folder can't be read.

    Raises:
        UsageError: no such folder, or no audio in it.
    """
    storage.require_voices(folder)
    found, notes = [], []
    for path in audio.find_files(folder):
        name = path.relative_to(folder).as_posix()
        try:
            found.append(audio.probe(path, name))
        except audio.AudioError as error:
            notes.append(f"{path}: not used as a noise: {error.detail}")
    if not found:
        raise UsageError(f"{folder}: no audio in it that can be read as a noise")
    return found, notes


def _digest(noises: Sequence[Recording]) -> str:
    """Of the names and lengths of the noises, which decide what is drawn."""
    content = "\n".join(f"{each.id}\0{each.num_samples}\0{each.sample_rate_hz}" for each in noises)
    return hashlib.sha256(content.encode()).hexdigest()


def _items(
    slices: Sequence[Slice],
    here: Set[str],
    noises: Sequence[Recording],
    kinds: Sequence[str],
    source: Source,
    options: MixOptions,
) -> Iterator[Item]:
    """All mixtures to make, each drawn from the seed, its kind and its utterance's id."""
    for piece in slices:
        if piece.recording_id not in here:
            continue
        for kind in kinds:
            words = [options.seed, (NOISE, VOICE).index(kind), hash_id(piece.id, ID_SALT)]
            rng = np.random.Generator(np.random.Philox(np.random.SeedSequence(words)))
            own = RecordingSlices(piece.recording_id, (piece,), source.place_of(piece.recording_id))
            low, high = (getattr(options, f"{kind}_{end}_db") for end in ("min", "max"))
            level_db = round(float(rng.uniform(low, high)), 2)
            other = _noise(noises, piece, rng) if kind == NOISE else _voice(slices, here, piece, source, rng)
            if other is not None:
                yield Item(f"{kind}/{piece.id}", kind, own, other, level_db)


def _noise(noises: Sequence[Recording], piece: Slice, rng: np.random.Generator) -> Noise:
    chosen = noises[int(rng.integers(len(noises)))]
    length = min(chosen.num_samples, -(-piece.num_samples * chosen.sample_rate_hz // piece.sample_rate_hz))
    start = int(rng.integers(chosen.num_samples - length + 1))
    return Noise(chosen.id, start, length, chosen.sample_rate_hz)


def _voice(
    slices: Sequence[Slice], here: Set[str], piece: Slice, source: Source, rng: np.random.Generator
) -> RecordingSlices | None:
    """An utterance of another speaker, from another recording; None where chance found none."""
    own = speaker_key(piece.group, piece.speaker)
    for _ in range(DRAWS):
        other = slices[int(rng.integers(len(slices)))]
        differs = speaker_key(other.group, other.speaker) != own and other.recording_id != piece.recording_id
        if differs and other.recording_id in here:
            return RecordingSlices(other.recording_id, (other,), source.place_of(other.recording_id))
    return None


class Worker:
    """Mixes and encodes."""

    def __init__(self, source: Source, output: Path, noises: Path | None, spec: CodecSpec, options: MixOptions) -> None:
        self.roots, self.output, self.noises, self.spec = source.roots, output, noises, spec
        made: Mapping[str, Any] = dataset_json(source.dataset).get("config") or {}
        self.codec = load_same_codec(spec, made, str(source.dataset), device=options.device, weights=options.weights)

    def __call__(self, bunch: stage.Bunch) -> list[stage.Outcome]:
        return [self._one(item) for item in bunch.items]

    def _one(self, item: Item) -> stage.Outcome:
        piece = item.own.slices[0]
        try:
            other = self._noise(item.other) if isinstance(item.other, Noise) else self._utterance(item.other)
        except audio.AudioError as error:
            return self._reject(item, error.reason, f"{item.other}: {error.detail}")
        own = self._utterance(item.own)
        mixed = mixture(own, _fitted(other, len(own), repeat=item.kind == NOISE), item.level_db)
        if mixed is None:
            return self._reject(item, RejectReason.SILENT, f"nothing to mix with in {item.other}")
        together, alone = mixed
        codes = encode_prepared(self.codec, [together, alone] if item.kind == NOISE else [together])
        for kind, each in zip((item.kind, ALONE), codes, strict=False):
            if each.shape[1] != piece.num_frames:
                what = f"{each.shape[1]} frames, its row says {piece.num_frames}"
                raise ContractError(f"{piece.id}: the audio gives {what}; run {MADE_BY} --overwrite")
            storage.write_array(self.output / kind / f"{piece.id}.npy", each, self.output)
        name, start_s = self._origin(item.other)
        row = Mixture(
            id=item.id, utterance_id=piece.id, kind=item.kind, other=name, start_s=start_s, level_db=item.level_db
        )
        return stage.Outcome(item_id=item.id, rows=(row,), audio_s=item.duration_s)

    def _reject(self, item: Item, reason: RejectReason, detail: str) -> stage.Outcome:
        reject = Reject(id=item.id, stage=STAGE, reason=reason, detail=detail)
        return stage.Outcome(item_id=item.id, rejects=(reject,), audio_s=item.duration_s)

    def _origin(self, other: RecordingSlices | Noise) -> tuple[str, float]:
        if isinstance(other, Noise):
            return other.name, round(other.start_samples / other.sample_rate_hz, 6)
        return other.slices[0].id, 0.0

    def _utterance(self, piece: RecordingSlices) -> np.ndarray:
        """Float32 [n] at the codec's rate, as `process` coded it."""
        assert self.roots is not None, "audio was opened"
        samples, rate_hz = next(read_slices(self.roots, piece))
        return prepare(self.spec, samples, rate_hz)

    def _noise(self, noise: Noise) -> np.ndarray:
        """The same of a noise."""
        assert self.noises is not None, "there are noises"
        path = self.noises / noise.name
        samples = next(audio.iter_slices(path, [(noise.start_samples, noise.num_samples)]))
        return prepare(self.spec, samples, noise.sample_rate_hz)


def _fitted(samples: np.ndarray, length: int, *, repeat: bool) -> np.ndarray:
    """[length]: cut, or filled up, by itself or by silence."""
    if len(samples) >= length or not repeat:
        return np.pad(samples[:length], (0, max(0, length - len(samples))))
    return np.resize(samples, length)


def mixture(own: np.ndarray, other: np.ndarray, level_db: float) -> tuple[np.ndarray, np.ndarray] | None:
    """(both together, the other as it is in there), float32 [n] each; None where the other is silent.

    The power of `own` is `level_db` above that of `other` (both over the whole length). What would be louder than a
    file can hold is made quieter as a whole.

    Args:
        own, other: float32 [n].
        level_db: dB.
    """
    power, other_power = (float(np.mean(np.square(each, dtype=np.float64))) for each in (own, other))
    if other_power == 0 or audio.is_silent(other):
        return None
    scaled = other * np.float32(np.sqrt(power / other_power / 10 ** (level_db / 10)))
    together = own + scaled
    loudest = float(np.abs(together).max())
    if loudest > 1:
        together, scaled = together * np.float32(PEAK / loudest), scaled * np.float32(PEAK / loudest)
    return together.astype(np.float32), scaled.astype(np.float32)


def main(argv: Sequence[str] | None = None, *, prog: str = "python -m vall_e.emb.mix") -> int:
    parser = argparse.ArgumentParser(prog=prog, description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--input-dataset", type=Path, required=True, metavar="DATA", help="what process wrote")
    parser.add_argument("--noises", type=Path, metavar="FOLDER", help="audio of noises (default: voices only)")
    parser.add_argument("--output-mixtures", type=Path, required=True, metavar="DIR", help="folder for the mixtures")
    parser.add_argument("--input-audio", type=Path, metavar="VOICES", help="the corpus (default: as the dataset says)")
    parser.add_argument("--input-metadata", type=Path, metavar="META", help="its recordings (default: likewise)")
    config.add_options(parser, MixOptions)
    args = parser.parse_args(argv)
    options = config.resolve(MixOptions, args, STAGE)
    report = mix(
        args.input_dataset,
        args.output_mixtures,
        options,
        noises=args.noises,
        input_audio=args.input_audio,
        input_metadata=args.input_metadata,
    )
    return report.finish(None)


if __name__ == "__main__":
    config.run_main(main)
