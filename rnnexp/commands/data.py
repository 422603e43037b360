"""`rnnexp data`: list, fetch and read data sets."""

import argparse
import json

from rnnexp.config.names import data_sets
from rnnexp.config.trial import DataConfig
from rnnexp.data import store as stores
from rnnexp.errors import UserError, did_you_mean
from rnnexp.home import Home
from rnnexp.terminal import tables
from rnnexp.terminal.escapes import visible


def run(args: argparse.Namespace) -> int:
    """Runs one of the actions list, get and show."""
    return {"list": _list, "get": _get, "show": _show}[args.action](args)


def _list(args: argparse.Namespace) -> int:
    known = stores.known()
    if args.json:
        print(json.dumps(known, indent=1))
        return 0
    tables.console().print(tables.pairs(list(known.items())))
    print("To use your own file, set data.path in a sweep file; data.text and data.label name its columns.")
    return 0


def _prepare(args: argparse.Namespace) -> stores.TokenStore:
    if args.name not in data_sets():
        raise UserError(
            f"data {args.action}: got {args.name!r}, no built-in data set{did_you_mean(args.name, data_sets())}"
        )
    return stores.prepare(DataConfig(name=args.name), Home.open(args.home))


def _get(args: argparse.Namespace) -> int:
    store = _prepare(args)
    print(
        f"{store.name}: {store.n_pool:,} texts to train and validate on, {store.n_test:,} to test; "
        f"labels {', '.join(map(visible, store.labels))}; {len(store.vocabulary.words):,} words; stored in {store.root}"
    )
    return 0


def _show(args: argparse.Namespace) -> int:
    store = _prepare(args)
    if not 0 <= args.row < store.n_pool + store.n_test:
        raise UserError(f"data show: got row {args.row}, expected 0 to {store.n_pool + store.n_test - 1}")
    part = "test" if args.row >= store.n_pool else "training pool"
    ids = store.token_ids(args.row)
    print(f"{store.name} {args.row} ({part}): {visible(store.labels[store.label_ids[args.row]])}, {len(ids)} ids")
    print(visible(store.vocabulary.decode(ids)))
    return 0
