"""Did my filter help? Trains twice, with and without a limit of a score, and prints how well each model speaks.

    python examples/did_my_filter_help.py WORK --gate 'text_fit>=0.5' [--minutes 20]

WORK is what `vall-e prepare` made. Both models are trained for the same time with the same seed, and evaluated on the
same validation split: all of it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from vall_e import config
from vall_e.dataset import Dataset
from vall_e.evaluate import EvaluateOptions, evaluate
from vall_e.train import TrainOptions, train

FIGURES = ("cer", "codec_cer", "likeness", "length", "stopped")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("work", type=Path, help="a folder that prepare made")
    parser.add_argument("--gate", required=True, help="a limit, like snr_db>=15")
    parser.add_argument("--config", type=Path, default=Path("train-tiny"), help="of the training")
    parser.add_argument("--minutes", type=float, default=20.0, help="of each training")
    parser.add_argument("--backend", default="pocketsphinx", help="the recogniser that listens")
    args = parser.parse_args()
    built, folder = args.work / "dataset" / "built", args.work / "filter"
    settings = config.load_file(args.config)["train"] | {"minutes": args.minutes}
    print(f"{len(Dataset(built))} utterances, {len(Dataset(built, gates=(args.gate,)))} with {args.gate}")
    found = {}
    for name, gates in (("all", ()), ("kept", (args.gate,))):
        train(built, folder / name, config.from_mapping(TrainOptions, settings | {"gates": gates}, str(args.config)))
        found[name] = evaluate(folder / name, built, EvaluateOptions(backend=args.backend), folder / name)
    print(f"{'':24}{'all':>10}{args.gate:>16}")
    for figure in FIGURES:
        if figure in found["all"]:
            print(f"{figure:24}{found['all'][figure]:>10}{found['kept'][figure]:>16}")


if __name__ == "__main__":
    main()
