"""Languages of given texts, guessed for a speaker at a time: of one short sentence a guess is right two times in three.

The guess of a speaker is kept in metadata/languages.jsonl, so that recordings that come later are of the same one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from vall_e import layout, storage
from vall_e.emb.guess import shares
from vall_e.types import Record, Recording, speaker_key

SAMPLE_CHARS = 2_000  # of a speaker's texts, in the order of the corpus


class Detected(Record, frozen=True, kw_only=True):
    """A row of languages.jsonl: what a speaker's texts are in. `language` is None where it can't be detected."""

    speaker: str
    language: str | None
    probability: float
    num_chars: int


def detect(text: str, allowed: Sequence[str] = ()) -> tuple[str, float] | None:
    """(ISO 639-1 code, probability) of a text; None where it can't be detected, as in "1984".

    Args:
        text: in any language.
        allowed: the codes to choose among; none: all that are known.
    """
    found = shares(text, allowed)
    if not found:
        return None
    best = max(sorted(found), key=lambda code: found[code])
    return best, round(min(1.0, found[best]), 4)


def of_speakers(recordings: Iterable[Recording], metadata: Path, allowed: Sequence[str] = ()) -> dict[str, Detected]:
    """By speaker, what those texts are in whose corpus does not say; new guesses are added to languages.jsonl.

    Args:
        recordings: all of the corpus, in its order.
        metadata: the folder of languages.jsonl.
        allowed: as for `detect`.
    """
    path = metadata / layout.LANGUAGES
    known = {row.speaker: row for row in storage.read_rows(path, Detected)} if path.exists() else {}
    samples: dict[str, list[str]] = {}
    lengths: dict[str, int] = {}
    for recording in recordings:
        speaker = speaker_key(recording.group, recording.speaker)
        if recording.text is None or recording.language is not None or speaker in known:
            continue
        if lengths.get(speaker, 0) < SAMPLE_CHARS:
            samples.setdefault(speaker, []).append(recording.text)
            lengths[speaker] = lengths.get(speaker, 0) + len(recording.text)
    new = []
    for speaker, texts in samples.items():
        language, probability = detect(" ".join(texts), allowed) or (None, 0.0)
        new.append(Detected(speaker=speaker, language=language, probability=probability, num_chars=lengths[speaker]))
    if new:
        with storage.JsonlWriter(path) as writer:
            writer.write(new)
    return known | {row.speaker: row for row in new}
