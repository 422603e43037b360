"""Finds files that only take space: temporary files, checkpoints of finished trials, data that MLflow has deleted."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rnnexp.disk import WRITING
from rnnexp.health import mlflow_tables, studies
from rnnexp.health.finding import Finding
from rnnexp.health.places import is_inside, own_artifact_folder
from rnnexp.health.studies import Observation
from rnnexp.health.usage import size
from rnnexp.home import Home
from rnnexp.tracking import maintenance
from rnnexp.tracking.paths import artifact_address
from rnnexp.trial.states import FINISHED, State

CHECK = "leftovers"
_RUN_ID_LENGTH = 32
_OLD_S = 3600
_NO_FOLDER = ".deleted"
"""No study has a name that starts with a dot."""


def check(observed: Observation) -> Iterator[Finding]:
    """Checks the folders of idle studies and MLflow's own data."""
    home = observed.home
    yield from _temporary_files(observed)
    yield from _checkpoints(observed)
    if home.tracking_server is None and home.mlflow_db.exists():
        if observed.held is None:
            yield from _deleted_in_mlflow(home)
        yield from _unknown_artifacts(observed)


def _temporary_files(observed: Observation) -> Iterator[Finding]:
    """Finds files and folders that a killed process was writing."""
    home = observed.home
    for name in observed.idle():
        root = home.study(name).root
        paths = [*_being_written(root), *root.glob(f".{home.study(name).bundle.name}-*")] if root.is_dir() else []
        if paths:
            fix = studies.with_study_lock(home, name, lambda paths=paths: _remove(paths))  # type: ignore[misc]
            yield _incomplete(home, root, paths, fix)
    if observed.held is not None or studies.running(home):
        return
    for folder in (home.root, home.cache, home.logs):
        if folder.is_dir() and folder.resolve() in (home.root.resolve(), home.root.resolve() / folder.name):
            # No lock tells whether another command writes one of these files, but none takes an hour.
            paths = [path for path in folder.glob(f"{WRITING}*") if path.lstat().st_mtime < time.time() - _OLD_S]
            if paths:
                yield _incomplete(home, folder, paths, lambda paths=paths: _remove(paths))  # type: ignore[misc]


def _being_written(root: Path) -> Iterator[Path]:
    """Yields the incomplete files in a folder and its subfolders."""
    for folder, folders, names in os.walk(root):
        yield from (Path(folder, name) for name in (*folders, *names) if name.startswith(WRITING))


def _incomplete(home: Home, folder: Path, paths: list[Path], fix: Callable[[], str]) -> Finding:
    what = f"{len(paths)} incomplete file{'s' * (len(paths) > 1)} of a killed process"
    return Finding(CHECK, str(folder.relative_to(home.root)), what, "removed", fix, sum(size(path) for path in paths))


def _remove(paths: list[Path]) -> str:
    """Removes files and folders; of a symbolic link only the link."""
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return "removed"


def _checkpoints(observed: Observation) -> Iterator[Finding]:
    """Finds files that a finished trial no longer needs. The next start of its study would remove them too."""
    home = observed.home
    for snapshot in observed.idle_trials():
        keep_model = snapshot.state is not State.FAIL
        paths = [snapshot.folder.state, *([] if keep_model else [snapshot.folder.best, snapshot.folder.held_out])]
        if snapshot.state in FINISHED and any(path.exists() for path in paths):
            name, number = snapshot.study, snapshot.number
            fix = studies.with_study_lock(
                home,
                name,
                lambda name=name, number=number, keep=keep_model: _clean_up(home, name, number, keep),  # type: ignore[misc]
            )
            what = f"it is {snapshot.state}, but still has files that only a running trial needs"
            yield Finding(CHECK, snapshot.where, what, "removed", fix, sum(size(path) for path in paths))


def _clean_up(home: Home, name: str, number: int, keep_model: bool) -> str:
    studies.records(home, name).clean_up(number, keep_model=keep_model)
    return "removed"


def _deleted_in_mlflow(home: Home) -> Iterator[Finding]:
    """Finds what was deleted, for example by `rnnexp delete`, and what MLflow only marks as deleted."""
    deleted = mlflow_tables.deleted_items(home)
    if deleted.n_experiments or deleted.n_runs or deleted.n_models:
        folders = [own_artifact_folder(home, place, owner) for owner, place in deleted.places]
        frees = sum(size(path) for path in folders if path is not None)
        what = (
            f"MLflow still stores {deleted.n_experiments} deleted experiments, {deleted.n_runs} runs and "
            f"{deleted.n_models} models"
        )
        n_outside = folders.count(None)
        kept = f"; the files of {n_outside} of them are outside this home and are kept" if n_outside else ""
        repair = f"deleted permanently, as `mlflow gc` does{kept}"
        yield Finding(CHECK, home.mlflow_db.name, what, repair, lambda: _delete_permanently(home), frees)


def _delete_permanently(home: Home) -> str:
    """Deletes the files inside the home, then lets MLflow delete its rows.

    MLflow would delete files wherever its database says that they are, for example those of the home of which this one
    is a copy. So it gets the address of a folder that does not exist.
    """
    kept = []
    for owner, place in mlflow_tables.deleted_items(home).places:
        folder = own_artifact_folder(home, place, owner)
        if folder is None:
            kept.append(place)
        elif folder.exists():
            shutil.rmtree(folder)
        mlflow_tables.replace_place(home, owner, artifact_address(home.artifacts / _NO_FOLDER))
    maintenance.delete_permanently(home)
    return f"deleted permanently; these files were kept: {', '.join(kept)}" if kept else "deleted permanently"


def _unknown_artifacts(observed: Observation) -> Iterator[Finding]:
    """Finds folders of runs that MLflow does not know, for example after its database was rebuilt."""
    home = observed.home
    # The folders are listed before MLflow is asked: a folder that is created in between is in neither list.
    artifacts = {
        name: _run_folders(home.experiment_artifacts(name))
        for name in observed.idle()
        if is_inside(home.root, home.experiment_artifacts(name))
    }
    known = mlflow_tables.run_and_model_ids(home)
    for name, folders in artifacts.items():
        unknown = [path for path in folders if path.name not in known]
        if unknown:
            what = f"{len(unknown)} folders of runs and models that MLflow does not know"
            frees = sum(size(path) for path in unknown)
            where = str(home.experiment_artifacts(name).relative_to(home.root))
            fix = studies.with_study_lock(home, name, lambda unknown=unknown: _remove(unknown))  # type: ignore[misc]
            yield Finding(CHECK, where, what, "removed", fix, frees)


def _run_folders(root: Path) -> list[Path]:
    return [path for path in (*_content(root), *_content(root / "models")) if _is_run_or_model(path)]


def _content(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _is_run_or_model(path: Path) -> bool:
    if path.parent.name == "models":
        return path.name.startswith("m-")
    return len(path.name) == _RUN_ID_LENGTH and set(path.name) <= set("0123456789abcdef")
