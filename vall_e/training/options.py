"""Options of training."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vall_e import config
from vall_e.dataset.tasks import TASKS, TTS, shares_of, tasks_of
from vall_e.scores import limits_of

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
    dual_head: bool = config.option(
        False, "predict each code in two halves, high bits then low bits: a smaller output layer"
    )
    dropout: float = config.option(0.1, "share of values that training leaves out")
    max_frames: int = config.option(6000, "budget of a batch: items × length of the longest (text + prompt + target)")
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
        (),
        f"what to learn, with shares, like tts=0.7,ns=0.3, of {', '.join(TASKS)} (default: text to speech)",
        parse=tasks_of,
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
