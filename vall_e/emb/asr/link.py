"""Voices of many recordings that are of one speaker: compared by what they sound like, given one name.

A voice joins the speaker whose mean it is nearest to, if it is near enough, else it begins a new one; those that speak
longest come first. Names that were given are kept in metadata/speakers.jsonl, so that recordings that come later join
them and nothing that was built changes its speaker.
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterable
from pathlib import Path

import numpy as np

from vall_e import audio, layout, storage
from vall_e.emb import voice
from vall_e.emb.asr.diarize import Found, voice_name
from vall_e.types import Note, Record, Recording, Transcript, Voice, speaker_key

STAGE = "transcribe"
RATE_HZ = voice.RATE_HZ
ENOUGH_S = 60.0  # of a voice's speech, to know what it sounds like; its longest turns count
LEAST_S = 0.4  # of a turn
DOUBTFUL = 0.05  # of similarity on either side of the threshold


class Linked(Record, frozen=True, kw_only=True):
    """A row of speakers.jsonl: which speaker a voice of a recording is.

    Attributes:
        recording_id, voice: which voice, as segments of its transcript name it.
        group: only voices of one group are compared.
        speaker: the name that all its voices have.
        similarity: to the speaker's mean before the voice joined; None for the voice that the speaker began with.
        speech_s, embedding: of the voice: see Voice.
    """

    recording_id: str
    voice: str
    group: str
    speaker: str
    similarity: float | None
    speech_s: float
    embedding: tuple[float, ...]

    @property
    def key(self) -> tuple[str, str]:
        return self.recording_id, self.voice


def voices_of(source: audio.Source, found: Found, names: Container[str | None]) -> tuple[Voice, ...]:
    """What those voices of a recording sound like that have one of the `names`.

    Raises:
        AudioError: as `Source.slices`.
    """
    voices = []
    rate_hz = source.recording.sample_rate_hz
    for number in sorted({turn.voice for turn in found.turns if voice_name(turn.voice) in names}):
        turns = [turn for turn in found.turns if turn.voice == number]
        turns.sort(key=lambda turn: turn.start_s - turn.end_s)
        speech_s = 0.0
        chosen: list[tuple[float, float]] = []
        for turn in turns:
            if chosen and (speech_s >= ENOUGH_S or turn.end_s - turn.start_s < LEAST_S):
                break
            end_s = min(turn.end_s, turn.start_s + ENOUGH_S)
            chosen.append((turn.start_s, end_s))
            speech_s += end_s - turn.start_s
        spans = [(int(start_s * rate_hz), int(end_s * rate_hz)) for start_s, end_s in sorted(chosen)]
        spans = [(first, min(last, source.recording.num_samples) - first) for first, last in spans]
        windows: list[np.ndarray] = []
        for samples in source.slices(spans):
            frames = voice.mels(audio.resample(samples, rate_hz, RATE_HZ))
            bounds = voice.windows(len(frames), voice.WINDOW_FRAMES)
            windows += [frames[first:last] for first, last in bounds]
        embedding = voice.unit(voice.embed(windows).astype(np.float64).mean(axis=0, keepdims=True))[0]
        all_s = sum(turn.end_s - turn.start_s for turn in turns)
        rounded = tuple(round(float(value), 5) for value in embedding)
        voices.append(Voice(name=voice_name(number), speech_s=round(all_s, 3), embedding=rounded))
    return tuple(voices)


def link(
    recordings: Iterable[Recording], transcripts: Iterable[Transcript], metadata: Path, least_similarity: float
) -> list[Note]:
    """Gives each voice that has none yet a speaker, in speakers.jsonl → notes of the doubtful ones.

    Args:
        recordings: of the corpus.
        transcripts: of those recordings.
        metadata: the folder of speakers.jsonl.
        least_similarity: cosine, from which a voice is of a speaker.
    """
    path = metadata / layout.SPEAKERS
    now = {(each.recording_id, one.name): (each, one) for each in transcripts for one in each.voices}
    rows = list(storage.read_rows(path, Linked)) if path.exists() else []
    # a recording that was transcribed again has other voices under the same names
    kept = [row for row in rows if (found := now.get(row.key)) is not None and found[1].embedding == row.embedding]
    if len(kept) < len(rows):
        storage.write_json_lines(path, (storage.to_row(row) for row in kept), metadata)
    known = {row.key for row in kept}
    groups = {recording.id: recording.group for recording in recordings}
    waiting = [
        (groups.get(transcript.recording_id, ""), transcript.recording_id, each)
        for key, (transcript, each) in now.items()
        if key not in known
    ]
    # by length, then by name: not by the order in which recordings came
    waiting.sort(key=lambda entry: (-entry[2].speech_s, entry[1], entry[2].name))
    speakers = _Speakers(kept)
    notes: list[Note] = []
    new: list[Linked] = []
    for group, recording_id, each in waiting:
        name, similarity = speakers.nearest(group, recording_id, each)
        if name is not None and similarity is not None and abs(similarity - least_similarity) <= DOUBTFUL:
            joined = "taken for" if similarity >= least_similarity else "not taken for"
            detail = f"{each.name} is {joined} {speaker_key(group, name)}, with a similarity of {similarity:.3f}"
            notes.append(Note(id=recording_id, stage=STAGE, note="doubtful_speaker", detail=detail))
        if name is None or similarity is None or similarity < least_similarity:
            name, similarity = speakers.new_name(group), None
        row = Linked(
            recording_id=recording_id,
            voice=each.name,
            group=group,
            speaker=name,
            similarity=None if similarity is None else round(similarity, 4),
            speech_s=each.speech_s,
            embedding=each.embedding,
        )
        speakers.add(row)
        new.append(row)
    if new:
        with storage.JsonlWriter(path) as writer:
            writer.write(new)
    return notes


class _Speakers:
    """The speakers so far: sums of their voices, by group."""

    def __init__(self, rows: Iterable[Linked]) -> None:
        self._numbers: dict[str, dict[str, int]] = {}  # group → speaker → row of its sums
        self._sums: dict[str, np.ndarray] = {}  # [S,D], with room for more
        self._members: dict[tuple[str, int], set[str]] = {}  # recordings of a speaker: two of its voices are two people
        for row in rows:
            self.add(row)

    def nearest(self, group: str, recording_id: str, each: Voice) -> tuple[str | None, float | None]:
        """The speaker who is most alike among those who have no other voice of the recording."""
        numbers = self._numbers.get(group, {})
        if not numbers:
            return None, None
        similarity = voice.unit(self._sums[group][: len(numbers)]) @ np.asarray(each.embedding)
        for number in numbers.values():
            if recording_id in self._members[group, number]:
                similarity[number] = -np.inf
        best = int(similarity.argmax())
        return (list(numbers)[best], float(similarity[best])) if np.isfinite(similarity[best]) else (None, None)

    def new_name(self, group: str) -> str:
        """One that no speaker of the group has."""
        numbers = self._numbers.get(group, {})
        return next(name for n in itertools.count(len(numbers)) if (name := f"voice-{n:04d}") not in numbers)

    def add(self, row: Linked) -> None:
        numbers = self._numbers.setdefault(row.group, {})
        number = numbers.setdefault(row.speaker, len(numbers))
        sums = self._sums.setdefault(row.group, np.zeros((64, len(row.embedding))))
        if number == len(sums):
            sums = self._sums[row.group] = np.concatenate([sums, np.zeros_like(sums)])
        # a voice that speaks long says more of what its speaker sounds like
        sums[number] += min(row.speech_s, ENOUGH_S) * np.asarray(row.embedding)
        self._members.setdefault((row.group, number), set()).add(row.recording_id)


def speakers_of(metadata: Path) -> dict[str, dict[str, str]]:
    """Recording id → voice → speaker, of all voices that were linked."""
    path = metadata / layout.SPEAKERS
    found: dict[str, dict[str, str]] = {}
    for row in storage.read_rows(path, Linked) if path.exists() else ():
        found.setdefault(row.recording_id, {})[row.voice] = row.speaker
    return found
