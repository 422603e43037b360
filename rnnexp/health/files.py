"""Checks token stores, checkpoints and models; removes, restores or recomputes the damaged ones."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from rnnexp import disk
from rnnexp.config.trial import load_trial
from rnnexp.data import store as data
from rnnexp.health import studies
from rnnexp.health.finding import Finding
from rnnexp.health.studies import TrialSnapshot
from rnnexp.health.trials import discard_checkpoint
from rnnexp.health.usage import size
from rnnexp.home import Home, TrialFolder
from rnnexp.study import retention
from rnnexp.trial import recompute_predictions
from rnnexp.trial.cursor import Cursor
from rnnexp.trial.events import Evicted, Finished
from rnnexp.trial.states import State

STORES, CHECKPOINTS = "cache", "checkpoints"


def check_stores(home: Home) -> Iterator[Finding]:
    """Checks every token store, unless a study is running: it may just be building one."""
    if not home.cache.is_dir() or studies.running(home):
        return
    for root in sorted(home.cache.iterdir()):
        if root.is_dir() and not root.name.startswith(".") and not data.is_valid(root):
            what = "its files differ from those that were written"
            repair = "it is removed; the next use builds it again"
            yield Finding(STORES, f"cache/{root.name}", what, repair, lambda root=root: _remove(root), size(root))  # type: ignore[misc]


def _remove(root: Path) -> str:
    shutil.rmtree(root)
    return "removed; the next use builds it again"


def check_checkpoints(home: Home) -> Iterator[Finding]:
    """Checks the checkpoints of waiting trials and the models of finished trials."""
    for snapshot in studies.idle_trials(home):
        if snapshot.state is State.WAITING:
            yield from _check_checkpoint(home, snapshot)
        elif snapshot.state in (State.COMPLETE, State.PRUNED) and _has_model(snapshot):
            yield from _check_model(home, snapshot)


def _has_model(snapshot: TrialSnapshot) -> bool:
    has_result = any(isinstance(event, Finished) for event in snapshot.events)
    return has_result and not any(isinstance(event, Evicted) for event in snapshot.events)


def _fault(path: Path) -> str | None:
    return disk.zip_fault(path) if path.exists() else "it is missing"


def _check_checkpoint(home: Home, snapshot: TrialSnapshot) -> Iterator[Finding]:
    if not snapshot.folder.state.exists():
        return
    for path in (snapshot.folder.state, snapshot.folder.best, snapshot.folder.held_out):
        fault = _fault(path)
        if fault is not None:
            repair = "the checkpoint is removed: the trial starts from the beginning, to the same result"
            fix = studies.with_study_lock(home, snapshot.study, lambda: discard_checkpoint(snapshot))
            frees = size(snapshot.folder.state)
            yield Finding(CHECKPOINTS, snapshot.where, f"{path.name} is damaged ({fault})", repair, fix, frees)
            return


def _check_model(home: Home, snapshot: TrialSnapshot) -> Iterator[Finding]:
    model_fault, held_out_fault = _fault(snapshot.folder.best), _fault(snapshot.folder.held_out)
    if model_fault is not None:
        copy = mlflow_copy_of_best(home, snapshot)
        what = f"best.keras is damaged ({model_fault})"
        if home.tracking_server is not None:
            what += f"; {home.tracking_server} may have a copy: download it from there"
            yield Finding(CHECKPOINTS, snapshot.where, what)
        elif copy is not None and _fault(copy) is None:
            fix = studies.with_study_lock(home, snapshot.study, lambda: _restore_model(copy, snapshot.folder))
            yield Finding(CHECKPOINTS, snapshot.where, what, "it is restored from MLflow's copy", fix)
        else:
            what += ", and MLflow has no intact copy"
            repair = "it is recorded as not kept; `rnnexp show --yaml` and `rnnexp train` train it again"
            fix = studies.with_study_lock(home, snapshot.study, lambda: _record_as_not_kept(snapshot.folder))
            yield Finding(CHECKPOINTS, snapshot.where, what, repair, fix, size(snapshot.folder.best))
    elif held_out_fault is not None:
        what = f"held_out.npz, which verifies an export, is damaged ({held_out_fault})"
        repair = "it is computed again from the model and compared with the recorded loss and accuracy"
        fix = studies.with_study_lock(home, snapshot.study, lambda: _recompute_held_out(home, snapshot))
        yield Finding(CHECKPOINTS, snapshot.where, what, repair, fix)


def mlflow_copy_of_best(home: Home, snapshot: TrialSnapshot) -> Path | None:
    """Returns the path of MLflow's copy of a trial's model, whether or not it exists.

    None if the trial has no run in the home's own MLflow.
    """
    cursor = Cursor.load(snapshot.folder.tracking)
    if cursor.run_id is None or cursor.store != Cursor().store:
        return None
    root = home.experiment_artifacts(snapshot.study) / cursor.run_id / "artifacts"
    return root / snapshot.folder.best.parent.name / snapshot.folder.best.name


def _restore_model(copy: Path, folder: TrialFolder) -> str:
    with disk.replacing(folder.best) as temporary:
        shutil.copyfile(copy, temporary)
    return "restored from MLflow's copy"


def _record_as_not_kept(folder: TrialFolder) -> str:
    retention.remove_model(folder, time.time())
    return "recorded as not kept"


def _recompute_held_out(home: Home, snapshot: TrialSnapshot) -> str:
    """Computes the probabilities again in a separate process. A model with other results is not kept."""
    config = load_trial(snapshot.folder.config, {})
    fault = recompute_predictions.held_out(snapshot.folder, data.prepare(config.data, home).root)
    if fault is None:
        return "computed again; loss and accuracy equal those that training recorded"
    retention.remove_model(snapshot.folder, time.time())
    return f"the model is not the one of the best epoch ({fault}); recorded as not kept"
