"""Text → phonemes: N texts in, N strings out, each the same whether it comes alone or among others.

A token is one character downstream, so phones are joined, words stand apart by one space, and punctuation keeps its
place. A text of which a part would vanish or be read aloud as "Chinese letter" is a Reject, not a silent hole.

    python -m vall_e.emb.g2p "Hello, world!" --language en
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence

from vall_e import config
from vall_e.emb.text.base import Phonemizer, Unspoken
from vall_e.emb.text.phonemes import Reading, to_phonemes
from vall_e.emb.text.registry import G2pOptions, load_phonemizer
from vall_e.types import Reject

STAGE = "g2p"

__all__ = ["G2pOptions", "Phonemizer", "Reading", "Unspoken", "load_phonemizer", "to_phonemes"]


def main(argv: Sequence[str] | None = None, *, prog: str = "python -m vall_e.emb.g2p") -> int:
    """One line of phonemes per text; a rejected text is a line on stderr and status 1."""
    parser = argparse.ArgumentParser(prog=prog, description="Text into phonemes.")
    parser.add_argument("texts", nargs="+", metavar="TEXT", help="a text, or - for the lines of standard input")
    parser.add_argument("--language", default="en", help="ISO 639-1 or the back end's own code (default: en)")
    parser.add_argument("--show-spoken", action="store_true", help="print the text in words before its phonemes")
    config.add_options(parser, G2pOptions)
    args = parser.parse_args(argv)
    phonemizer = load_phonemizer(config.resolve(G2pOptions, args, STAGE))
    phonemizer.phonemize([], args.language)  # an unknown language is a wrong call, not a bad text
    status = 0
    for number, text in enumerate(_lines(args.texts), start=1):
        result = to_phonemes(phonemizer, text, args.language, item_id=f"text {number}", stage=STAGE)
        if isinstance(result, Reject):
            print(f"error: {result.id}: {result.reason}: {result.detail}", file=sys.stderr)
            status = 1
        else:
            print(f"{result.spoken}\n{result.phonemes}" if args.show_spoken else result.phonemes)
    return status


def _lines(arguments: Sequence[str]) -> Iterator[str]:
    for argument in arguments:
        if argument == "-":
            yield from (line.rstrip("\r\n") for line in sys.stdin)
        else:
            yield argument


if __name__ == "__main__":
    config.run_main(main)
