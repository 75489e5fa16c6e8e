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
    {"mfcc": "vall_e.emb.features.mfcc:load", "codes": "vall_e.emb.features.histogram:load"},
)


@dataclass(frozen=True, kw_only=True)
class FeatureOptions:
    """Options of all feature extractors."""

    similarity_backend: str = config.option(
        "mfcc", "features: mfcc of the audio, histograms of the codes, or those of an installed package"
    )
    code_levels: int = config.option(0, "backend codes: use that many levels from the first; 0 for all")

    def __post_init__(self) -> None:
        FEATURES.check(self.similarity_backend)


def load_features(options: FeatureOptions, spec: CodecSpec) -> FeatureExtractor:
    """The extractor of that name, for codes of the codec `spec`.

    Raises:
        BackendError: its package is missing. UsageError: an option does not fit the codec.
    """
    extractor: FeatureExtractor = FEATURES.load(options.similarity_backend)(options, spec)
    return extractor
