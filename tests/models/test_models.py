"""The networks against their definitions: what they may see, what a cache changes, and that they learn by heart."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spoken_dataset
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vall_e.dataset import Batch, Dataset, Example, for_synthesis
from vall_e.dataset.build import BuildOptions, build
from vall_e.dataset.tasks import TASKS
from vall_e.emb.codecs.registry import CodecOptions, load_codec
from vall_e.emb.durations import DurationsOptions, durations
from vall_e.emb.qnt import split_bits
from vall_e.models.ar import AR, MOST_ELAPSED, ARConfig, elapsed_of, steps_of
from vall_e.models.nar import NAR, NARConfig
from vall_e.models.sampling import Sampler, Sampling, probabilities
from vall_e.models.transformer import Cache, DualHead, Transformer, TransformerConfig, hits, joined, last_of
from vall_e.units import units_of

SMALL = TransformerConfig(width=32, num_layers=2, num_heads=2, inner_width=64)
FORMS = ("monotone", "none")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("spoken")
    spoken_dataset.make(folder, count=30)
    durations(folder, DurationsOptions(executor="serial"))
    return build(folder, folder / "built", BuildOptions()).output


@pytest.fixture(scope="module")
def batch(built: Path) -> Batch:
    dataset = Dataset(built, prompt_frames=20)
    return dataset.collate([dataset[place] for place in range(4)])


def make_ar(built: Path, alignment: str, seed: int = 0, **changes: Any) -> AR:
    torch.manual_seed(seed)
    vocabulary = Dataset(built).index.vocabulary
    shape = ARConfig(len(vocabulary), len(vocabulary.languages), 1024, alignment, SMALL, SMALL, **changes)
    return AR(shape).eval()


def make_nar(built: Path, alignment: str, target: str, num_levels: int = 8, **changes: Any) -> NAR:
    torch.manual_seed(0)
    vocabulary = Dataset(built).index.vocabulary
    sizes = (len(vocabulary), len(vocabulary.languages), 1024, num_levels, 16)
    shape = NARConfig(*sizes, alignment=alignment, target=target, trunk=SMALL, text=SMALL, **changes)
    return NAR(shape, torch.randn(8, 1024, 16)).eval()


# The trunk


def test_a_causal_trunk_sees_nothing_of_what_comes() -> None:
    """By gradients: the output at a place depends on itself and on what is before it, and on all of that."""
    torch.manual_seed(0)
    trunk = Transformer(SMALL)
    x = torch.randn(1, 6, 32, requires_grad=True)
    for place in range(6):
        (gradient,) = torch.autograd.grad(trunk(x, causal=True)[0, place].sum(), x)
        assert [bool(found) for found in gradient[0].abs().sum(dim=1) > 0] == [n <= place for n in range(6)]


def test_padding_changes_nothing() -> None:
    torch.manual_seed(0)
    trunk = Transformer(SMALL)
    x = torch.randn(2, 7, 32)
    lengths = torch.tensor([7, 4])
    together = trunk(x, lengths=lengths)
    torch.testing.assert_close(together[1, :4], trunk(x[1:, :4])[0])
    x[1, 4:] = 1e3
    torch.testing.assert_close(trunk(x, lengths=lengths)[1, :4], together[1, :4])


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(1, 4), min_size=1, max_size=5))
def test_fed_piece_by_piece_a_trunk_gives_the_same(cuts: list[int]) -> None:
    torch.manual_seed(0)
    trunk = Transformer(SMALL)
    x = torch.randn(2, sum(cuts), 32)
    cache, found = Cache(), []
    with torch.inference_mode():
        for piece in x.split(cuts, dim=1):
            found.append(trunk(piece, causal=True, cache=cache))
    torch.testing.assert_close(torch.cat(found, dim=1), trunk(x, causal=True), atol=1e-5, rtol=1e-5)
    assert cache.length == sum(cuts)


def test_a_condition_changes_the_norms() -> None:
    torch.manual_seed(0)
    trunk = Transformer(SMALL, conditioned=True)
    x = torch.randn(2, 3, 32)
    torch.testing.assert_close(trunk(x, condition=torch.randn(2, 32)), trunk(x))  # it begins without effect
    for module in trunk.modules():
        if isinstance(module, torch.nn.Linear) and module.out_features == 2 * module.in_features:
            torch.nn.init.normal_(module.weight)
    assert not torch.allclose(trunk(x, condition=torch.randn(2, 32)), trunk(x))


@given(lengths=st.lists(st.tuples(st.integers(0, 4), st.integers(1, 5)), min_size=1, max_size=4))
def test_parts_are_joined_without_holes(lengths: list[tuple[int, int]]) -> None:
    count = len(lengths)
    first = torch.arange(count * 4).reshape(count, 4) + 1
    second = -torch.arange(count * 5).reshape(count, 5) - 1
    a, b = (torch.tensor([pair[n] for pair in lengths]) for n in (0, 1))
    out, total = joined([first, second], [a, b])
    for row, (one, two) in enumerate(lengths):
        wanted = [*first[row, :one].tolist(), *second[row, :two].tolist()]
        assert out[row].tolist() == wanted + [0] * (out.shape[1] - len(wanted)) and total[row] == len(wanted)
    assert torch.equal(
        last_of(out, total, b), torch.where(torch.arange(int(b.max())) < b[:, None], second[:, : int(b.max())], 0)
    )


# Frames and units


def units_by_hand(row: list[int], num_units: int) -> tuple[list[int], list[int]]:
    """(elapsed, steps) of the units of a row's frames."""
    elapsed, steps = [], []
    for place, unit in enumerate(row):
        before = next((n for n in range(place, -1, -1) if row[n] != unit), -1)
        elapsed.append(min(place - before - 1, MOST_ELAPSED))
        steps.append((row[place + 1] if place + 1 < len(row) else num_units) - unit)
    return elapsed, steps


