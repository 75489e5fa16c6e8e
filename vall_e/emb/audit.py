"""What each score would leave out: a table of thresholds, the worst utterances as audio, and limits for the next build.

    vall-e audit WORK
    vall-e audit WORK --apply 'snr_db>=10' --apply 'rate_z<=3.5'

Scores that need the whole corpus are computed here, into dataset/scores.jsonl. Nothing is encoded again.
"""

from __future__ import annotations

import argparse
import html
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vall_e import audio, config, layout, progress, scores, storage
from vall_e.corpora.importing import corpus_root, roots_of
from vall_e.emb.gates.corpus import BAD, CORPUS_GATES, Rows
from vall_e.emb.gates.registry import GATES, GateOptions
from vall_e.types import BackendError, Recording, UsageError, Utterance, safe_path

SHARES = (0.01, 0.02, 0.05, 0.10)  # of the utterances that a threshold of the table leaves out
NUM_WORST = 20
SHOWN_SPEAKERS = 5


@dataclass(frozen=True)
class Column:
    """One score of all utterances.

    Attributes:
        values: float64 [N], NaN where there is none.
        bad: which end is the worst: low, high or both.
        limits: (minimum, maximum) that the next build takes.
    """

    name: str
    values: np.ndarray
    bad: str
    limits: tuple[float | None, float | None]

    def badness(self) -> np.ndarray:
        """Larger is worse; NaN where there is no score."""
        if self.bad == "low":
            return -self.values
        if self.bad == "high":
            return self.values
        return np.abs(self.values - np.nanmedian(self.values))

    def past(self) -> np.ndarray:
        """bool [N]: outside the limits."""
        low, high = self.limits
        found = np.zeros(len(self.values), bool)
        if low is not None:
            found |= self.values < low
        if high is not None:
            found |= self.values > high
        return found


class Audit:
    """The scores of a WORK folder.

    Args:
        work: made by `prepare`.

    Raises:
        UsageError: no dataset there.
    """

    def __init__(self, work: Path) -> None:
        self.work, self.dataset = work, work / layout.DATASET_FOLDER
        storage.require_file(self.dataset / layout.UTTERANCES, layout.MADE_BY[layout.UTTERANCES])
        self._index = storage.RowIndex(self.dataset / layout.UTTERANCES, "id")
        ids = list(self._index.ids())
        self._order = sorted(range(len(ids)), key=ids.__getitem__)
        if not ids:
            raise UsageError(f"{self.dataset / layout.UTTERANCES}: no utterances in it")

    def rows(self) -> Any:
        """The utterances in order of id."""
        return (self._index.place(number).read(Utterance) for number in self._order)

    def row(self, place: int) -> Utterance:
        return self._index.place(self._order[place]).read(Utterance)

    def score(self, names: Sequence[str]) -> None:
        """Brings scores.jsonl up to date with the corpus gates of these names, whole or not at all."""
        corpus = Rows(self.rows, lambda row: storage.read_array(safe_path(self.dataset, row.codes)))
        found = {name: CORPUS_GATES.load(name)(corpus) for name in names}
        later = scores.Scores(self.dataset)

        def lines() -> Any:
            for row in self.rows():
                values = dict(later.of(row.id)) | {name: of.get(row.id) for name, of in found.items()}
                yield {"id": row.id, "scores": values}

        with storage.folder_lock(self.dataset):
            storage.write_json_lines(self.dataset / layout.SCORES, lines(), self.dataset)

    def columns(self) -> tuple[list[Column], np.ndarray, list[str]]:
        """The scores by name, seconds [N] and speakers of the utterances, in order of id."""
        head = storage.read_json(self.dataset / layout.DATASET_JSON) or {}
        later = scores.Scores(self.dataset)
        limits = scores.Limits(head.get("gates") or {}, scores.chosen_limits(self.dataset)).bounds
        values: dict[str, dict[int, float]] = defaultdict(dict)
        seconds, speakers = np.zeros(len(self._order)), []
        for place, row in enumerate(self.rows()):
            seconds[place] = row.duration_s
            speakers.append(row.speaker_id)
            for name, value in (row.scores | dict(later.of(row.id))).items():
                if value is not None:
                    values[name][place] = value
        columns = []
        for name in sorted(values):
            column = np.full(len(seconds), np.nan)
            column[list(values[name])] = list(values[name].values())
            columns.append(Column(name, column, bad_side(name), limits.get(name, (None, None))))
        return columns, seconds, speakers


