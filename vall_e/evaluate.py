"""How well a model speaks: the validation split is spoken, listened to, and compared with the recordings.

    python -m vall_e.evaluate --model RUN --dataset DATA/built

Each utterance is said with its own prompt. What comes out, for the model and for the codec's own version of the
recording: character errors of a recogniser, likeness to the prompt's voice, and length against the recording's. The
figures go to RUN/evaluation.json, the speech to RUN/evaluation.

With `--task` each utterance is worked on as that task does: what comes out is compared with the target, and so is the
source that the model made it from. `spectrum_db` is how far two sounds lie apart in their mean spectrum. Of the first
utterances there are pictures beside the speech.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vall_e import audio, config, layout, progress, stage, storage
from vall_e.dataset.tasks import STT, TASKS, TTS
from vall_e.emb import voice
from vall_e.emb.asr.listen import MODEL_NAME, RATE_HZ, Listener, knows
from vall_e.emb.codecs.base import mono
from vall_e.emb.codecs.evaluate import draw_spectrogram
from vall_e.emb.text.written import character_error_rate, edit_path
from vall_e.pictures import find_pyplot
from vall_e.speaking import Request, Spoken, Synthesizer
from vall_e.types import UsageError, Utterance

STAGE = "evaluate"
FIGURES, SPEECH = "evaluation.json", "evaluation"
PICTURES = 4  # utterances whose spectrograms are drawn


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Options of this command."""

    sample: int = config.option(32, "utterances of the validation split, chosen by a hash of their ids; 0: all")
    backend: str = config.option("pocketsphinx", "the recogniser that listens: pocketsphinx (English) or whisperx")
    model_name: str = config.option(MODEL_NAME, "whisperx: a Whisper model's name or folder")
    temperature: float = config.option(0.8, "of the draws of codes")
    top_p: float = config.option(0.9, "draw among the best codes that together have this probability")
    seed: int = config.option(0, "of the draws")
    task: str = config.option(TTS, "one that the model was trained with", choices=list(TASKS))
    mixtures: Path | None = config.option(None, "what `mix` made, for tasks ns, sr and tse")
    weights: Path | None = config.option(None, "of the codec, where they are not its back end's own")
    device: str = config.option("cpu", "where the model runs")


def evaluate(
    model: Path | str,
    built: Path,
    options: EvaluateOptions,
    output: Path | None = None,
    *,
    dataset: Path | None = None,
) -> dict[str, Any]:
    """The figures, which are also written where `output` says.

    Args:
        model: RUN, or tiny.
        built: a built dataset in the model's codes and phones.
        options: see EvaluateOptions.
        output: a folder; None: nothing is written.
        dataset: where the texts of the built utterances are; None: the folder that the build lies in.

    Raises:
        UsageError: a dataset of another codec, or without a validation split.
    """
    from vall_e.dataset import Dataset

    speaker = Synthesizer.load(
        model,
        temperature=options.temperature,
        top_p=options.top_p,
        seed=options.seed,
        weights=options.weights,
        device=options.device,
    )
    frames = round(
        float(speaker.model.description.trained.get("prompt_s", 3.0)) * float(speaker.model.codec.spec.frame_rate_hz)
    )
    tasks = () if options.task == TTS else (options.task,)
    data = Dataset(built, "validation", seed=options.seed, prompt_frames=frames, tasks=tasks, mixtures=options.mixtures)
    if data.index.spec != speaker.model.codec.spec:
        raise UsageError(
            f"{built}: of the codec {data.index.spec.name}, the model is of {speaker.model.codec.spec.name}"
        )
    places = stage.sample([data.index.id(int(row)) for row in data.rows], options.sample, STAGE)
    if not places:
        raise UsageError(f"{built}: no utterance for validation; build with a larger --validation-fraction")
    examples = [data.example(place, 0) for place in places]
    examples = [each for each in examples if each.task == TASKS[options.task].number]
    if not examples:
        raise UsageError(f"{options.mixtures}: no mixture of an utterance for validation")
    texts = _texts(dataset or built.parent, {example.id for example in examples})
    if options.task == STT:
        found = _written(speaker, examples, texts)
    else:
        found = _spoken(speaker, data, examples, texts, options, output)
    rows = list(progress.track(found, STAGE, len(examples)))
    counts = {"utterances": len(rows), "recogniser": options.backend, "recognised": sum("cer" in row for row in rows)}
    figures = _summary(rows) | {"model": str(model), "task": options.task} | counts
    if output is not None:
        storage.write_json(output / FIGURES, figures | {"rows": rows}, output)
    return figures


