"""`rnnexp compare`: rank the trials of one or more studies; groups, differences, importances; a report."""

import argparse
import contextlib
import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.table import Table

from rnnexp import disk
from rnnexp.analysis import filters, frames, report
from rnnexp.analysis.configurations import expected_again, seed_noise
from rnnexp.analysis.explanations import describe
from rnnexp.analysis.groups import Group, groups
from rnnexp.analysis.trial_difference import difference
from rnnexp.commands.show import find
from rnnexp.config.formatting import setting_value
from rnnexp.errors import UserError
from rnnexp.home import Home
from rnnexp.storage.importances import Importances, importances
from rnnexp.storage.views import StudyView, TrialRow, view
from rnnexp.terminal import tables
from rnnexp.trial.states import FINISHED, State

_MAX_ROWS = 20


def run(args: argparse.Namespace) -> int:
    """Prints the comparison and writes the requested files."""
    home = Home.at(args.home)
    studies = [view(home, name) for name in dict.fromkeys(args.study)]
    if args.diff:
        return _print_difference(home, studies, args)
    reasons = frames.reasons_not_comparable(studies)
    if reasons and not args.json:
        which = " and ".join(study.name for study in studies)
        raise UserError(f"compare: {which} cannot be ranked together: {'; '.join(reasons)}; compare each by itself")
    studies = [_with_files(home, study, args) for study in studies]
    names = [_columns(study, args.columns, "--columns") for study in studies]
    by = [_columns(study, args.group_by, "--group-by") for study in studies]
    studies = [_selected(study, args) for study in studies]
    if args.csv:
        with _writing(args.csv):
            report.write_csv(studies, Path(args.csv))
    if args.html:
        with _writing(args.html):
            report.write_html(home, studies, Path(args.html))
    if args.json:
        print(json.dumps(_as_json(home, studies, reasons, by), indent=1))
        return 0
    console = tables.console()
    for study, shown, grouped in zip(studies, names, by, strict=True):
        _print_study(home, study, shown, grouped, args.where)
    if len(studies) > 1:
        console.print(tables.best_of(studies))
    for path in (args.csv, args.html):
        if path:
            console.print(f"wrote {path}")
    return 0


def _selected(study: StudyView, args: argparse.Namespace) -> StudyView:
    """Returns a study with the trials that meet the condition."""
    if args.where is None:
        return study
    condition = filters.parse(args.where, filters.columns(study))
    return replace(study, trials=tuple(row for row in study.trials if condition.matches(row)))


def _columns(study: StudyView, text: str | None, option: str) -> list[str] | None:
    """Returns the columns that an option names, separated by commas; None without the option."""
    if text is None:
        return None
    known = filters.columns(study)
    return [filters.column(name.strip(), known, option) for name in text.split(",")]


def _with_files(home: Home, study: StudyView, args: argparse.Namespace) -> StudyView:
    """Returns a study with the files that the comparison reads; those of another home are fetched."""
    if study.origin is None:
        return study
    from rnnexp.tracking.fetch import fetch

    started = [row.number for row in study.trials if row.state in FINISHED]
    needed = started if args.html or args.csv or args.json else started[: len(args.study) > 1]
    return fetch(home, study, needed) if needed else study


def _print_study(
    home: Home, study: StudyView, columns: list[str] | None, by: list[str] | None, where: str | None
) -> None:
    console = tables.console()
    console.print(
        f"{study.name}: {study.n_finished} of {study.n_trials} trials; {study.metric} at each trial's best epoch",
        style="bold",
    )
    for version in study.space_versions:
        console.print(str(version), soft_wrap=True)
    if not study.ranked:
        missing = "no trial has finished yet" if where is None else "no trial with a value meets the condition"
        console.print(f"{missing}\n")
        return
    if by is not None:
        console.print(_groups(by, groups(study, study.ranked, by)))
        console.print()
        return
    noise = seed_noise(home, study)
    expected = expected_again(study, noise)
    shown = study.ranked[:_MAX_ROWS]
    if columns is None:
        console.print(tables.trials(study, shown, rank=True, expected=expected))
    else:
        console.print(_chosen(study, shown, columns))
    if noise is not None:
        console.print(
            f"retrained: what is expected with another seed on the same validation texts; the {study.metric} of one "
            f"configuration has a standard deviation of {noise:.4f} between seeds, so the best of many is partly lucky",
            soft_wrap=True,
        )
    if study.ranking.has_places:
        console.print(tables.PLACE_NOTE, soft_wrap=True)
    if any(row.state is State.PRUNED for row in shown):
        console.print(tables.PRUNED_NOTE, soft_wrap=True)
    if len(study.ranked) > _MAX_ROWS:
        console.print(f"and {len(study.ranked) - _MAX_ROWS} more: rnnexp trials {study.name}")
    found = importances(home, study.name)
    console.print(describe(found), soft_wrap=True)
    if found.rows:
        console.print(tables.importances(found))
    console.print()


