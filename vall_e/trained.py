"""A trained model's folder: what it is made of, written and read back.

RUN/model.json            shape of both models, vocabulary, codec and how texts become phonemes
RUN/model.safetensors     their weights: the running mean over the training
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vall_e import storage
from vall_e.dataset.vocab import Vocabulary
from vall_e.emb.codecs.base import Codec
from vall_e.emb.codecs.registry import load_same_codec
from vall_e.types import CodecSpec, ContractError, UsageError
from vall_e.units import PAUSE, kind_of

if TYPE_CHECKING:
    import torch

    from vall_e.models.ar import AR
    from vall_e.models.nar import NAR

VERSION = 1
MODEL_JSON, WEIGHTS = "model.json", "model.safetensors"
MADE_BY = "python -m vall_e.train"
PAUSES = ".,; "  # marks that another one may be read as, the first that a model knows
EMBEDDED = Path(__file__).parent / "models" / "tiny"  # ships with the package
OF_TEXT = ("phonemizer", "punctuation", "stress", "strip", "normalise", "japanese")


@dataclass(frozen=True)
class Description:
    """What model.json says.

    Attributes:
        ar, nar: the shapes, as of ARConfig and NARConfig; None of a model that was not trained.
        vocabulary: of the tokens.
        codec: of the codes.
        process: the options that the training data were made with.
        trained: the options of the training, and how far it went.
    """

    ar: Mapping[str, Any] | None
    nar: Mapping[str, Any] | None
    vocabulary: Vocabulary
    codec: CodecSpec
    process: Mapping[str, Any]
    trained: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def write(self, folder: Path) -> None:
        value = {
            "version": VERSION,
            "ar": self.ar,
            "nar": self.nar,
            "phones": self.vocabulary.phones,
            "languages": self.vocabulary.languages,
            "codec": storage.to_row(self.codec),
            "process": self.process,
            "trained": self.trained,
        }
        storage.write_json(folder / MODEL_JSON, value, folder)

    @classmethod
    def read(cls, folder: Path) -> Description:
        """Raises UsageError: no model there. ContractError: not of this version, or damaged."""
        path = storage.require_file(folder / MODEL_JSON, MADE_BY)
        value = storage.read_json(path) or {}
        if value.get("version") != VERSION:
            raise ContractError(f"{path}: not a model of version {VERSION}; train it again")
        try:
            return cls(
                value["ar"],
                value["nar"],
                Vocabulary(tuple(value["phones"]), tuple(value["languages"])),
                storage.from_row(CodecSpec, value["codec"], f"{path}: codec"),
                value["process"],
                value["trained"],
            )
        except (KeyError, TypeError) as error:
            raise ContractError(f"{path}: damaged: {error!r}; train it again") from None


@dataclass
class Trained:
    """A model that was loaded, in evaluation mode.

    `replaced` are the marks of texts that it was never trained with, and what was read in their place.
    """

    folder: Path
    description: Description
    ar: AR | None
    nar: NAR | None
    codec: Codec
    device: str
    replaced: dict[str, str] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def to_phonemes(self) -> Callable[[str, str], str]:
        """A text and its language → phonemes, as the training data were made.

        Raises:
            UsageError: a text without phonemes, or a language that has none; says why.
        """
        from vall_e.emb.text.phonemes import to_phonemes
        from vall_e.emb.text.registry import G2pOptions, load_phonemizer
        from vall_e.types import Reject

        made = self.description.process
        known = {name: made[name] for name in OF_TEXT if name in made}
        phonemizer = load_phonemizer(G2pOptions(backend=known.pop("phonemizer", "espeak"), **known))

        def read(text: str, language: str) -> str:
            found = to_phonemes(phonemizer, text, language, item_id="text", stage="synthesize")
            if isinstance(found, Reject):
                raise UsageError(f"{text[:60]!r}: {found.reason}: {found.detail}")
            return found.phonemes

        return read

    def tokens(self, text: str, language: str) -> np.ndarray:
        """int32 [S] of a text, with <bos> and <eos>.

        Raises:
            UsageError: an empty text, a language or a phone that the model was not trained with.
        """
        vocabulary = self.description.vocabulary
        if not text.strip():
            raise UsageError("the text is empty")
        if language not in vocabulary.language_ids:
            known = ", ".join(vocabulary.languages)
            raise UsageError(f"language {language!r}: the model was trained with {known} only")
        phonemes = self._with_known_pauses(self.to_phonemes(text, language))
        strange = sorted(set(phonemes) - vocabulary.token_of.keys())
        if strange:
            shown = ", ".join(map(repr, strange))
            raise UsageError(f"{text[:60]!r}: the model was never trained with the phones {shown} of {phonemes!r}")
        return vocabulary.encode(phonemes, "text")

    def response_tables(self) -> np.ndarray:
        """float32 [K,C,D]: the vectors that the model has learnt for the codes of each level.

        Those of the NAR model, which reads all levels: its own, or the codec's as it has learnt to read them; without
        one, those of level 0 of the AR model.
        """
        import torch

        if self.nar is None:
            assert self.ar is not None, "one of them was trained"
            return self.ar.code.weight[None, : self.ar.edge].detach().cpu().numpy()
        with torch.inference_mode():
            if self.nar.is_latent:
                found = self.nar.codebooks @ self.nar.from_latent.weight.T
            else:
                found = torch.stack([table.weight for table in self.nar.code])  # type: ignore[misc]
        return found.cpu().numpy()

    def hidden(self) -> Hidden:
        """What the AR model makes of codes, frame by frame.

        Raises:
            UsageError: it was not trained.
        """
        if self.ar is None:
            raise UsageError(f"{self.folder}: hidden states are of the AR model, and it holds none")
        return Hidden(self.ar, self.device)

    def _with_known_pauses(self, phonemes: str) -> str:
        """With a mark that the model knows in place of one that it does not: all are pauses. `replaced` tells which."""
        token_of = self.description.vocabulary.token_of
        known = next((mark for mark in PAUSES if mark in token_of), None)
        if known is None:
            return phonemes
        strange = {mark for mark in phonemes if kind_of(mark) == PAUSE and mark not in token_of}
        self.replaced |= dict.fromkeys(strange, known)
        return "".join(known if mark in strange else mark for mark in phonemes)


class Hidden:
    """The last hidden states of an AR model over an utterance."""

    def __init__(self, ar: AR, device: str) -> None:
        self.ar, self.device, self.size = ar, device, ar.config.trunk.width

    def __call__(self, codes: np.ndarray) -> np.ndarray:
        """Integers [K,T] → float32 [T,D]."""
        import torch

        with torch.inference_mode():
            first = torch.from_numpy(codes[:1].astype(np.int64)).to(self.device)
            found: np.ndarray = self.ar.states(first)[0].cpu().float().numpy()
        return found


def fingerprint(folder: Path | str) -> str:
    """sha256 of a model's weights."""
    path = (EMBEDDED if str(folder) == "tiny" else Path(folder)) / WEIGHTS
    return hashlib.sha256(storage.require_file(path, MADE_BY).read_bytes()).hexdigest()


