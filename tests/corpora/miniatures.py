"""Corpora in their own layouts, a few seconds of sound each, made where a test wants one.

`MINIATURES` has a function for each importer: it writes the corpus below a folder and returns where it is, further
audio roots, and what must come out: id → (speaker, text or texts of segments, language, split).
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from audio_files import RATE_HZ, tone

from vall_e.types import UNKNOWN_SPEAKER

Expected = tuple[str, str | tuple[str, ...] | None, str | None, str | None]


@dataclass
class Miniature:
    path: Path
    expected: dict[str, Expected]
    audio_roots: tuple[Path, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    rejects: dict[str, int] = field(default_factory=dict)
    is_found: bool = True  # by its marker files, under `auto`


def speech(path: Path, seconds: float = 1.5, format: str | None = None) -> None:
    """Sound that differs from file to file, as takes do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    start = sum(map(ord, path.name)) % 5_000
    samples = tone(start + int(seconds * RATE_HZ))[start:]
    soundfile.write(path, samples, RATE_HZ, format=format)


def sound_bytes(name: str, seconds: float = 1.5) -> bytes:
    buffer = io.BytesIO()
    start = sum(map(ord, name)) % 5_000
    soundfile.write(
        buffer, tone(start + int(seconds * RATE_HZ))[start:], RATE_HZ, format=name.rpartition(".")[2].upper()
    )
    return buffer.getvalue()


def write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def tar(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))


def ljspeech(root: Path) -> Miniature:
    texts = {
        "LJ001-0001": ('"Printing," in 1440', '"Printing," in fourteen forty'),
        "LJ002-0298": ("He went", "He went"),
    }
    for name in texts:
        speech(root / "wavs" / f"{name}.wav")
    write(root / "metadata.csv", "".join(f"{name}|{a}|{b}\n" for name, (a, b) in texts.items()))
    return Miniature(root, {name: ("LJ", b, "en", None) for name, (_, b) in texts.items()})


def libritts(root: Path) -> Miniature:
    names = {"train-clean-100": "103_1241_000000_000001", "dev-other": "116_288045_000003_000000"}
    for subset, name in names.items():
        reader, chapter = name.split("_")[:2]
        speech(root / subset / reader / chapter / f"{name}.wav")
        write(root / subset / reader / chapter / f"{name}.original.txt", "Mr. Smith")
        write(root / subset / reader / chapter / f"{name}.normalized.txt", "Mister Smith.\n")
    return Miniature(
        root, {name: (name.split("_")[0], "Mister Smith.", "en", subset) for subset, name in names.items()}
    )


def librispeech(root: Path) -> Miniature:
    folder = root / "train-clean-100" / "103" / "1240"
    for number in (0, 1):
        speech(folder / f"103-1240-000{number}.flac")
    write(folder / "103-1240.trans.txt", "103-1240-0000 CHAPTER ONE HERE\n103-1240-0001 THE END OF IT\n")
    split = "train-clean-100"
    expected: dict[str, Expected] = {
        "103-1240-0000": ("103", "CHAPTER ONE HERE", "en", split),
        "103-1240-0001": ("103", "THE END OF IT", "en", split),
    }
    return Miniature(root, expected)


def vctk(root: Path) -> Miniature:
    for mic in (1, 2):
        speech(root / "wav48_silence_trimmed" / "p225" / f"p225_001_mic{mic}.flac")
    speech(root / "wav48_silence_trimmed" / "s5" / "s5_002_mic1.flac")
    write(root / "txt" / "p225" / "p225_001.txt", "Please call Stella.\n")
    write(root / "txt" / "s5" / "s5_002.txt", "Ask her to bring these things.\n")
    expected: dict[str, Expected] = {
        "p225_001_mic1": ("p225", "Please call Stella.", "en", None),
        "s5_002_mic1": ("s5", "Ask her to bring these things.", "en", None),
    }
    return Miniature(root, expected)


def common_voice(root: Path) -> Miniature:
    header = (
        "client_id\tpath\tsentence_id\tsentence\tsentence_domain\tup_votes\tdown_votes\tage\tgender\tlocale\tsegment\n"
    )
    clips = {"de": ("common_voice_de_1.mp3", 'Er sagte: "Nein".'), "pt": ("common_voice_pt_2.mp3", "Bom dia.")}
    for locale, (name, sentence) in clips.items():
        speech(root / locale / "clips" / name)
        row = f"c{locale}\t{name}\t9\t{sentence}\t\t2\t1\t\t\t{locale}\t\n"
        write(root / locale / "validated.tsv", header + row)
        write(root / locale / "dev.tsv", header + (row if locale == "de" else ""))
        write(root / locale / "invalidated.tsv", header)
    expected: dict[str, Expected] = {
        "de/common_voice_de_1.mp3": ("cde", 'Er sagte: "Nein".', "de", "dev"),
        "pt/common_voice_pt_2.mp3": ("cpt", "Bom dia.", "pt", None),
    }
    return Miniature(root, expected)