@given(
    durations=st.lists(st.integers(1, 70), min_size=1, max_size=6),
    skips=st.lists(st.booleans(), min_size=6, max_size=6),
)
def test_elapsed_frames_and_steps(durations: list[int], skips: list[bool]) -> None:
    units, unit = [], 0
    for frames, skipped in zip(durations, skips, strict=False):
        units += [unit] * frames
        unit += 2 if skipped else 1
    elapsed, steps = units_by_hand(units, unit)
    row = torch.tensor([[*units, -1, -1]])
    assert elapsed_of(row)[0, : len(units)].tolist() == elapsed
    assert steps_of(row, torch.tensor([len(units)]), torch.tensor([unit]))[0, : len(units)].tolist() == steps


# Both models


@pytest.mark.parametrize("alignment", FORMS)
def test_a_batch_is_its_items(built: Path, batch: Batch, alignment: str) -> None:
    """The loss of a padded batch is the sum of those of its items alone."""
    dataset = Dataset(built, prompt_frames=20)
    alone = [dataset.collate([dataset[place]]) for place in range(4)]
    models: list[Any] = [make_ar(built, alignment), make_nar(built, alignment, "codes")]
    for model in models:
        with torch.inference_mode():
            whole, parts = model.loss(batch), [model.loss(one) for one in alone]
        torch.testing.assert_close(whole.total, torch.stack([part.total for part in parts]).sum())
        assert int(whole.count) == sum(int(part.count) for part in parts)


@pytest.mark.parametrize("alignment", FORMS)
def test_a_code_is_predicted_from_those_before_it(built: Path, batch: Batch, alignment: str) -> None:
    """Another last code changes nothing of what is said about the ones before it; another first code does."""
    model = make_ar(built, alignment)
    place = int(batch.target_lengths[0]) - 1
    dataset = Dataset(built, prompt_frames=20)
    one = dataset.collate([dataset[0]])

    def changed(frame: int) -> Batch:
        target = one.target.clone()
        target[:, 0, frame] = (target[:, 0, frame] + 1) % 1024
        return dataclasses.replace(one, target=target)

    def cut(given: Batch, frames: int) -> Batch:
        lengths, units = torch.tensor([frames]), given.frame_units[:, :frames]
        return dataclasses.replace(given, target=given.target[..., :frames], target_lengths=lengths, frame_units=units)

    def losses(given: Batch) -> torch.Tensor:
        """Of the first frames, more and more of them: it tells where a change begins to matter."""
        with torch.inference_mode():
            return torch.stack([model.loss(cut(given, frames)).total for frames in range(1, place + 1)])

    torch.testing.assert_close(losses(one), losses(changed(place)))
    assert not torch.allclose(losses(one)[1:], losses(changed(0))[1:])


