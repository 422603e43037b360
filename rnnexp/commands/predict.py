"""`rnnexp predict`: label texts, or the texts of a file, with a bundle."""

import argparse
import dataclasses
import itertools
import sys
import time
from pathlib import Path

from rnnexp.data.text_rows import TextRow, text_rows
from rnnexp.errors import UserError
from rnnexp.export.bundle import Bundle
from rnnexp.runtime.encoding import TextModel
from rnnexp.terminal import tables
from rnnexp.terminal.escapes import json_text, visible
from rnnexp.terminal.reading import progress_bar

_MAX_REPORTED = 20
FAILED = 1


def run(args: argparse.Namespace) -> int:
    """Labels the texts of the command line, of standard input, or of a file."""
    if args.file is not None:
        return _label_file(args)
    for option, value in (("--text", args.column), ("--out", args.out), ("--keep", args.keep)):
        if value:
            raise UserError(f"predict {option}: is for a file; name it with --file")
    texts = args.text or ([] if sys.stdin.isatty() else _lines())
    if not texts:
        raise UserError(
            'predict: got no text; pass some, as in rnnexp predict DIR "a text", or one text per line on standard input'
        )
    found = _model(args).predict(texts)
    if args.json:
        print(json_text([dataclasses.asdict(prediction) for prediction in found]))
        return 0
    console = tables.console()
    labels = [visible(prediction.label) for prediction in found]
    width = max(map(len, labels))
    for label, prediction in zip(labels, found, strict=True):
        console.print(f"{label:<{width}}  {prediction.probability:.3f}  {visible(prediction.text)}", soft_wrap=True)
    return 0


def _lines() -> list[str]:
    """Returns the texts of standard input, one a line."""
    texts = []
    for number, line in enumerate(sys.stdin.buffer, start=1):
        try:
            texts.append(line.decode().rstrip("\r\n"))
        except UnicodeDecodeError as error:
            raise UserError(
                f"predict: line {number} of standard input is not UTF-8 (byte {error.start + 1} of the line)"
            ) from None
    return texts


def _model(args: argparse.Namespace) -> TextModel:
    from rnnexp.export import predictor

    return predictor.load(Bundle.open(Path(args.bundle)))


def _label_file(args: argparse.Namespace) -> int:
    """Writes the labels of the texts of a file into another file; exit code 1 if a row cannot be read."""
    if args.text:
        raise UserError("predict: got texts and --file; pass the texts, or the file")
    if args.json:
        raise UserError("predict --json: prints texts of the command line; for a file use --out RESULT.jsonl")
    if args.out is None:
        raise UserError("predict --file: needs --out RESULT, a file that ends in .csv, .tsv, .jsonl or .parquet")
    from rnnexp.export import scored_file

    path, to, columns = Path(args.file), Path(args.out), [args.column or "text", *args.keep]
    scored_file.check_target(to, path, columns)
    rows = text_rows(path, columns[0], columns[1:])
    first = next(rows, None)  # before the model is loaded: a wrong column is reported at once
    if first is None:
        raise UserError(f"{path}: no rows; expected texts")
    model, report, started_at = _model(args), _BrokenRows(path), time.monotonic()
    with progress_bar(tables.console(), f"labelling {path.name}") as progress:
        found = scored_file.score(model, itertools.chain([first], rows), to, columns, progress, report)
    report.end()
    n_labelled, console = sum(found.labels.values()), tables.console()
    console.print(
        f"{visible(str(to))}: {tables.count(n_labelled, 'text')} labelled in {time.monotonic() - started_at:.1f} s"
        + (f"; {tables.count(found.n_broken, 'row')} of {path.name} could not be read" if found.n_broken else ""),
        soft_wrap=True,
    )
    for label, count in found.labels.items() if n_labelled else ():
        console.print(f"  {visible(label)}: {count:,} ({count / n_labelled:.1%})", soft_wrap=True)
    return FAILED if found.n_broken else 0


class _BrokenRows:
    """Prints the first rows that cannot be read, and how many more there are."""

    def __init__(self, path: Path) -> None:
        self._name, self._n_rows = visible(str(path)), 0

    def __call__(self, row: TextRow) -> None:
        self._n_rows += 1
        if self._n_rows <= _MAX_REPORTED:
            print(f"{self._name}: row {row.number}: {row.fault}; left out", file=sys.stderr)

    def end(self) -> None:
        if self._n_rows > _MAX_REPORTED:
            print(f"{self._name}: {self._n_rows - _MAX_REPORTED:,} more rows could not be read", file=sys.stderr)
