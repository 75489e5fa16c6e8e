"""The phonemizers that can be chosen, and their options."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

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


JAPANESE = ("openjtalk", "pykakasi")
# shared with the section `process`
NORMALISE = "numbers, signs and short forms in words first; what has no sure reading is rejected"
JAPANESE_HELP = "what reads kanji; auto: openjtalk where it is installed, else pykakasi"
LEXICON = "your own readings of names, a file of lines written<TAB>spoken"


@dataclass(frozen=True, kw_only=True)
class G2pOptions:
    backend: str = config.option("espeak", "what reads the text", choices=tuple(PHONEMIZERS))
    punctuation: bool = config.option(True, f"keep punctuation among the phonemes ({MARKS})")
    stress: bool = config.option(True, "keep stress marks (festival has none)")
    strip: bool = config.option(True, "no word separator after the last word")
    normalise: bool = config.option(True, NORMALISE)
    japanese: str = config.option("auto", JAPANESE_HELP, choices=("auto", *JAPANESE))
    lexicon: Path | None = config.option(None, LEXICON)


def resolve_japanese(choice: str) -> str:
    """What `auto` stands for here: openjtalk where its package is installed, else pykakasi.

    Example:
        >>> resolve_japanese("pykakasi")
        'pykakasi'
    """
    if choice != "auto":
        return choice
    return "openjtalk" if importlib.util.find_spec("pyopenjtalk") else "pykakasi"


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
