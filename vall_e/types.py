"""Frozen records, units and errors that every module of the package shares.

Units are in the names: `_s` seconds, `_hz` hertz, `_samples` samples at the recording's own rate, `_frames` codec
frames. Codes are `[K,T]` = [levels, frames] everywhere. This module imports the standard library and msgspec only.
"""

from __future__ import annotations

import enum
import re
from fractions import Fraction
from pathlib import Path, PurePosixPath

import msgspec

AUDIO_EXTENSIONS = frozenset(
    (".wav", ".w64", ".flac", ".aiff", ".aif", ".aifc", ".au", ".caf", ".ogg", ".oga", ".opus")
    + (".mp3", ".mp2", ".mpga", ".m4a", ".m4b", ".aac", ".mp4", ".mov", ".3gp", ".webm", ".mkv", ".mka", ".wma", ".amr")
)
GATE_REASON = "gate:"  # and the name of the gate: a reason beside those of RejectReason
SAME_TAKE_S = 0.05  # how far two files of one take, a copy or a second microphone, may differ in length
UNKNOWN_SPEAKER = "unknown"


class VallEError(Exception):
    """Base of the errors that are printed as one line, without a traceback."""


class UsageError(VallEError):
    """The call itself is wrong: an option, a config key, a path. Exit status 2."""


class BackendError(VallEError):
    """A back end cannot start: its package, weights or settings are missing or wrong. Exit status 2."""


class ContractError(VallEError):
    """A contract between modules, or of a file on disk, is broken. Names the item. Exit status 1."""


class RejectReason(enum.StrEnum):
    """Why an input did not become a row. The set is closed, so that losses can be counted and compared."""

    BAD_NAME = "bad_name"  # the path can't be kept as UTF-8, or leaves no room for the array's name
    LINK_OUTSIDE = "link_outside"  # a symbolic link that leaves the input folder
    LINK_INSIDE = "link_inside"  # a symbolic link to a file or folder of the same input: already counted, or a loop
    NOT_A_FILE = "not_a_file"  # a folder, pipe or device with an audio file's name
    UNREADABLE = "unreadable"  # no decoder can read it
    TRUNCATED = "truncated"  # the header promises more audio than the file holds
    EMPTY = "empty"  # no samples
    NON_FINITE = "non_finite"  # NaN or infinity among the samples
    SILENT = "silent"
    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    NO_SPEECH = "no_speech"  # the recogniser found no word
    RECOGNISER_FAILED = "recogniser_failed"  # the recogniser's library raised an error
    NO_TEXT = "no_text"  # nothing says what is spoken
    LANGUAGE_UNSUPPORTED = "language_unsupported"
    LANGUAGE_UNSURE = "language_unsure"  # a guess below the probability that is asked for
    NO_PHONEMES = "no_phonemes"
    NO_READING = "no_reading"  # a number, sign or short form that has no sure reading in its language
    LOST_CHARACTERS = "lost_characters"  # part of the text would vanish on its way to phonemes
    BAD_TIMES = "bad_times"  # segment or word times that are out of order, overlap, or lie outside the audio
    UNSAFE_PATH = "unsafe_path"  # a path in a manifest that points out of its folder
    CHANGED = "changed"  # the audio is not what it was when it was imported
    TEXT_MISMATCH = "text_mismatch"  # a text that is not in the sound, or speech that is not in the text
    OVERLAPPING_SPEECH = "overlapping_speech"  # several people speak at once
    MIXED_SPEAKERS = "mixed_speakers"  # several people speak in a segment that can't be cut, as it has no word times
    DUPLICATE_ID = "duplicate_id"  # a second recording of the same id
    BAD_ROW = "bad_row"  # a line or entry of a manifest that does not hold what it must
    WORKER_DIED = "worker_died"  # three worker processes died while they worked on it


_SENTENCE_ENDS = tuple(".!?…。！？")
_CLOSING = "\"'”’)]»」』"


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A row of a file: its JSON keys are the field names, and no other key is accepted."""


class Problem(Record, frozen=True, kw_only=True):
    """Why what a corpus says of a recording can't be used."""

    reason: RejectReason
    detail: str


