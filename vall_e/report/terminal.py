"""A summary as tables in a terminal: totals, speakers, lengths, stages, rejects, and where the results are."""

from __future__ import annotations

import collections
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vall_e import stage
from vall_e.report.account import OF_RECORDINGS, PROCESS, Account
from vall_e.report.summary import Summary
from vall_e.types import Reject

NUM_BINS = 12
BAR_WIDTH = 32
RESULTS = {
    "metadata/recordings.jsonl": "who speaks, where, in which file",
    "metadata/transcripts.jsonl": "what is said",
    "dataset/utterances.jsonl": "one line per utterance; its codes are beside it as .npy",
    "dataset/similar.jsonl": "speaker prompts for each utterance",
    "dataset/rejects.jsonl": "what was left out, and why (metadata/rejects.jsonl before that)",
    "dataset/built": "memory-mapped training data: vall_e.dataset.Dataset",
}


def show(summary: Summary) -> None:
    """Prints the tables to standard output."""
    console = Console(highlight=False)
    accounts = summary.accounts()
    tables = (_totals(summary), _speakers(summary), _lengths(summary), _stages(summary), _accounts(accounts))
    for part in (*tables, _rejects(summary, accounts)):
        if part is not None:
            console.print(part)
    console.print(_account(summary, accounts))
    console.print(f"Results: {summary.work}", markup=False, soft_wrap=True)
    for name, what in RESULTS.items():
        if (summary.work / name).exists():
            console.print(f"  {summary.work / name}  {what}", markup=False, soft_wrap=True)


def _account(summary: Summary, accounts: Sequence[Account]) -> str:
    num_rejected = sum(each.num_dropped for each in accounts if each.stage in OF_RECORDINGS)
    parts = [f"{stage.plural(summary.transcribed, 'recording')} with a transcript", f"{num_rejected} rejected"]
    if summary.num_ignored is not None:
        parts.append(f"{stage.plural(summary.num_ignored, 'other file')}, texts among them")
    lost = summary.lost_recordings()
    state = f"{stage.plural(lost, 'recording')} not processed yet" if lost else "every input is accounted for"
    return f"Inputs: {', '.join(parts)}; {state}."


def _totals(summary: Summary) -> Table:
    table = _table("Dataset", "hours", "utterances", "recordings", "speakers", "languages", "rejects")
    table.add_row(
        f"{summary.hours:.4f}" if summary.hours < 1 else f"{summary.hours:,.2f}",
        f"{summary.num_utterances:,}",
        f"{len(summary.processed):,}",
        f"{len(summary.speaker_s):,}",
        _plain(", ".join(f"{language} {count}" for language, count in summary.languages.most_common())),
        f"{len(summary.rejects):,}",
    )
    return table


def _speakers(summary: Summary) -> Table | None:
    if not summary.speaker_s:
        return None
    table = _table("Speakers", "speaker", "minutes", "")
    ordered = sorted(summary.speaker_s.items(), key=lambda item: (-item[1], item[0]))
    for speaker, total_s in ordered[:NUM_BINS]:
        table.add_row(_plain(speaker), f"{total_s / 60:.2f}", _bar(total_s / ordered[0][1]))
    if len(ordered) > NUM_BINS:
        table.add_row(f"… {len(ordered) - NUM_BINS} more", "", "")
    return table


def _lengths(summary: Summary) -> Table | None:
    if not summary.tenths:
        return None
    width = -(-max(summary.tenths) // (10 * NUM_BINS)) or 1
    bins: collections.Counter[int] = collections.Counter()
    for tenth, count in summary.tenths.items():
        bins[tenth // (10 * width)] += count
    table = _table("Lengths", "seconds", "utterances", "")
    for index in range(min(bins), max(bins) + 1):
        label = f"{index * width}–{(index + 1) * width}"
        table.add_row(label, f"{bins[index]:,}", _bar(bins[index] / max(bins.values())))
    return table


def _stages(summary: Summary) -> Table | None:
    if not summary.reports:
        return None
    table = _table("Stages", "stage", "rows", "rejects", "done before", "seconds", "RTF")
    for report in summary.reports:
        factor = report.real_time_factor
        table.add_row(
            report.stage,
            str(report.num_rows),
            str(report.num_rejects),
            str(report.num_resumed),
            f"{report.wall_s:.1f}",
            "" if factor is None else f"{factor:.3f}",
        )
    table.caption = "RTF = processing time / audio duration; lower is faster"
    table.caption_justify = "left"
    return table


def _accounts(found: Sequence[Account]) -> Table | None:
    if not found:
        return None
    table = _table("Where it went", "stage", "found", "kept", "dropped", "pauses")
    table.caption = "found = kept + dropped + pauses; ?: of a length that nobody knows; parts are of kept items"
    table.caption_justify = "left"
    for each in found:
        dropped = f"{each.num_dropped:,}" + (f" · {_time(each.dropped_s)}" if each.dropped_s else "")
        dropped += f" + {each.num_unknown} ?" if each.num_unknown else ""
        dropped += f", {stage.plural(each.num_parts, 'part')}" if each.num_parts else ""
        between = _time(each.between_s) if each.stage == PROCESS else ""
        kept = f"{each.num_kept:,} · {_time(each.kept_s)}"
        table.add_row(each.stage, f"{each.num_found:,} · {_time(each.found_s)}", kept, dropped, between)
    return table


def _time(seconds: float) -> str:
    """Seconds as a person reads them.

    Example:
        >>> _time(75.25), _time(7384)
        ('1:15.2', '2:03:04')
    """
    minutes, rest = divmod(max(0.0, seconds), 60)
    if minutes < 60:
        return f"{int(minutes)}:{int(rest * 10) / 10:04.1f}"
    return f"{int(minutes) // 60:,}:{int(minutes) % 60:02d}:{int(rest):02d}"


def _rejects(summary: Summary, accounts: Sequence[Account]) -> Table | None:
    if not summary.rejects:
        return None
    table = _table("Rejects", "stage", "reason", "items", "time", "for example")
    dropped = {(each.stage, reason): what for each in accounts for reason, what in each.dropped.items()}
    groups: dict[tuple[str, str], list[Reject]] = collections.defaultdict(list)
    for reject in summary.rejects:
        groups[reject.stage, str(reject.reason)].append(reject)
    for (name, reason), items in sorted(groups.items()):
        what = dropped.get((name, reason))
        time = "?" if what is None or what.num_unknown == len(items) else _time(what.seconds)
        table.add_row(name, reason, str(len(items)), time, _plain(f"{items[0].id}: {items[0].detail}"))
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _bar(share: float) -> str:
    return "█" * max(1 if share else 0, round(share * BAR_WIDTH))


def _plain(text: str) -> str:
    """Text from data, so that no newline, control code or markup in it acts on the terminal."""
    return escape("".join(char if char.isprintable() else repr(char)[1:-1] for char in text))
