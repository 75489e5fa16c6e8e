"""Trains the AR and the NAR model on a built dataset.

    python -m vall_e.train --dataset DATA/built --output RUN --config train-tiny

RUN gets the model (model.json, model.safetensors), metrics.jsonl, curves.png, a summary, and a checkpoint: the same
command goes on from it. Both models see the same batches; each has its own loss, optimiser and norm.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import functools
import math
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vall_e import config, storage, trained
from vall_e.dataset.tasks import STT, TASKS, TTS, shares_of
from vall_e.dataset.vocab import SPECIALS
from vall_e.emb.codecs.registry import load_same_codec
from vall_e.scores import limits_of
from vall_e.synthesize import Request, SynthesizeOptions, Synthesizer
from vall_e.types import ContractError, UsageError

if TYPE_CHECKING:
    import torch

    from vall_e.dataset import Batch, Dataset
    from vall_e.models.ar import Loss

STAGE = "train"
METRICS, SUMMARY, CURVES, SAMPLES_FOLDER = "metrics.jsonl", "summary.json", "curves.png", "samples"
CHECKPOINT, OLD = "checkpoint", "checkpoint.old"
SAMPLES = 64  # of the validation split in each evaluation, at most
# options that a resumed run may change
FREE = frozenset(
    {"steps", "minutes", "workers", "device", "save_every", "eval_every", "samples", "compile", "mixtures", "shard"}
)


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Options of this command: flags, and keys of the section `train` in a config file."""

    model: str = config.option("both", "which to train", choices=("both", "ar", "nar"))
    alignment: str = config.option(
        "monotone",
        "monotone: each frame is given its phone, by durations; none: attention alone",
        choices=("monotone", "none"),
    )
    target: str = config.option(
        "latent", "of the NAR: latent, the codec's vectors; codes, level by level", choices=("latent", "codes")
    )
    width: int = config.option(192, "of a vector")
    num_layers: int = config.option(4, "of each model's trunk")
    num_heads: int = config.option(4, "of each layer's attention")
    inner_width: int = config.option(768, "of the linear layers behind each attention")
    text_layers: int = config.option(2, "that read the phonemes, where the alignment is monotone")
    dual_head: bool = config.option(False, "tell each code in two halves, for which small outputs do")
    dropout: float = config.option(0.1, "share of values that training leaves out")
    max_frames: int = config.option(6000, "budget of a batch: items × the longest: its text, prompt and target")
    accumulate: int = config.option(1, "batches in a step")
    learning_rate: float = config.option(1e-3, "at its highest")
    warmup_steps: int = config.option(100, "until it is there; then it falls to zero as a cosine")
    weight_decay: float = config.option(0.01, "of AdamW")
    clip: float = config.option(1.0, "the most that a step's gradient may be, as a norm")
    ema: float = config.option(0.999, "of the running mean of the weights that is kept as the model")
    steps: int = config.option(5000, "in all")
    minutes: float = config.option(0.0, "instead of steps: the length of the run; its end depends on the machine")
    eval_every: int = config.option(250, "steps between two looks at the validation split")
    samples: int = config.option(2, "validation texts that are spoken at each look, into RUN/samples")
    save_every: int = config.option(250, "steps between two checkpoints")
    seed: int = config.option(0, "of weights, batches, prompts and dropout")
    prompt_s: float = config.option(3.0, "length of prompts")
    join_prompts: bool = config.option(False, "several utterances as a prompt, where one is shorter")
    speakers: tuple[str, ...] = config.option((), "only utterances of these, as the dataset names them (default: all)")
    languages: tuple[str, ...] = config.option((), "only utterances in these (default: all)")
    gates: tuple[str, ...] = config.option(
        (), "only utterances with scores in these limits, like snr_db>=20,text_fit>=0.2", parse=limits_of
    )
    tasks: tuple[str, ...] = config.option(
        (), f"what to learn, with shares, like tts=0.7,ns=0.3, of {', '.join(TASKS)} (default: text to speech)"
    )
    mixtures: Path | None = config.option(None, "what `mix` made, for tasks ns, sr and tse")
    workers: int = config.option(1, "processes that read batches")
    device: str = config.option("auto", "cpu, cuda, cuda:1 …; auto: a card where there is one")
    bf16: bool = config.option(False, "compute in bfloat16 where that is safe")
    compile: bool = config.option(False, "compile the models first: faster on cards, after minutes")
    shard: bool = config.option(False, "under torchrun: each process holds a part of the weights only (FSDP)")
    init: str = config.option("", "a model to go on from: a folder, or tiny")
    weights: Path | None = config.option(None, "of the codec, where they are not its back end's own")

    def __post_init__(self) -> None:
        if min(self.width, self.num_layers, self.num_heads, self.max_frames, self.accumulate, self.steps) < 1:
            raise ValueError("width, num_layers, num_heads, max_frames, accumulate and steps are at least 1")
        if self.width % self.num_heads or (self.width // self.num_heads) % 2:
            raise ValueError(f"width {self.width} has no even share for each of {self.num_heads} heads")
        if self.eval_every < 1 or self.save_every < 1:
            raise ValueError("eval_every and save_every are at least 1")
        shares_of(self.tasks)

    @property
    def result_options(self) -> dict[str, Any]:
        """The options that change the result: what a resumed run must share with the one before."""
        values = {key: value for key, value in dataclasses.asdict(self).items() if key not in FREE}
        values |= {key: list(value) for key, value in values.items() if isinstance(value, tuple)}
        return values | {"weights": str(self.weights) if self.weights else None}

    @property
    def further_tasks(self) -> list[str]:
        """Those beside text to speech."""
        return [name for name in shares_of(self.tasks) if name != TTS]


@dataclass(frozen=True)
class Ranks:
    """The processes that train together (torchrun), and this one's number."""

    rank: int = 0
    count: int = 1

    @classmethod
    def start(cls, device: str) -> Ranks:
        """Joins the others, where torchrun started this process."""
        import torch.distributed as dist

        count = int(os.environ.get("WORLD_SIZE", "1"))
        if count > 1 and not dist.is_initialized():
            dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
        return cls(int(os.environ.get("RANK", "0")), count)

    def end(self) -> None:
        """Leaves the others."""
        import torch.distributed as dist

        if self.count > 1:
            dist.destroy_process_group()

    def add(self, values: Sequence[torch.Tensor]) -> None:
        """Each value summed over all ranks, in place."""
        import torch.distributed as dist
        from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors

        if self.count == 1 or not values:
            return
        flat = _flatten_dense_tensors(list(values))
        dist.all_reduce(flat)
        for value, found in zip(values, _unflatten_dense_tensors(flat, list(values)), strict=True):
            value.copy_(found)


class Trainer:
    """Both models on their way. `step` is the number of steps done."""

    def __init__(self, dataset: Path, output: Path, options: TrainOptions) -> None:
        import torch

        from vall_e.dataset import Dataset, Index, make_loader

        self.options, self.output = options, output
        self.device = _device(options.device)
        self.ranks = Ranks.start(self.device)
        torch.manual_seed(options.seed)
        index = Index(dataset)
        frames = round(options.prompt_s * float(index.spec.frame_rate_hz))
        is_monotone = options.alignment == "monotone"
        chosen: dict[str, Any] = {"seed": options.seed, "prompt_frames": frames, "join_prompts": options.join_prompts}
        chosen |= {"aligned": is_monotone, "gates": options.gates}
        chosen |= {"speakers": options.speakers, "languages": options.languages}
        mixed: dict[str, Any] = {"mixtures": options.mixtures}
        self.data = Dataset(dataset, tasks=options.tasks, **mixed, **chosen)
        self.validation = Dataset(dataset, "validation", **chosen)
        self.validation_of = {
            name: Dataset(dataset, "validation", tasks=[name], **mixed, **chosen) for name in options.further_tasks
        }
        if is_monotone and not self.ranks.rank:
            _check_aligned(dataset, self.data)
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
        ar, nar = _shapes(options, index.vocabulary, index.spec, codebooks)
        self.description = trained.Description(ar, nar, index.vocabulary, index.spec, process)
        self.ar, self.nar = trained.make_models(ar, nar, codebooks)
        self.models = {name: model for name, model in (("ar", self.ar), ("nar", self.nar)) if model is not None}
        if options.init:
            self._begin_with(options.init)
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
                _shard(model)
        self.optimisers = {name: _optimiser(model, options) for name, model in self.models.items()}
        if state is not None:
            self._resume_optimisers(state["optimisers"])
        self.losses: dict[str, Any] = {name: model.loss for name, model in self.models.items()}
        if options.compile:
            self.losses = {name: torch.compile(model.loss, dynamic=True) for name, model in self.models.items()}

    def _begin_with(self, name: str) -> None:
        """Takes the weights of another model; phones and languages that it did not know keep fresh ones.

        Raises:
            UsageError: it is of another shape.
        """
        import torch

        other = trained.load(name, weights=self.options.weights)
        mine, theirs = self.description.vocabulary, other.description.vocabulary
        same_token = [(number, number) for number in range(len(SPECIALS))]
        same_token += [(mine.token_of[each], n) for each, n in theirs.token_of.items() if each in mine.token_of]
        same_language = [
            (mine.language_ids[each], n) for each, n in theirs.language_ids.items() if each in mine.language_ids
        ]
        for own, given in ((self.ar, other.ar), (self.nar, other.nar)):
            if own is None or given is None:
                continue
            state = own.state_dict()
            for key, value in given.state_dict().items():
                rows = {"token.weight": same_token, "language.weight": same_language}.get(".".join(key.split(".")[-2:]))
                if key not in state or state[key].shape[1:] != value.shape[1:]:
                    raise UsageError(f"--init {name}: its {key} is not of this model's shape; use the same config")
                if rows is None:
                    state[key].copy_(value)
                else:
                    state[key][[to for to, _ in rows]] = value[[source for _, source in rows]]
            own.load_state_dict(state)
        torch.manual_seed(self.options.seed)

    # The loop

    def share_done(self) -> float:
        """How much of the run is over, 0 … 1."""
        if self.options.minutes:
            return min(1.0, self.seconds / (60 * self.options.minutes))
        return min(1.0, self.step / self.options.steps)

    def run(self) -> None:
        """Trains to the end, from where a checkpoint is; writes everything into RUN."""
        self.output.mkdir(parents=True, exist_ok=True)
        progress = _Progress(self)
        started, before = time.monotonic(), self.seconds
        batches = self._batches()
        while self.share_done() < 1:
            group = [next(batches) for _ in range(self.options.accumulate)]
            values = self._train_step(group)
            self.step += 1
            self.seconds = before + time.monotonic() - started
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
        self.tokens += sum(int(batch.target_lengths.sum()) for batch in group)
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
        with wrong ones, and of further tasks.
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
                if len(batch) > 1:
                    add(batch, "")
                    add(_other_texts(batch), "_swapped_text")
                    add(_other_prompts(batch), "_swapped_voice")
            for name, data in self.validation_of.items():
                for batch in self._validation_batches(data, name):
                    add(batch, f"_{name}")
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
        _tensorboard(self.output, row)
        draw_curves(self.output)
        shown = {name: value for name, value in found.items() if "swapped" not in name}
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
                self.means[name].load_state_dict(_whole_state(model))

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
        weights = {name: _whole_state(model) for name, model in self.models.items()}
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
        """Goes on from the checkpoint that is there; its optimisers are in what is returned.

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


def swap_test(row: Mapping[str, Any]) -> dict[str, Any]:
    """By how much the wrong text and the wrong voice make a model's loss worse, from a row of metrics.jsonl."""
    found: dict[str, Any] = {"swap": {}, "warnings": []}
    for name, value in row.items():
        for suffix in ("_swapped_text", "_swapped_voice"):
            if name.endswith(suffix):
                worse = value - row[name.removesuffix(suffix)]
                found["swap"][name.removeprefix("validation_")] = round(worse, 4)
                if suffix == "_swapped_text" and name.startswith("validation_ar_codes") and worse < 0.1:
                    what = f"with another text its loss is {worse:.3f} nats higher only"
                    found["warnings"].append(f"the AR model does not listen to the text: {what}; see docs/training.md")
    return found


def _other_texts(batch: Batch) -> Batch:
    """With the text of the next utterance, dealt out to as many frames as the own one had."""
    import torch

    order = torch.arange(len(batch)).roll(-1).to(batch.text.device)
    units = batch.unit_lengths[order]
    scaled = (batch.frame_units * units[:, None] // batch.unit_lengths[:, None].clamp(min=1)).clamp(min=-1)
    return dataclasses.replace(
        batch,
        text=batch.text[order],
        text_lengths=batch.text_lengths[order],
        units=batch.units[order],
        unit_optional=batch.unit_optional[order],
        unit_lengths=units,
        frame_units=scaled,
    )


def _other_prompts(batch: Batch) -> Batch:
    """With the prompt of an utterance of another speaker, as far as there is one."""
    import torch

    speakers = batch.speakers.tolist()
    order = [
        next((n for n in _after(row, len(speakers)) if speakers[n] != speakers[row]), row)
        for row in range(len(speakers))
    ]
    chosen = torch.tensor(order, device=batch.text.device)
    return dataclasses.replace(
        batch,
        prompt=batch.prompt[chosen],
        prompt_lengths=batch.prompt_lengths[chosen],
        prompt_text=batch.prompt_text[chosen],
        prompt_text_lengths=batch.prompt_text_lengths[chosen],
    )


def _after(row: int, count: int) -> Iterator[int]:
    return ((row + step) % count for step in range(1, count))


def _check_aligned(path: Path, data: Dataset) -> None:
    """Says how many utterances are left out, as nobody knows which of their frames belong to which phone.

    Raises:
        UsageError: all are.
    """
    index = data.index
    missing = int((index.aligned == 0).sum())
    if missing == len(index):
        advice = f"run python -m vall_e.emb.durations --input-dataset {path.parent}, then build, or --alignment none"
        raise UsageError(f"{path}: no durations, which --alignment monotone needs; {advice}")
    if missing:
        print(f"note: {missing:,} of {len(index):,} utterances have no durations and are left out", file=sys.stderr)


def _shapes(
    options: TrainOptions, vocabulary: Any, spec: Any, codebooks: torch.Tensor | None
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """The shapes of both models, as plain values."""
    from vall_e.models.ar import ARConfig
    from vall_e.models.nar import NARConfig
    from vall_e.models.transformer import TransformerConfig

    def trunk(num_layers: int) -> TransformerConfig:
        return TransformerConfig(options.width, num_layers, options.num_heads, options.inner_width, options.dropout)

    shared: dict[str, Any] = {
        "num_tokens": len(vocabulary),
        "num_languages": len(vocabulary.languages),
        "codebook_size": spec.codebook_size,
        "alignment": options.alignment,
        "trunk": trunk(options.num_layers),
        "text": trunk(options.text_layers),
        "dual_head": options.dual_head,
    }
    if options.further_tasks:
        shared |= {"num_tasks": len(TASKS), "text_task": TASKS[STT].number if STT in options.further_tasks else -1}
    latent_size = 0 if codebooks is None else codebooks.shape[2]
    nar = NARConfig(num_levels=spec.num_levels, latent_size=latent_size, target=options.target, **shared)
    return (
        None if options.model == "nar" else dataclasses.asdict(ARConfig(**shared)),
        None if options.model == "ar" or spec.num_levels < 2 else dataclasses.asdict(nar),
    )


def _optimiser(model: torch.nn.Module, options: TrainOptions) -> Any:
    """AdamW; only matrices decay."""
    import torch

    weights = list(model.parameters())
    groups = [
        {"params": [weight for weight in weights if weight.ndim > 1], "weight_decay": options.weight_decay},
        {"params": [weight for weight in weights if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=options.learning_rate, betas=(0.9, 0.98))


def _shard(model: torch.nn.Module) -> None:
    """Deals the weights of each block, and of the rest, out to all processes; gradients are added over them.

    Zhao et al., "PyTorch FSDP" (arXiv:2304.11277).
    """
    from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method

    from vall_e.models.transformer import Block

    for module in (*(each for each in model.modules() if isinstance(each, Block)), model):
        fully_shard(module)
        assert isinstance(module, FSDPModule), "fully_shard makes it one"
        module.set_gradient_divide_factor(1.0)
        module.set_force_sum_reduction_for_comms(True)  # gloo knows no other sums
    register_fsdp_forward_method(model, "loss")


def _whole_state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The weights, gathered from all processes where they are dealt out."""
    from torch.distributed.tensor import DTensor

    state = model.state_dict()
    return {name: value.full_tensor() if isinstance(value, DTensor) else value for name, value in state.items()}


def _device(name: str) -> str:
    import torch

    if name == "auto":
        local = os.environ.get("LOCAL_RANK", "0")
        return f"cuda:{local}" if torch.cuda.is_available() else "cpu"
    return name


def _first_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


class _Progress:
    """A line every ten seconds: steps, frames a second, losses, time left."""

    EVERY_S = 10.0

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.started = self.shown = time.monotonic()
        self.frames, self.share = trainer.tokens, trainer.share_done()

    def show(self, values: Mapping[str, float]) -> None:
        now = time.monotonic()
        if now - self.shown < self.EVERY_S or self.trainer.ranks.rank:
            return
        self.shown = now
        spent = now - self.started
        speed = (self.trainer.tokens - self.frames) / spent
        done = self.trainer.share_done() - self.share
        left_s = round(spent * (1 - self.trainer.share_done()) / done) if done > 0 else 0
        losses = ", ".join(f"{name} {value:.3f}" for name, value in values.items())
        left = f"{left_s // 3600}:{left_s // 60 % 60:02d}:{left_s % 60:02d} left"
        print(
            f"train: {self.trainer.step:,} steps, {speed:,.0f} frames/s, {losses}, {left}", file=sys.stderr, flush=True
        )


def draw_curves(folder: Path) -> None:
    """curves.png from metrics.jsonl: losses by step, and those with the wrong text or voice, dashed and dotted."""
    try:
        import matplotlib

        matplotlib.use("agg")
        from matplotlib import pyplot
    except ModuleNotFoundError:
        return  # the figures are in metrics.jsonl all the same
    rows = [row for _, row in storage.read_json_lines(folder / METRICS)]
    names = [name.removeprefix("validation_") for name in rows[-1] if name.startswith("validation_")]
    plain = [name for name in names if "_swapped_" not in name]
    figure, axes = pyplot.subplots(1, len(plain), figsize=(4.5 * len(plain), 3.6), squeeze=False)
    for axis, name in zip(axes[0], plain, strict=True):
        lines = (("", "-", name), ("_swapped_text", "--", "another text"), ("_swapped_voice", ":", "another voice"))
        for suffix, style, label in lines:
            key = f"validation_{name}{suffix}"
            points = [(row["step"], row[key]) for row in rows if key in row]
            if points:
                axis.plot(*zip(*points, strict=True), style, label=label)
        axis.set_xlabel("step")
        axis.set_ylabel("a frame, validation")
        axis.legend(fontsize=8)
    figure.tight_layout()
    storage.write_whole(folder / CURVES, lambda file: figure.savefig(file, format="png", dpi=110), folder)
    pyplot.close(figure)


def _tensorboard(folder: Path, row: Mapping[str, Any]) -> None:
    """The same figures for TensorBoard, where it is installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError:
        return
    with SummaryWriter(str(folder / "tensorboard")) as writer:
        for name, value in row.items():
            if isinstance(value, int | float):
                writer.add_scalar(name, value, row["step"])


def train(dataset: Path, output: Path, options: TrainOptions) -> None:
    """Trains, or goes on; see the module.

    Raises:
        UsageError: no dataset, no split to validate with, no durations, or a checkpoint of other options.
    """
    trainer = Trainer(dataset, output, options)
    trainer.run()
    trainer.ranks.end()


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
