"""`rnnexp evaluate`: measure a bundle on a part of its data; each use of the test part is counted."""

import argparse
import json
import time
from pathlib import Path
from typing import Any

from rnnexp.data.store import digest_of_test_part, prepare
from rnnexp.errors import DataError
from rnnexp.export.bundle import Bundle
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
    from rnnexp.export.predictor import Predictor

    measured = Predictor(bundle).evaluate(store, rows)
    opened = _count_opening(home, bundle, store.digest, measured) if args.split == "test" else None
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


def _count_opening(home: Home, bundle: Bundle, digest: str, measured: dict[str, float]) -> int:
    """Records a use of the test part; returns how often its rows were used.

    Records of earlier versions name only the digest of the data, which depends on the training part too.
    """
    test = digest_of_test_part(bundle.config.data)
    record = {
        "time": time.time(),
        "data": digest,
        "test": test,
        "study": bundle.manifest.get("study"),
        "trial": bundle.manifest.get("trial"),
        **measured,
    }
    with home.openings.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
    lines = home.openings.read_text(encoding="utf-8").splitlines()
    return sum(_is_of(json.loads(line), test, digest) for line in lines)


def _is_of(record: dict[str, Any], test: str, digest: str) -> bool:
    return record["test"] == test if "test" in record else record.get("data") == digest
