"""Finds files that only take space: temporary files, checkpoints of finished trials, data that MLflow has deleted."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from rnnexp.disk import WRITING
from rnnexp.health import mlflow_tables, studies
from rnnexp.health.finding import Finding
from rnnexp.health.usage import size
from rnnexp.home import Home
from rnnexp.tracking import maintenance
from rnnexp.trial.states import FINISHED, State

CHECK = "leftovers"
_RUN_ID_LENGTH = 32


def check(home: Home) -> Iterator[Finding]:
    """Checks the folders of idle studies and MLflow's own data."""
    yield from _temporary_files(home)
    yield from _checkpoints(home)
    if home.tracking_server is None and home.mlflow_db.exists():
        yield from _deleted_in_mlflow(home)
        yield from _unknown_artifacts(home)


def _temporary_files(home: Home) -> Iterator[Finding]:
    """Finds files that a killed process was writing."""
    folders = [home.study(name).root for name in studies.idle(home)]
    if not studies.running(home):
        folders += [home.logs]
    for folder in folders:
        paths = [path for path in folder.rglob(f"{WRITING}*") if path.is_file()] if folder.is_dir() else []
        if paths:
            what = f"{len(paths)} incomplete file{'s' * (len(paths) > 1)} of a killed process"
            frees = sum(size(path) for path in paths)
            where = str(folder.relative_to(home.root))
            yield Finding(CHECK, where, what, "removed", lambda paths=paths: _unlink(paths), frees)  # type: ignore[misc]


def _unlink(paths: list[Path]) -> str:
    for path in paths:
        path.unlink(missing_ok=True)
    return "removed"


def _checkpoints(home: Home) -> Iterator[Finding]:
    """Finds files that a finished trial no longer needs. The next start of its study would remove them too."""
    for snapshot in studies.idle_trials(home):
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
        frees = sum(size(Path(place)) for place in deleted.places if place.startswith("/"))
        what = (
            f"MLflow still stores {deleted.n_experiments} deleted experiments, {deleted.n_runs} runs and "
            f"{deleted.n_models} models"
        )
        repair = "deleted permanently, as `mlflow gc` does"
        yield Finding(CHECK, home.mlflow_db.name, what, repair, lambda: _delete_permanently(home), frees)


def _delete_permanently(home: Home) -> str:
    maintenance.delete_permanently(home)
    return "deleted permanently"


def _unknown_artifacts(home: Home) -> Iterator[Finding]:
    """Finds folders of runs that MLflow does not know, for example after its database was rebuilt."""
    # The folders are listed before MLflow is asked: a folder that is created in between is in neither list.
    artifacts = {name: _run_folders(home.experiment_artifacts(name)) for name in studies.idle(home)}
    known = mlflow_tables.run_and_model_ids(home)
    for name, folders in artifacts.items():
        unknown = [path for path in folders if path.name not in known]
        if unknown:
            what = f"{len(unknown)} folders of runs and models that MLflow does not know"
            frees = sum(size(path) for path in unknown)
            where = str(home.experiment_artifacts(name).relative_to(home.root))
            yield Finding(CHECK, where, what, "removed", lambda unknown=unknown: _remove(unknown), frees)  # type: ignore[misc]


def _run_folders(root: Path) -> list[Path]:
    return [path for path in (*_content(root), *_content(root / "models")) if _is_run_or_model(path)]


def _content(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _is_run_or_model(path: Path) -> bool:
    if path.parent.name == "models":
        return path.name.startswith("m-")
    return len(path.name) == _RUN_ID_LENGTH and set(path.name) <= set("0123456789abcdef")


def _remove(folders: list[Path]) -> str:
    for path in folders:
        shutil.rmtree(path, ignore_errors=True)
    return "removed"
