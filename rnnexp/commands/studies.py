"""`rnnexp studies`: list the studies."""

import argparse
import dataclasses
import json

from rnnexp.home import Home
from rnnexp.storage.views import StudyView, views
from rnnexp.terminal import tables
from rnnexp.terminal.escapes import visible
from rnnexp.trial.states import State


def run(args: argparse.Namespace) -> int:
    """Prints one row per study."""
    found = views(Home.at(args.home), with_runs=False)
    if args.names:
        for view in found:
            print(visible(view.name))
    elif args.json:
        print(json.dumps([_as_json(view) for view in found], indent=1))
    elif found:
        tables.console().print(tables.studies(found))
    else:
        print(f"no study in {Home.at(args.home).root}; start one with `rnnexp sweep sweeps/quickstart.yaml`")
    return 0


def _as_json(view: StudyView) -> dict[str, object]:
    return {
        "study": view.name,
        "metric": view.metric,
        "direction": view.direction,
        "n_trials": view.n_trials,
        "states": {str(state): view.count(state) for state in State},
        "best_trial": view.best.number if view.best else None,
        "best_value": view.best.value if view.best else None,
        "running": view.owner is not None,
        "space_versions": [dataclasses.asdict(version) for version in view.space_versions],
    }
