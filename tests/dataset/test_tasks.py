"""Tasks beside speaking: what an example of each holds, how often each comes, and what is refused."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import spoken_dataset
import torch

from vall_e.dataset import Dataset, make_loader
from vall_e.dataset.build import BuildOptions, build
from vall_e.dataset.tasks import TASKS, shares_of, tasks_of
from vall_e.emb.durations import DurationsOptions, durations
from vall_e.types import ContractError, UsageError

ALL = ("tts=1", "ns=1", "sr=1", "tse=1", "stt=1")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> spoken_dataset.Made:
    made = spoken_dataset.make(tmp_path_factory.mktemp("spoken"), count=60)
    durations(made.folder, DurationsOptions(executor="serial"))
    build(made.folder, made.folder / "built", BuildOptions())
    spoken_dataset.add_mixtures(made.folder, made.folder / "mixtures", leave_out=(made.rows[0].id,))
    return made


def test_what_each_task_is_made_of(made: spoken_dataset.Made) -> None:
    built, mixtures = made.folder / "built", made.folder / "mixtures"
    plain, seen = Dataset(built, prompt_frames=20), Counter[int]()
    data = Dataset(built, prompt_frames=20, tasks=ALL, mixtures=mixtures)
    for epoch in range(10):
        for place in range(len(data)):
            spoken, example = plain.example(place, epoch), data.example(place, epoch)
            seen[example.task] += 1
            codes = spoken.target
            has_prompt = example.task in (0, 3)
            assert np.array_equal(example.text, spoken.text)
            assert np.array_equal(example.prompt, spoken.prompt if has_prompt else codes[:, :0])
            assert example.prompt_id == (spoken.prompt_id if has_prompt else None)
            source, target = {
                0: (codes[:, :0], codes),
                1: ((codes + 1) % 1024, codes),
                2: ((codes + 1) % 1024, np.full_like(codes, 3)),
                3: ((codes + 2) % 1024, codes),
                4: (codes, codes[:, :0]),
            }[example.task]
            assert np.array_equal(example.source, source) and np.array_equal(example.target, target)
            if example.id == made.rows[0].id:
                assert example.task in (0, 4), "it has no mixture"
    assert set(seen) == {0, 1, 2, 3, 4}
    # 540 draws of a share of a fifth: three standard deviations are 28; one utterance stays to be spoken
    assert all(abs(count - sum(seen.values()) / 5) < 35 for count in seen.values())


def test_shares() -> None:
    assert shares_of(("ns=1", "tts=3")) == {"tts": 0.75, "ns": 0.25}
    assert shares_of(("stt",)) == {"stt": 1.0} and shares_of(()) == {}
    assert shares_of(tasks_of({"tts": 3, "ns": 1})) == {"tts": 0.75, "ns": 0.25}
    for wrong in (("nothing=1",), ("ns=-1",), ("ns=x",), ("ns=1", "ns=2"), ("ns=inf",), ("ns=nan",)):
        with pytest.raises(UsageError, match=r"is not like 'ns=0\.2'"):
            shares_of(wrong)


def test_batches_of_all_tasks_are_within_their_budget_and_restored(made: spoken_dataset.Made) -> None:
    data = Dataset(made.folder / "built", prompt_frames=20, tasks=ALL, mixtures=made.folder / "mixtures")
    again = pickle.loads(pickle.dumps(data))
    assert again.identity == data.identity and again.example(3, 2).task == data.example(3, 2).task
    loader = make_loader(data, max_frames=1500)
    for batch in loader:
        assert batch.is_aligned, "of a text there are no frames to know about"
        total = sum(getattr(batch, f"{name}_lengths") for name in ("text", "prompt_text", "prompt", "source", "target"))
        assert len(batch) * int(total.max()) <= 1500
        for row, task in enumerate(batch.tasks.tolist()):
            assert (batch.source_lengths[row] > 0) == (task != 0) and (batch.target_lengths[row] == 0) == (task == 4)
    plain = make_loader(Dataset(made.folder / "built", prompt_frames=20), max_frames=1500)
    with pytest.raises(UsageError, match="can't resume: tasks was"):
        plain.load_state_dict(loader.state_dict())


def test_rows_of_a_batch_are_padded_to_their_own_longest(made: spoken_dataset.Made) -> None:
    data = Dataset(made.folder / "built", prompt_frames=20, tasks=ALL, mixtures=made.folder / "mixtures")
    examples = [data.example(place, 1) for place in range(12)]
    whole = data.collate(examples)
    chosen = [7, 2, 4]
    some, wanted = whole.rows(torch.tensor(chosen)), data.collate([examples[place] for place in chosen])
    assert some.ids == wanted.ids
    for name, tensor in wanted._tensors().items():
        assert torch.equal(getattr(some, name), tensor), name


def test_masks_and_packed_parts(made: spoken_dataset.Made) -> None:
    data = Dataset(made.folder / "built", prompt_frames=20)
    examples = [data[place] for place in range(5)]
    batch = data.collate(examples)
    assert batch.vocabulary_size == len(data.index.vocabulary) and batch.codebook_size == 1024
    for name in ("text", "prompt", "target", "prompt_text"):
        arrays = [getattr(example, name).astype(np.int64) for example in examples]
        mask = batch.mask(name)
        assert mask.sum(dim=1).tolist() == [array.shape[-1] for array in arrays]
        packed, starts = batch.packed(name)
        assert np.array_equal(packed.numpy(), np.concatenate(arrays, axis=-1))
        assert starts.tolist() == [0, *np.cumsum([array.shape[-1] for array in arrays]).tolist()]


def test_what_is_refused(made: spoken_dataset.Made, tmp_path: Path) -> None:
    built, mixtures = made.folder / "built", made.folder / "mixtures"
    with pytest.raises(UsageError, match=r"task ns needs mixtures; make some with python -m vall_e\.emb\.mix"):
        Dataset(built, tasks=("ns",))
    with pytest.raises(UsageError, match=r"mixtures\.json"):
        Dataset(built, tasks=("ns",), mixtures=tmp_path)
    Dataset(built, tasks=("stt",))
    head = json.loads((mixtures / "mixtures.json").read_text())
    for change, message in (({"made": "earlier"}, "an earlier state"), ({"codec": {}}, "another codec")):
        (tmp_path / "mixtures.json").write_text(json.dumps(head | change))
        with pytest.raises(UsageError, match=message):
            Dataset(built, tasks=("ns",), mixtures=tmp_path)
    (tmp_path / "mixtures.json").write_text(json.dumps(head))
    data = Dataset(built, tasks=("ns",), mixtures=tmp_path)
    assert data[0].task == TASKS["tts"].number, "no mixture at all"
    path = tmp_path / "noise" / f"{data[0].id}.npy"
    path.parent.mkdir(parents=True)
    np.save(path, data[0].target[:, :-1])
    with pytest.raises(ContractError, match=r"frames, the utterance \d+; run python -m vall_e\.emb\.mix --overwrite"):
        data[0]