def emilia_row(name: str, language: str, text: str) -> dict[str, Any]:
    folder = name.split("_S")[0]
    return {
        "id": name, "wav": f"{folder}/{name[:16]}/mp3/{name}.mp3", "text": text, "duration": 1.5,
        "speaker": name.rpartition("_W")[0], "language": language, "dnsmos": 3.2,
    }  # fmt: skip


def emilia(root: Path) -> Miniature:
    rows = [
        emilia_row("EN_B00000_S00000_W000000", "en", "Hello there."),
        emilia_row("EN_B00000_S00001_W000002", "en", "Bye."),
    ]
    tar(
        root / "EN" / "EN-B000000.tar",
        {
            f"{row['id']}.{kind}": (json.dumps(row).encode() if kind == "json" else sound_bytes(f"{row['id']}.mp3"))
            for row in rows
            for kind in ("json", "mp3")
        },
    )
    return Miniature(root, {row["id"]: (row["speaker"], row["text"], "en", None) for row in rows})


def emilia_lines(root: Path) -> Miniature:
    row = emilia_row("ZH_B00001_S00002_W000003", "zh", "你好。")
    speech(root / "ZH" / row["wav"])
    write(root / "ZH" / "ZH_B00001.jsonl", json.dumps(row) + "\n")
    return Miniature(root, {row["id"]: (row["speaker"], "你好。", "zh", None)})


def hifi_tts(root: Path) -> Miniature:
    for split, book in (("train", "10425"), ("test", "2196")):
        path = f"audio/92_clean/{book}/a_{book}_0001.flac"
        speech(root / path)
        row = {"audio_filepath": path, "text": "it was ten", "duration": 1.5, "text_normalized": "It was ten."}
        write(root / f"92_manifest_clean_{split}.json", json.dumps(row) + "\n")
    write(root / "readers_books_clean.txt", "92|10425\n")
    expected: dict[str, Expected] = {
        f"audio/92_clean/{book}/a_{book}_0001.flac": ("92", "It was ten.", "en", split)
        for split, book in (("train", "10425"), ("test", "2196"))
    }
    return Miniature(root, expected)


def jsut(root: Path) -> Miniature:
    expected: dict[str, Expected] = {}
    for part, text in (
        ("basic5000", "水をマレーシアから買わなくてはならないのです。"),
        ("onomatopee300", "雨がしとしと降る。"),
    ):
        name = f"{part.upper()}_0001"
        speech(root / part / "wav" / f"{name}.wav")
        write(root / part / "transcript_utf8.txt", f"{name}:{text}\n")
        expected[name] = ("JSUT", text, "ja", None)
    return Miniature(root, expected)


def aishell3(root: Path) -> Miniature:
    speech(root / "train" / "wav" / "SSB0005" / "SSB00050001.wav")
    speech(root / "test" / "wav" / "SSB0073" / "SSB00730005.wav")
    write(root / "train" / "content.txt", "SSB00050001.wav\t广 guang3 州 zhou1 女 nv3 大 da4 学 xue2 生 sheng1\n")
    write(root / "test" / "content.txt", "SSB00730005.wav\t花 hua1 儿 er2 开 kai1\n")
    expected: dict[str, Expected] = {
        "SSB00050001": ("SSB0005", "广州女大学生", "zh", "train"),
        "SSB00730005": ("SSB0073", "花儿开", "zh", "test"),
    }
    return Miniature(root, expected)


def mls(root: Path) -> Miniature:
    expected: dict[str, Expected] = {}
    for folder, language, split, name in (
        ("mls_german", "de", "train", "1897_1790_000000"),
        ("mls_polish_opus", "pl", "dev", "6892_8912_000001"),
    ):
        reader, book = name.split("_")[:2]
        extension = "opus" if folder.endswith("opus") else "flac"
        target = root / folder / split / "audio" / reader / book / f"{name}.{extension}"
        speech(target, format="OGG" if extension == "opus" else None)
        write(root / folder / split / "transcripts.txt", f"{name}\tein guter tag\n")
        expected[name] = (reader, "ein guter tag", language, split)
    return Miniature(root, expected)


