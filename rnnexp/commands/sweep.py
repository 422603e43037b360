"""`rnnexp sweep`: start or resume a study."""

import argparse
import contextlib
import sys
from functools import partial
from pathlib import Path
from typing import Any

from rnnexp.commands.run_study import connected, plan_slots, prepare_data, resolve_data, run_study
from rnnexp.config.files import parse_assignment
from rnnexp.config.formatting import setting_value
from rnnexp.config.load import load_sweep
from rnnexp.config.sweep import SweepConfig
from rnnexp.config.trial import TrialConfig
from rnnexp.data.store import TokenStore
from rnnexp.engine import devices
from rnnexp.errors import RnnexpError, UserError
from rnnexp.home import FORMER_SINGLE_RUNS, Home
from rnnexp.storage.bulk_reader import study_names
from rnnexp.storage.folders import check_new_study
from rnnexp.storage.views import StudyView, view
from rnnexp.terminal import next_commands, tables
from rnnexp.terminal.json_lines import JsonWatch
from rnnexp.trial.states import State

_MAX_RANKED = 12
_MAX_SAMPLES = 10


def run(args: argparse.Namespace) -> int:
    """Runs the study of a sweep file until its budget is used up."""
    config = load_sweep(Path(args.file), _assignments(args))
    if config.study == FORMER_SINGLE_RUNS:
        raise UserError(
            f"{args.file}: study: {FORMER_SINGLE_RUNS!r} is reserved, because earlier versions kept the runs of "
            "`rnnexp train` under this name; choose another"
        )
    if args.workers is not None and args.workers < 1:
        raise UserError(f"--workers: got {args.workers}, expected 1 or more")
    if args.json and args.dry_run:
        raise UserError("sweep --json: prints the events of a running study; leave out --dry-run")
    if args.json:
        return _run_with_events(config, args.home)
    return _run(config, args.home, dry_run=args.dry_run)


def _run(config: SweepConfig, place: str, *, dry_run: bool, events: JsonWatch | None = None) -> int:
    home = Home.open(place)
    check_new_study(home, config.study, study_names(home))
    config = config.model_copy(update={"base": resolve_data(config.base)})
    if dry_run:
        return _show_forecast(config, home, prepare_data(config.base, home))
    with connected(config, home) as cluster:
        tokens = prepare_data(config.base, home)
        show_best = partial(_show_best, home, tokens, config.base)
        if events is None:
            return run_study(config, home, tokens, cluster, _show_ranking, show_best)
        events.event(
            "study",
            study=config.study,
            home=str(home.root),
            metric=config.objective.metric,
            direction=config.objective.direction,
            n_trials=config.n_trials,
            data={"name": tokens.name, "digest": tokens.digest},
        )
        return run_study(config, home, tokens, cluster, _show_ranking, show_best, watch=lambda *_: events)


def _run_with_events(config: SweepConfig, place: str) -> int:
    """Runs the study; prints its events as JSON, and what is for people to standard error."""
    events, code, fault = JsonWatch(sys.stdout), None, None
    try:
        with contextlib.redirect_stdout(sys.stderr):
            code = _run(config, place, dry_run=False, events=events)
        return code
    except RnnexpError as error:
        code, fault = error.exit_code, str(error)
        raise
    finally:
        best = None
        with contextlib.suppress(Exception):  # there may be no study
            study = view(Home.at(place), config.study)
            best = study.plain(study.best) if study.best is not None else None
        events.event("end", study=config.study, exit_code=code, best=best, error=fault)


def _show_forecast(config: SweepConfig, home: Home, tokens: TokenStore) -> int:
    """Prints sample trials and the expected time, memory and disk; runs nothing."""
    from rnnexp.forecast.study import forecast

    console = tables.console()
    plan = plan_slots(config, tokens, devices.measured_use(home.devices))
    found = forecast(config, home, tokens, plan.slots)
    console.print(tables.samples(found.samples[:_MAX_SAMPLES], found.seconds))
    n_measured = tables.count(found.n_measured, "trial")
    paused = f", and up to {found.paused_gb:.2f} GB more while trials are paused" if found.paused_gb else ""
    basis = f"corrected by {n_measured} of this home" if found.n_measured else "this home has no trial to correct it by"
    console.print(
        f"\nstudy {config.study}: {found.n_left} of {config.n_trials} trials to run, {plan.slots} at once: about "
        f"{tables.duration(found.total_seconds)} if none is pruned ({basis}); up to {found.memory_gb:.1f} GB of "
        f"memory a trial; about {found.disk_gb:.2f} GB of disk at the end{paused}",
        soft_wrap=True,
    )
    return 0


def _assignments(args: argparse.Namespace) -> dict[str, Any]:
    assignments = dict(parse_assignment(text) for text in args.assignments)
    flags = {
        "budget.trials": args.trials,
        "budget.timeout_s": args.timeout,
        "study": args.study,
        "engine.name": args.engine,
        "engine.address": args.address,
        "engine.max_slots": args.workers,
    }
    return assignments | {name: value for name, value in flags.items() if value is not None}


def _show_ranking(study: StudyView) -> None:
    console = tables.console()
    console.print()
    console.print(tables.trials(study, study.ranked[:_MAX_RANKED], rank=True))
    console.print()
    if study.ranking.has_places:
        console.print(tables.PLACE_NOTE, soft_wrap=True)
    if any(row.state is State.PRUNED for row in study.ranked[:_MAX_RANKED]):
        console.print(tables.PRUNED_NOTE, soft_wrap=True)
    n_more, n_failed = len(study.ranked) - _MAX_RANKED, study.count(State.FAIL)
    if n_more > 0:
        console.print(f"and {n_more} more: rnnexp trials {study.name}")
    if n_failed:
        console.print(
            f"{n_failed} of {tables.count(study.n_finished, 'trial')} failed; `rnnexp trials {study.name}` shows why",
            style="red",
        )


def _show_best(home: Home, tokens: TokenStore, base: TrialConfig, study: StudyView) -> None:
    best, where = study.best, next_commands.home_option(home)
    assert best is not None
    settings = ", ".join(f"{name} {setting_value(value)}" for name, value in best.settings.items())
    tables.console().print(
        f"best: trial {best.number}, {study.metric} {tables.result(best)}{f': {settings}' if settings else ''}",
        soft_wrap=True,
        style="bold",
    )
    prefer = ""
    if study.ranking.has_front:
        metrics = study.ranking.metrics
        numbers = ", ".join(str(row.number) for row in study.front[:_MAX_RANKED])
        tables.console().print(
            f"front of {' and '.join(metrics)}: trials that no other one beats: {numbers}",
            soft_wrap=True,
        )
        prefer = f" --prefer {metrics[0]}"
    next_commands.show(
        [
            (f"compare {study.name}{where}", "tables and importances; --html FILE writes the report"),
            (f"export {study.name}{prefer} --to best{where}", "write the best model as a bundle that accepts raw text"),
            next_commands.predict("best", tokens, base.data),
            (f"ui{where}", "open MLflow's UI"),
        ]
    )
