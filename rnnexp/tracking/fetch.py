"""Fetches the files of trials from MLflow's server, for a study whose trials are in another home.

They are kept in `HOME/fetched/`, in folders like those of the home's own trials, so that the same code reads both.
"""

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rnnexp import addresses, disk, locks
from rnnexp.errors import StudyError
from rnnexp.home import Home, TrialFolder
from rnnexp.home_id import HomeId
from rnnexp.storage.views import StudyView, add_runs
from rnnexp.tracking.client import open_client
from rnnexp.tracking.maintenance import RunRecord, runs_by_trial, search_runs
from rnnexp.tracking.ownership import Ownership
from rnnexp.trial import events
from rnnexp.trial.cursor import Cursor
from rnnexp.trial.states import FINISHED

_LOCK = "fetch.lock"


def fetch(home: Home, study: StudyView, numbers: Iterable[int], *, with_model: bool = False) -> StudyView:
    """Fetches what MLflow has of some trials; a study of this home is left as it is.

    A finished trial's files do not change any more, so they are fetched once. What was fetched of an unfinished trial
    is fetched again: its model may be of an earlier epoch.

    Args:
        home: this home.
        study: the study.
        numbers: of its trials.
        with_model: whether to fetch the model, too.

    Returns:
        The study with the ids of these trials' runs.

    Raises:
        StudyError: if the study is of another home, and MLflow's server is not known here or cannot be read.
    """
    if study.origin is None:
        return study
    wanted = [number for number in numbers if not _is_complete(study, number, with_model=with_model)]
    if not wanted:
        return add_runs(study)
    ownership = owner(home, study)
    with locks.held(study.folder.root / _LOCK):  # two commands may fetch the same trial
        _fetch(home, study, wanted, ownership, with_model=with_model)
    return add_runs(study)


def _fetch(home: Home, study: StudyView, wanted: list[int], ownership: Ownership, *, with_model: bool) -> None:
    try:
        client = open_client(home)
        runs = _runs(client, ownership)
        for number in wanted:
            if number in runs and not _is_complete(study, number, with_model=with_model):
                _fetch_trial(client, runs[number], study.folder.trial(number), ownership, with_model=with_model)
    except Exception as error:
        if disk.is_full(error):
            raise
        raise StudyError(
            f"study {study.name}: its trials are in {study.origin}, and their files cannot be read from MLflow's "
            f"server {home.tracking_server} ({addresses.one_line(error)})"
        ) from None


def owner(home: Home, study: StudyView) -> Ownership:
    """Returns the identity of a study of another home in the MLflow server that this home uses.

    Raises:
        StudyError: if this home uses no server.
    """
    assert study.origin is not None
    if home.tracking_server is None:
        raise StudyError(
            f"study {study.name}: its trials are in {study.origin}; set MLFLOW_TRACKING_URI to the MLflow server that "
            "it uses, to read their files from there"
        )
    return Ownership(study.name, study.identity, home.tracking_server, HomeId(study.origin.id))


def _is_complete(study: StudyView, number: int, *, with_model: bool) -> bool:
    folder = study.folder.trial(number)
    state = next((row.state for row in study.trials if row.number == number), None)
    is_final = state in FINISHED and events.is_closed(events.read(folder.events), state)
    return is_final and (folder.best.exists() or not with_model)


def _runs(client: Any, ownership: Ownership) -> Mapping[int, RunRecord]:
    experiment = client.get_experiment_by_name(ownership.study)
    if experiment is None:
        return {}
    found = runs_by_trial(search_runs(client, experiment.experiment_id), ownership)
    return {number: runs[-1] for number, runs in found.items()}


def _fetch_trial(client: Any, run: RunRecord, folder: TrialFolder, ownership: Ownership, *, with_model: bool) -> None:
    """Fetches the files of one trial; what its run does not have is left out. The events come last."""
    folder.root.mkdir(parents=True, exist_ok=True)
    for path in (folder.events, folder.best, folder.held_out):
        path.unlink(missing_ok=True)
    Cursor(run.run_id, 0, ownership.store, ownership.home.value).save(folder.tracking)
    files = {path.name: path for path in (folder.config, folder.history, folder.log)}
    names = {item.path for item in client.list_artifacts(run.run_id)}
    checkpoints = folder.best.parent.name
    if with_model and checkpoints in names:
        files |= {f"{checkpoints}/{path.name}": path for path in (folder.best, folder.held_out)}
        names |= {item.path for item in client.list_artifacts(run.run_id, checkpoints)}
    for name, path in (files | {folder.events.name: folder.events}).items():
        if name in names:
            _download(client, run.run_id, name, path)


def _download(client: Any, run_id: str, name: str, to: Path) -> None:
    """Downloads a file beside its place, and renames it when it is complete."""
    disk.make_folder(to.parent)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=to.parent) as work, disk.replacing(to) as beside:
        Path(client.download_artifacts(run_id, name, work)).replace(beside)
