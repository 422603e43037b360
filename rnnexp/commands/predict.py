"""`rnnexp predict`: label texts with a bundle."""

import argparse
import dataclasses
import sys
from pathlib import Path

from rnnexp.errors import UserError
from rnnexp.export.bundle import Bundle
from rnnexp.terminal import tables
from rnnexp.terminal.escapes import json_text, visible


def run(args: argparse.Namespace) -> int:
    """Prints one line per text: label, probability, text."""
    texts = args.text or ([] if sys.stdin.isatty() else [line.rstrip("\n") for line in sys.stdin])
    if not texts:
        raise UserError(
            'predict: got no text; pass some, as in rnnexp predict DIR "a text", or one text per line on standard input'
        )
    bundle = Bundle.open(Path(args.bundle))
    from rnnexp.export import predictor

    found = predictor.load(bundle).predict(texts)
    if args.json:
        print(json_text([dataclasses.asdict(prediction) for prediction in found]))
        return 0
    console = tables.console()
    labels = [visible(prediction.label) for prediction in found]
    width = max(map(len, labels))
    for label, prediction in zip(labels, found, strict=True):
        console.print(
            f"{label:<{width}}  {prediction.probability:.3f}  {visible(prediction.text)}",
            soft_wrap=True,
        )
    return 0
