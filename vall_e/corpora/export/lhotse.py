"""A lhotse CutSet: `cuts.jsonl.gz`, whose recordings are named where they are, and `shar/`, with the sound in tars.

https://lhotse.readthedocs.io/en/latest/cuts.html and /shar.html.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vall_e.corpora.export.base import SHARD_ROWS, Piece, Work
from vall_e.types import BackendError, Recording


def load() -> Lhotse:
    try:
        import lhotse  # noqa: F401
    except ImportError:
        raise BackendError('lhotse is not installed: pip install "vall-e[lhotse]"') from None
    return Lhotse()


class Lhotse:
    """One cut of each utterance, with one supervision over all of it."""

    def export(self, work: Work, out: Path) -> Iterator[int]:
        from lhotse import CutSet
        from lhotse.shar import SharWriter

        (out / "shar").mkdir()
        fields = {"recording": "flac"}
        with (
            CutSet.open_writer(out / "cuts.jsonl.gz") as cuts,
            SharWriter(str(out / "shar"), fields=fields, shard_size=SHARD_ROWS) as shar,
        ):
            for piece in work.pieces():
                recording = work.recording(piece.row.recording_id)
                if (recording.member, recording.track, recording.channel) == (None, None, None):
                    cuts.write(_cut(piece, recording, str(work.source(recording).path.resolve())))
                shar.write(_in_memory(piece))
                yield 1


def _supervision(piece: Piece, recording_id: str) -> Any:
    from lhotse import SupervisionSegment

    row = piece.row
    custom = {"phonemes": row.phonemes, "split": row.split, **row.scores}
    return SupervisionSegment(
        id=row.id,
        recording_id=recording_id,
        start=0.0,
        duration=row.duration_s,
        channel=0,
        text=row.text,
        language=row.language,
        speaker=row.speaker_id,
        custom={key: value for key, value in custom.items() if value is not None},
    )


def _cut(piece: Piece, recording: Recording, path: str) -> Any:
    import lhotse
    from lhotse.audio import AudioSource

    row = piece.row
    channels = list(range(recording.num_channels))
    whole = lhotse.Recording(
        id=recording.id,
        sources=[AudioSource(type="file", channels=channels, source=path)],
        sampling_rate=recording.sample_rate_hz,
        num_samples=recording.num_samples,
        duration=recording.duration_s,
        channel_ids=channels,
    )
    return lhotse.MonoCut(
        id=row.id,
        start=row.start_samples / row.sample_rate_hz,
        duration=row.duration_s,
        channel=0,
        recording=whole,
        supervisions=[_supervision(piece, recording.id)],
    )


def _in_memory(piece: Piece) -> Any:
    import lhotse

    row = piece.row
    recording = lhotse.Recording.from_bytes(piece.flac(), recording_id=row.id)
    cut = recording.to_cut()
    cut.id = row.id
    cut.supervisions = [_supervision(piece, row.id)]
    return cut
