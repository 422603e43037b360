"""`rnnexp show`: show one trial."""

import argparse
import json

from rnnexp.config.formatting import setting_value
from rnnexp.config.trial import TrialConfig, load_trial
from rnnexp.errors import StudyError
from rnnexp.home import Home
from rnnexp.storage.views import StudyView, TrialRow, view
from rnnexp.terminal import tables
from rnnexp.trial import events


def run(args: argparse.Namespace) -> int:
    """Prints a trial's settings, result and curve; with `--yaml` its settings as a file."""
    home = Home.at(args.home)
    study = view(home, args.study)
    if study.origin is not None:
        from rnnexp.tracking.fetch import fetch

        study = fetch(home, study, [find(study, args.trial).number])
    row = find(study, args.trial)
    folder = study.folder.trial(row.number)
    config = load_trial(folder.config, {}) if folder.config.exists() else None
    if args.yaml:
        if config is None and study.origin is not None:
            raise StudyError(
                f"trial {row.number} of {study.name} runs in {study.origin}; MLflow has no settings of it yet"
            )
        if config is None:
            raise StudyError(
                f"trial {row.number} of {study.name} is {row.state} and was never started, so it has no settings yet"
            )
        print(config.to_yaml(), end="")
        return 0
    curve = events.epochs(events.read(folder.events))
    if args.json:
        plain = study.plain(row) | {
            "config": config.settings() if config else {},
            "curve": [{"epoch": epoch.epoch, **epoch.metrics, "seconds": epoch.seconds} for epoch in curve],
            "folder": str(folder.root),
        }
        print(json.dumps(plain, indent=1))
        return 0
    _print(study, row, config, curve, str(folder.root))
    return 0


def find(study: StudyView, number: int) -> TrialRow:
    """Returns a study's trial by its number; raises `StudyError` if there is none."""
    for row in study.trials:
        if row.number == number:
            return row
    raise StudyError(f"study {study.name} has no trial {number}; it has {len(study.trials)}, counted from 0")


def _print(
    study: StudyView, row: TrialRow, config: TrialConfig | None, curve: list[events.EpochEnded], folder: str
) -> None:
    console = tables.console()
    console.print(
        tables.pairs(
            [
                ("study", f"{study.name}{f' of {study.origin}' if study.origin is not None else ''}"),
                ("trial", str(row.number)),
                ("state", f"{row.state}{f' ({row.reason})' if row.reason else ''}"),
                (study.metric, tables.result(row)),
                ("time", f"{tables.duration(row.duration_s)} in {row.attempts} attempt{'s' * (row.attempts != 1)}"),
                ("MLflow run", row.run_id or "–"),
                ("folder", folder),
                *(
                    (name, setting_value(value))
                    for name, value in (config.settings() if config else row.settings).items()
                ),
            ]
        )
    )
    if curve:
        console.print()
        console.print(tables.curve(curve))