def codebooks_of(codec: Codec) -> torch.Tensor | None:
    """float32 [K,C,D], the codec's vectors; None of a codec that has none to offer."""
    import torch

    found = getattr(codec, "codebooks", None)
    return None if found is None else torch.from_numpy(np.array(found, np.float32))


def make_models(
    ar: Mapping[str, Any] | None, nar: Mapping[str, Any] | None, codebooks: torch.Tensor | None
) -> tuple[AR | None, NAR | None]:
    """Both models with fresh weights, from what `dataclasses.asdict` gave of their shapes."""
    from vall_e.models.ar import AR, ARConfig
    from vall_e.models.nar import NAR, NARConfig
    from vall_e.models.transformer import TransformerConfig

    def shape(value: Mapping[str, Any]) -> dict[str, Any]:
        return dict(value) | {name: TransformerConfig(**value[name]) for name in ("trunk", "text")}

    return (
        None if ar is None else AR(ARConfig(**shape(ar))),
        None if nar is None else NAR(NARConfig(**shape(nar)), codebooks),
    )


def save_weights(path: Path, ar: AR | None, nar: NAR | None, *, half: bool = False) -> None:
    """Writes the weights of both, whole or not at all; `half` stores float16."""
    models = (("ar", ar), ("nar", nar))
    save_state(path, {prefix: model.state_dict() for prefix, model in models if model is not None}, half=half)


def save_state(path: Path, states: Mapping[str, Mapping[str, torch.Tensor]], *, half: bool = False) -> None:
    """The same of the state of each model, by `ar` and `nar`."""
    from safetensors.torch import save

    tensors = {}
    for prefix, state in states.items():
        for name, tensor in state.items():
            tensors[f"{prefix}.{name}"] = (tensor.half() if half else tensor).contiguous().cpu()
    content = save(tensors)
    storage.write_whole(path, lambda file: file.write(content), path.parent)


def load_weights(path: Path, ar: AR | None, nar: NAR | None) -> None:
    """Reads what `save_weights` wrote into models of the same shape.

    Raises:
        ContractError: cut in half, or of other shapes.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(storage.require_file(path, MADE_BY))
    except SafetensorError as error:
        raise ContractError(f"{path}: damaged ({error}); copy it again, or train again") from None
    for prefix, model in (("ar", ar), ("nar", nar)):
        if model is None:
            continue
        own = {
            name.removeprefix(f"{prefix}."): tensor.float()
            for name, tensor in tensors.items()
            if name.startswith(f"{prefix}.")
        }
        wanted = {name: tensor.shape for name, tensor in model.state_dict().items()}
        if {name: tensor.shape for name, tensor in own.items()} != wanted:
            raise ContractError(f"{path}: its {prefix} weights are not of the shape that {MODEL_JSON} tells")
        model.load_state_dict(own)


def load(folder: Path | str, *, device: str = "cpu", weights: Path | None = None) -> Trained:
    """A model that `python -m vall_e.train` made; `tiny` is the one that ships with the package.

    Args:
        folder: RUN.
        device: where it computes.
        weights: of the codec, where they are not its back end's own.

    Raises:
        UsageError: no model there, or a codec of other weights. ContractError: damaged.
    """
    folder = EMBEDDED if str(folder) == "tiny" else Path(folder)
    description = Description.read(folder)
    where = str(folder / MODEL_JSON)
    codec = load_same_codec(description.codec, description.process, where, device=device, weights=weights)
    ar, nar = make_models(description.ar, description.nar, codebooks_of(codec))
    load_weights(folder / WEIGHTS, ar, nar)
    for model in (ar, nar):
        if model is not None:
            model.to(device).eval()
    return Trained(folder, description, ar, nar, codec, device)
