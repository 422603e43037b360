"""Checks checkpoints and models; removes the damaged checkpoints, restores or recomputes what belongs to a model.

A model is never deleted. A damaged model, or one that is not that of the best epoch, is renamed into the folder
`set-aside` of its trial.
"""

import itertools
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from rnnexp import disk
from rnnexp.config.trial import load_trial
from rnnexp.data import store as data
from rnnexp.errors import WorkError
from rnnexp.health import studies
from rnnexp.health.finding import Finding
from rnnexp.health.studies import Observation, TrialSnapshot
from rnnexp.health.trials import discard_checkpoint
from rnnexp.health.usage import size
from rnnexp.home import Home, TrialFolder
from rnnexp.study import retention
from rnnexp.trial import recompute_predictions
from rnnexp.trial.cursor import OWN
from rnnexp.trial.events import Evicted, Finished, Started
from rnnexp.trial.states import State

CHECK = "checkpoints"


def check(observed: Observation) -> Iterator[Finding]:
    """Checks the checkpoints of waiting trials and the models of finished trials."""
    home = observed.home
    for snapshot in observed.idle_trials():
        try:
            if snapshot.state is State.WAITING:
                yield from _check_checkpoint(home, snapshot)
            elif snapshot.state in (State.COMPLETE, State.PRUNED) and _has_model(snapshot):
                yield from _check_model(home, snapshot)
        except OSError as error:  # a file that cannot be read now is not damaged
            what = f"its files could not be checked ({error}); run `rnnexp doctor` again"
            yield Finding(CHECK, snapshot.where, what)


def _has_model(snapshot: TrialSnapshot) -> bool:
    has_result = any(isinstance(event, Finished) for event in snapshot.events)
    return has_result and not any(isinstance(event, Evicted) for event in snapshot.events)


def _check_checkpoint(home: Home, snapshot: TrialSnapshot) -> Iterator[Finding]:
    if not snapshot.folder.state.exists():
        return
    for path in (snapshot.folder.state, snapshot.folder.best, snapshot.folder.held_out):
        fault = disk.zip_fault(path)
        if fault is not None:
            repair = "the checkpoint is removed: the trial starts from the beginning, to the same result"
            fix = studies.with_study_lock(home, snapshot.study, lambda: discard_checkpoint(snapshot))
            frees = size(snapshot.folder.state)
            yield Finding(CHECK, snapshot.where, f"{path.name} is damaged ({fault})", repair, fix, frees)
            return


def _check_model(home: Home, snapshot: TrialSnapshot) -> Iterator[Finding]:
    model_fault, held_out_fault = disk.zip_fault(snapshot.folder.best), disk.zip_fault(snapshot.folder.held_out)
    if model_fault is not None:
        copy = mlflow_copy_of_best(home, snapshot)
        what = f"best.keras is damaged ({model_fault})"
        if home.tracking_server is not None:
            what += f"; {home.tracking_server} may have a copy: download it from there"
            yield Finding(CHECK, snapshot.where, what)
        elif copy is not None and disk.zip_fault(copy) is None:
            fix = studies.with_study_lock(home, snapshot.study, lambda: _restore_model(copy, snapshot.folder))
            yield Finding(CHECK, snapshot.where, what, "it is restored from MLflow's copy", fix)
        else:
            what += ", and MLflow has no intact copy"
            repair = "it is recorded as not kept; `rnnexp show --yaml` and `rnnexp train` train it again"
            fix = studies.with_study_lock(home, snapshot.study, lambda: _give_up(home, snapshot))
            yield Finding(CHECK, snapshot.where, what, repair, fix)
    elif held_out_fault is not None:
        what = f"held_out.npz, which verifies an export, is damaged ({held_out_fault})"
        repair = "it is computed again from the model and compared with the recorded loss and accuracy"
        fix = studies.with_study_lock(home, snapshot.study, lambda: _recompute_held_out(home, snapshot))
        yield Finding(CHECK, snapshot.where, what, repair, fix)


