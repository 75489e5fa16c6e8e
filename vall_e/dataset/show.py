"""What is in a built dataset, as tables for a person."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vall_e.dataset import files
from vall_e.dataset.index import Index

BARS = " ▏▎▍▌▋▊▉█"
BAR_CELLS = 30
HISTOGRAM_BINS = 12
TOP_SPEAKERS = 10


def show(path: Path) -> None:
    """Prints hours, languages, the largest speakers, the vocabulary and the spread of durations to the terminal.

    Raises:
        UsageError: there is no built dataset at `path`. ContractError: it is damaged.
    """
    from rich.console import Console
    from rich.table import Table

    index = Index(path)
    frame_s = float(1 / index.spec.frame_rate_hz)
    console = Console(highlight=False)

    def table(title: str, key: str, groups: np.ndarray, names: list[tuple[int, str]]) -> None:
        made = Table(title=title, title_justify="left")
        made.add_column(key)
        for column in ("utterances", "hours", "mean s"):
            made.add_column(column, justify="right")
        for number, name in names:
            frames = index.num_frames[groups == number]
            mean = f"{frames.mean() * frame_s:.2f}" if len(frames) else "–"
            made.add_row(name, f"{len(frames):,}", f"{frames.sum(dtype=np.int64) * frame_s / 3600:.3f}", mean)
        console.print(made)

    spec = index.spec
    codec = f"{spec.name}, {spec.num_levels} levels of {spec.codebook_size} codes"
    console.print(f"{path}: {codec} at {float(spec.frame_rate_hz):g} Hz", markup=False)
    table("Splits", "split", index.split, [(number, name) for name, number in files.SPLITS.items()])
    table("Languages", "language", index.language, list(enumerate(index.vocabulary.languages)))
    largest = np.argsort(-np.bincount(index.speaker, weights=index.num_frames), kind="stable")[:TOP_SPEAKERS]
    title = f"Speakers (largest {len(largest)} of {len(index.speakers)})"
    table(title, "speaker", index.speaker, [(int(number), index.speakers[number]) for number in largest])
    phones = index.vocabulary.phones
    console.print(f"{len(phones)} phones: {' '.join(map(repr, phones))}", markup=False)
    console.print("\nDurations")
    for line in histogram(index.num_frames * frame_s):
        console.print(line, markup=False)


def histogram(durations_s: np.ndarray) -> list[str]:
    """One line per bin of equal width: its seconds, a bar, its count."""
    counts, edges = np.histogram(durations_s, bins=HISTOGRAM_BINS)
    lines = []
    for count, start, end in zip(counts, edges, edges[1:], strict=False):
        eighths = -(-int(count) * BAR_CELLS * 8 // max(int(counts.max()), 1))  # rounded up: one utterance is seen
        bar = BARS[8] * (eighths // 8) + BARS[eighths % 8].strip()
        lines.append(f"{start:7.2f} – {end:6.2f} s  {bar:<{BAR_CELLS}} {count:,}")
    return lines