def kaldi(root: Path) -> Miniature:
    speech(root / "elsewhere" / "a.wav", 4.0)
    data = root / "data"
    write(data / "wav.scp", f"call-1 {root / 'elsewhere' / 'a.wav'}\ncall-2 sph2pipe -f wav b.sph |\n")
    write(data / "segments", "ann-2 call-1 2.10 3.90\nbob-1 call-1 0.20 1.80\n")
    write(data / "text", "bob-1 good morning ann\nann-2 good morning bob\n")
    write(data / "utt2spk", "bob-1 bob\nann-2 ann\n")
    write(data / "utt2lang", "bob-1 en\nann-2 en\n")
    expected: dict[str, Expected] = {"call-1": (UNKNOWN_SPEAKER, ("good morning ann", "good morning bob"), "en", None)}
    return Miniature(data, expected, (root / "elsewhere",), rejects={"bad_row": 1})


def nemo(root: Path) -> Miniature:
    speech(root / "audio" / "a.wav")
    speech(root / "audio" / "b.wav", 4.0)
    rows = [
        {"audio_filepath": "audio/a.wav", "duration": 1.5, "text": "one file", "speaker": 7, "lang": "en-US"},
        {"audio_filepath": str(root / "audio/b.wav"), "offset": 2.0, "duration": 1.5, "text": "later", "speaker": "x"},
        {"audio_filepath": str(root / "audio/b.wav"), "offset": 0.1, "duration": 1.5, "text": "first", "speaker": "x"},
        {"audio_filepath": "/etc/passwd.wav", "duration": 1.0, "text": "outside"},
    ]
    write(root / "manifest.json", "".join(json.dumps(row) + "\n" for row in rows))
    expected: dict[str, Expected] = {
        "audio/a.wav": ("7", "one file", "en", None),
        "audio/b.wav": ("x", ("first", "later"), None, None),
    }
    return Miniature(root / "manifest.json", expected, rejects={"unsafe_path": 1})


def lhotse(root: Path) -> Miniature:
    speech(root / "audio" / "a.wav", 3.0)
    recording = {
        "id": "rec-a", "sources": [{"type": "file", "channels": [0], "source": str(root / "audio" / "a.wav")}],
        "sampling_rate": RATE_HZ, "num_samples": 3 * RATE_HZ, "duration": 3.0, "channel_ids": [0],
    }  # fmt: skip
    command = recording | {"id": "rec-b", "sources": [{"type": "command", "channels": [0], "source": "cat x"}]}

    def supervision(name: str, start: float, text: str) -> dict[str, Any]:
        return {"id": name, "recording_id": "rec-a", "start": start, "duration": 1.2, "channel": 0, "text": text,
                "language": "English", "speaker": "ann"}  # fmt: skip

    lines = [json.dumps(row) for row in (recording, command)]
    with gzip.open(root / "recordings.jsonl.gz", "wt") as file:
        file.write("\n".join(lines) + "\n")
    with gzip.open(root / "supervisions.jsonl.gz", "wt") as file:
        file.write("\n".join(json.dumps(supervision(*row)) for row in (("s1", 0.1, "one"), ("s2", 1.6, "two"))) + "\n")
    expected: dict[str, Expected] = {"rec-a": ("ann", ("one", "two"), "en", None)}
    return Miniature(root, expected, rejects={"bad_row": 1})


def lhotse_cuts(root: Path) -> Miniature:
    speech(root / "a.wav", 3.0)
    recording = {
        "id": "rec-a", "sources": [{"type": "file", "channels": [0], "source": str(root / "a.wav")}],
        "sampling_rate": RATE_HZ, "num_samples": 3 * RATE_HZ, "duration": 3.0, "channel_ids": [0],
    }  # fmt: skip
    cuts = [
        {"id": f"cut-{start}", "start": start, "duration": 1.4, "channel": 0, "recording": recording, "type": "MonoCut",
         "supervisions": [{"id": f"s{start}", "recording_id": "rec-a", "start": 0.1, "duration": 1.2, "channel": 0,
                           "text": text, "language": "de", "speaker": "bob"}]}
        for start, text in ((0.0, "Guten Tag."), (1.5, "Gute Nacht."))
    ]  # fmt: skip
    write(root / "my-cuts.jsonl", "".join(json.dumps(cut) + "\n" for cut in cuts))
    expected: dict[str, Expected] = {"rec-a": ("bob", ("Guten Tag.", "Gute Nacht."), "de", None)}
    return Miniature(root / "my-cuts.jsonl", expected)


