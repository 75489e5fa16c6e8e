"""The plain folder as a corpus: every entry ends up as a recording, a reject, or is counted as not audio."""

from __future__ import annotations

import os
from pathlib import Path

import soundfile
from audio_files import RATE_HZ, tone

from vall_e import storage
from vall_e.corpora.importing import import_corpus
from vall_e.corpora.registry import ImportOptions
from vall_e.types import Recording, Reject, RejectReason


def test_every_entry_of_a_folder_is_accounted_for(tmp_path: Path) -> None:
    root, outside = tmp_path / "in", tmp_path / "out"
    (root / "g" / "s").mkdir(parents=True)
    outside.mkdir()
    soundfile.write(outside / "o.wav", tone(100), RATE_HZ)
    names = ["a.wav", "b c.WAV", "-d.flac", "e\nf.wav", "🎤.wav", "桜.wav", "'q\".wav", "a.flac"]
    for name in names:
        soundfile.write(root / "g" / "s" / name, tone(100), RATE_HZ, format="WAV")
    (root / "notes.txt").write_text("x")
    (root / "g" / "s" / "._a.wav").write_bytes(b"Mac OS X")  # what a Mac leaves beside each file
    (root / "x.wav").mkdir()
    soundfile.write(root / "x.wav" / "in.wav", tone(100), RATE_HZ)
    (root / "out.wav").symlink_to(outside / "o.wav")
    (root / "broken.wav").symlink_to(root / "nowhere.wav")
    (root / "inner.wav").symlink_to(root / "g" / "s" / "a.wav")
    soundfile.write(root / "blob", tone(100), RATE_HZ, format="WAV")
    (root / "annexed.wav").symlink_to("blob")  # which is not audio by its name, so the link is what counts
    (root / "g" / "loop").symlink_to(root)
    (root / "far").symlink_to(outside)
    os.mkfifo(root / "pipe.wav")
    (root / ("y" * 245 + ".wav")).write_bytes(b"")
    Path(os.fsdecode(os.fsencode(root) + b"/\xff.wav")).write_bytes(b"")
    report = import_corpus(root, tmp_path / "meta", ImportOptions(executor="serial"))
    found = {*(f"g/s/{name}" for name in names), "x.wav/in.wav", "annexed.wav"}
    rows = list(storage.read_rows(tmp_path / "meta" / "recordings.jsonl", Recording))
    assert {row.id for row in rows} == found and len(rows) == len(found) == report.num_rows
    assert report.num_ignored == 3
    rejects = storage.read_rows(tmp_path / "meta" / "rejects.jsonl", Reject)
    assert {reject.id: reject.reason for reject in rejects} == {
        "x.wav": RejectReason.NOT_A_FILE,
        "out.wav": RejectReason.LINK_OUTSIDE,
        "far": RejectReason.LINK_OUTSIDE,
        "broken.wav": RejectReason.UNREADABLE,
        "g/loop": RejectReason.LINK_INSIDE,
        "inner.wav": RejectReason.LINK_INSIDE,
        "pipe.wav": RejectReason.NOT_A_FILE,
        "y" * 245 + ".wav": RejectReason.BAD_NAME,
        "\\udcff.wav": RejectReason.BAD_NAME,
    }
