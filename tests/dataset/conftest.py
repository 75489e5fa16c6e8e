"""A dataset folder as `process` and `similar` leave it, made of small arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vall_e import storage
from vall_e.types import CodecSpec, Utterance, utterance_id

SPEC = CodecSpec(
    name="tiny", weights_sha256="0" * 64, sample_rate_hz=16_000, hop_samples=160, num_levels=4, codebook_size=64
)
PHONES = ["həˈləʊ", "ðə kæt", "a b", "ʃiː sɛlz"]


def utterance(recording_id: str, number: int | None, *, frames: int, start: int = 0, **changes: Any) -> Utterance:
    """A row whose audio is `frames` hops of 160 samples from `start`."""
    name = utterance_id(recording_id, number)
    group, speaker = recording_id.split("/")[:2]
    values: dict[str, Any] = {
        "id": name,
        "recording_id": recording_id,
        "group": group,
        "speaker": speaker,
        "sample_rate_hz": 16_000,
        "start_samples": start,
        "num_samples": frames * 160,
        "language": "en",
        "text": "text",
        "phonemes": PHONES[sum(name.encode()) % len(PHONES)],
        "words": (),
        "codec": SPEC.name,
        "num_frames": frames,
        "codes": f"{name}.npy",
    }
    return Utterance(**(values | changes))


def codes_of(row: Utterance) -> np.ndarray:
    """The codes that the row's name stands for, uint16 [K,T]; so a test knows what it must get back."""
    rng = np.random.default_rng(list(row.id.encode()))
    return rng.integers(0, SPEC.codebook_size, (SPEC.num_levels, row.num_frames)).astype(np.uint16)


def corpus(speakers: int = 3, recordings: int = 4, slices: int = 3, seed: int = 0) -> list[Utterance]:
    """Recordings of several speakers, each cut into slices that don't overlap."""
    rng = np.random.default_rng(seed)
    rows = []
    for speaker in range(speakers):
        for recording in range(recordings):
            start = 0
            for number in range(slices):
                frames = int(rng.integers(5, 60))
                recording_id = f"g/s{speaker}/r{recording}.wav"
                language = "ja" if speaker == 1 else "en"
                rows.append(utterance(recording_id, number, frames=frames, start=start, language=language))
                start += frames * 160
    return rows


def similar_rows(rows: Sequence[Utterance], count: int = 3) -> list[dict[str, Any]]:
    """The next few utterances of the same speaker, in the order of `rows`."""
    out = []
    for row in rows:
        others = [other.id for other in rows if other.speaker_id == row.speaker_id and other.id != row.id][:count]
        out.append({"id": row.id, "similar": [[name, 0.9 - 0.1 * place] for place, name in enumerate(others)]})
    return out


def write(
    folder: Path, rows: Iterable[Utterance], similar: Iterable[dict[str, Any]] | None = None, *, made: str = ""
) -> Path:
    rows = list(rows)
    for row in rows:
        storage.write_array(folder / row.codes, codes_of(row), folder)
    with storage.JsonlWriter(folder / "utterances.jsonl") as writer:
        writer.write(rows)
    if similar is not None:
        with storage.JsonlWriter(folder / "similar.jsonl") as writer:
            writer.write(similar)
    value = {"schema_version": 1, "codec": storage.to_row(SPEC), "config": {}, "versions": {}, "counts": {}}
    storage.write_json(folder / "dataset.json", value | ({"made": made} if made else {}), folder)
    return folder


@pytest.fixture(scope="session")
def tools() -> SimpleNamespace:
    """What the tests make datasets with."""
    return SimpleNamespace(
        SPEC=SPEC, utterance=utterance, codes_of=codes_of, corpus=corpus, similar_rows=similar_rows, write=write
    )


@pytest.fixture(scope="session")
def rows() -> list[Utterance]:
    return corpus()


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, rows: list[Utterance]) -> Path:
    """A built dataset of `rows` with similar lists; nobody changes it. Small files, so that there are several."""
    from vall_e.dataset.build import BuildOptions, build

    folder = write(tmp_path_factory.mktemp("data"), rows, similar_rows(rows))
    options = BuildOptions(validation_fraction=0.3, batch_utterances=4, file_batches=2)
    return build(folder, folder / "built", options).output


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """Writes a dataset folder of the given rows and says where."""

    def folder(rows: Iterable[Utterance], similar: Iterable[dict[str, Any]] | None = None, name: str = "data") -> Path:
        return write(tmp_path / name, rows, similar)

    return folder
