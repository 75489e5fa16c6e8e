"""The text that the corpus gives of a recording: no recogniser at all. `--backend sidecar`."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence

import msgspec

from vall_e import __version__, audio
from vall_e.emb.asr.detection import Detected, detect
from vall_e.emb.asr.registry import AUTO, RecogniserOptions
from vall_e.types import BackendError, NoTranscript, Recording, RejectReason, Segment, Transcript, speaker_key


def load(options: RecogniserOptions) -> GivenText:
    return GivenText(
        language_is_known=options.language != AUTO,
        languages=options.languages,
        min_probability=options.min_language_prob,
    )


class GivenText:
    """The corpus' segments where it has some, else one segment over the whole recording, without word times.

    Raises:
        BackendError: at construction, where languages are to be detected and langdetect is missing.
    """

    name_and_version = f"sidecar {__version__}"

    def __init__(
        self, *, language_is_known: bool = False, languages: Sequence[str] = (), min_probability: float = 0.0
    ) -> None:
        if not language_is_known and importlib.util.find_spec("langdetect") is None:
            raise BackendError('sidecar: langdetect is missing; pip install "vall-e[sidecar]", or pass --language')
        self._languages, self._min_probability = languages, min_probability
        self.of_speakers: Mapping[str, Detected] = {}  # for speakers that are not here, each text by itself

    def transcribe(self, sources: Sequence[audio.Source], language: str | None) -> list[Transcript | NoTranscript]:
        """One result per source, in order. Without a `language`, that of the text is detected."""
        return [self._transcript(source, language) for source in sources]

    def _detect(self, recording: Recording, text: str) -> tuple[str, float] | NoTranscript:
        """The language of the speaker's texts, else of this one."""
        speaker = self.of_speakers.get(speaker_key(recording.group, recording.speaker))
        if speaker is None:
            found = detect(text, self._languages)
        else:
            found = None if speaker.language is None else (speaker.language, speaker.probability)
        advice = "write a language.txt or pass --language"
        if found is None:
            detail = f"the language of its text can't be detected; {advice}"
            return NoTranscript(reason=RejectReason.LANGUAGE_UNSUPPORTED, detail=detail, final=True)
        if found[1] < self._min_probability:
            what = "its text" if speaker is None else f"the texts of {speaker.speaker}"
            detail = f"{what} may be {found[0]!r}, with a probability of {found[1]:.2f}; {advice}, or --languages"
            return NoTranscript(reason=RejectReason.LANGUAGE_UNSURE, detail=detail, final=True)
        return found

    def _transcript(self, source: audio.Source, language: str | None) -> Transcript | NoTranscript:
        recording = source.recording
        if recording.text_problem is not None:  # an ASR guess never replaces a text that was supplied
            problem = recording.text_problem
            return NoTranscript(reason=problem.reason, detail=problem.detail, final=True)
        text = recording.text or " ".join(segment.text for segment in recording.segments)
        if not text:
            return NoTranscript(reason=RejectReason.NO_TEXT, detail="the corpus gives no text of it")
        probability, segments = None, recording.segments
        if language is not None:  # of all of it
            segments = tuple(msgspec.structs.replace(segment, language=None) for segment in segments)
        elif recording.main_language is not None:
            language = recording.main_language
        else:
            detected = self._detect(recording, text)
            if isinstance(detected, NoTranscript):
                return detected
            language, probability = detected
        everything = Segment(text=text, start_s=0.0, end_s=recording.duration_s)
        return Transcript(
            recording_id=recording.id,
            language=language,
            language_prob=probability,
            text=text,
            segments=segments or (everything,),
            backend=self.name_and_version,
        )
