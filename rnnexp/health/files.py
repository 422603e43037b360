"""Token stores, checkpoints and models: whole, or removed, put back, worked out again."""

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
from rnnexp.health.trials import begin_anew
from rnnexp.health.usage import size
from rnnexp.home import Home, TrialFolder
from rnnexp.study import retention
from rnnexp.trial import recompute_predictions
from rnnexp.trial.cursor import Cursor
from rnnexp.trial.events import Evicted, Finished
from rnnexp.trial.states import State

STORES, CHECKPOINTS = "cache", "checkpoints"


def check_stores(home: Home) -> Iterator[Finding]:
    """Looks at every token store; while a study runs, one may just be in the making."""
    if not home.cache.is_dir() or studies.running(home):
        return
    for root in sorted(home.cache.iterdir()):
        if root.is_dir() and not root.name.startswith(".") and not data.is_valid(root):
            what = "its files are not those that were written"
            repair = "it is removed; the next use builds it again"
            yield Finding(STORES, f"cache/{root.name}", what, repair, lambda root=root: _remove(root), size(root))  # type: ignore[misc]


def _remove(root: Path) -> str:
    shutil.rmtree(root)
    return "removed; the next use builds it again"


def check_checkpoints(home: Home) -> Iterator[Finding]:
    """Looks at the checkpoints of trials that go on and at the models of those that have ended."""
    for seen in studies.everything(home):
        if seen.state is State.WAITING and seen.trial is not None:
            yield from _waiting(home, seen)
        elif seen.state in (State.COMPLETE, State.PRUNED) and _has_a_model(seen):
            yield from _ended(home, seen)


def _has_a_model(seen: TrialSnapshot) -> bool:
    has_result = any(isinstance(event, Finished) for event in seen.happened)
    return has_result and not any(isinstance(event, Evicted) for event in seen.happened)


def _fault(path: Path) -> str | None:
    return disk.zip_fault(path) if path.exists() else "it is missing"


def _waiting(home: Home, seen: TrialSnapshot) -> Iterator[Finding]:
    if not seen.folder.state.exists():
        return
    for path in (seen.folder.state, seen.folder.best, seen.folder.held_out):
        fault = _fault(path)
        if fault is not None:
            repair = "the checkpoint is removed: it begins anew, to the same result"
            fix = studies.held(home, seen.study, lambda: begin_anew(seen))
            frees = size(seen.folder.state)
            yield Finding(CHECKPOINTS, seen.where, f"{path.name} is damaged ({fault})", repair, fix, frees)
            return


def _ended(home: Home, seen: TrialSnapshot) -> Iterator[Finding]:
    model, held_out = _fault(seen.folder.best), _fault(seen.folder.held_out)
    if model is not None:
        kept = copy_of_best(home, seen)
        what = f"best.keras is damaged ({model})"
        if home.tracking_server is not None:
            yield Finding(
                CHECKPOINTS, seen.where, f"{what}; {home.tracking_server} may have a copy: fetch it from there"
            )
        elif kept is not None and _fault(kept) is None:
            fix = studies.held(home, seen.study, lambda: _put_back(kept, seen.folder))
            yield Finding(CHECKPOINTS, seen.where, what, "it is put back from MLflow's copy", fix)
        else:
            what += ", and MLflow has no whole copy"
            repair = "it is recorded as not kept; `rnnexp show --yaml` and `rnnexp train` make it again"
            fix = studies.held(home, seen.study, lambda: _give_up(seen.folder))
            yield Finding(CHECKPOINTS, seen.where, what, repair, fix, size(seen.folder.best))
    elif held_out is not None:
        what = f"held_out.npz, by which an export is checked, is damaged ({held_out})"
        repair = "it is worked out again from the model, and compared with what training recorded"
        fix = studies.held(home, seen.study, lambda: _measure(home, seen))
        yield Finding(CHECKPOINTS, seen.where, what, repair, fix)


def copy_of_best(home: Home, seen: TrialSnapshot) -> Path | None:
    """Returns where MLflow's copy of a trial's model is or should be; None where a server keeps it, or nobody."""
    cursor = Cursor.load(seen.folder.tracking)
    if cursor.run_id is None or cursor.store != Cursor().store:
        return None
    root = home.experiment_artifacts(seen.study) / cursor.run_id / "artifacts"
    return root / seen.folder.best.parent.name / seen.folder.best.name


def _put_back(kept: Path, folder: TrialFolder) -> str:
    with disk.replacing(folder.best) as beside:
        shutil.copyfile(kept, beside)
    return "put back from MLflow's copy"


def _give_up(folder: TrialFolder) -> str:
    retention.give_up(folder, time.time())
    return "recorded as not kept"


def _measure(home: Home, seen: TrialSnapshot) -> str:
    """Works the probabilities out again in a process of its own; a model that says something else is not kept."""
    config = load_trial(seen.folder.config, {})
    fault = recompute_predictions.held_out(seen.folder, data.prepare(config.data, home).root)
    if fault is None:
        return "worked out again; loss and accuracy are those that training recorded"
    retention.give_up(seen.folder, time.time())
    return f"the model is not the best epoch's ({fault}); recorded as not kept"