class Recording(Record, frozen=True, kw_only=True):
    """One recording of a corpus: where its audio is, who speaks, and what the corpus says of it.

    A Corpus leaves the fields from `sample_rate_hz` to `ends_sha256` at their defaults; the import fills them.

    Attributes:
        id: the path below the input root, extension kept, unless the corpus has ids of its own.
        path: of the audio file, below the corpus root or an audio root.
        member: name inside a tar or parquet row, or None.
        track: the audio track of a video that is read, from 0; None: its default one.
        channel: the one that is read of several, from 0; None: all, as one.
        ends_sha256: hash of the file's first and last 64 KiB.
        text: what is said, if the corpus says so.
        text_problem: there is a text, but it can't be used.
        language_problem: there is a language, but it can't be used.
        scores: what the corpus measured, like votes; each utterance has them beside those of the gates.
    """

    id: str
    path: str
    group: str = ""
    speaker: str = UNKNOWN_SPEAKER
    member: str | None = None
    language: str | None = None
    sample_rate_hz: int = 0
    num_samples: int = 0
    num_channels: int = 0
    track: int | None = None
    channel: int | None = None
    size_bytes: int = 0
    modified_ns: int = 0
    ends_sha256: str = ""
    split: str | None = None
    text: str | None = None
    segments: tuple[Segment, ...] = ()
    text_problem: Problem | None = None
    language_problem: Problem | None = None
    scores: dict[str, float | None] = {}

    @property
    def duration_s(self) -> float:
        return self.num_samples / self.sample_rate_hz

    @property
    def main_language(self) -> str | None:
        """The language of most of its time, by its segments where those are in several languages."""
        spoken_s: dict[str, float] = {}
        for segment in self.segments:
            if segment.language is not None:
                spoken_s[segment.language] = spoken_s.get(segment.language, 0.0) + segment.end_s - segment.start_s
        return max(spoken_s, key=lambda name: spoken_s[name]) if spoken_s else self.language


class Word(Record, frozen=True, kw_only=True):
    """A word and its times; `score` in 0..1, or None where the recogniser gives none.

    `interpolated` times are no recogniser's: they fill what its neighbours leave, as for figures that an alignment
    model has no letters for.

    Times count from the start of the recording in a Transcript, from the start of the utterance in an Utterance.
    """

    text: str
    start_s: float
    end_s: float
    score: float | None = None
    interpolated: bool = False


class Segment(Record, frozen=True, kw_only=True):
    """A span of speech of one speaker (None: not diarised), with its words in order of time.

    `language` is None where it is the recording's.
    """

    text: str
    start_s: float
    end_s: float
    words: tuple[Word, ...] = ()
    speaker: str | None = None
    language: str | None = None


class Voice(Record, frozen=True, kw_only=True):
    """One of the voices of a recording: what segments call it, how long it speaks, and what it sounds like.

    `embedding` is a vector of resemblyzer, of length 1, which can be compared with those of other recordings.
    """

    name: str
    speech_s: float
    embedding: tuple[float, ...]


class Transcript(Record, frozen=True, kw_only=True):
    """What is said in one recording. `backend` is name and version of what produced it.

    `voices` are those to be compared with other recordings: see `--link-speakers`.
    """

    recording_id: str
    language: str
    language_prob: float | None
    text: str
    segments: tuple[Segment, ...]
    backend: str
    voices: tuple[Voice, ...] = ()


class Utterance(Record, frozen=True, kw_only=True):
    """One training example. `codes` is the array's path relative to the dataset folder; it holds uint16 [K,T]."""

    id: str
    recording_id: str
    group: str
    speaker: str
    sample_rate_hz: int
    start_samples: int
    num_samples: int
    language: str
    text: str  # as written
    spoken: str | None = None  # as read: numbers and signs in words; None in rows of earlier versions
    phonemes: str
    words: tuple[Word, ...]
    codec: str
    num_frames: int
    codes: str
    split: str | None = None  # of the corpus, if it has official ones
    scores: dict[str, float | None] = {}

    @property
    def speaker_id(self) -> str:
        """Speakers of the same name in two groups are two people."""
        return speaker_key(self.group, self.speaker)

    @property
    def duration_s(self) -> float:
        return self.num_samples / self.sample_rate_hz


class Durations(Record, frozen=True, kw_only=True):
    """How many frames of an utterance each token takes: <bos>, the characters of its phonemes, <eos>.

    `durations_frames` sums to the utterance's frames; None where it has more phones than frames. `score` is by how much
    its text fits better than others, in nats a frame; None where there is nothing to compare with. `words_off_s` is how
    far word starts lie from those of the recogniser (median), found without them; None where it gave none.
    """

    id: str
    durations_frames: tuple[int, ...] | None
    score: float | None
    words_off_s: float | None = None


class Mixture(Record, frozen=True, kw_only=True):
    """An utterance that was mixed with something else.

    `kind` is noise or voice; `other` a noise file or an utterance, `start_s` where in the noise; the utterance's power
    is `level_db` above the other's.
    """

    id: str
    utterance_id: str
    kind: str
    other: str
    start_s: float
    level_db: float


