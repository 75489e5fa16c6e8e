"""The recognisers that can be chosen, and their options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vall_e import config
from vall_e.emb.asr.align import Aligner, Say
from vall_e.emb.asr.base import Recogniser
from vall_e.emb.asr.diarize import Diarizer
from vall_e.executor import devices
from vall_e.languages import is_known
from vall_e.registry import Registry

AUTO = "auto"
RECOGNISERS = Registry(
    "recogniser",
    "vall_e.recognisers",
    {
        "whisperx": "vall_e.emb.asr.whisperx:load",
        "pocketsphinx": "vall_e.emb.asr.pocketsphinx:load",
        "sidecar": "vall_e.emb.asr.given:load",
    },
)

OFF = "off"
ALIGNERS = Registry(
    "aligner",
    "vall_e.aligners",
    {
        "whisperx": "vall_e.emb.asr.align_whisperx:load",
        "pocketsphinx": "vall_e.emb.asr.align_pocketsphinx:load",
    },
)
DIARIZERS = Registry(
    "diarizer",
    "vall_e.diarizers",
    {
        "embedded": "vall_e.emb.asr.diarize_embedded:load",
        "pyannote": "vall_e.emb.asr.diarize_pyannote:load",
    },
)


@dataclass(frozen=True, kw_only=True)
class RecogniserOptions:
    """Options of all recognisers, and of what works on what they give."""

    backend: tuple[str, ...] = config.option(
        ("sidecar", "whisperx"),
        f"what gives the text, a comma list tried in order: {', '.join(RECOGNISERS)} (the text that the corpus gives), "
        "or one of an installed package",
        before=("whisperx",),
    )
    model_name: str = config.option("large-v3", "whisperx: a Whisper model's name, or a folder in CTranslate2's format")
    align_model: str = config.option(
        AUTO, "whisperx: a Wav2Vec2 CTC folder or name for word times; auto: by language; off: no word times"
    )
    align: str = config.option(
        OFF,
        "what puts word times on texts that are given without: whisperx (languages with an "
        "--align-model), pocketsphinx (English), or off; then long recordings with a text are cut between words",
        before=OFF,
    )
    diarize: str = config.option(
        OFF,
        f"what tells the speakers of a recording apart: {', '.join(DIARIZERS)}, or off; segments then have one each",
        before=OFF,
    )
    num_speakers: int = config.option(0, "diarize: speakers of each recording; 0: estimated", before=0)
    diarize_model: str = config.option(
        "pyannote/speaker-diarization-3.1",
        "diarize pyannote: a pipeline's name, fetched with the token in HF_TOKEN, or its local config.yaml",
        before="pyannote/speaker-diarization-3.1",
    )
    link_speakers: bool = config.option(
        False, "give voices of several recordings that sound alike one name, inside a group", before=False
    )
    link_similarity: float = config.option(
        0.85,
        "link-speakers: cosine similarity from which two voices are one; 0.05 around it they are noted",
        before=0.85,
    )
    language: str = config.option(AUTO, "ISO 639-1 code of all recordings; auto: as the corpus says, else detected")
    languages: tuple[str, ...] = config.option((), "the languages that a detection chooses among (default: all)")
    language_from: str = config.option(
        "speaker",
        "what the language of given texts is detected from: all texts of the speaker, or each by itself",
        choices=("speaker", "recording"),
        before="recording",
    )
    min_language_prob: float = config.option(
        0.8, "sidecar: recordings whose detected language is less probable are rejected", before=0.0
    )
    batch_size: int = config.option(
        16, "whisperx: windows of 30 s that are transcribed at a time, of one recording or of several"
    )
    pack: bool = config.option(
        False, "whisperx: several short recordings in one window: faster, with other words here and there", before=False
    )
    initial_prompt: str = config.option("", "whisperx: a text that comes before each window, in the style to write in")
    hotwords: str = config.option("", "whisperx: words to expect, like names")
    compute_type: str = config.option(
        AUTO, "whisperx: CTranslate2's number format, like float16 or int8; auto: float16 on cuda, int8 on cpu"
    )
    device: str = config.option("cpu", devices.HELP)

    def __post_init__(self) -> None:
        for name in self.backend:
            RECOGNISERS.check(name)
        if self.align != OFF:
            ALIGNERS.check(self.align)
        if self.diarize != OFF:
            DIARIZERS.check(self.diarize)
        elif self.link_speakers:
            raise ValueError("link_speakers: needs --diarize")
        if self.num_speakers < 0:
            raise ValueError(f"num_speakers: {self.num_speakers} is below 0")
        if not -1 <= self.link_similarity <= 1:
            raise ValueError(f"link_similarity: {self.link_similarity} is not in -1..1")
        devices.check(self.device)
        if not 0 <= self.min_language_prob <= 1:
            raise ValueError(f"min_language_prob: {self.min_language_prob} is not in 0..1")
        for code in self.languages:
            if not is_known(code):
                raise ValueError(f"languages: {code!r} is not a code of ISO 639-1 like 'en'")
        if self.batch_size < 1:
            raise ValueError(f"batch_size: {self.batch_size} is not 1 or more")
        if not self.backend or len(set(self.backend)) != len(self.backend):
            raise ValueError(f"backend: {','.join(self.backend)!r} is not a list of different recognisers")

    @property
    def detects_speakers(self) -> bool:
        """Whether the languages of given texts are guessed for a speaker at a time."""
        return "sidecar" in self.backend and self.language == AUTO and self.language_from == "speaker"

    @property
    def resolved_compute_type(self) -> str:
        """What `auto` stands for on this device."""
        by_device = {devices.CPU: "int8", devices.CUDA: "float16"}
        return by_device[devices.kind_of(self.device)] if self.compute_type == AUTO else self.compute_type

    @property
    def result_options(self) -> dict[str, Any]:
        """The options that change the result: what a resumed run must share with the one before."""
        values: dict[str, Any] = {"backend": list(self.backend), "language": self.language, "align": self.align}
        values["diarize"] = self.diarize
        if self.diarize != OFF:
            values |= {"num_speakers": self.num_speakers, "link_speakers": self.link_speakers}
        if self.diarize == "pyannote":
            values["diarize_model"] = self.diarize_model
        if self.link_speakers:
            values["link_similarity"] = self.link_similarity
        if self.language == AUTO:
            values["languages"] = list(self.languages)
            if "sidecar" in self.backend:
                values |= {"language_from": self.language_from, "min_language_prob": self.min_language_prob}
        if "whisperx" in (*self.backend, self.align):
            values["align_model"] = self.align_model
        if "whisperx" in self.backend:
            values["model_name"] = self.model_name
            values["compute_type"] = self.resolved_compute_type
            values |= {"pack": self.pack, "initial_prompt": self.initial_prompt, "hotwords": self.hotwords}
        return values


def load_aligner(options: RecogniserOptions, say: Say) -> Aligner | None:
    """What finds the times of given texts; None where nothing is to.

    Raises:
        BackendError: a package is missing.
    """
    if options.align == OFF:
        return None
    aligner: Aligner = ALIGNERS.load(options.align)(options, say)
    return aligner


def load_diarizer(options: RecogniserOptions) -> Diarizer | None:
    """What tells speakers apart; None where nothing is to.

    Raises:
        BackendError: a package or model is missing.
    """
    if options.diarize == OFF:
        return None
    diarizer: Diarizer = DIARIZERS.load(options.diarize)(options)
    return diarizer


def load_recognisers(options: RecogniserOptions) -> list[Recogniser]:
    """The recognisers in the order in which they are asked.

    Raises:
        BackendError: a package or model file is missing; says which, and what fixes it.
    """
    return [RECOGNISERS.load(name)(options) for name in options.backend]
