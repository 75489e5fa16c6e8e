"""Trains the AR and the NAR model on a built dataset.

    python -m vall_e.train --dataset DATA/built --output RUN --config train-tiny

RUN gets the model (model.json, model.safetensors), metrics.jsonl, curves.png, a summary, and a checkpoint: the same
command goes on from it. Both models see the same batches; each has its own loss, optimiser and norm.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import dataclasses
import functools
import math
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vall_e import config, storage, trained
from vall_e.dataset.tasks import TASKS, TTS
from vall_e.emb.codecs.registry import load_same_codec
from vall_e.speaking import Request, SynthesizeOptions, Synthesizer
from vall_e.training.begin import check_aligned, make_optimiser, shapes_of, take_weights
from vall_e.training.curves import METRICS, Progress, draw_curves, tensorboard
from vall_e.training.options import TrainOptions
from vall_e.training.ranks import Ranks, device_of, shard, whole_state
from vall_e.training.swap import other_prompts, other_texts, swap_test
from vall_e.types import ContractError, UsageError

__all__ = ["TrainOptions", "Trainer", "main", "swap_test", "train"]

if TYPE_CHECKING:
    from vall_e.dataset import Batch, Dataset
    from vall_e.models.ar import Loss

STAGE = "train"
SUMMARY, SAMPLES_FOLDER = "summary.json", "samples"
CHECKPOINT, OLD = "checkpoint", "checkpoint.old"
LOCK_S = 8.0  # to wait for a folder that another training holds
SAMPLES = 64  # of the validation split in each evaluation, at most


class Trainer:
    """Both models on their way. `step` is the number of steps done."""

    def __init__(self, dataset: Path, output: Path, options: TrainOptions) -> None:
        import torch

        from vall_e.dataset import Dataset, Index, make_loader

        self.options, self.output = options, output
        self.device = device_of(options.device)
        self.ranks = Ranks.start(self.device)
        torch.manual_seed(options.seed)
        index = Index(dataset)
        frames = round(options.prompt_s * float(index.spec.frame_rate_hz))
        is_monotone = options.alignment == "monotone"
        chosen: dict[str, Any] = {"seed": options.seed, "prompt_frames": frames, "join_prompts": options.join_prompts}
        chosen |= {"aligned": is_monotone, "gates": options.gates}
        chosen |= {"speakers": options.speakers, "languages": options.languages}
        chosen |= {"mixtures": options.mixtures}
        self.data = Dataset(dataset, tasks=options.tasks, **chosen)
        self.validation = Dataset(dataset, "validation", **chosen)
        self.validation_of = {
            name: Dataset(dataset, "validation", tasks=[name], **chosen) for name in options.further_tasks
        }
        if is_monotone and not self.ranks.rank:
            check_aligned(dataset, self.data)
        if not len(self.data):
            raise UsageError(f"{dataset}: no utterance for training; build with a smaller --validation-fraction")
        if not len(self.validation):
            raise UsageError(f"{dataset}: no utterance for validation; build with a larger --validation-fraction")
        self.loader = make_loader(
            self.data,
            max_frames=options.max_frames,
            num_workers=options.workers,
            rank=self.ranks.rank,
            num_replicas=self.ranks.count,
            seed=options.seed,
        )
        process = index.built.get("process") or {}
        codebooks = None
        if options.target == "latent" and options.model != "ar":
            codebooks = trained.codebooks_of(self.codec)
            if codebooks is None:
                raise UsageError(f"the codec {index.spec.name} offers no vectors; train with --target codes")
        ar, nar = shapes_of(options, index.vocabulary, index.spec, codebooks)
        self.description = trained.Description(ar, nar, index.vocabulary, index.spec, process)
        self.ar, self.nar = trained.make_models(ar, nar, codebooks)
        self.models = {name: model for name, model in (("ar", self.ar), ("nar", self.nar)) if model is not None}
        if options.init:
            take_weights(options.init, self.description, self.ar, self.nar, weights=options.weights)
            torch.manual_seed(options.seed)
        for model in self.models.values():
            model.to(self.device)
        self.mean_ar = None if self.ar is None else copy.deepcopy(self.ar).eval()
        self.mean_nar = None if self.nar is None else copy.deepcopy(self.nar).eval()
        means = (("ar", self.mean_ar), ("nar", self.mean_nar))
        self.means = {name: model for name, model in means if model is not None}
        self.step, self.seconds, self.tokens = 0, 0.0, 0
        state = self._resume()
        # the running means as they are trained: in parts, where the models are
        self.running = self.means
        self.is_sharded = options.shard and self.ranks.count > 1
        if self.is_sharded:
            self.running = copy.deepcopy(self.means)
            for model in (*self.models.values(), *self.running.values()):
                shard(model)
        self.optimisers = {name: make_optimiser(model, options) for name, model in self.models.items()}
        if state is not None:
            self._resume_optimisers(state["optimisers"])
        self.losses: dict[str, Any] = {name: model.loss for name, model in self.models.items()}
        if options.compile:
            self.losses = {name: torch.compile(model.loss, dynamic=True) for name, model in self.models.items()}

    # The loop

    def share_done(self) -> float:
        """How much of the run is over, 0 … 1."""
        if self.options.minutes:
            return min(1.0, self.seconds / (60 * self.options.minutes))
        return min(1.0, self.step / self.options.steps)

    def run(self) -> None:
        """Trains to the end, from where a checkpoint is; writes everything into RUN."""
        self.output.mkdir(parents=True, exist_ok=True)
        progress = Progress(self, shown=not self.ranks.rank)
        started, before = time.monotonic(), self.seconds
        batches = self._batches()
        while self.share_done() < 1:
            group = [next(batches) for _ in range(self.options.accumulate)]
            values = self._train_step(group)
            self.step += 1
            self.seconds = self.ranks.first(before + time.monotonic() - started, self.device)
            progress.show(values)
            is_last = self.share_done() >= 1
            if self.step % self.options.eval_every == 0 or is_last:
                self._report(values)
            if self.step % self.options.save_every == 0 or is_last:
                self._save()
        self._finish()

    def _batches(self) -> Iterator[Batch]:
        while True:
            yield from self.loader
            self.loader.set_epoch(self.loader.epoch + 1)

    def _train_step(self, group: Sequence[Batch]) -> dict[str, float]:
        """One step of each model over a group of batches → its losses, in nats or shares a frame."""
        import torch

        torch.manual_seed((self.options.seed << 32) + self.step * self.ranks.count + self.ranks.rank)
        group = [batch.to(self.device) for batch in group]
        frames = torch.stack([batch.target_lengths.sum() + batch.source_lengths.sum() for batch in group]).sum()
        self.ranks.add([frames])
        self.tokens += int(frames)
        values: dict[str, float] = {}
        for name, model in self.models.items():
            model.train()
            optimiser = self.optimisers[name]
            rate = self._rate()
            for part in optimiser.param_groups:
                part["lr"] = rate
            found = []
            try:
                for batch in group:
                    with torch.autocast(self.device.split(":")[0], torch.bfloat16, enabled=self.options.bf16):
                        loss = self.losses[name](batch)
                    loss.total.backward()
                    found.append(loss)
            except torch.OutOfMemoryError as error:
                raise UsageError(f"out of memory: {_first_line(error)}; lower --max-frames") from None
            values |= self._apply(name, optimiser, found, group)
        return values

    def _apply(self, name: str, optimiser: Any, found: Sequence[Loss], group: Sequence[Batch]) -> dict[str, float]:
        """Divides the gradients by what all ranks predicted, and takes the step."""
        import torch

        model = self.models[name]
        sums = [torch.stack([loss.total.detach().float() for loss in found]).sum()]
        sums.append(torch.stack([loss.count for loss in found]).sum().float())
        self.ranks.add(sums)
        total, count = (float(value) for value in sums)
        if not math.isfinite(total):
            ids = ", ".join(each for batch in group for each in batch.ids)[:300]
            raise UsageError(f"step {self.step + 1}: the loss of {name} is {total}; the last checkpoint is kept; {ids}")
        for weight in model.parameters():
            if weight.grad is None:  # of a task that is not in this batch; ranks add the same tensors
                weight.grad = torch.zeros_like(weight)
        gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
        if not self.is_sharded:  # where they are, backward has added them
            self.ranks.add(gradients)
        for gradient in gradients:
            gradient.div_(max(count, 1.0))
        torch.nn.utils.clip_grad_norm_(model.parameters(), self.options.clip)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        decay = min(self.options.ema, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            for mean, weight in zip(self.running[name].parameters(), model.parameters(), strict=True):
                mean.lerp_(weight, 1 - decay)
        return {name: total / max(count, 1.0)}

    def _rate(self) -> float:
        """Linear to its highest, then a cosine to zero."""
        warm = min(1.0, (self.step + 1) / max(1, self.options.warmup_steps))
        return self.options.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * self.share_done()))

    # Looking at it

    def evaluate(self) -> dict[str, float]:
        """Losses of the mean weights on the validation split: of text to speech with the right texts and voices and
        with wrong ones, and of further tasks; and the shares of codes of each level that are the best one (`top1`) and
        among the ten best.
        """
        import torch

        sums: dict[str, float] = {}
        counts: dict[str, float] = {}

        def add(batch: Batch, suffix: str) -> None:
            for name, model in self.means.items():
                loss = model.loss(batch)
                for part, value in loss.parts.items():
                    key = f"{name}_{part}{suffix}"
                    sums[key], counts[key] = sums.get(key, 0.0) + float(value), counts.get(key, 0.0) + float(loss.count)

        with torch.inference_mode():
            for batch in self._validation_batches(self.validation, TTS):
                for name, model in self.means.items():
                    for key, value in model.hits(batch).items():
                        sums[f"{name}_{key}"] = sums.get(f"{name}_{key}", 0.0) + float(value)
                if len(batch) > 1:
                    add(batch, "")
                    add(other_texts(batch), "_swapped_text")
                if len(set(batch.speakers.tolist())) > 1:
                    add(other_prompts(batch), "_swapped_voice")
            for name, data in self.validation_of.items():
                for batch in self._validation_batches(data, name):
                    add(batch, f"_{name}")
        for name in [name for name in sums if name.endswith("_count")]:
            whole, first = sums.pop(name), name.removesuffix("_count")
            counts |= {f"{first}_top1": whole, f"{first}_top10": whole}
        return {name: sums[name] / counts[name] for name in sums}

    def _validation_batches(self, data: Dataset, task: str) -> Iterator[Batch]:
        """The first examples of a split that are of a task, the same at each look."""
        for first in range(0, min(SAMPLES, len(data)), 16):
            places = range(first, min(first + 16, SAMPLES, len(data)))
            examples = [data.example(place, 0) for place in places]
            examples = [each for each in examples if each.task == TASKS[task].number]  # others have no mixture
            if examples:
                yield data.collate(examples).to(self.device)

    def _report(self, values: Mapping[str, float]) -> None:
        """Appends a row to metrics.jsonl and draws the curves."""
        self._gather_means()
        if self.ranks.rank:
            return
        found = {f"validation_{name}": round(value, 7) for name, value in self.evaluate().items()}
        row = {"step": self.step, "seconds": round(self.seconds, 2), "learning_rate": self._rate()}
        row |= {f"train_{name}": round(value, 7) for name, value in values.items()} | found
        with storage.JsonlWriter(self.output / METRICS) as writer:
            writer.write([row])
        tensorboard(self.output, row)
        draw_curves(self.output)
        shown = {name: value for name, value in found.items() if "swapped" not in name and "level" not in name}
        self._speak_samples()
        text = ", ".join(f"{name.removeprefix('validation_')} {value:.3f}" for name, value in shown.items())
        print(f"step {self.step:,}: {text}", flush=True)

    def _speak_samples(self) -> None:
        """Says the first texts of the validation split with the mean weights."""
        if not self.options.samples or len(self.models) < 2:
            return
        model = trained.Trained(self.output, self.description, self.mean_ar, self.mean_nar, self.codec, self.device)
        speaker = Synthesizer(model, SynthesizeOptions(device=self.device))
        places = range(min(self.options.samples, len(self.validation)))
        examples = [self.validation.example(place, 0) for place in places]
        requests = [
            Request(tokens=each.text, language=each.language, prompt=each.prompt, prompt_tokens=each.prompt_text)
            for each in examples
        ]
        for number, spoken in enumerate(speaker.speak_requests(requests), start=1):
            path = self.output / SAMPLES_FOLDER / f"step-{self.step:06d}-{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            spoken.write(path)

    @functools.cached_property
    def codec(self) -> Any:
        """Of the dataset."""
        index = self.data.index
        process = index.built.get("process") or {}
        return load_same_codec(index.spec, process, str(index.path), weights=self.options.weights)

    # What lies on disk

    def _gather_means(self) -> None:
        """Makes `means` whole of what the processes hold."""
        if self.is_sharded:
            for name, model in self.running.items():
                self.means[name].load_state_dict(whole_state(model))

    def _save(self) -> None:
        """Writes the checkpoint beside the old one, then in its place; and the model."""
        import torch
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict

        self._gather_means()
        whole = StateDictOptions(full_state_dict=True, cpu_offload=True)
        state = {
            "optimisers": {
                name: get_optimizer_state_dict(self.models[name], optimiser, options=whole)
                for name, optimiser in self.optimisers.items()
            },
            "loader": self.loader.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "tokens": self.tokens,
            "options": self.options.result_options,
        }
        weights = {name: whole_state(model) for name, model in self.models.items()}
        if self.ranks.rank:
            return
        folder = self.output / storage.TEMP_FOLDER / CHECKPOINT
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        trained.save_state(folder / trained.WEIGHTS, weights)
        trained.save_weights(folder / "mean.safetensors", self.mean_ar, self.mean_nar)
        torch.save(state, folder / "state.pt")
        target, old = self.output / CHECKPOINT, self.output / OLD
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
            os.replace(target, old)
        os.replace(folder, target)
        shutil.rmtree(old, ignore_errors=True)
        done = {"step": self.step, "seconds": round(self.seconds, 1), "frames": self.tokens}
        description = dataclasses.replace(self.description, trained=self.options.result_options | done)
        trained.save_weights(self.output / trained.WEIGHTS, self.mean_ar, self.mean_nar)
        description.write(self.output)

    def _resume(self) -> dict[str, Any] | None:
        """Loads the checkpoint that is there; what is returned has the state of its optimisers.

        Raises:
            UsageError: it was made with other options or another dataset. ContractError: it is damaged.
        """
        import torch

        folder = self.output / CHECKPOINT
        if not folder.exists() and (self.output / OLD).exists():
            folder = self.output / OLD  # a kill between the two renames
        if not folder.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(folder / "state.pt", weights_only=True, map_location="cpu")
        except (OSError, RuntimeError, EOFError, ValueError) as error:
            raise ContractError(f"{folder}: damaged: {_first_line(error)}; delete it to start from scratch") from None
        for name, value in self.options.result_options.items():
            if state["options"].get(name) != value:
                was = state["options"].get(name)
                raise UsageError(f"{self.output}: trained with {name} {was}, now {value}; choose another --output")
        trained.load_weights(folder / trained.WEIGHTS, self.ar, self.nar)
        trained.load_weights(folder / "mean.safetensors", self.mean_ar, self.mean_nar)
        self.loader.load_state_dict(state["loader"])
        self.step, self.seconds, self.tokens = state["step"], state["seconds"], state["tokens"]
        rows = [row for _, row in storage.read_json_lines(self.output / METRICS) if row["step"] <= self.step]
        if not self.ranks.rank:
            storage.write_json_lines(self.output / METRICS, rows, self.output)
        return state

    def _resume_optimisers(self, states: Mapping[str, Any]) -> None:
        from torch.distributed.checkpoint.state_dict import StateDictOptions, set_optimizer_state_dict

        whole = StateDictOptions(full_state_dict=True)
        for name, optimiser in self.optimisers.items():
            set_optimizer_state_dict(self.models[name], optimiser, states[name], options=whole)

    def _finish(self) -> None:
        """Says what came out, and names a model that does not listen to its text."""
        if self.ranks.rank:
            return
        rows = [row for _, row in storage.read_json_lines(self.output / METRICS)]
        summary = swap_test(rows[-1] if rows else {})
        storage.write_json(self.output / SUMMARY, summary, self.output)
        print(f"{self.step:,} steps, {self.seconds / 60:.1f} min: {self.output}")
        for line in summary["warnings"]:
            print(f"warning: {line}", file=sys.stderr)


def _first_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


def train(dataset: Path, output: Path, options: TrainOptions) -> None:
    """Trains, or resumes; see the module.

    Raises:
        UsageError: no dataset, no split to validate with, no durations, a checkpoint of other options, or another
            training writes into `output`.
    """
    with contextlib.ExitStack() as held:
        if os.environ.get("RANK", "0") == "0":
            _hold(held, output)
        trainer = Trainer(dataset, output, options)
        trainer.run()
        trainer.ranks.end()


def _hold(held: contextlib.ExitStack, output: Path) -> None:
    """Takes the lock of a folder. Processes that read batches outlive a killed training by seconds, with its lock."""
    last_s = time.monotonic() + LOCK_S
    while True:
        try:
            held.enter_context(storage.folder_lock(output))
            return
        except UsageError:
            if time.monotonic() > last_s:
                raise
            time.sleep(0.5)


def main(argv: Sequence[str] | None = None, *, prog: str = "python -m vall_e.train") -> int:
    parser = argparse.ArgumentParser(prog=prog, description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--dataset", type=Path, required=True, metavar="BUILT", help="what the build wrote")
    parser.add_argument("--output", type=Path, required=True, metavar="RUN", help="folder for the model")
    config.add_options(parser, TrainOptions)
    args = parser.parse_args(argv)
    options = config.resolve(TrainOptions, args, STAGE)
    train(args.dataset, args.output, options)
    return 0


if __name__ == "__main__":
    config.run_main(main)
