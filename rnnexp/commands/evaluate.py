"""`rnnexp evaluate`: measure a bundle on a part of its data; each use of the test part is counted."""

import argparse
import json
from pathlib import Path

from rnnexp.data import openings
from rnnexp.data.store import prepare
from rnnexp.errors import DataError
from rnnexp.export.bundle import MODEL, Bundle
from rnnexp.home import Home
from rnnexp.terminal import tables


def run(args: argparse.Namespace) -> int:
    """Prints accuracy and loss."""
    bundle, home = Bundle.open(Path(args.bundle)), Home.open(args.home)
    store = prepare(bundle.config.data, home)
    trained_on = bundle.manifest["data"]
    if store.digest != trained_on["digest"]:
        raise DataError(
            f"{args.bundle}: trained on {trained_on['name']} with digest {trained_on['digest']}, "
            f"but the data here have digest {store.digest}; use the same data"
        )
    rows = store.test_rows if args.split == "test" else store.split(bundle.config.data).validation
    from rnnexp.export import predictor

    measured = predictor.evaluate(bundle, store, rows)
    opened = None
    if args.split == "test":
        about = {name: bundle.manifest.get(name) for name in ("study", "trial")}
        about |= {"model": bundle.manifest["files"][MODEL], **measured}
        opened = openings.record(home, bundle.config.data, store.digest, about)
    if args.json:
        result = {"split": args.split, "n": len(rows), **measured, "data": store.name, "openings": opened}
        print(json.dumps(result, indent=1))
        return 0
    console = tables.console()
    console.print(
        f"{args.split} part of {store.name}, {len(rows):,} texts: accuracy {measured['accuracy']:.4f}, "
        f"loss {measured['loss']:.4f}"
    )
    if opened is not None:
        console.print(
            f"this home has now used the test part of {store.name} {opened} time{'s' * (opened > 1)}",
            style="dim",
        )
    return 0
