"""The phonemizers that can be chosen, and their options."""

from __future__ import annotations

from dataclasses import dataclass

from vall_e import config
from vall_e.emb.text.base import Phonemizer
from vall_e.emb.text.normalise import MARKS
from vall_e.registry import Registry

# espeak-mbrola is left out: it keeps neither words nor punctuation, and its voices are not free.
PHONEMIZERS = Registry(
    "phonemizer",
    "vall_e.phonemizers",
    {
        "espeak": "vall_e.emb.text.espeak:load",
        "festival": "vall_e.emb.text.festival:load",
        "segments": "vall_e.emb.text.segments:load",
    },
)


@dataclass(frozen=True, kw_only=True)
class G2pOptions:
    backend: str = config.option("espeak", "what reads the text", choices=tuple(PHONEMIZERS))
    punctuation: bool = config.option(True, f"keep punctuation among the phonemes ({MARKS})")
    stress: bool = config.option(True, "keep stress marks (festival has none)")
    strip: bool = config.option(True, "no word separator after the last word")


def load_phonemizer(options: G2pOptions) -> Phonemizer:
    """The phonemizer of that name.

    Example:
        >>> load_phonemizer(G2pOptions()).phonemize(["Hello, world!"], "en")
        ['həlˈoʊ, wˈɜːld!']

    Raises:
        BackendError: the back end's library or program is missing.
    """
    from vall_e.emb.text.phonemes import TextPhonemizer

    return TextPhonemizer(PHONEMIZERS.load(options.backend)(options.stress), options)