def bad_side(name: str) -> str:
    """Which end of a score is the worst."""
    if name in BAD:
        return BAD[name]
    try:
        return str(getattr(GATES.load(name)(GateOptions()), "bad", "both")) if name in GATES else "both"
    except BackendError:
        return "both"


def table(columns: Sequence[Column], seconds: np.ndarray, speakers: Sequence[str]) -> list[str]:
    """What each score looks like and would leave out, alone and together, in hours and per speaker."""
    hours = seconds / 3600
    lines = [
        f"{len(seconds):,} utterances, {hours.sum():.4f} h",
        "",
        f"{'score':<18}{'scored':>8}{'1%':>10}{'median':>10}{'99%':>10}   kept, and hours left out, at the worst "
        + ", ".join(f"{share:.0%}" for share in SHARES),
    ]
    together = {share: np.zeros(len(seconds), bool) for share in SHARES}
    for column in columns:
        known = ~np.isnan(column.values)
        low, middle, high = np.nanquantile(column.values, (0.01, 0.5, 0.99))
        parts = []
        for share in SHARES:
            dropped, shown = _worst_share(column, share)
            together[share] |= dropped
            parts.append(f"{shown} ({hours[dropped].sum():.4f})")
        lines.append(f"{column.name:<18}{known.sum():>8,}{low:>10.4g}{middle:>10.4g}{high:>10.4g}   {'  '.join(parts)}")
    parts = [f"{share:.0%} ({hours[dropped].sum():.4f} h)" for share, dropped in together.items()]
    lines += ["", f"together, each at its worst: {'  '.join(parts)}"]
    past = np.zeros(len(seconds), bool)
    for column in columns:
        past |= column.past()
    lines.append(f"the limits of the next build leave out {past.sum():,} utterances, {hours[past].sum():.4f} h")
    lost: dict[str, float] = defaultdict(float)
    total: dict[str, float] = defaultdict(float)
    for place, speaker in enumerate(speakers):
        total[speaker] += hours[place]
        lost[speaker] += hours[place] * bool(together[SHARES[2]][place])
    most = sorted(total, key=lambda speaker: (-lost[speaker] / max(total[speaker], 1e-12), speaker))[:SHOWN_SPEAKERS]
    shown = ", ".join(f"{speaker} {lost[speaker]:.4f} of {total[speaker]:.4f} h" for speaker in most)
    lines.append(f"of the speakers, at the worst {SHARES[2]:.0%} of each score, these lose most: {shown}")
    return lines


def _worst_share(column: Column, share: float) -> tuple[np.ndarray, str]:
    """(bool [N], the threshold as it is written) of the worst `share` of the scored; of scores all alike none."""
    known = column.values[~np.isnan(column.values)]
    low, high = column.bad in ("low", "both"), column.bad in ("high", "both")
    each = share / (low + high)
    dropped, parts = np.zeros(len(column.values), bool), []
    if low:
        limit = float(np.quantile(known, each))
        dropped |= column.values < limit
        parts.append(f">={limit:.4g}")
    if high:
        limit = float(np.quantile(known, 1 - each))
        dropped |= column.values > limit
        parts.append(f"<={limit:.4g}")
    return dropped, " ".join(parts)


