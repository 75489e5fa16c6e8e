"""The feature extractors that can be chosen, and their options."""

from __future__ import annotations

from dataclasses import dataclass

from vall_e import config
from vall_e.emb.features.base import FeatureExtractor
from vall_e.registry import Registry
from vall_e.types import CodecSpec

FEATURES = Registry(
    "similarity backend",
    "vall_e.features",
    {
        "mfcc": "vall_e.emb.features.mfcc:load",
        "lpcnet": "vall_e.emb.features.lpcnet:load",
        "speaker": "vall_e.emb.features.speaker:load",
        "codes": "vall_e.emb.features.histogram:load",
        "codec": "vall_e.emb.features.vectors:load",
        "model": "vall_e.emb.features.vectors:load",
        "hidden": "vall_e.emb.features.vectors:load",
    },
)
OF_MODEL = ("model", "hidden")
OF_VECTORS = ("codec", *OF_MODEL)


@dataclass(frozen=True, kw_only=True)
class FeatureOptions:
    """Options of all feature extractors."""

    similarity_backend: str = config.option(
        config.AUTO,
        "features: of the audio mfcc, lpcnet or speaker (a voice embedding); of the codes their histograms (codes), "
        "the codec's vectors (codec), a model's (model) or what it makes of them (hidden); or an installed package's; "
        "auto: codec, or mfcc where the codec has no vectors",
    )
    model: str = config.option("", "backends model and hidden: a folder that training made, or tiny")
    code_levels: int = config.option(0, "backend codes: use that many levels from the first; 0 for all")

    def __post_init__(self) -> None:
        if self.similarity_backend != config.AUTO:
            FEATURES.check(self.similarity_backend)
        if self.similarity_backend in OF_MODEL and not self.model:
            raise ValueError(f"similarity_backend {self.similarity_backend}: give --model RUN")


def load_features(options: FeatureOptions, spec: CodecSpec) -> FeatureExtractor:
    """The extractor of that name, for codes of the codec `spec`.

    Raises:
        BackendError: its package is missing. UsageError: an option does not fit the codec.
    """
    extractor: FeatureExtractor = FEATURES.load(options.similarity_backend)(options, spec)
    return extractor
