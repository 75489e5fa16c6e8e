"""The corpora that can be imported, by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vall_e import config
from vall_e.corpora.base import Corpus
from vall_e.executor import EXECUTORS
from vall_e.registry import Registry

AUTO, FOLDER = "auto", "folder"
CORPORA = Registry(
    "corpus",
    "vall_e.corpora",
    {
        FOLDER: "vall_e.corpora.folder:load",
        "ljspeech": "vall_e.corpora.ljspeech:load",
        "libritts": "vall_e.corpora.libritts:load",
        "vctk": "vall_e.corpora.vctk:load",
        "common_voice": "vall_e.corpora.common_voice:load",
        "emilia": "vall_e.corpora.emilia:load",
        "hifi_tts": "vall_e.corpora.hifi_tts:load",
        "jsut": "vall_e.corpora.jsut:load",
        "aishell3": "vall_e.corpora.aishell3:load",
        "mls": "vall_e.corpora.mls:load",
        "kaldi": "vall_e.corpora.kaldi:load",
        "nemo": "vall_e.corpora.nemo:load",
        "lhotse": "vall_e.corpora.lhotse:load",
        "huggingface": "vall_e.corpora.huggingface:load",
        "webdataset": "vall_e.corpora.webdataset:load",
        "whisper_json": "vall_e.corpora.whisper_json:load",
    },
)


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """Options of the import: flags, and keys of the section `import` in a config file."""

    corpus: str = config.option(
        AUTO,
        f"kind of corpus: {', '.join(CORPORA)}, or that of an installed package; auto: by the marker files of a named "
        "corpus, else folder",
    )
    audio_root: tuple[Path, ...] = config.option((), "further folders that the paths of a manifest may lie below")
    split: str | None = config.option(
        None, "the part of a corpus that has official ones, like train or test (default: all; common_voice: validated)"
    )
    mic: str = config.option("1", "vctk: which of its two microphones", choices=("1", "2", "both"))
    channels: str = config.option(
        "mix",
        "what is read of a file of several channels: all as one (of channels that cancel each other the louder one), "
        "one side, or split: each side a recording and a speaker of its own",
        choices=("mix", "left", "right", "split"),
    )
    audio_track: int | None = config.option(None, "videos: the audio track, from 1 (default: the file's default one)")
    text_column: int | None = config.option(None, "tables: the column of the text, from 1 (default: from the content)")
    speaker_column: int | None = config.option(None, "tables: the column of the speaker, from 1 (default: likewise)")
    executor: str = config.option("local", "where workers run", choices=EXECUTORS)
    workers: int = config.option(1, "processes that read headers; 0 is one per core")
    update: bool = config.option(False, "first drop what changed, went away or was rejected, then import it again")
    overwrite: bool = config.option(False, "start from scratch: drop what an earlier run imported")

    def __post_init__(self) -> None:
        if self.corpus != AUTO:
            CORPORA.check(self.corpus)
        if self.audio_track is not None and self.audio_track < 1:
            raise ValueError(f"audio_track: {self.audio_track}, tracks count from 1")

    @property
    def result_options(self) -> dict[str, object]:
        """The options that change the rows, but for the corpus."""
        return {name: getattr(self, name) for name in RESULT_OPTIONS}


RESULT_OPTIONS = ("channels", "audio_track", "text_column", "speaker_column", "split", "mic")


def load_corpus(options: ImportOptions) -> Corpus:
    """The corpus of that name.

    Raises:
        UsageError: an unknown name; the nearest known one is named. BackendError: its package can't be imported.
    """
    corpus: Corpus = CORPORA.load(options.corpus)(options)
    return corpus


def detect(root: Path) -> str:
    """The named corpus whose own marker files lie at `root` (its `is_at`), else `folder`."""
    for name in CORPORA:
        is_at = getattr(load_corpus(ImportOptions(corpus=name)), "is_at", None)
        if is_at is not None and is_at(root):
            return name
    return FOLDER