def _written(speaker: Synthesizer, examples: Sequence[Any], texts: dict[str, Utterance]) -> Iterator[dict[str, Any]]:
    """How many phonemes of each utterance are wrong, and what was written."""
    found = speaker.phonemes_of([example.source for example in examples])
    for example, phonemes in zip(examples, found, strict=True):
        own = texts[example.id].phonemes
        error_rate = edit_path(own, phonemes)[0] / len(own)
        yield {"id": example.id, "phoneme_error_rate": round(error_rate, 4), "phonemes": phonemes}


def _spoken(
    speaker: Synthesizer,
    data: Any,
    examples: Sequence[Any],
    texts: dict[str, Utterance],
    options: EvaluateOptions,
    output: Path | None,
) -> Iterator[dict[str, Any]]:
    """The figures of each utterance, as it is spoken."""
    listener = Listener(options.backend, model_name=options.model_name, device=options.device)
    vocabulary = speaker.model.description.vocabulary
    is_same = vocabulary == data.index.vocabulary
    requests = [
        Request(
            tokens=_tokens_of(speaker, data, example, texts[example.id]),
            language=vocabulary.language_id(texts[example.id].language, example.id),
            prompt=example.prompt,
            prompt_tokens=example.prompt_text if is_same else None,
            source=example.source if options.task != TTS else None,
            task=options.task,
        )
        for example in examples
    ]
    for number, (example, said) in enumerate(zip(examples, speaker.speak_requests(requests), strict=True)):
        row = texts[example.id]
        sounds = _sounds(speaker, example, said)
        if output is not None:
            path = output / SPEECH / f"{row.id.replace('/', '_')}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            said.write(path)
            if number < PICTURES:
                _draw(path.with_suffix(".png"), sounds)
        figures: dict[str, Any] = {"id": row.id, "stopped": said.stopped}
        figures["length"] = round(said.codes.shape[1] / example.target.shape[1], 4)
        yield figures | _figures(listener if knows(options.backend, row.language) else None, sounds, row)


def _texts(dataset: Path, ids: set[str]) -> dict[str, Utterance]:
    path = storage.require_file(dataset / layout.UTTERANCES, layout.MADE_BY[layout.UTTERANCES])
    return {row.id: row for row in storage.read_rows(path, Utterance) if row.id in ids}


def _sounds(speaker: Synthesizer, example: Any, said: Spoken) -> dict[str, np.ndarray]:
    """float32 [n] at 16 kHz: what was made, and what there is of the codec's own target, source and prompt."""
    codec = speaker.model.codec
    codes = {"codec": example.target, "source": example.source, "prompt": example.prompt}
    names = [name for name, each in codes.items() if each.shape[1]]
    decoded = dict(zip(names, codec.decode([codes[name] for name in names]), strict=True))
    rate_hz = codec.spec.sample_rate_hz
    return {name: audio.resample(mono(sound), rate_hz, RATE_HZ) for name, sound in ({"": said.audio} | decoded).items()}


