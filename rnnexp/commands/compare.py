"""`rnnexp compare`: rank the trials of one or more studies; importances; a report."""

import argparse
import dataclasses
import json
from pathlib import Path

from rnnexp.analysis import frames, report
from rnnexp.analysis.explanations import describe
from rnnexp.errors import UserError
from rnnexp.home import Home
from rnnexp.storage.importances import Importances, importances
from rnnexp.storage.views import StudyView, view
from rnnexp.terminal import tables
from rnnexp.trial.states import FINISHED, State

_MAX_ROWS = 20


def run(args: argparse.Namespace) -> int:
    """Prints the comparison and writes the requested files."""
    home = Home.at(args.home)
    studies = [view(home, name) for name in dict.fromkeys(args.study)]
    studies = [_with_files(home, study, args) for study in studies]
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


def _with_files(home: Home, study: StudyView, args: argparse.Namespace) -> StudyView:
    """Returns a study with the files that the comparison reads; those of another home are fetched."""
    if study.origin is None:
        return study
    from rnnexp.tracking.fetch import fetch

    started = [row.number for row in study.trials if row.state in FINISHED]
    needed = started if args.html or args.csv or args.json else started[: len(args.study) > 1]
    return fetch(home, study, needed) if needed else study


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
    shown = study.ranked[:_MAX_ROWS]
    console.print(tables.trials(study, shown, rank=True))
    if any(row.state is State.PRUNED for row in shown):
        console.print(tables.PRUNED_NOTE, soft_wrap=True)
    if len(study.ranked) > _MAX_ROWS:
        console.print(f"and {len(study.ranked) - _MAX_ROWS} more: rnnexp trials {study.name}")
    found = importances(home, study.name)
    console.print(describe(found), soft_wrap=True)
    if found.rows:
        console.print(tables.importances(found))
    console.print()


def _as_json(home: Home, studies: list[StudyView], reasons: list[str]) -> dict[str, object]:
    return {
        "comparable": not reasons,
        "reasons": reasons,
        "studies": [_study_as_json(study, importances(home, study.name)) for study in studies],
    }


def _study_as_json(study: StudyView, found: Importances) -> dict[str, object]:
    return {
        "study": study.name,
        "metric": study.metric,
        "direction": study.direction,
        "importances": {row.setting: row.share for row in found.rows},
        "importances_by_chance": {
            row.setting: {"median": row.noise_median, "limit": row.noise_limit} for row in found.rows
        },
        "importances_like_chance": found.noise,
        "importances_n_trials": found.n_trials,
        "trials": [dataclasses.asdict(row) for row in study.ranked],
    }
