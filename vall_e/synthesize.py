"""Speech from a text, in the voice of a prompt, by a trained model.

    python -m vall_e.synthesize "the text" --language en --prompt a.wav --model RUN --output out.wav

Without --model, the small one that ships speaks: it is for demos and tests. From Python:

    from vall_e.synthesize import Synthesizer

    speaker = Synthesizer.load("tiny")
    spoken = speaker.speak("three one four", language="en", prompt=speaker.prompt("a.wav"))
    spoken.write("out.wav")

A model that was trained with further tasks does those as well: `--task ns --source noisy.wav` and the text that is
spoken there give it without its noise, `--task stt --source a.wav` its phonemes.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vall_e import audio, config, progress, storage, trained
from vall_e.dataset.tasks import STT, TASKS, TTS
from vall_e.speaking import Request, Spoken, SynthesizeOptions, Synthesizer
from vall_e.types import UsageError

__all__ = ["Request", "Spoken", "SynthesizeOptions", "Synthesizer", "main", "speak_lines"]

STAGE = "synthesize"
LINES = "lines.jsonl"  # in the folder of --lines: which file says what
# options that change no code that is spoken
NO_RESULT = frozenset({"device", "batch_size", "weights"})


def speak_lines(
    speaker: Synthesizer,
    texts: Sequence[str],
    folder: Path,
    *,
    language: str,
    prompt: np.ndarray | None = None,
    prompt_text: str | None = None,
) -> tuple[int, list[Path]]:
    """Speaks each text into a file of `folder`, 0001.wav on; files already spoken with the same options are kept.

    Args:
        speaker: the model.
        texts: one a file.
        folder: for the files and lines.jsonl, which says what each of them is.
        language: of all texts.
        prompt, prompt_text: as of `Synthesizer.speak`.

    Returns:
        how many were spoken now, and all files where the model did not stop by itself.
    """
    options = {key: str(value) for key, value in dataclasses.asdict(speaker.options).items() if key not in NO_RESULT}
    model = trained.fingerprint(speaker.model.folder)
    shared = json.dumps([options, model, language, prompt_text, None if prompt is None else prompt.tolist()])
    with storage.folder_lock(folder):
        known = {row.get("file"): row for _, row in storage.read_json_lines(folder / LINES)}
        names = [f"{number:04d}.wav" for number in range(1, len(texts) + 1)]
        keys = [hashlib.sha256(f"{shared}\0{text}".encode()).hexdigest() for text in texts]
        is_done = [
            known.get(name, {}).get("sha256") == key and (folder / name).is_file()
            for name, key in zip(names, keys, strict=True)
        ]
        kept = [known[name] for name, done in zip(names, is_done, strict=True) if done]
        storage.write_json_lines(folder / LINES, kept, folder)
        left = [
            (name, key, text) for name, key, text, done in zip(names, keys, texts, is_done, strict=True) if not done
        ]
        given: dict[str, Any] = {"language": language, "prompt": prompt, "prompt_text": prompt_text}
        spoken = zip(left, speaker.speak_all([text for _, _, text in left], **given), strict=True)
        with storage.JsonlWriter(folder / LINES) as writer:
            for (name, key, text), each in progress.track(spoken, STAGE, len(left)):
                each.write(folder / name)
                writer.write([{"file": name, "text": text, "stopped": each.stopped, "sha256": key}])
        rows = [row for _, row in storage.read_json_lines(folder / LINES)]
        storage.write_json_lines(folder / LINES, sorted(rows, key=lambda row: row["file"]), folder)
    return len(left), [folder / row["file"] for row in rows if not row["stopped"]]


def main(argv: Sequence[str] | None = None, *, prog: str = "python -m vall_e.synthesize") -> int:
    parser = argparse.ArgumentParser(prog=prog, description=(__doc__ or "").split("\n")[0])
    parser.add_argument("text", nargs="?", help="what to say")
    parser.add_argument("--lines", type=Path, metavar="FILE", help="texts instead, one a line; --output is a folder")
    parser.add_argument("--language", default="en", help="ISO 639-1 code of the text (default: en)")
    parser.add_argument("--prompt", type=Path, metavar="AUDIO", help="a voice to speak in (default: whatever comes)")
    parser.add_argument("--prompt-text", metavar="TEXT", help="what the prompt says")
    parser.add_argument("--task", default=TTS, choices=list(TASKS), help="one that the model was trained with")
    parser.add_argument("--source", type=Path, metavar="AUDIO", help="what a task other than tts works on")
    parser.add_argument("--output", type=Path, help="the audio file, or the folder for --lines")
    config.add_options(parser, SynthesizeOptions)
    args = parser.parse_args(argv)
    options = config.resolve(SynthesizeOptions, args, STAGE)
    _check_call(args)
    texts = [args.text] if args.lines is None else _read_lines(args.lines)
    speaker = Synthesizer(trained.load(options.model, device=options.device, weights=options.weights), options)
    prompt = None if args.prompt is None else speaker.prompt(args.prompt)
    source = None if args.source is None else speaker.source(args.source)
    if options.model == "tiny":
        print("the model tiny is for demos and tests: train one on your own data", file=sys.stderr)
    if args.task == STT:
        assert source is not None, "checked with the call"
        print(speaker.phonemes_of([source])[0])
        return 0
    given: dict[str, Any] = {"language": args.language, "prompt": prompt, "prompt_text": args.prompt_text}
    if args.lines is None:
        spoken = speaker.speak(args.text, task=args.task, source=source, **given)
        spoken.write(args.output)
        number, endless = 1, [] if spoken.stopped else [args.output]
    else:
        number, endless = speak_lines(speaker, texts, args.output, **given)
    for path in endless:
        print(f"warning: {path}: it did not stop by itself", file=sys.stderr)
    for mark, known in sorted(speaker.model.replaced.items()):
        print(f"note: the model was never trained with {mark!r}; it is read as {known!r}", file=sys.stderr)
    before = f", {len(texts) - number} before" if number < len(texts) else ""
    print(f"{args.output}: {number} spoken{before}")
    return 0


def _check_call(args: argparse.Namespace) -> None:
    """Raises UsageError: options that do not go together."""
    if (args.task == TTS) != (args.source is None):
        raise UsageError("--task and --source go together: the sound that the task works on")
    if args.task == STT:
        if args.text is not None or args.lines is not None:
            raise UsageError("--task stt writes what --source says; it takes no text")
        return
    if (args.text is None) == (args.lines is None):
        raise UsageError("give a text, or --lines FILE")
    if args.lines is not None and args.task != TTS:
        raise UsageError("--lines are for text to speech; a task takes one text and its source")
    if args.output is None:
        raise UsageError("give --output: the audio file, or the folder for --lines")
    if args.lines is None:
        audio.require_writable(args.output)


def _read_lines(path: Path) -> list[str]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: can't be read as UTF-8 text: {error}") from None
    found = [line for line in lines if line]
    if not found:
        raise UsageError(f"{path}: no line with a text")
    return found


if __name__ == "__main__":
    config.run_main(main)