def overfit(model: Any, batch: Batch, steps: int = 250, rate: float = 3e-3) -> float:
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
    model.train()
    for _ in range(steps):
        loss = model.loss(batch)
        (loss.total / loss.count).backward()
        optimiser.step()
        optimiser.zero_grad()
    model.eval()
    return float(loss.total / loss.count)


@pytest.fixture(scope="module")
def one(built: Path) -> Batch:
    dataset = Dataset(built, prompt_frames=20)
    return dataset.collate([dataset[0]])


def first_levels(batch: Batch, num_levels: int) -> Batch:
    """Fewer levels take less time, and show as much."""
    return dataclasses.replace(batch, target=batch.target[:, :num_levels], prompt=batch.prompt[:, :num_levels])


def speaking(one: Batch, built: Path) -> Batch:
    """The same text and prompt, without a target."""
    example = Dataset(built, prompt_frames=20)[0]
    vocabulary = Dataset(built).index.vocabulary
    given = ([example.text], [example.prompt], [example.language], vocabulary)
    return for_synthesis(*given, codebook_size=1024, prompt_texts=[example.prompt_text])


@pytest.mark.parametrize(("alignment", "dual_head"), [("monotone", False), ("none", False), ("monotone", True)])
def test_one_utterance_is_learnt_by_heart_and_said_again(
    built: Path, one: Batch, alignment: str, dual_head: bool
) -> None:
    """The fast oracle of a correct model: it says the very codes that it was taught, and stops."""
    model = make_ar(built, alignment, dual_head=dual_head)
    overfit(model, one)
    batch = speaking(one, built)
    share = model.hits(one)
    assert share["level_0_top1"] >= 0.99 * share["level_0_count"] > 0
    cached, plain = (
        model.speak(batch, [Sampler(Sampling(temperature=0))], max_frames=[400], use_cache=use)[0]
        for use in (True, False)
    )
    assert torch.equal(cached.codes, plain.codes) and cached.stopped
    taught = one.target[0, 0]
    same = min(len(taught), len(cached.codes))
    assert len(cached.codes) == len(taught)
    assert float((cached.codes[:same] == taught[:same]).float().mean()) >= 0.99
    if alignment == "monotone":
        assert cached.frame_units is not None and torch.equal(cached.frame_units, one.frame_units[0])


@pytest.mark.parametrize(("alignment", "dual_head"), [("monotone", False), ("none", True)])
def test_the_levels_of_one_utterance_are_learnt_by_heart(
    built: Path, one: Batch, alignment: str, dual_head: bool
) -> None:
    model = make_nar(built, alignment, "codes", num_levels=3, dual_head=dual_head)
    some = first_levels(one, 3)
    overfit(model, some, steps=150)
    filled, share = model.fill(some, some.target[:, 0]), model.hits(some)
    assert all(share[f"level_{n}_top1"] >= 0.99 * share[f"level_{n}_count"] > 0 for n in (1, 2))
    assert float((filled == some.target).float().mean()) >= 0.99


@pytest.mark.parametrize("alignment", FORMS)
def test_the_vectors_of_one_utterance_are_learnt_by_heart(built: Path, one: Batch, alignment: str) -> None:
    model = make_nar(built, alignment, "latent")
    assert overfit(model, one, steps=400) < 0.05, "a share of what level 0 leaves"
    with torch.inference_mode():
        off = model.latents(one, one.target[:, 0]) - model.vectors(one.target)
    assert off.square().mean() < 0.05 * model.vectors(one.target).square().mean()


