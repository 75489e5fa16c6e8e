"""Did my filter help? Trains twice, with and without a limit of a score, and prints how well each model speaks.

    python examples/did_my_filter_help.py WORK --gate 'text_fit>=0.5' [--minutes 20]

WORK is what `vall-e prepare` made. Both models are trained for the same time with the same seed, and evaluated on the
same validation split: that of the dataset without the limit.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from vall_e import config
from vall_e.dataset.build import BuildOptions, build
from vall_e.evaluate import EvaluateOptions, evaluate
from vall_e.train import TrainOptions, train


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("work", type=Path, help="a folder that prepare made")
    parser.add_argument("--gate", required=True, help="a limit, like snr_db>=15")
    parser.add_argument("--config", type=Path, default=Path("train-tiny"), help="of the training")
    parser.add_argument("--minutes", type=float, default=20.0, help="of each training")
    parser.add_argument("--backend", default="pocketsphinx", help="the recogniser that listens")
    args = parser.parse_args()
    dataset, folder = args.work / "dataset", args.work / "filter"
    settings = config.load_file(args.config)["train"] | {"minutes": args.minutes}
    options = config.from_mapping(TrainOptions, settings, str(args.config))
    whole = build(dataset, folder / "all" / "built", BuildOptions())
    kept = build(dataset, folder / "kept" / "built", BuildOptions(gates=(args.gate,)))
    print(f"{whole.utterances} utterances, {kept.utterances} with {args.gate}")
    found = {}
    for name, report in (("all", whole), ("kept", kept)):
        train(report.output, folder / name / "run", options)
        listening = EvaluateOptions(backend=args.backend)
        run = folder / name / "run"
        found[name] = evaluate(run, whole.output, listening, run, dataset=dataset)
    print(f"{'':24}{'all':>10}{args.gate:>16}")
    for figure in ("cer", "codec_cer", "likeness", "length", "stopped"):
        if figure in found["all"]:
            print(f"{figure:24}{found['all'][figure]:>10}{found['kept'][figure]:>16}")


if __name__ == "__main__":
    main()