def write_worst(audit: Audit, columns: Sequence[Column], folder: Path) -> int:
    """The worst NUM_WORST of each score as audio with their texts, and index.html → the number of files."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    metadata = audit.work / layout.METADATA_FOLDER
    roots = roots_of(metadata, corpus_root(None, metadata))
    recordings = storage.RowIndex(metadata / layout.RECORDINGS, "id")
    wanted: dict[int, list[tuple[str, int]]] = defaultdict(list)
    for column in columns:
        badness = column.badness()
        known = np.flatnonzero(~np.isnan(badness))
        order = known[np.argsort(-badness[known], kind="stable")][:NUM_WORST]
        for number, place in enumerate(order, start=1):
            wanted[int(place)].append((column.name, number))
    page: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for place in progress.track(sorted(wanted), "audit", len(wanted)):
        row = audit.row(place)
        samples = _samples(row, recordings, roots)
        for name, number in wanted[place]:
            value = next(column.values[place] for column in columns if column.name == name)
            line = f"{value:.4g}  {row.speaker_id}  {row.id}: {row.text}"
            target = folder / name / f"{number:02d}.flac"
            target.parent.mkdir(exist_ok=True)
            if samples is not None:
                audio.write(target, samples, row.sample_rate_hz)
            target.with_suffix(".txt").write_text(line + "\n", encoding="utf-8")
            page[name].append((number, line))
    (folder / "index.html").write_text(_page(page), encoding="utf-8")
    return sum(map(len, wanted.values()))


def _samples(row: Utterance, recordings: storage.RowIndex, roots: audio.Roots) -> np.ndarray | None:
    """The sound of an utterance; None where its recording is gone or not what it was."""
    place = recordings.get(row.recording_id)
    try:
        source = audio.locate(roots, place.read(Recording)) if place is not None else None
        return None if source is None else next(source.slices([(row.start_samples, row.num_samples)]))
    except audio.AudioError:
        return None


def _page(found: Mapping[str, Sequence[tuple[int, str]]]) -> str:
    parts = [
        "<!doctype html><meta charset='utf-8'><title>audit</title>",
        "<style>body{font:16px/1.4 sans-serif;max-width:60em;margin:2em auto}",
        "audio{height:2em;vertical-align:middle}</style>",
        f"<h1>The worst {NUM_WORST} of each score</h1>",
    ]
    for name in sorted(found):
        parts.append(f"<h2 id='{html.escape(name)}'>{html.escape(name)}</h2><ol>")
        for number, line in sorted(found[name]):
            source = f"{html.escape(name)}/{number:02d}.flac"
            parts.append(f"<li><audio controls preload='none' src='{source}'></audio> {html.escape(line)}</li>")
        parts.append("</ol>")
    return "\n".join(parts) + "\n"


def apply(audit: Audit, limits: Sequence[str]) -> Path:
    """Writes limits into dataset/gates.yaml, beside those that are there; a name alone removes its limits.

    Raises:
        UsageError: a limit of another form, or of a score that no utterance has.
    """
    import yaml

    chosen = scores.Limits({}, (*scores.chosen_limits(audit.dataset), *limits)).bounds
    known = {column.name for column in audit.columns()[0]}
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise UsageError(f"no utterance has the score {unknown[0]!r}{config.nearest(unknown[0], known)}")
    content = {
        name: {key: value for key, value in zip(("min", "max"), bounds, strict=True) if value is not None}
        for name, bounds in sorted(chosen.items())
    }
    path = audit.dataset / layout.GATES_YAML
    text = "# limits of the next build, by `vall-e audit --apply`\n" + yaml.safe_dump(content, sort_keys=True)
    storage.write_whole(path, lambda file: file.write(text.encode()), audit.dataset)
    return path


def main(argv: Sequence[str] | None = None, *, prog: str = "vall-e audit") -> int:
    parser = argparse.ArgumentParser(prog=prog, description=(__doc__ or "").split("\n")[0])
    parser.add_argument("work", type=Path, help="a folder that prepare made")
    known = ", ".join(CORPUS_GATES)
    parser.add_argument(
        "--gates", default=",".join(CORPUS_GATES), help=f"scores that need the whole corpus: {known} (default: all)"
    )
    parser.add_argument(
        "--apply", action="append", default=[], metavar="LIMIT", help="like 'snr_db>=10': write it for the next build"
    )
    parser.add_argument("--worst", action=argparse.BooleanOptionalAction, default=True, help="write the worst as audio")
    args = parser.parse_args(argv)
    audit = Audit(args.work)
    names = [name for name in args.gates.split(",") if name]
    for name in names:
        CORPUS_GATES.check(name)
    if args.apply:
        path = apply(audit, args.apply)
        print(f"{path}: python -m vall_e.dataset build, or prepare, takes these limits now")
        args.worst = False
    else:
        audit.score(names)
    columns, seconds, speakers = audit.columns()
    print("\n".join(table(columns, seconds, speakers)))
    if args.worst:
        folder = args.work / layout.AUDIT_FOLDER
        print(f"{write_worst(audit, columns, folder):,} utterances to hear: {folder / 'index.html'}")
    return 0


if __name__ == "__main__":
    config.run_main(main)
