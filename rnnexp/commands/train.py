"""`rnnexp train`: train one configuration, as a study of one trial."""

import argparse
from functools import partial
from pathlib import Path

from rnnexp.commands.run_study import is_finished, prepare_data, resolve_data, run_study
from rnnexp.config.files import parse_assignment
from rnnexp.config.objectives import Objective
from rnnexp.config.sweep import Budget, RandomSampler, SweepConfig, fingerprint
from rnnexp.config.trial import TrialConfig, load_trial
from rnnexp.data.store import TokenStore
from rnnexp.home import Home
from rnnexp.storage.views import StudyView
from rnnexp.terminal import next_commands, tables

_N_DIGITS = 8


def run(args: argparse.Namespace) -> int:
    """Trains a configuration; the same command again resumes, or shows the result."""
    assignments = dict(parse_assignment(text) for text in args.assignments)
    trial = load_trial(Path(args.file) if args.file else None, assignments)
    home = Home.open(args.home)
    trial = resolve_data(trial)
    tokens = prepare_data(trial, home)
    study = study_of(trial, tokens.digest)
    show_next = partial(_show_next, home, tokens, trial, is_finished(home, study))
    exit_code = run_study(study, home, tokens, None, partial(_show_result, home), show_next)
    if exit_code == 1:
        where = next_commands.home_option(home)
        tables.console().print(
            f"the log of the trial: rnnexp logs {study.study} 0{where}; to train it again, change a setting, "
            f"or delete this study first: rnnexp delete {study.study}{where}",
            soft_wrap=True,
        )
    return exit_code


def study_of(trial: TrialConfig, data_digest: str) -> SweepConfig:
    """Returns the study of one trial that trains a configuration.

    The study is named after its configuration and data, so the same command finds the same study. A data file may
    move: its path is no part of the name, its content is.

    Args:
        trial: the configuration; its data settings are resolved.
        data_digest: identifies the content of the data.
    """
    settings = trial.settings() | {"data.path": None, "data_digest": data_digest}
    return SweepConfig(
        study=f"train-{fingerprint(settings)[:_N_DIGITS]}",
        objective=Objective.model_validate({"metric": trial.train.monitor}),
        sampler=RandomSampler(name="random"),
        budget=Budget(trials=1),
        base=trial,
    )


def _show_result(home: Home, study: StudyView) -> None:
    best = study.best
    assert best is not None
    tables.console().print(
        f"study {study.name}: {study.metric} {tables.result(best)}; "
        f"files in {home.study(study.name).trial(best.number).root}",
        soft_wrap=True,
        style="bold",
    )


def _show_next(home: Home, tokens: TokenStore, trial: TrialConfig, was_finished: bool, study: StudyView) -> None:
    where, best = next_commands.home_option(home), study.best
    assert best is not None
    tables.console().print(f"MLflow run {best.run_id or 'not written yet'}", soft_wrap=True)
    if was_finished:
        tables.console().print(
            "this configuration was trained already; to train it again, use another seed: "
            f"--set train.seed={trial.train.seed + 1}",
            soft_wrap=True,
        )
    next_commands.show(
        [
            (f"export {study.name} --to best{where}", "write the model as a bundle that accepts raw text"),
            next_commands.predict("best", tokens, trial.data),
            (f"evaluate best{where}", "measure the bundle on the test part; each use of it is counted"),
            (f"ui{where}", "open MLflow's UI"),
        ]
    )