class CodecSpec(Record, frozen=True, kw_only=True):
    """What a codec publishes, so that no caller branches on its name. `num_frames` owns the length law.

    A chunked codec (`chunk_samples` > 0) codes spans of that length, `stride_samples` apart, each on its own.
    With `chunk_frames` what is no longer than a chunk is coded as a whole, all else in chunks of exactly that many
    frames.
    """

    name: str
    weights_sha256: str
    sample_rate_hz: int
    hop_samples: int
    num_levels: int
    codebook_size: int
    num_channels: int = 1
    chunk_samples: int = 0
    stride_samples: int = 0
    chunk_frames: int = 0

    @property
    def frame_rate_hz(self) -> Fraction:
        return Fraction(self.sample_rate_hz, self.hop_samples)

    def num_frames(self, num_samples: int) -> int:
        """Frames for `num_samples` at the codec's rate: every started hop counts, in every chunk."""
        if not self.chunk_samples or (self.chunk_frames and num_samples <= self.chunk_samples):
            return -(-num_samples // self.hop_samples)
        if self.chunk_frames:
            return -(-num_samples // self.stride_samples) * self.chunk_frames
        lengths = (min(self.chunk_samples, num_samples - start) for start in range(0, num_samples, self.stride_samples))
        return sum(-(-length // self.hop_samples) for length in lengths)


class Reject(Record, frozen=True, kw_only=True):
    """An input that did not become a row, and why.

    Attributes:
        reason: for counting: a RejectReason, or `gate:` and the name of a gate.
        detail: for a person.
        start_s, duration_s: of the part of the recording; None where unknown.
    """

    id: str
    stage: str
    reason: str
    detail: str
    start_s: float | None = None
    duration_s: float | None = None

    def __post_init__(self) -> None:
        if not self.reason.startswith(GATE_REASON):
            msgspec.structs.force_setattr(self, "reason", RejectReason(self.reason))


class NoTranscript(Record, frozen=True, kw_only=True):
    """Why one recogniser has no transcript of a recording. `final`: the next recogniser is not asked either."""

    reason: RejectReason
    detail: str
    final: bool = False


class Note(Record, frozen=True, kw_only=True):
    """What a person should know of an item that did become a row."""

    id: str
    stage: str
    note: str
    detail: str


def speaker_of(recording_id: str) -> tuple[str, str]:
    """(group, speaker) from `<group>/<speaker>/…/file`; a single folder is the speaker, no folder is unknown."""
    folders = PurePosixPath(recording_id).parts[:-1]
    if len(folders) >= 2:
        return folders[0], folders[1]
    return "", folders[0] if folders else UNKNOWN_SPEAKER


def speaker_key(group: str, speaker: str) -> str:
    """What names a speaker across groups: `group/speaker`, or the speaker alone where there is no group."""
    return f"{group}/{speaker}" if group else speaker


def utterance_id(recording_id: str, index: int | None) -> str:
    """The recording's id for a whole file (index None), else `<recording id>-<5 digits>`.

    Example:
        >>> utterance_id("en/ann/a.wav", None), utterance_id("en/ann/a.wav", 7)
        ('en/ann/a.wav', 'en/ann/a.wav-00007')

    Raises:
        ContractError: an index that 5 digits can't hold.
    """
    if index is None:
        return recording_id
    if not 0 <= index <= 99_999:
        raise ContractError(f"{recording_id}: slice number {index} is outside 0..99999")
    return f"{recording_id}-{index:05d}"


def recording_id_of(utterance: str) -> str:
    """Inverse of `utterance_id`. Unambiguous, as no recording's id ends like that of a part: see `is_part`."""
    return utterance[:-6] if is_part(utterance) else utterance


def is_part(name: str) -> bool:
    """Whether an id ends in a dash and five digits, which only parts of recordings may."""
    return re.search("(?<=.)-[0-9]{5}$", name, re.ASCII | re.DOTALL) is not None


def ends_sentence(word: str) -> bool:
    """Whether a word is written with a mark that ends a sentence, quotes and brackets behind it or not.

    Example:
        >>> ends_sentence('said."'), ends_sentence("3.5"), ends_sentence("です。")
        (True, False, True)
    """
    return word.rstrip(_CLOSING).endswith(_SENTENCE_ENDS)


def has_audio_extension(name: str) -> bool:
    last = name.rpartition("/")[2]
    dot = last.rfind(".")
    return dot > 0 and last[dot:].lower() in AUDIO_EXTENSIONS


def seconds_to_samples(time_s: float, sample_rate_hz: int) -> int:
    """The nearest sample; monotonic, so the order of times survives.

    Example:
        >>> seconds_to_samples(0.5, 24_000)
        12000
    """
    return round(time_s * sample_rate_hz)


def safe_path(root: Path, relative: str) -> Path:
    """`root / relative` for a path read from data.

    Raises:
        ContractError: it is absolute, empty, climbs out with `..`, or holds a NUL.
    """
    parts = relative.split("/")
    if not relative or "\0" in relative or relative.startswith("/") or any(part in ("", ".", "..") for part in parts):
        raise ContractError(f"{relative!r}: not a path below {root}")
    return root.joinpath(*parts)
