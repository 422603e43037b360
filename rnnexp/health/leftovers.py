"""What takes space and serves nobody: half-written files, checkpoints of finished trials, what MLflow only hides."""

import contextlib
import io
import shutil
import sqlite3
import warnings
from collections.abc import Iterator
from pathlib import Path

from rnnexp.disk import WRITING
from rnnexp.health import studies
from rnnexp.health.finding import Finding
from rnnexp.health.usage import size
from rnnexp.home import FORMER_SINGLE_RUNS, Home
from rnnexp.tracking.client import import_mlflow
from rnnexp.trial.states import FINISHED, State

CHECK = "leftovers"
_RUN_ID_LENGTH = 32
_DELETED = "lifecycle_stage = 'deleted'"


def check(home: Home) -> Iterator[Finding]:
    """Looks through the folders of idle studies, and through what MLflow keeps."""
    yield from _half_written(home)
    yield from _finished(home)
    if home.tracking_server is None and home.mlflow_db.exists():
        yield from _hidden(home)
        yield from _strays(home)


def _half_written(home: Home) -> Iterator[Finding]:
    places = [home.study(name).root for name in studies.idle(home)]
    places += [seen.folder.root for seen in studies.single_runs(home)]
    if not studies.running(home):
        places += [home.logs]
    for place in places:
        paths = [path for path in place.rglob(f"{WRITING}*") if path.is_file()] if place.is_dir() else []
        if paths:
            what = f"{len(paths)} file{'s' * (len(paths) > 1)} that a killed process had not finished"
            frees = sum(size(path) for path in paths)
            where = str(place.relative_to(home.root))
            yield Finding(CHECK, where, what, "removed", lambda paths=paths: _unlink(paths), frees)  # type: ignore[misc]


def _unlink(paths: list[Path]) -> str:
    for path in paths:
        path.unlink(missing_ok=True)
    return "removed"


def _finished(home: Home) -> Iterator[Finding]:
    """What a trial that has ended for good needs no more; the next start of its study would remove it too."""
    for name in studies.idle(home):
        for seen in studies.trials(home, name):
            keep_model = seen.state is not State.FAIL
            paths = [seen.folder.state, *([] if keep_model else [seen.folder.best, seen.folder.held_out])]
            frees = sum(size(path) for path in paths)
            if seen.state in FINISHED and any(path.exists() for path in paths):
                fix = studies.held(
                    home,
                    name,
                    lambda name=name, number=seen.number, keep=keep_model: _clean_up(home, name, number, keep),  # type: ignore[misc]
                )
                what = f"it is {seen.state} and still has what only a running trial needs"
                yield Finding(CHECK, seen.where, what, "removed", fix, frees)


def _clean_up(home: Home, name: str, number: int, keep_model: bool) -> str:
    studies.records(home, name).clean_up(number, keep_model=keep_model)
    return "removed"


def _hidden(home: Home) -> Iterator[Finding]:
    """What was deleted and MLflow only hides, as after `rnnexp delete`."""
    with contextlib.closing(sqlite3.connect(home.mlflow_db, timeout=30)) as connection:
        runs = connection.execute(f"SELECT artifact_uri FROM runs WHERE {_DELETED}").fetchall()
        models = connection.execute(f"SELECT artifact_location FROM logged_models WHERE {_DELETED}").fetchall()
        places = connection.execute(f"SELECT artifact_location FROM experiments WHERE {_DELETED}").fetchall()
    if runs or models or places:
        frees = sum(size(Path(place)) for (place,) in [*runs, *models] if place and place.startswith("/"))
        what = f"MLflow hides {len(places)} deleted experiments, {len(runs)} runs and {len(models)} models"
        yield Finding(CHECK, home.mlflow_db.name, what, "removed for good, by `mlflow gc`", lambda: _gc(home), frees)


def _gc(home: Home) -> str:
    import_mlflow()
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its import warns of code of its own
        from mlflow.cli import gc

        where = ["--backend-store-uri", home.mlflow_uri, "--tracking-uri", home.mlflow_uri]
        gc.main(args=where, standalone_mode=False)
    return "removed for good"


def _strays(home: Home) -> Iterator[Finding]:
    """Folders of runs that MLflow does not know, as where its database was written anew."""
    # Listed before MLflow is asked: what is made in between is in neither.
    found = {name: _run_folders(home.experiment_artifacts(name)) for name in (*studies.idle(home), FORMER_SINGLE_RUNS)}
    with contextlib.closing(sqlite3.connect(home.mlflow_db, timeout=30)) as connection:
        known = {row[0] for row in connection.execute("SELECT run_uuid FROM runs")}
        known |= {row[0] for row in connection.execute("SELECT model_id FROM logged_models")}
    for name, places in found.items():
        strays = [path for path in places if path.name not in known]
        if strays:
            what = f"{len(strays)} folders of runs and models that MLflow does not know"
            frees = sum(size(path) for path in strays)
            where = str(home.experiment_artifacts(name).relative_to(home.root))
            yield Finding(CHECK, where, what, "removed", lambda strays=strays: _remove(strays), frees)  # type: ignore[misc]


def _run_folders(root: Path) -> list[Path]:
    return [path for path in (*_below(root), *_below(root / "models")) if _is_a_run(path)]


def _below(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _is_a_run(path: Path) -> bool:
    if path.parent.name == "models":
        return path.name.startswith("m-")
    return len(path.name) == _RUN_ID_LENGTH and set(path.name) <= set("0123456789abcdef")


def _remove(strays: list[Path]) -> str:
    for path in strays:
        shutil.rmtree(path, ignore_errors=True)
    return "removed"
