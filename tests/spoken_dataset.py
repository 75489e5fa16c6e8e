"""A dataset folder whose codes follow its phonemes by a rule, so that a test knows which frame belongs to which phone.

Each phone of a speaker has a few codes of its own at level 0; the levels above follow from level 0. Words are drawn
from a small list; a comma, and now and then a space, is a pause.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vall_e import storage
from vall_e.emb.codecs.registry import CodecOptions, load_codec
from vall_e.types import Utterance, Word
from vall_e.units import PHONE, kinds_of, units_of

WORDS = ("kæt", "dˈɔɡ", "sˈiː", "mˈuːn", "tˈɹiː", "bˈɪɡ", "fˈɑːst", "nˈaɪn")
CODES_OF_PHONE = 3
SILENT = (7, 9)  # the codes of pauses


@dataclass(frozen=True)
class Made:
    """The folder, its rows, and the frames of each token that the codes were made by."""

    folder: Path
    rows: list[Utterance]
    durations: dict[str, np.ndarray]


def make(
    folder: Path, *, count: int = 60, speakers: int = 2, seed: int = 0, words: bool = False, longest: int = 9
) -> Made:
    """Writes `count` utterances. With `words`, rows have the true times of their words."""
    rng = np.random.default_rng(seed)
    codec = load_codec(CodecOptions(audio_backend="tiny"))
    spec = codec.spec
    phones = sorted({phone for word in WORDS for phone in word if kinds_of(phone)[1] == PHONE})
    rows, truth = [], {}
    for number in range(count):
        speaker = number % speakers
        chosen = [str(word) for word in rng.choice(WORDS, size=int(rng.integers(2, 5)))]
        phonemes = (", " if rng.random() < 0.2 else " ").join(chosen)
        units = units_of(kinds_of(phonemes))
        durations = np.zeros(len(phonemes) + 2, np.int64)
        level: list[int] = []
        for place, optional in zip(units.places.tolist(), units.optional.tolist(), strict=True):
            character = phonemes[place - 1] if 0 < place <= len(phonemes) else ""
            is_phone = character in phones
            if optional and not (character == "," or place == len(phonemes) + 1 or rng.random() < 0.2):
                continue
            frames = int(rng.integers(3, longest)) if is_phone else int(rng.integers(4, 12))
            durations[place] = frames
            first = 20 + (phones.index(character) * speakers + speaker) * CODES_OF_PHONE if is_phone else 0
            own = range(first, first + CODES_OF_PHONE) if is_phone else SILENT
            level += rng.choice(list(own), size=frames).tolist()
        codes = np.stack([(np.array(level) * (k + 1) + 11 * k) % spec.codebook_size for k in range(spec.num_levels)])
        name = f"g/s{speaker}/{number:03d}.wav"
        truth[name] = durations
        rows.append(
            Utterance(
                id=name,
                recording_id=name,
                group="g",
                speaker=f"s{speaker}",
                sample_rate_hz=spec.sample_rate_hz,
                start_samples=0,
                num_samples=len(level) * spec.hop_samples,
                language="en",
                text=" ".join(chosen),
                spoken=" ".join(chosen),
                phonemes=phonemes,
                words=_words(chosen, phonemes, durations, float(spec.frame_rate_hz)) if words else (),
                codec=spec.name,
                num_frames=len(level),
                codes=f"{name}.npy",
                split="validation" if number % 10 == 9 else "train",
            )
        )
        storage.write_array(folder / f"{name}.npy", codes.astype(np.uint16), folder)
    with storage.JsonlWriter(folder / "utterances.jsonl") as writer:
        writer.write(rows)
    process = {"audio_backend": "tiny", "levels": spec.num_levels, "phonemizer": "espeak", "normalise": True}
    head = {"schema_version": 1, "codec": storage.to_row(spec), "config": process, "versions": {}, "counts": {}}
    storage.write_json(folder / "dataset.json", head | {"made": "a test"}, folder)
    return Made(folder, rows, truth)


def _words(chosen: list[str], phonemes: str, durations: np.ndarray, frame_rate_hz: float) -> tuple[Word, ...]:
    """The true times of the words, which follow each other in `phonemes`."""
    ends = np.cumsum(durations)
    found, at = [], 0
    for word in chosen:
        first = phonemes.index(word, at) + 1  # <bos> comes before
        last = first + len(word) - 1
        start_s, end_s = (ends[first] - durations[first]) / frame_rate_hz, ends[last] / frame_rate_hz
        found.append(Word(text=word, start_s=round(float(start_s), 4), end_s=round(float(end_s), 4)))
        at = last
    return tuple(found)


def add_mixtures(dataset: Path, folder: Path, *, leave_out: tuple[str, ...] = ()) -> None:
    """Mixtures as `mix` leaves them, by a rule: with noise every level is 1 higher, with a voice 2; the noise is 3s."""
    head = storage.read_json(dataset / "dataset.json") or {}
    for row in storage.read_rows(dataset / "utterances.jsonl", Utterance):
        if row.id in leave_out:
            continue
        codes = storage.read_array(dataset / row.codes)
        for kind, values in (("noise", codes + 1), ("voice", codes + 2), ("noise_alone", np.full_like(codes, 3))):
            storage.write_array(folder / kind / f"{row.id}.npy", (values % 1024).astype(np.uint16), folder)
    value = {"version": 1, "made": head["made"], "codec": head["codec"], "noises": "", "options": {}}
    storage.write_json(folder / "mixtures.json", value, folder)