def _figures(listener: Listener | None, sounds: dict[str, np.ndarray], row: Utterance) -> dict[str, float]:
    """Character errors, likeness to the prompt and distance of spectra, as far as there is what they compare with.

    Args:
        listener: None where it does not know the language.
        sounds: of `_sounds`.
        row: the utterance.
    """
    text, names = row.spoken or row.text, [name for name in ("", "codec", "source") if name in sounds]
    found: dict[str, float] = {}
    read = [] if listener is None else listener.texts([sounds[name] for name in names], [row.language] * len(names))
    for name, each in zip(names, read, strict=listener is not None):
        found[_named(name, "cer")] = round(character_error_rate(text, each), 4)
    if "prompt" in sounds:
        prompt = voice.of_sound(sounds["prompt"])
        for name in names:
            found[_named(name, "likeness")] = round(float(voice.of_sound(sounds[name]) @ prompt), 4)
    if "source" in sounds:
        wanted = _spectrum_db(sounds["codec"])
        for name in ("", "source"):
            found[_named(name, "spectrum_db")] = round(float(np.abs(_spectrum_db(sounds[name]) - wanted).mean()), 2)
    return found


def _draw(path: Path, sounds: dict[str, np.ndarray]) -> None:
    """Spectrograms of the source, of what was made, and of the target, one above the other."""
    pyplot = find_pyplot()
    if pyplot is None:
        return  # the sounds are there all the same
    titles = {"source": "source", "": "made", "codec": "target, by the codec"}
    shown = [name for name in titles if name in sounds]
    loudest = max((sounds[name] for name in shown), key=lambda sound: float(np.abs(sound).max()))
    figure, axes = pyplot.subplots(len(shown), 1, figsize=(7, 2.2 * len(shown)))
    for axis, name in zip(axes, shown, strict=True):
        draw_spectrogram(axis, sounds[name], RATE_HZ, titles[name], loudest=loudest)
    figure.tight_layout()
    storage.write_whole(path, lambda file: figure.savefig(file, format="png", dpi=90), path.parent)
    pyplot.close(figure)


def _named(of: str, figure: str) -> str:
    return f"{of}_{figure}" if of else figure


def _spectrum_db(samples: np.ndarray) -> np.ndarray:
    """Mean power of each mel band over time, in dB about their mean; bands 60 dB below the loudest one are at that."""
    power = voice.mels(samples).mean(axis=0, dtype=np.float64)
    level = 10 * np.log10(np.maximum(power, power.max() * 1e-6) + 1e-12)
    shape: np.ndarray = level - level.mean()
    return shape


def _tokens_of(speaker: Synthesizer, data: Any, example: Any, row: Utterance) -> np.ndarray:
    """The phonemes of the dataset in the numbers of the model."""
    vocabulary = speaker.model.description.vocabulary
    return example.text if vocabulary == data.index.vocabulary else vocabulary.encode(row.phonemes, row.id)


def _summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means of all figures; of `stopped` it is the share that did."""
    found: dict[str, Any] = {}
    for name in dict.fromkeys(name for row in rows for name in row if name not in ("id", "phonemes")):
        found[name] = round(float(np.mean([row[name] for row in rows if name in row])), 4)
    lengths = np.array([row["length"] for row in rows if "length" in row])
    if len(lengths):
        found["length_within_quarter"] = round(float(np.mean(np.abs(lengths - 1) <= 0.25)), 4)
    return found


def main(argv: Sequence[str] | None = None, *, prog: str = "python -m vall_e.evaluate") -> int:
    parser = argparse.ArgumentParser(prog=prog, description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", required=True, metavar="RUN", help="a folder that training made, or tiny")
    parser.add_argument("--dataset", type=Path, required=True, metavar="BUILT", help="what the build wrote")
    parser.add_argument("--output", type=Path, help="folder for figures and speech (default: RUN)")
    config.add_options(parser, EvaluateOptions)
    args = parser.parse_args(argv)
    options = config.resolve(EvaluateOptions, args, STAGE)
    if args.output is None and args.model == "tiny":
        raise UsageError("give --output: the model tiny lies in the package")
    voice.require(STAGE)
    figures = evaluate(args.model, args.dataset, options, args.output or Path(args.model))
    for name, value in figures.items():
        print(f"{name:24}{value}")
    unread = figures["utterances"] - figures["recognised"]
    if unread and options.task != STT:
        what = f"{unread} of {figures['utterances']} utterances are in languages that {options.backend} does not know"
        print(f"note: {what}: they have no character errors", file=sys.stderr)
    return 0


if __name__ == "__main__":
    config.run_main(main)
