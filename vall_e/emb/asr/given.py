"""The text that the corpus gives of a recording: no recogniser at all. `--backend sidecar`."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from vall_e import __version__, audio
from vall_e.emb.asr.registry import AUTO, RecogniserOptions
from vall_e.types import BackendError, NoTranscript, RejectReason, Segment, Transcript


def load(options: RecogniserOptions) -> GivenText:
    return GivenText(language_is_known=options.language != AUTO)


class GivenText:
    """The corpus' segments where it has some, else one segment over the whole recording, without word times.

    Raises:
        BackendError: at construction, where languages are to be detected and langdetect is missing.
    """

    name_and_version = f"sidecar {__version__}"

    def __init__(self, *, language_is_known: bool = False) -> None:
        if not language_is_known and importlib.util.find_spec("langdetect") is None:
            raise BackendError('sidecar: langdetect is missing; pip install "vall-e[sidecar]", or pass --language')

    def transcribe(self, sources: Sequence[audio.Source], language: str | None) -> list[Transcript | NoTranscript]:
        """One result per source, in order. Without a `language`, that of the text is detected."""
        return [self._transcript(source, language) for source in sources]

    def _transcript(self, source: audio.Source, language: str | None) -> Transcript | NoTranscript:
        recording = source.recording
        if recording.text_problem is not None:  # an ASR guess never replaces a text that was supplied
            problem = recording.text_problem
            return NoTranscript(reason=problem.reason, detail=problem.detail, final=True)
        text = recording.text or " ".join(segment.text for segment in recording.segments)
        if not text:
            return NoTranscript(reason=RejectReason.NO_TEXT, detail="the corpus gives no text of it")
        probability = None
        if language is None:
            detected = detect_language(text)
            if detected is None:
                detail = "the language of its text can't be detected; write a language.txt or pass --language"
                return NoTranscript(reason=RejectReason.LANGUAGE_UNSUPPORTED, detail=detail, final=True)
            language, probability = detected
        everything = Segment(text=text, start_s=0.0, end_s=recording.duration_s)
        return Transcript(
            recording_id=recording.id,
            language=language,
            language_prob=probability,
            text=text,
            segments=recording.segments or (everything,),
            backend=self.name_and_version,
        )

def detect_language(text: str) -> tuple[str, float] | None:
    """(ISO 639-1 code, probability) by langdetect with a fixed seed; None where it can't be detected, as in "1984"."""
    import langdetect

    langdetect.DetectorFactory.seed = 0  # it draws at random, and gives other answers from run to run without
    try:
        best = langdetect.detect_langs(text)[0]
    except langdetect.LangDetectException:
        return None
    return best.lang.partition("-")[0], round(min(1.0, best.prob), 4)
