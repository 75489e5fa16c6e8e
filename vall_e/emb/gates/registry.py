"""The gates that can be chosen, and their options."""

from __future__ import annotations

from dataclasses import dataclass

from vall_e import config
from vall_e.emb.gates.base import Gate
from vall_e.registry import Registry

GATES = Registry(
    "gate",
    "vall_e.gates",
    {
        "duration": "vall_e.emb.gates.duration:load",
        "chars_per_s": "vall_e.emb.gates.characters:load_characters",
        "phonemes_per_s": "vall_e.emb.gates.characters:load_phonemes",
        "repeated": "vall_e.emb.gates.repeats:load_repeated",
        "unique_words": "vall_e.emb.gates.repeats:load_unique",
        "hallucinated": "vall_e.emb.gates.hallucination:load",
        "word_score": "vall_e.emb.gates.confidence:load_mean",
        "least_word_score": "vall_e.emb.gates.confidence:load_least",
        "script_share": "vall_e.emb.gates.script:load",
        "snr_db": "vall_e.emb.gates.sound:load_snr",
        "clipped_share": "vall_e.emb.gates.sound:load_clipping",
        "dc_offset": "vall_e.emb.gates.sound:load_offset",
        "bandwidth_hz": "vall_e.emb.gates.sound:load_bandwidth",
        "silence_share": "vall_e.emb.gates.sound:load_silence",
        "loudness_lufs": "vall_e.emb.gates.sound:load_loudness",
        "dnsmos": "vall_e.emb.gates.dnsmos:load",
        "overlap_share": "vall_e.emb.gates.overlap:load",
        "text_language": "vall_e.emb.gates.language:load",
    },
)
BEFORE = ("duration",)  # what datasets of earlier versions were made with
DEFAULT = (
    *BEFORE,
    *("chars_per_s", "phonemes_per_s", "repeated", "unique_words", "hallucinated", "word_score", "least_word_score"),
    *("script_share", "snr_db", "clipped_share", "dc_offset", "bandwidth_hz", "silence_share"),
)


@dataclass(frozen=True, kw_only=True)
class GateOptions:
    """Options of all gates."""

    gates: tuple[str, ...] = config.option(
        DEFAULT,
        f"scores of each utterance, a comma list: {', '.join(GATES)}, or those of installed packages",
        before=BEFORE,
    )
    min_duration_s: float = config.option(0.5, "seconds; shorter utterances are rejected")
    max_duration_s: float = config.option(20.0, "seconds; longer segments are split between words, or rejected")

    def __post_init__(self) -> None:
        for name in self.gates:
            GATES.check(name)
        if not 0 <= self.min_duration_s <= self.max_duration_s:
            raise ValueError(f"durations: 0 <= {self.min_duration_s} <= {self.max_duration_s} does not hold")


def load_gates(options: GateOptions) -> list[Gate]:
    """The gates in the order in which they are asked.

    Raises:
        BackendError: a package is missing.
    """
    return [GATES.load(name)(options) for name in options.gates]
