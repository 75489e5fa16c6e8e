"""How well a model speaks: the validation split is spoken, listened to, and compared with the recordings.

    python -m vall_e.evaluate --model RUN --dataset DATA/built

Each utterance is said with its own prompt. What comes out, for the model and for the codec's own version of the
recording: character errors of a recogniser, likeness to the prompt's voice, and length against the recording's. The
figures go to RUN/evaluation.json, the speech to RUN/evaluation.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vall_e import audio, config, layout, progress, stage, storage
from vall_e.emb import voice
from vall_e.emb.asr.listen import MODEL_NAME, RATE_HZ, Listener
from vall_e.emb.codecs.base import mono
from vall_e.emb.text.written import character_error_rate
from vall_e.speaking import Request, Spoken, Synthesizer
from vall_e.types import UsageError, Utterance

STAGE = "evaluate"
FIGURES, SPEECH = "evaluation.json", "evaluation"


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Options of this command."""

    sample: int = config.option(32, "utterances of the validation split, chosen by a hash of their ids; 0: all")
    backend: str = config.option("pocketsphinx", "the recogniser that listens: pocketsphinx (English) or whisperx")
    model_name: str = config.option(MODEL_NAME, "whisperx: a Whisper model's name or folder")
    temperature: float = config.option(0.8, "of the draws of codes")
    top_p: float = config.option(0.9, "draw among the best codes that together have this probability")
    seed: int = config.option(0, "of the draws")
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
    data = Dataset(built, "validation", seed=options.seed, prompt_frames=frames)
    if data.index.spec != speaker.model.codec.spec:
        raise UsageError(
            f"{built}: of the codec {data.index.spec.name}, the model is of {speaker.model.codec.spec.name}"
        )
    places = stage.sample([data.index.id(int(row)) for row in data.rows], options.sample, STAGE)
    if not places:
        raise UsageError(f"{built}: no utterance for validation; build with a larger --validation-fraction")
    texts = _texts(dataset or built.parent, {data.index.id(int(data.rows[place])) for place in places})
    listener = Listener(options.backend, model_name=options.model_name, device=options.device)
    examples = [data.example(place, 0) for place in places]
    vocabulary = speaker.model.description.vocabulary
    requests = [
        Request(
            tokens=_tokens_of(speaker, data, example, texts[example.id]),
            language=vocabulary.language_id(texts[example.id].language, example.id),
            prompt=example.prompt,
        )
        for example in examples
    ]
    rows = []
    spoken = zip(examples, speaker.speak_requests(requests), strict=True)
    for example, said in progress.track(spoken, STAGE, len(places)):
        rows.append(_one(speaker, listener, example, said, texts[example.id], output))
    figures = _summary(rows) | {"model": str(model), "utterances": len(rows), "recogniser": options.backend}
    if output is not None:
        storage.write_json(output / FIGURES, figures | {"rows": rows}, output)
    return figures


def _texts(dataset: Path, ids: set[str]) -> dict[str, Utterance]:
    path = storage.require_file(dataset / layout.UTTERANCES, layout.MADE_BY[layout.UTTERANCES])
    return {row.id: row for row in storage.read_rows(path, Utterance) if row.id in ids}


def _one(
    speaker: Synthesizer, listener: Listener, example: Any, spoken: Spoken, row: Utterance, output: Path | None
) -> dict[str, Any]:
    """The figures of one utterance."""
    rate_hz = speaker.model.codec.spec.sample_rate_hz
    codec = speaker.model.codec
    sounds = [spoken.audio, *codec.decode([example.target])]
    if example.prompt.shape[1]:
        sounds += codec.decode([example.prompt])
    heard = [audio.resample(mono(sound), rate_hz, RATE_HZ) for sound in sounds]
    own = row.spoken or row.text
    errors = [character_error_rate(own, text) for text in listener.texts(heard[:2], [row.language] * 2)]
    found: dict[str, Any] = {"id": row.id, "stopped": spoken.stopped}
    found |= {"cer": round(errors[0], 4), "codec_cer": round(errors[1], 4)}
    found["length"] = round(spoken.codes.shape[1] / example.target.shape[1], 4)
    if len(heard) == 3:
        said, original, prompt = (voice.of_sound(sound) for sound in heard)
        found["likeness"], found["codec_likeness"] = (round(float(each @ prompt), 4) for each in (said, original))
    if output is not None:
        path = output / SPEECH / f"{row.id.replace('/', '_')}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        spoken.write(path)
    return found


def _tokens_of(speaker: Synthesizer, data: Any, example: Any, row: Utterance) -> np.ndarray:
    """The phonemes of the dataset in the numbers of the model."""
    vocabulary = speaker.model.description.vocabulary
    return example.text if vocabulary == data.index.vocabulary else vocabulary.encode(row.phonemes, row.id)


def _summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means, and the share of what stopped by itself."""
    found: dict[str, Any] = {"stopped": round(float(np.mean([row["stopped"] for row in rows])), 4)}
    for name in ("cer", "codec_cer", "likeness", "codec_likeness", "length"):
        values = [row[name] for row in rows if name in row]
        if values:
            found[name] = round(float(np.mean(values)), 4)
    lengths = np.array([row["length"] for row in rows])
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
    return 0


if __name__ == "__main__":
    config.run_main(main)
