"""What training and speaking cost beside what they must cost: ratios of one run.

    OMP_NUM_THREADS=1 python benchmarks/bench_train.py --dataset WORK/dataset/built

- the share of a training step that is spent waiting for the loader (wanted: below 3 %);
- a step of the AR model, forward and backward, against the bare matrix products of its linear layers;
- speaking 10 s without the cache against speaking with it (wanted: 5 or more);
- what float64 costs there, and what several texts at once save.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from vall_e import config
from vall_e.dataset import Batch, Dataset, for_synthesis
from vall_e.models.ar import AR
from vall_e.models.sampling import Sampler, Sampling
from vall_e.train import Trainer, TrainOptions

SPOKEN_FRAMES = 750  # 10 s at 75 frames a second


def seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def loader_share(trainer: Trainer, steps: int) -> float:
    """Of the time of so many steps."""
    waited = worked = 0.0
    batches = trainer._batches()
    for step in range(steps + 2):
        started = time.perf_counter()
        batch = next(batches)
        got = time.perf_counter()
        trainer._train_step([batch])
        if step >= 2:  # workers start with the first
            waited, worked = waited + got - started, worked + time.perf_counter() - got
    return waited / (waited + worked)


def bare_products(model: AR, batch: Batch) -> Callable[[], None]:
    """Each linear layer's three products (forward, and both of backward) on as many rows as the batch gives it."""
    rows = int((batch.prompt_lengths + batch.target_lengths).sum())
    text_rows = batch.text.numel()
    work = []
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            count = text_rows if name.startswith("text") else rows
            x, y = torch.randn(count, module.in_features), torch.randn(count, module.out_features)
            work.append((x, module.weight.detach(), y))

    def run() -> None:
        for x, weight, y in work:
            torch.mm(x, weight.T)
            torch.mm(y, weight)
            torch.mm(y.T, x)

    return run


def step(model: AR, batch: Batch) -> None:
    loss = model.loss(batch)
    (loss.total / loss.count).backward()


def speaking(model: AR, data: Dataset, *, use_cache: bool, count: int = 1) -> Callable[[], None]:
    example = max((data[place] for place in range(min(200, len(data)))), key=lambda each: len(each.text))
    # one long text: the longest, again and again
    text = np.concatenate([example.text[:1], *([example.text[1:-1]] * 6), example.text[-1:]])
    prompt, language, vocabulary = example.prompt, example.language, data.index.vocabulary
    size = data.index.spec.codebook_size
    batch = for_synthesis([text] * count, [prompt] * count, [language] * count, vocabulary, codebook_size=size)

    def run() -> None:
        samplers = [Sampler(Sampling(seed=1 + number)) for number in range(count)]
        for found in model.speak(batch, samplers, max_frames=[SPOKEN_FRAMES] * count, use_cache=use_cache):
            assert len(found.codes) == SPOKEN_FRAMES, "the text is too short for 10 s"

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--dataset", type=Path, required=True, help="a built dataset with durations")
    parser.add_argument("--config", type=Path, default=Path("train-tiny"))
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    settings = config.load_file(args.config)["train"] | {"device": "cpu", "workers": 1}
    options = config.from_mapping(TrainOptions, settings, str(args.config))
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(args.dataset, Path(folder), options)
        print(f"loader: {loader_share(trainer, 4 * args.rounds):.2%} of a step")
        assert trainer.ar is not None
        batch = next(trainer._batches())
        products = bare_products(trainer.ar, batch)
        pairs = [(seconds(products), seconds(lambda: step(trainer.ar, batch))) for _ in range(args.rounds)]  # type: ignore[arg-type]
        ratio = statistics.median(ours / bare for bare, ours in pairs)
        print(f"AR step: {ratio:.2f} x the bare products of its linear layers")
        trainer.ar.eval()
        cached = seconds(speaking(trainer.ar, trainer.data, use_cache=True))
        plain = seconds(speaking(trainer.ar, trainer.data, use_cache=False))
        print(f"speaking 10 s: {plain / cached:.1f} x faster with the cache ({cached / 10:.2f} x real time)")
        precise = trainer.ar.double()
        one = seconds(speaking(precise, trainer.data, use_cache=True))
        many = seconds(speaking(precise, trainer.data, use_cache=True, count=8)) / 8
        print(f"in float64, as the command speaks: {one / cached:.2f} x the time")
        print(f"eight texts at once: {many / one:.2f} x the time of one for each")


if __name__ == "__main__":
    main()