def mlflow_copy_of_best(home: Home, snapshot: TrialSnapshot) -> Path | None:
    """Returns the path of MLflow's copy of a trial's model, whether or not it exists.

    None if the trial has no run in the home's own MLflow.
    """
    cursor = snapshot.cursor
    if cursor.run_id is None or cursor.store != OWN:
        return None
    root = home.experiment_artifacts(snapshot.study) / cursor.run_id / "artifacts"
    return root / snapshot.folder.best.parent.name / snapshot.folder.best.name


def _restore_model(copy: Path, folder: TrialFolder) -> str:
    with disk.replacing(folder.best) as temporary:
        shutil.copyfile(copy, temporary)
        _set_aside(folder, folder.best)
    return "restored from MLflow's copy"


def _set_aside(folder: TrialFolder, *paths: Path) -> None:
    """Renames files into the trial's folder of files that were set aside."""
    for path in paths:
        if path.exists():
            folder.set_aside.mkdir(exist_ok=True)
            path.replace(_free_place(folder, path.name))


def _free_place(folder: TrialFolder, name: str) -> Path:
    return next(path for n in itertools.count(1) if not (path := folder.set_aside / f"{n}-{name}").exists())


def _give_up(home: Home, snapshot: TrialSnapshot) -> str:
    """Sets the model aside and records that it is not kept. MLflow then deletes its copy, which is saved if it differs.

    The files are renamed first: if the repair is killed in between, the next one finds that the model is missing.
    """
    folder, copy = snapshot.folder, _other_copy(home, snapshot)
    if copy is not None:
        folder.set_aside.mkdir(exist_ok=True)
        with disk.replacing(_free_place(folder, f"mlflow-{copy.name}")) as temporary:
            shutil.copyfile(copy, temporary)
    _set_aside(folder, folder.best, folder.held_out)
    retention.remove_model(folder, time.time())
    return f"recorded as not kept; its files are in {folder.set_aside}"


def _other_copy(home: Home, snapshot: TrialSnapshot) -> Path | None:
    """Returns MLflow's copy of the model if it exists and differs from the model."""
    copy, best = mlflow_copy_of_best(home, snapshot), snapshot.folder.best
    if copy is None or home.tracking_server is not None or not copy.exists():
        return None
    return None if best.exists() and disk.file_hash(best) == disk.file_hash(copy) else copy


def _recompute_held_out(home: Home, snapshot: TrialSnapshot) -> str:
    """Computes the probabilities again in a separate process. A model with other results is set aside.

    Raises:
        WorkError: if the data of the training are gone, so that the results cannot be compared. The model is kept.
    """
    store = _data_of_training(home, snapshot)
    fault = recompute_predictions.held_out(snapshot.folder, store)
    if fault is None:
        return "computed again; loss and accuracy equal those that training recorded"
    copy = _other_copy(home, snapshot)
    if copy is not None and disk.zip_fault(copy) is None:
        _restore_model(copy, snapshot.folder)
        if recompute_predictions.held_out(snapshot.folder, store) is None:
            return f"the model was not the one of the best epoch ({fault}); MLflow's copy is, and replaces it"
    return f"the model is not the one of the best epoch ({fault}); {_give_up(home, snapshot)}"


def _data_of_training(home: Home, snapshot: TrialSnapshot) -> Path:
    """Returns the token store with the data and the split on which the trial was trained.

    The store may still be in the cache although the user's own file has changed since.
    """
    config = load_trial(snapshot.folder.config, {}).data
    recorded = next((event.data for event in reversed(snapshot.events) if isinstance(event, Started)), {})
    if not {"digest", "split"} <= set(recorded):
        raise WorkError("the digest of its data is not recorded, so results cannot be compared; the model is kept")
    name = f"{config.name}-{recorded['digest']}"
    cached = [root for root in home.cache.iterdir() if root.name == name] if home.cache.is_dir() else []
    store = data.TokenStore.open(cached[0]) if cached and data.is_valid(cached[0]) else data.prepare(config, home)
    found = {"digest": store.digest, "split": store.split(config).digest}
    changed = [key for key, value in found.items() if value != recorded[key]]
    if changed:
        source = config.path or config.name
        raise WorkError(
            f"{source}: the data differ from those of the training (their {changed[0]} is {found[changed[0]]}, "
            f"expected {recorded[changed[0]]}), so results cannot be compared; "
            "the model is kept; restore the data, then repeat"
        )
    return store.root