def huggingface(root: Path) -> Miniature:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    speech(root / "beside.wav")
    (root / "data").mkdir()
    table = {
        "audio": [{"bytes": sound_bytes("x.wav"), "path": "x.wav"}, {"bytes": None, "path": "beside.wav"}],
        "sentence": ["In the row.", "Beside it."],
        "speaker_id": [1, 2],
        "language": ["eng", "en"],
    }
    parquet.write_table(pa.table(table), root / "data" / "train-00000-of-00001.parquet")
    expected: dict[str, Expected] = {
        "data/train-00000-of-00001.parquet/0": ("1", "In the row.", "en", "train"),
        "data/train-00000-of-00001.parquet/1": ("2", "Beside it.", "en", "train"),
    }
    return Miniature(root, expected)


def huggingface_arrow(root: Path) -> Miniature:
    import pyarrow as pa

    path = root / "test" / "data-00000-of-00001.arrow"
    path.parent.mkdir()
    rows = [
        {"audio": {"bytes": sound_bytes(f"{n}.flac"), "path": f"{n}.flac"}, "text": f"text {n}", "id": f"u{n}"}
        for n in "ab"
    ]
    table = pa.Table.from_pylist(rows)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        for batch in table.to_batches(1):
            writer.write_batch(batch)
    write(root / "dataset_dict.json", '{"splits": ["test"]}')
    expected: dict[str, Expected] = {f"test/u{n}": (UNKNOWN_SPEAKER, f"text {n}", None, "test") for n in "ab"}
    return Miniature(root, expected)


def webdataset(root: Path) -> Miniature:
    row = json.dumps({"text": "From json.", "speaker": "ann", "language": "fr"}).encode()
    tar(
        root / "train-000000.tar",
        {"u/0001.json": row, "u/0001.flac": sound_bytes("1.flac"), "u/0002.txt": b"From txt.\n", "u/0002.wav": sound_bytes("2.wav"),
         "u/0003.txt": b"no audio", "../evil.wav": sound_bytes("3.wav")},
    )  # fmt: skip
    expected: dict[str, Expected] = {
        "train-000000/u/0001": ("ann", "From json.", "fr", "train"),
        "train-000000/u/0002": (UNKNOWN_SPEAKER, "From txt.", None, "train"),
    }
    return Miniature(root, expected, rejects={"unsafe_path": 1})


def whisper_json(root: Path) -> Miniature:
    speech(root / "voices" / "books" / "ann" / "a.wav", 4.0)
    segments = [
        {"start": 0.2, "end": 1.8, "text": " Good morning.", "words": [{"word": "Good", "start": 0.2, "end": 0.8, "score": 0.9},
                                                                       {"word": "morning.", "start": 0.9, "end": 1.8, "score": 0.8}]},
        {"start": 2.0, "end": 3.8, "text": " Good night.", "words": [{"word": "Good"}]},
    ]  # fmt: skip
    value = {
        "a.wav": {"segments": segments, "language": "en", "text": "Good morning. Good night.", "start": 0, "end": 4}
    }
    write(root / "metadata" / "books" / "ann" / "whisper.json", json.dumps(value))
    expected: dict[str, Expected] = {"books/ann/a.wav": ("ann", ("Good morning.", "Good night."), "en", None)}
    return Miniature(root / "metadata", expected, (root / "voices",))


MINIATURES: dict[str, tuple[str, Callable[[Path], Miniature]]] = {
    "ljspeech": ("ljspeech", ljspeech),
    "libritts": ("libritts", libritts),
    "librispeech": ("libritts", librispeech),
    "vctk": ("vctk", vctk),
    "common_voice": ("common_voice", common_voice),
    "emilia": ("emilia", emilia),
    "emilia lines": ("emilia", emilia_lines),
    "hifi_tts": ("hifi_tts", hifi_tts),
    "jsut": ("jsut", jsut),
    "aishell3": ("aishell3", aishell3),
    "mls": ("mls", mls),
    "kaldi": ("kaldi", kaldi),
    "nemo": ("nemo", nemo),
    "lhotse": ("lhotse", lhotse),
    "lhotse cuts": ("lhotse", lhotse_cuts),
    "huggingface": ("huggingface", huggingface),
    "huggingface arrow": ("huggingface", huggingface_arrow),
    "webdataset": ("webdataset", webdataset),
    "whisper_json": ("whisper_json", whisper_json),
}


def silence(seconds: float) -> np.ndarray:
    return np.zeros(int(seconds * RATE_HZ), np.float32)
