"""`python -m rnnexp.runtime BUNDLE TEXT...`: label texts with the ONNX model of a bundle."""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from rnnexp.errors import RnnexpError, escaped
from rnnexp.runtime import onnx_model


def main() -> int:
    """Prints one line per text: label, probability, text; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m rnnexp.runtime", description=__doc__)
    parser.add_argument("bundle", help="folder written by `rnnexp export`")
    parser.add_argument("text", nargs="+", help="a text to label")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    args = parser.parse_args()
    try:
        found = onnx_model.load(Path(args.bundle)).predict(args.text)
    except RnnexpError as error:
        print(escaped(str(error)), file=sys.stderr)
        return error.exit_code
    if args.json:
        print(json.dumps([dataclasses.asdict(prediction) for prediction in found], indent=1))
        return 0
    width = max(len(escaped(prediction.label)) for prediction in found)
    for prediction in found:
        print(f"{escaped(prediction.label):<{width}}  {prediction.probability:.3f}  {escaped(prediction.text)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
