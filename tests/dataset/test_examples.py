"""Which prompt a target hears, and that an example depends on its seed, epoch and id alone."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
import spoken_dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from vall_e.dataset import Dataset, make_loader
from vall_e.dataset.build import BuildOptions, build
from vall_e.dataset.prompts import crop
from vall_e.emb.durations import DurationsOptions, durations
from vall_e.types import UsageError, Utterance


@pytest.fixture(scope="module")
def with_durations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("spoken")
    spoken_dataset.make(folder, count=30, speakers=3)
    durations(folder, DurationsOptions(executor="serial"))
    return build(folder, folder / "built", BuildOptions()).output


def build_rows(make: Callable[..., Path], rows: list[Utterance], similar: Any = None, **options: Any) -> Any:
    folder = make(rows, similar)
    return build(folder, folder / "built", BuildOptions(**options)).output


def same(a: Any, b: Any) -> Any:
    arrays = ("text", "prompt", "target")
    return (
        a.id == b.id
        and a.prompt_id == b.prompt_id
        and all(np.array_equal(getattr(a, name), getattr(b, name)) for name in arrays)
    )


def overlap(a: Any, b: Any) -> Any:
    ends = a.start_samples + a.num_samples, b.start_samples + b.num_samples
    return a.recording_id == b.recording_id and a.start_samples < ends[1] and b.start_samples < ends[0]


@pytest.mark.parametrize("probability", [0, 0.5, 1])
@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_prompt_is_a_crop_of_another_utterance_of_the_speaker(
    built: Path, rows: list[Utterance], tools: SimpleNamespace, split: str, probability: float
) -> None:
    by_id = {row.id: row for row in rows}
    dataset = Dataset(built, split, similar_probability=probability, prompt_frames=20)
    train_ids = {example.id for example in Dataset(built, "train")}
    assert len(dataset) > 3
    for epoch in range(20):
        dataset.set_epoch(epoch)
        for example in dataset:
            row = by_id[example.id]
            np.testing.assert_array_equal(example.target, tools.codes_of(row))
            assert example.speaker == row.speaker_id
            assert example.prompt_id is not None
            source = by_id[example.prompt_id]
            assert source.id != row.id and source.speaker_id == row.speaker_id and not overlap(source, row)
            assert split == "validation" or source.id in train_ids
            assert example.prompt.shape == (4, min(20, source.num_frames))
            codes, width = tools.codes_of(source), example.prompt.shape[1]
            assert any(
                np.array_equal(codes[:, at : at + width], example.prompt) for at in range(codes.shape[1] - width + 1)
            )


def test_validation_targets_may_hear_training_audio(built: Path) -> None:
    train_ids = {example.id for example in Dataset(built, "train")}
    dataset = Dataset(built, "validation", similar_probability=0)
    prompts = {dataset.example(place, epoch).prompt_id for place in range(len(dataset)) for epoch in range(20)}
    assert prompts & train_ids and prompts - train_ids


@pytest.mark.parametrize("probability", [0, 0.5, 1])
def test_the_share_of_similar_prompts_is_the_probability(
    make: Callable[..., Path], tools: SimpleNamespace, probability: float
) -> None:
    rows = [tools.utterance(f"g/s/r{number:03d}.wav", None, frames=5) for number in range(200)]
    similar = [{"id": row.id, "similar": [[rows[place - 1].id, 0.5]]} for place, row in enumerate(rows)]
    dataset = Dataset(build_rows(make, rows, similar, validation_fraction=0), similar_probability=probability)
    place = {row.id: number for number, row in enumerate(rows)}
    hits = [place[example.prompt_id] == (place[example.id] - 1) % 200 for example in dataset]
    assert abs(np.mean(hits) - probability) < 0.12


@pytest.mark.parametrize("any_speaker", [False, True])
def test_lists_over_the_whole_dataset_bring_other_voices_only_if_asked(
    make: Callable[..., Path], tools: SimpleNamespace, any_speaker: bool
) -> None:
    rows = [tools.utterance(f"g/s{number % 2}/r{number}.wav", None, frames=5) for number in range(8)]
    similar = [{"id": row.id, "similar": [[rows[(place + 1) % 8].id, 0.9]]} for place, row in enumerate(rows)]
    built = build_rows(make, rows, similar, validation_fraction=0)
    speakers = {row.id: row.speaker for row in rows}
    for example in Dataset(built, similar_probability=1, any_speaker=any_speaker):
        assert (speakers[example.prompt_id] == speakers[example.id]) is not any_speaker


def test_slices_that_overlap_never_prompt_each_other(make: Callable[..., Path], tools: SimpleNamespace) -> None:
    rows = [
        tools.utterance("g/s/long.wav", None, frames=100),
        tools.utterance("g/s/long.wav", 0, frames=50, start=0),
        tools.utterance("g/s/long.wav", 1, frames=50, start=40 * 160),
        tools.utterance("g/s/long.wav", 2, frames=10, start=90 * 160),
    ]
    similar = [{"id": row.id, "similar": [[other.id, 0.5] for other in rows if other is not row]} for row in rows]
    dataset = Dataset(build_rows(make, rows, similar, validation_fraction=0), similar_probability=0.5)
    prompts: dict[str, set[str | None]] = {}
    for epoch in range(30):
        for place in range(4):
            example = dataset.example(place, epoch)
            prompts.setdefault(example.id, set()).add(example.prompt_id)
    assert prompts == {
        "g/s/long.wav": {None},
        "g/s/long.wav-00000": {"g/s/long.wav-00002"},
        "g/s/long.wav-00001": {"g/s/long.wav-00002"},
        "g/s/long.wav-00002": {"g/s/long.wav-00000", "g/s/long.wav-00001"},
    }


def test_a_take_under_two_names_is_no_prompt_of_itself(make: Callable[..., Path], tools: SimpleNamespace) -> None:
    rows = [
        tools.utterance("g/s/mic1.wav", None, frames=100, phonemes="a b"),
        tools.utterance("g/s/mic2.wav", None, frames=104, phonemes="a b"),
        tools.utterance("g/s/other.wav", None, frames=100, phonemes="a c"),
    ]
    similar = [{"id": "g/s/mic1.wav", "similar": [["g/s/mic2.wav", 1.0], ["g/s/other.wav", 0.5]]}]
    dataset = Dataset(build_rows(make, rows, similar, validation_fraction=0), similar_probability=0.5)
    prompts = {
        (dataset.example(row, epoch).id, dataset.example(row, epoch).prompt_id)
        for row in range(3)
        for epoch in range(20)
    }
    assert ("g/s/mic1.wav", "g/s/other.wav") in prompts and ("g/s/other.wav", "g/s/mic1.wav") in prompts
    assert ("g/s/mic1.wav", "g/s/mic2.wav") not in prompts and ("g/s/mic2.wav", "g/s/mic1.wav") not in prompts


def test_a_speaker_with_one_utterance_has_an_empty_prompt(make: Callable[..., Path], tools: SimpleNamespace) -> None:
    rows = [tools.utterance("g/alone/r.wav", None, frames=7), tools.utterance("h/alone/r.wav", None, frames=7)]
    for example in Dataset(build_rows(make, rows, validation_fraction=0)):
        assert example.prompt_id is None
        assert example.prompt.shape == (4, 0)


def test_random_prompts_are_even_over_what_is_allowed(make: Callable[..., Path], tools: SimpleNamespace) -> None:
    """Most of the speaker is refused here, so both ways of drawing are used."""
    rows = [tools.utterance("g/s/long.wav", number, frames=20, start=number * 160) for number in range(12)]
    rows += [tools.utterance(f"g/s/r{number}.wav", None, frames=5) for number in range(4)]
    dataset = Dataset(build_rows(make, rows, validation_fraction=0), similar_probability=0)
    place = next(place for place in range(len(dataset)) if dataset[place].id == "g/s/long.wav-00000")
    counts = Counter(dataset.example(place, epoch).prompt_id for epoch in range(2000))
    assert set(counts) == {f"g/s/r{number}.wav" for number in range(4)}
    assert max(counts.values()) < 1.25 * min(counts.values())


def test_an_example_depends_on_seed_epoch_and_id_alone(built: Path) -> None:
    dataset = Dataset(built, seed=3, prompt_frames=10)
    first = [dataset[place] for place in range(len(dataset))]
    dataset.set_epoch(1)
    other_epoch = [dataset[place] for place in reversed(range(len(dataset)))][::-1]
    dataset.set_epoch(0)
    again = [dataset[place] for place in reversed(range(len(dataset)))][::-1]
    assert all(same(a, b) for a, b in zip(first, again, strict=True))
    assert not all(same(a, b) for a, b in zip(first, other_epoch, strict=True))
    other_seed = Dataset(built, seed=4, prompt_frames=10)
    assert not all(same(a, b) for a, b in zip(first, other_seed, strict=True))


def test_a_pickled_dataset_holds_no_data_and_reads_the_same(built: Path) -> None:
    dataset = Dataset(built, "validation", seed=3, prompt_frames=10)
    dataset.set_epoch(5)
    data = pickle.dumps(dataset)
    assert len(data) < 1000
    assert all(same(a, b) for a, b in zip(dataset, pickle.loads(data), strict=True))


def test_arguments_out_of_range_are_refused(built: Path) -> None:
    for options in ({"similar_probability": 1.5}, {"split": "test"}, {"seed": -1}, {"prompt_frames": -1}):
        with pytest.raises(UsageError):
            Dataset(built, **options)
    dataset = Dataset(built)
    with pytest.raises(IndexError):
        dataset[len(dataset)]
    assert dataset.prompt_frames == 300, "three seconds at 100 frames a second"


@settings(max_examples=60, deadline=None)
@given(frames=st.integers(1, 40), most=st.integers(1, 40), seed=st.integers(0, 99))
def test_a_crop_lies_within_and_has_the_length_that_is_there(frames: int, most: int, seed: int) -> None:
    start, end = crop(frames, most, np.random.default_rng(seed))
    assert 0 <= start < end <= frames and end - start == min(frames, most)


def test_a_crop_reaches_both_ends() -> None:
    starts = {crop(10, 7, np.random.default_rng(seed))[0] for seed in range(60)}
    assert starts == {0, 1, 2, 3}


def test_prompts_are_joined_until_they_are_long_enough(
    built: Path, rows: list[Utterance], tools: SimpleNamespace
) -> None:
    """Each part is of another utterance of the speaker, whole but for the last, and nothing of the target is in it."""
    by_id = {row.id: row for row in rows}
    dataset = Dataset(built, prompt_frames=100, join_prompts=True, similar_probability=0)
    longer = 0
    for example in dataset:
        length = example.prompt.shape[1]
        assert 0 < length <= 100 and example.prompt_id is not None
        longer += length > by_id[example.prompt_id].num_frames
        own = [row for row in rows if row.speaker_id == example.speaker and row.id != example.id]
        at = 0
        while at < length:
            part = example.prompt[:, at:]
            fits = [row for row in own if np.array_equal(*_shared(tools.codes_of(row), part))]
            ends = [row for row in own if _is_inside(part, tools.codes_of(row))]
            assert fits or ends
            at = at + fits[0].num_frames if fits else length
    assert longer > len(dataset) // 2


def _shared(whole: np.ndarray, part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return whole, part[:, : whole.shape[1]]


def _is_inside(part: np.ndarray, whole: np.ndarray) -> bool:
    size = part.shape[1]
    return any(np.array_equal(part, whole[:, n : n + size]) for n in range(whole.shape[1] - size + 1))


def test_a_filter_keeps_what_is_asked_for(built: Path, rows: list[Utterance]) -> None:
    by_id = {row.id: row for row in rows}
    speaker = rows[0].speaker_id
    found = Dataset(built, speakers=[speaker], min_frames=10, max_frames=40)
    everything = [example.id for example in Dataset(built)]
    wanted = [name for name in everything if by_id[name].speaker_id == speaker and 10 <= by_id[name].num_frames <= 40]
    assert [example.id for example in found] == wanted and 0 < len(wanted) < len(everything)
    japanese = Dataset(built, languages=["ja"])
    assert {by_id[example.id].language for example in japanese} == {"ja"}
    again = pickle.loads(pickle.dumps(found))
    assert [example.id for example in again] == wanted
    with pytest.raises(UsageError, match="none of its speakers is 'nobody'"):
        Dataset(built, speakers=["nobody"])


def test_a_loader_of_another_filter_is_refused(built: Path) -> None:
    state = make_loader(Dataset(built, min_frames=10), max_frames=2_000).state_dict()
    make_loader(Dataset(built, min_frames=10), max_frames=2_000).load_state_dict(state)
    with pytest.raises(UsageError, match="only was"):
        make_loader(Dataset(built, min_frames=11), max_frames=2_000).load_state_dict(state)


def test_only_targets_with_scores_in_their_limits(make: Callable[..., Path], tools: SimpleNamespace) -> None:
    """Scores of the rows, and those that came later; an utterance without the score is kept, as a gate keeps it."""
    rows = [tools.utterance(f"g/s/r{number:03d}.wav", None, frames=5) for number in range(8)]
    for number in (0, 2, 4, 6):
        rows[number] = msgspec.structs.replace(rows[number], scores={"snr_db": float(number), "nothing": None})
    folder = make(rows)
    later = [{"id": rows[4].id, "scores": {"snr_db": 50.0}}, {"id": rows[1].id, "scores": {"text_fit": -0.5}}]
    (folder / "scores.jsonl").write_text("".join(json.dumps(line) + "\n" for line in later))
    built = build(folder, folder / "built", BuildOptions(validation_fraction=0)).output

    def kept(*gates: str) -> list[int]:
        return [int(example.id[-7:-4]) for example in Dataset(built, gates=gates)]

    assert kept() == list(range(8))
    assert kept("snr_db>=3") == [1, 3, 4, 5, 6, 7]
    assert kept("snr_db>=3", "snr_db<=20") == [1, 3, 5, 6, 7]
    assert kept("text_fit>=0") == [0, 2, 3, 4, 5, 6, 7]
    index = Dataset(built).index
    np.testing.assert_array_equal(index.score("snr_db"), [0, np.nan, 2, np.nan, 50, np.nan, 6, np.nan])
    with pytest.raises(UsageError, match=r"no utterance has a score 'cer'; there are nothing, snr_db, text_fit"):
        Dataset(built, gates=("cer<=0.1",))
    with pytest.raises(UsageError, match="threshold 'snr_db>x'"):
        Dataset(built, gates=("snr_db>x",))
    one, other = (make_loader(Dataset(built, gates=gates), max_frames=500) for gates in (("snr_db>=3",), ()))
    with pytest.raises(UsageError, match="can't resume: only was"):
        other.load_state_dict(one.state_dict())


@settings(max_examples=25, deadline=None)
@given(
    prompt_frames=st.sampled_from([0, 3, 20, 200]),
    join=st.booleans(),
    any_speaker=st.booleans(),
    split=st.sampled_from(["train", "validation"]),
    probability=st.sampled_from([0.0, 1.0]),
    seed=st.integers(0, 99),
)
def test_no_example_takes_more_places_than_its_budget_says(
    with_durations: Path,
    prompt_frames: int,
    join: bool,
    any_speaker: bool,
    split: str,
    probability: float,
    seed: int,
) -> None:
    options: dict[str, Any] = {"prompt_frames": prompt_frames, "join_prompts": join, "any_speaker": any_speaker}
    data = Dataset(with_durations, split, seed=seed, similar_probability=probability, **options)
    for most, example in zip(data.num_places.tolist(), data, strict=True):
        parts = (example.text, example.prompt_text, example.prompt, example.target)
        taken = sum(part.shape[-1] for part in parts)
        assert taken <= most
        assert prompt_frames or taken == most


def test_speakers_of_short_utterances_are_not_charged_for_long_prompts(
    make: Callable[..., Path], tools: SimpleNamespace
) -> None:
    """One has prompts of 5 frames at most, one of 40, and one has no other utterance at all."""
    lengths = {"a": [5, 5, 4], "b": [40, 60], "c": [50]}
    rows = [
        tools.utterance(f"g/{speaker}/r{number}.wav", None, frames=frames)
        for speaker, of_speaker in lengths.items()
        for number, frames in enumerate(of_speaker)
    ]
    built = build_rows(make, rows, validation_fraction=0)
    data = Dataset(built, prompt_frames=45)
    own = data.index.num_tokens[data.rows] + data.num_frames
    words = int(data.index.num_tokens.max()) - 2
    assert (data.num_places - own).tolist() == [5 + words] * 3 + [45 + words] * 2 + [0]
