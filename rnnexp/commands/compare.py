"""`rnnexp compare`: rank the trials of one or more studies; importances; a report."""

import argparse
import dataclasses
import json
from pathlib import Path

from rnnexp.analysis import frames, report
from rnnexp.errors import UserError
from rnnexp.home import Home
from rnnexp.storage.views import StudyView, importances, view
from rnnexp.terminal import tables

_MAX_ROWS = 20


def run(args: argparse.Namespace) -> int:
    """Prints the comparison and writes the requested files."""
    home = Home.at(args.home)
    studies = [view(home, name) for name in dict.fromkeys(args.study)]
    reasons = frames.reasons_not_comparable(studies)
    try:
        if args.csv:
            report.write_csv(studies, Path(args.csv))
        if args.html:
            report.write_html(home, studies, Path(args.html))
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be written ({error.strerror}); choose another file") from None
    if args.json:
        print(json.dumps(_as_json(home, studies, reasons), indent=1))
        return 0
    console = tables.console()
    if reasons:
        console.print(f"these studies cannot be ranked together: {'; '.join(reasons)}", style="red", soft_wrap=True)
    for study in studies:
        _print_study(home, study)
    if len(studies) > 1:
        console.print(tables.best_of(studies))
    for path in (args.csv, args.html):
        if path:
            console.print(f"wrote {path}")
    return 0


def _print_study(home: Home, study: StudyView) -> None:
    console = tables.console()
    console.print(
        f"{study.name}: {study.n_finished} of {study.n_trials} trials; {study.metric} at each trial's best epoch",
        style="bold",
    )
    for version in study.space_versions:
        console.print(str(version), soft_wrap=True)
    if not study.ranked:
        console.print("no trial has finished yet\n")
        return
    console.print(tables.trials(study, study.ranked[:_MAX_ROWS], rank=True))
    if len(study.ranked) > _MAX_ROWS:
        console.print(f"and {len(study.ranked) - _MAX_ROWS} more: rnnexp trials {study.name}")
    shares = importances(home, study.name)
    if shares:
        listed = ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
        console.print(f"importance (share of the objective's variation): {listed}", soft_wrap=True)
    console.print()


def _as_json(home: Home, studies: list[StudyView], reasons: list[str]) -> dict[str, object]:
    return {
        "comparable": not reasons,
        "reasons": reasons,
        "studies": [
            {
                "study": study.name,
                "metric": study.metric,
                "direction": study.direction,
                "importances": importances(home, study.name),
                "trials": [dataclasses.asdict(row) for row in study.ranked],
            }
            for study in studies
        ],
    }