def test_speech_goes_through_its_text_in_order(built: Path, one: Batch) -> None:
    """Whatever the weights: every phone has frames, pauses may have none, nothing comes back."""
    batch = speaking(one, built)
    for seed in range(5):
        model = make_ar(built, "monotone", seed)
        (spoken,) = model.speak(batch, [Sampler(Sampling(seed=seed))], max_frames=[3000])
        assert spoken.stopped and spoken.frame_units is not None
        steps = np.diff(spoken.frame_units.numpy())
        assert ((steps >= 0) & (steps <= 2)).all() and spoken.frame_units[0] == 0
        missing = set(range(int(batch.unit_lengths[0]))) - set(spoken.frame_units.tolist())
        assert all(bool(batch.unit_optional[0, unit]) for unit in missing)


@pytest.mark.parametrize("alignment", FORMS)
@pytest.mark.parametrize("use_cache", [True, False])
def test_texts_are_said_together_as_alone(built: Path, alignment: str, use_cache: bool) -> None:
    """Texts and prompts of various lengths, which end at various times; rounding left aside (float64)."""
    dataset = Dataset(built, prompt_frames=20)
    examples = [dataset[place] for place in range(4)]
    vocabulary, model = dataset.index.vocabulary, make_ar(built, alignment).double()

    def batch_of(chosen: list[Example]) -> Batch:
        prompts = [example.prompt[:, : 7 * number] for number, example in enumerate(chosen)]
        texts, languages = [example.text for example in chosen], [example.language for example in chosen]
        said = [example.prompt_text for example in chosen]
        return for_synthesis(texts, prompts, languages, vocabulary, codebook_size=1024, prompt_texts=said)

    def samplers(count: int) -> list[Sampler]:
        return [Sampler(Sampling(seed=number)) for number in range(count)]

    whole = batch_of(examples)
    together = model.speak(whole, samplers(4), max_frames=[40, 10, 90, 60], use_cache=use_cache)
    assert len({len(spoken.codes) for spoken in together}) > 2
    for number, most in enumerate([40, 10, 90, 60]):
        one = whole.rows(torch.tensor([number]))
        (alone,) = model.speak(one, samplers(4)[number : number + 1], max_frames=[most], use_cache=use_cache)
        assert torch.equal(alone.codes, together[number].codes)
        assert alone.stopped == together[number].stopped
        units, own = together[number].frame_units, alone.frame_units
        assert (own is None and units is None) or (own is not None and units is not None and torch.equal(own, units))


def test_the_power_of_a_unit_is_that_of_its_frames(built: Path, one: Batch) -> None:
    """At a great power the best code is drawn, as at no temperature; at 1 nothing changes."""
    batch, model = speaking(one, built), make_ar(built, "monotone")
    num_units = int(batch.unit_lengths[0])

    def say(powers: list[float] | None, **options: float) -> torch.Tensor:
        sampler = Sampler(Sampling(seed=3, **options))  # type: ignore[arg-type]
        (spoken,) = model.speak(batch, [sampler], max_frames=[50], powers=None if powers is None else [powers])
        return spoken.codes

    assert torch.equal(say([1e7] * num_units), say(None, temperature=0))
    assert torch.equal(say([1.0] * num_units), say(None))
    assert not torch.equal(say([1e7] * num_units), say(None))


