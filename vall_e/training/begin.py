"""What a training begins with: the shapes of the models, the weights of another one, the optimiser."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vall_e import trained
from vall_e.dataset.tasks import STT, TASKS
from vall_e.dataset.vocab import SPECIALS
from vall_e.training.options import TrainOptions
from vall_e.types import UsageError

if TYPE_CHECKING:
    import torch

    from vall_e.dataset import Dataset
    from vall_e.models.ar import AR
    from vall_e.models.nar import NAR

OF_TOKENS = ("token.weight", "to_token.bias", "written.weight")  # ends of the names of tables with a row for each token


def shapes_of(
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


def take_weights(
    name: str, description: trained.Description, ar: AR | None, nar: NAR | None, *, weights: Path | None
) -> None:
    """Gives both models the weights of another one; phones and languages that it did not know keep fresh ones.

    Args:
        name: the other model: a folder, or tiny.
        description: of the models.
        ar, nar: the models.
        weights: of the codec, where they are not its back end's own.

    Raises:
        UsageError: it is of another shape.
    """
    other = trained.load(name, weights=weights)
    mine, theirs = description.vocabulary, other.description.vocabulary
    same_token = [(number, number) for number in range(len(SPECIALS))]
    same_token += [(mine.token_of[each], n) for each, n in theirs.token_of.items() if each in mine.token_of]
    same_language = [
        (mine.language_ids[each], n) for each, n in theirs.language_ids.items() if each in mine.language_ids
    ]
    for own, given in ((ar, other.ar), (nar, other.nar)):
        if own is None or given is None:
            continue
        state = own.state_dict()
        for key, value in given.state_dict().items():
            rows = same_token if key.endswith(OF_TOKENS) else same_language if key.endswith("language.weight") else None
            if key not in state or state[key].shape[1:] != value.shape[1:]:
                raise UsageError(f"--init {name}: its {key} is not of this model's shape; use the same config")
            if rows is None:
                state[key].copy_(value)
            else:
                state[key][[to for to, _ in rows]] = value[[source for _, source in rows]]
        own.load_state_dict(state)


def make_optimiser(model: torch.nn.Module, options: TrainOptions) -> Any:
    """AdamW; only matrices decay."""
    import torch

    weights = list(model.parameters())
    groups = [
        {"params": [weight for weight in weights if weight.ndim > 1], "weight_decay": options.weight_decay},
        {"params": [weight for weight in weights if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=options.learning_rate, betas=(0.9, 0.98))


def check_aligned(path: Path, data: Dataset) -> None:
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
