"""The corpora that can be imported, by name."""

from __future__ import annotations

from dataclasses import dataclass

from vall_e import config
from vall_e.corpora.base import Corpus
from vall_e.executor import EXECUTORS
from vall_e.registry import Registry

CORPORA = Registry("corpus", "vall_e.corpora", {"folder": "vall_e.corpora.folder:load"})


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """Options of the import: flags, and keys of the section `import` in a config file."""

    corpus: str = config.option("folder", f"kind of corpus: {', '.join(CORPORA)}, or that of an installed package")
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
        CORPORA.check(self.corpus)
        if self.audio_track is not None and self.audio_track < 1:
            raise ValueError(f"audio_track: {self.audio_track}, tracks count from 1")

    @property
    def result_options(self) -> dict[str, object]:
        """The options that change the rows, but for the corpus."""
        return {name: getattr(self, name) for name in RESULT_OPTIONS}


RESULT_OPTIONS = ("channels", "audio_track", "text_column", "speaker_column")


def load_corpus(options: ImportOptions) -> Corpus:
    """The corpus of that name.

    Raises:
        UsageError: an unknown name; the nearest known one is named. BackendError: its package can't be imported.
    """
    corpus: Corpus = CORPORA.load(options.corpus)(options)
    return corpus
