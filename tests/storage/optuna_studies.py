"""Studies that Optuna's own API creates, without trials that were trained."""

import math

import optuna
from optuna.trial import TrialState

from rnnexp.home import Home
from rnnexp.storage import metadata
from rnnexp.storage.database import open_storage


def create_study(home: Home, name: str) -> optuna.Study:
    """Creates a study with one trial for each state and each kind of stored value."""
    study = optuna.create_study(storage=open_storage(home), study_name=name, direction="maximize")
    for end in ("complete", "pruned", "fail", "infinite", "running"):
        trial = study.ask()
        trial.suggest_categorical("kind", [None, "a", True, 2])
        trial.suggest_int("units", 8, 64, log=True)
        trial.suggest_int("step", 10, 20, step=5)
        if end != "fail":
            trial.suggest_float("rate", 1e-3, 1.0, log=True)
        trial.set_user_attr("rnnexp:summary", {"reason": "ü", "metrics": {"loss": 0.1}})
        for step, value in enumerate((0.1, math.inf, -math.inf, math.nan, 0.25), start=1):
            trial.report(value, step)
        if end == "pruned":
            study.tell(trial, state=TrialState.PRUNED)
        elif end == "fail":
            study.tell(trial, state=TrialState.FAIL)
        elif end != "running":
            study.tell(trial, 0.75 if end == "complete" else math.inf)
    study.enqueue_trial({"kind": "a", "units": 16})
    study.set_user_attr(metadata.DEFINITION, {"objective": {"metric": "val_loss"}, "ü": [1, None]})
    study.set_user_attr(metadata.BUDGET, {"n_trials": 6})
    return study