@settings(max_examples=25, deadline=None)
@given(bits=st.integers(2, 6), has_edge=st.booleans(), seed=st.integers(0, 99))
def test_a_dual_head_says_the_high_half_and_then_the_low_one(bits: int, has_edge: bool, seed: int) -> None:
    """p(code) = p(coarse) p(fine | coarse), one code at a time; all of them together are 1."""
    torch.manual_seed(seed)
    dual, size = DualHead(8, 1 << bits, has_edge=has_edge).double(), 1 << bits
    x = torch.randn(3, 8, dtype=torch.float64)
    found = dual(x)
    assert found.shape == (3, size + has_edge)
    torch.testing.assert_close(found.exp().sum(dim=-1), torch.ones(3, dtype=torch.float64))
    coarse, fine = split_bits(np.arange(size, dtype=np.uint16), bits // 2)
    of_coarse = dual.to_coarse(x).softmax(dim=-1)
    for code in range(size):
        given_coarse = torch.nn.functional.gelu(x + dual.coarse.weight[int(coarse[code])])
        wanted = of_coarse[:, int(coarse[code])] * dual.to_fine(given_coarse).softmax(dim=-1)[:, int(fine[code])]
        torch.testing.assert_close(found[:, code].exp(), wanted)
    if has_edge:
        torch.testing.assert_close(found[:, -1].exp(), of_coarse[:, -1])


def test_a_dual_head_takes_whole_bits() -> None:
    with pytest.raises(ValueError, match="power of two, not 1000"):
        DualHead(8, 1000, has_edge=True)


# Tasks beside speaking

NUM_TASKS, STT = 5, 4


@pytest.fixture(scope="module")
def of_task(built: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Batch]:
    """One utterance as an item of each task."""
    folder = tmp_path_factory.mktemp("mixtures")
    spoken_dataset.add_mixtures(built.parent, folder)
    found = {}
    for name in TASKS:
        data = Dataset(built, prompt_frames=20, tasks=(name,), mixtures=folder)
        found[name] = data.collate([data[0]])
    return found


@pytest.mark.parametrize("alignment", FORMS)
def test_tasks_change_nothing_of_each_other(
    built: Path, batch: Batch, of_task: dict[str, Batch], alignment: str
) -> None:
    """The loss of a batch of all tasks is the sum of those of its items; what has no source is as without tasks."""
    shape = {"num_tasks": NUM_TASKS, "text_task": STT}
    ar, nar = make_ar(built, alignment, **shape), make_nar(built, alignment, "codes", num_levels=3, **shape)
    plain = make_ar(built, alignment)
    plain.load_state_dict({name: ar.state_dict()[name] for name in plain.state_dict()})
    parts = [first_levels(each, 3) for each in of_task.values()]
    with torch.inference_mode():
        torch.testing.assert_close(ar.loss(batch).total, plain.loss(batch).total)
        for model in (ar, nar):
            whole = model.loss(stacked(parts))
            alone = [model.loss(part) for part in parts]
            torch.testing.assert_close(whole.total, torch.stack([each.total for each in alone]).sum())
            assert int(whole.count) == sum(int(each.count) for each in alone)
    assert int(nar.loss(of_task["stt"]).count) == 0, "of a text it has nothing to fill in"
    nar.loss(of_task["stt"]).total.backward()


def stacked(parts: list[Batch]) -> Batch:
    """Batches of one item as one batch."""

    def padded(name: str) -> torch.Tensor:
        tensors = [getattr(part, name)[0] for part in parts]
        if tensors[0].ndim == 0:
            return torch.stack(tensors)
        most = max(tensor.shape[-1] for tensor in tensors)
        fill = -1 if name == "frame_units" else 0
        return torch.stack([torch.nn.functional.pad(each, (0, most - each.shape[-1]), value=fill) for each in tensors])

    names = [field.name for field in dataclasses.fields(Batch)]
    tensors: dict[str, Any] = {
        name: padded(name) for name in names if isinstance(getattr(parts[0], name), torch.Tensor)
    }
    return dataclasses.replace(parts[0], ids=tuple(part.ids[0] for part in parts), **tensors)


@pytest.mark.parametrize("alignment", FORMS)
@pytest.mark.parametrize("task", ["sr", "tse"])
def test_a_task_is_learnt_by_heart_with_its_source(
    built: Path, of_task: dict[str, Batch], alignment: str, task: str
) -> None:
    model = make_ar(built, alignment, num_tasks=NUM_TASKS, text_task=STT)
    one = of_task[task]
    overfit(model, one, steps=200)
    nothing = dataclasses.replace(one, target=one.target[..., :0], target_lengths=one.target_lengths * 0)
    (spoken,) = model.speak(nothing, [Sampler(Sampling(temperature=0))], max_frames=[400])
    assert torch.equal(spoken.codes, one.target[0, 0]) and spoken.stopped


@pytest.mark.parametrize("alignment", FORMS)
def test_texts_are_written_down(built: Path, of_task: dict[str, Batch], alignment: str) -> None:
    """Two sources of different lengths, learnt by heart: each is read as its own text, together and alone."""
    data = Dataset(built, tasks=("stt",))
    both = data.collate([data[0], data[1]])
    model = make_ar(built, alignment, num_tasks=NUM_TASKS, text_task=STT)
    overfit(model, both, steps=250)
    texts = [row[1 : length - 1].tolist() for row, length in zip(both.text, both.text_lengths.tolist(), strict=True)]
    options: dict[str, Any] = {"first": int(both.text[0, 0]), "last": int(both.text[0, both.text_lengths[0] - 1])}
    assert texts[0] != texts[1]
    assert [found.tolist() for found in model.write(both, max_tokens=200, **options)] == texts
    for row in range(2):
        (alone,) = model.write(both.rows(torch.tensor([row])), max_tokens=200, **options)
        assert alone.tolist() == texts[row]
    cut = model.write(both, max_tokens=3, **options)
    assert [found.tolist() for found in cut] == [text[:3] for text in texts]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 999), num_codes=st.integers(1, 30))
