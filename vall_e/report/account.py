"""What each stage was given, what it kept and what it dropped, in items and in seconds: nothing goes without a word."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from vall_e.types import Reject, recording_id_of

IMPORT, TRANSCRIBE, PROCESS, BUILD = "import", "transcribe", "process", "build"
OF_RECORDINGS = (IMPORT, TRANSCRIBE)  # stages whose items are whole recordings


@dataclass
class Dropped:
    """What a stage dropped for one reason: whole items, parts of items that were kept, and their time.

    Attributes:
        num_unknown: of the items and parts, those whose length nobody knows, like a file that can't be read.
    """

    num_items: int = 0
    num_parts: int = 0
    seconds: float = 0.0
    num_unknown: int = 0


@dataclass
class Account:
    """One stage: found = kept + dropped in items; found = kept + dropped + between in seconds.

    Attributes:
        between_s: time that is in no utterance and was not dropped either: pauses around and between them.
    """

    stage: str
    num_found: int = 0
    found_s: float = 0.0
    num_kept: int = 0
    kept_s: float = 0.0
    dropped: dict[str, Dropped] = field(default_factory=dict)
    between_s: float = 0.0

    @property
    def num_dropped(self) -> int:
        return sum(each.num_items for each in self.dropped.values())

    @property
    def num_parts(self) -> int:
        return sum(each.num_parts for each in self.dropped.values())

    @property
    def dropped_s(self) -> float:
        return sum(each.seconds for each in self.dropped.values())

    @property
    def num_unknown(self) -> int:
        return sum(each.num_unknown for each in self.dropped.values())


def accounts(
    recordings: Mapping[str, float],
    transcribed: set[str],
    num_utterances: int,
    utterances_s: float,
    rejects: Iterable[Reject],
) -> list[Account]:
    """The accounts of the stages that have done something, in their order.

    Args:
        recordings: id → seconds, of recordings.jsonl.
        transcribed: ids of transcripts.jsonl.
        num_utterances, utterances_s: of utterances.jsonl.
        rejects: of all stages.
    """
    by_stage: dict[str, list[Reject]] = collections.defaultdict(list)
    for reject in rejects:
        by_stage[reject.stage].append(reject)
    made = [_dropped(name, by_stage[name], recordings) for name in (IMPORT, TRANSCRIBE, PROCESS, BUILD)]
    imported, heard, processed, built = made

    imported.num_kept, imported.kept_s = len(recordings), sum(recordings.values())
    imported.num_found = imported.num_kept + imported.num_dropped
    imported.found_s = imported.kept_s + imported.dropped_s

    heard.num_kept = len(transcribed)
    heard.num_found = heard.num_kept + heard.num_dropped
    whole_s = {reject.id for reject in by_stage[TRANSCRIBE] if reject.id in recordings}
    heard.found_s = sum(recordings.get(name, 0.0) for name in transcribed | whole_s)
    heard.kept_s = heard.found_s - heard.dropped_s

    processed.num_kept, processed.kept_s = num_utterances, utterances_s
    processed.num_found = num_utterances + processed.num_dropped
    given = transcribed & {*recordings}
    processed.found_s = sum(recordings[name] for name in given) - sum(
        each.duration_s or 0.0 for each in by_stage[TRANSCRIBE] if recording_id_of(each.id) in given
    )
    processed.between_s = processed.found_s - processed.kept_s - processed.dropped_s

    built.num_found, built.found_s = num_utterances, utterances_s
    built.num_kept, built.kept_s = num_utterances - built.num_dropped, utterances_s - built.dropped_s
    return [each for each in made if each.num_found]


def _dropped(name: str, rejects: Iterable[Reject], recordings: Mapping[str, float]) -> Account:
    account = Account(name)
    for reject in rejects:
        each = account.dropped.setdefault(str(reject.reason), Dropped())
        if name in OF_RECORDINGS and recording_id_of(reject.id) != reject.id:
            each.num_parts += 1
        else:
            each.num_items += 1
        seconds = recordings.get(reject.id) if reject.duration_s is None else reject.duration_s
        if seconds is None:
            each.num_unknown += 1
        else:
            each.seconds += seconds
    return account