def _chosen(study: StudyView, rows: Sequence[TrialRow], columns: Sequence[str]) -> Table:
    """Builds a table with rank, number, value and the columns that the user has chosen."""
    cells = []
    for position, row in enumerate(rows, start=1):
        texts = [_text(name, filters.value_of(row, name)) for name in columns]
        cells.append((str(position), str(row.number), tables.objective(row), *texts))
    return tables.grid(("rank", "trial", study.metric, *map(tables.heading, columns)), cells)


def _groups(columns: Sequence[str], found: Sequence[Group]) -> Table:
    heads = (*map(tables.heading, columns), "trials", "pruned", "best", "best trial", "median")
    cells = [
        (
            *(_text(name, value) for name, value in zip(columns, group.key, strict=True)),
            str(group.n_trials),
            str(group.n_pruned),
            tables.number(group.best),
            str(group.best_trial),
            tables.number(group.median),
        )
        for group in found
    ]
    return tables.grid(heads, cells)


def _text(column: str, value: Any) -> str:
    if value is None:
        return "–"
    return tables.duration(value) if column == "time" else setting_value(value)


def _print_difference(home: Home, studies: list[StudyView], args: argparse.Namespace) -> int:
    """Prints how two trials of one study differ."""
    if len(studies) != 1:
        raise UserError(f"--diff: got {len(studies)} studies, expected one: both trials are of the same study")
    (study,), numbers = studies, args.diff
    rows = [find(study, number) for number in numbers]
    if study.origin is not None:
        from rnnexp.tracking.fetch import fetch

        study = fetch(home, study, numbers)
    found = difference(study, *rows)
    if args.json:
        print(json.dumps({"study": study.name, "trials": numbers, **dataclasses.asdict(found)}, indent=1))
        return 0
    console, heads = tables.console(), [f"trial {number}" for number in numbers]
    parts: list[tuple[str, dict[str, tuple[Any, Any]]]] = [
        ("result", found.result),
        ("settings that differ", found.settings),
        ("environment that differs", found.environment),
    ]
    for title, pairs in parts:
        if pairs:
            cells = [(name, _text("", one), _text("", other)) for name, (one, other) in pairs.items()]
            console.print(tables.grid((title, *heads), cells))
            console.print()
    if found.curves:
        cells = [(str(epoch), tables.number(one), tables.number(other)) for epoch, one, other in found.curves]
        console.print(tables.grid((f"{study.metric}, epoch", *heads), cells))
    return 0


def _as_json(home: Home, studies: list[StudyView], reasons: list[str], by: list[list[str] | None]) -> dict[str, object]:
    return {
        "comparable": not reasons,
        "reasons": reasons,
        "studies": [
            _study_as_json(home, study, importances(home, study.name), names)
            for study, names in zip(studies, by, strict=True)
        ],
    }


def _study_as_json(home: Home, study: StudyView, found: Importances, by: list[str] | None) -> dict[str, object]:
    noise = seed_noise(home, study)
    expected = expected_again(study, noise)
    plain: dict[str, object] = {
        "study": study.name,
        "metric": study.metric,
        "direction": study.direction,
        "objectives": list(study.ranking.metrics),
        "front": [row.number for row in study.front],
        "noise_of_seeds": noise,
        "importances": {row.setting: row.share for row in found.rows},
        "importances_by_chance": {
            row.setting: {"median": row.noise_median, "limit": row.noise_limit} for row in found.rows
        },
        "importances_like_chance": found.noise,
        "importances_n_trials": found.n_trials,
        "trials": [study.plain(row) | {"expected_again": expected.get(row.number)} for row in study.ranked],
    }
    if by is not None:
        plain["groups"] = [
            dataclasses.asdict(group) | {"key": dict(zip(by, group.key, strict=True))}
            for group in groups(study, study.ranked, by)
        ]
    return plain


@contextlib.contextmanager
def _writing(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if disk.is_full(error):
            raise
        raise UserError(f"{path}: cannot be written ({error.strerror}); choose another file") from None