def test_right_codes_are_counted_by_their_rank(seed: int, num_codes: int) -> None:
    rng = np.random.default_rng(seed)
    scores, right = rng.standard_normal((7, num_codes)), rng.integers(0, num_codes, 7)
    ranks = [sorted(row, reverse=True).index(row[code]) for row, code in zip(scores.tolist(), right, strict=True)]
    found = hits(torch.from_numpy(scores), torch.from_numpy(right), 3)
    assert int(found["level_3_top1"]) == ranks.count(0) and int(found["level_3_count"]) == 7
    assert int(found["level_3_top10"]) == sum(rank < 10 for rank in ranks)


def test_levels_of_a_vector_are_hit_where_the_quantiser_hits_them(built: Path, batch: Batch) -> None:
    """The best code of each level, the levels below being right, is the nearest to what they leave."""
    model = make_nar(built, "monotone", "latent", num_levels=4)
    some = first_levels(batch, 4)
    share = model.hits(some)
    with torch.inference_mode():
        latents = model.latents(some, some.target[:, 0])
    for level in range(1, 4):
        right = 0
        for row, length in enumerate(some.target_lengths.tolist()):
            for frame in range(length):
                below = sum(model.codebooks[n][some.target[row, n, frame]] for n in range(level))
                off = ((latents[row, frame] - below)[None] - model.codebooks[level]).square().sum(dim=1)
                right += int(off.argmin()) == int(some.target[row, level, frame])
        assert int(share[f"level_{level}_top1"]) == right


# Sampling


@settings(max_examples=60, deadline=None)
@given(
    scores=st.lists(st.floats(-8, 8), min_size=2, max_size=20),
    temperature=st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    top_k=st.integers(0, 6),
    top_p=st.sampled_from([0.3, 0.9, 1.0]),
    power=st.sampled_from([0.5, 1.0, 2.0]),
    floor=st.sampled_from([0.0, 0.002, 0.4]),
)
def test_probabilities_follow_their_definition(scores: list[float], **changes: Any) -> None:
    """Against the same in plain Python, step by step."""
    found = probabilities(torch.tensor(scores, dtype=torch.float64), Sampling(**changes)).tolist()
    assert sum(found) == pytest.approx(1) and min(found) >= 0
    np.testing.assert_allclose(found, by_hand(scores, **changes), atol=1e-9)


def by_hand(
    scores: list[float], *, temperature: float, top_k: int, top_p: float, power: float, floor: float
) -> list[float]:
    best = max(range(len(scores)), key=lambda n: (scores[n], -n))
    if temperature == 0:
        return [float(n == best) for n in range(len(scores))]
    values = [score / temperature for score in scores]
    if 0 < top_k < len(values):
        limit = sorted(values, reverse=True)[top_k - 1]
        values = [value if value >= limit else -np.inf for value in values]
    share = np.exp(np.array(values) - max(values))
    share = share / share.sum()
    if top_p < 1:
        total, kept = 0.0, []
        for n in sorted(range(len(share)), key=lambda n: (-share[n], n)):
            if total < top_p:
                kept.append(n)
            total += share[n]
        share = np.array([share[n] if n in kept else 0.0 for n in range(len(share))])
        share = share / share.sum()
    if power != 1:
        share = share**power / (share**power).sum()
    if floor:
        cut = np.maximum(share - floor, 0)
        share = cut / cut.sum() if cut.sum() > 0 else np.eye(len(share))[int(np.argmax(share))]
    return [float(value) for value in share]


def draws(sampling: Sampling, count: int = 200) -> Iterator[int]:
    sampler = Sampler(sampling)
    codes: list[int] = []
    scores = torch.tensor([4.0, 0.0, 0.0, 0.0])
    for _ in range(count):
        codes.append(sampler.draw(scores, codes))
        yield codes[-1]


def test_a_seed_decides_the_draws() -> None:
    assert list(draws(Sampling(seed=3))) == list(draws(Sampling(seed=3))) != list(draws(Sampling(seed=4)))


def test_a_code_that_came_too_often_is_drawn_from_all() -> None:
    """With top-k 1 the best code always comes; looking back, others come as often as their share says (5 %)."""
    assert set(draws(Sampling(top_k=1))) == {0}
    found = list(draws(Sampling(top_k=1, repetition_window=10), 2000))
    others = sum(code != 0 for code in found) / len(found)
    share = 1 - float(torch.tensor([4.0, 0.0, 0.0, 0.0]).softmax(dim=0)[0])
    assert others == pytest.approx(share, abs=0.02)


WRONG = [{"top_p": 0.0}, {"temperature": -1.0}, {"power": 0.0}, {"floor": 1.0}, {"top_k": -1}]


@pytest.mark.parametrize("wrong", WRONG)
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Sampling(**wrong)


def test_codes_of_encodec_are_learnt_by_heart(encodec_weights: Path, demo_speech: np.ndarray, built: Path) -> None:
    """Speech in the codes of an EnCodec of random weights, as one utterance: both forms of both models."""
    codec = load_codec(CodecOptions(audio_backend="encodec", weights=encodec_weights, levels=8))
    (codes,) = codec.encode([demo_speech[:12_000]])
    vocabulary = Dataset(built).index.vocabulary
    text = vocabulary.encode("bɪɡ mˈuːn", "a test")
    units = units_of(vocabulary.kinds[text])
    durations = np.zeros(len(text), np.int32)
    durations[units.places] = np.diff(np.linspace(0, codes.shape[1], len(units.places) + 1).astype(int))
    shared: dict[str, Any] = {"text": text, "target": codes, "durations": durations, "units": units, "language": 0}
    nothing: dict[str, Any] = {
        "prompt": codes[:, :0],
        "prompt_text": text[:0],
        "prompt_id": None,
        "speaker": "",
        "speaker_id": 0,
        "source": codes[:, :0],
        "task": 0,
    }
    one = Dataset(built).collate([Example(id="one", **shared, **nothing)])
    codebooks = torch.from_numpy(np.array(codec.codebooks, np.float32))  # type: ignore[attr-defined]
    for alignment in FORMS:
        ar = make_ar(built, alignment)
        overfit(ar, one)
        batch = for_synthesis([text], [codes[:, :0]], [0], vocabulary, codebook_size=1024)
        (spoken,) = ar.speak(batch, [Sampler(Sampling(temperature=0))], max_frames=[200])
        assert spoken.stopped and float((spoken.codes == one.target[0, 0]).float().mean()) >= 0.99
        levels, some = make_nar(built, alignment, "codes", num_levels=3), first_levels(one, 3)
        overfit(levels, some, steps=150)
        assert float((levels.fill(some, some.target[:, 0]) == some.target).float().mean()) >= 0.99
        sizes = (len(vocabulary), len(vocabulary.languages), 1024, 8, codebooks.shape[2])
        latent = NAR(NARConfig(*sizes, alignment=alignment, trunk=SMALL, text=SMALL), codebooks)
        assert overfit(latent, one, steps=400) < 0.05
