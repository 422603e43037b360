"""Compares MLflow with the trials' events: missing, incomplete, duplicate and unknown runs."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rnnexp import addresses, disk
from rnnexp.health import history, mlflow_tables, studies
from rnnexp.health.files import mlflow_copy_of_best
from rnnexp.health.finding import Finding
from rnnexp.health.mlflow_tables import MetricSteps
from rnnexp.health.places import own_artifact_folder
from rnnexp.health.studies import Observation, TrialSnapshot
from rnnexp.home import Home
from rnnexp.tracking.client import open_client
from rnnexp.tracking.maintenance import RunRecord, runs_by_trial, search_runs
from rnnexp.tracking.ownership import Ownership
from rnnexp.tracking.projection import Projection
from rnnexp.trial import events
from rnnexp.trial.cursor import Cursor
from rnnexp.trial.events import AttemptEnded, Evicted, Finished, Started
from rnnexp.trial.states import FINISHED, RUN_STATUS, State

CHECK = "runs"


def check(observed: Observation) -> Iterator[Finding]:
    """Checks the runs of the studies that no supervisor runs."""
    home = observed.home
    yield from _check_credentials(observed)
    groups = {name: observed.trials(name) for name in observed.idle()}
    with_events = {name: [snapshot for snapshot in observed.own_trials(name) if snapshot.events] for name in groups}
    if not any(with_events.values()) or (home.tracking_server is None and not home.mlflow_db.exists()):
        return
    if home.tracking_server in observed.unusable_servers:
        return
    try:
        client = open_client(home)
        steps = mlflow_tables.metric_steps(home) if home.tracking_server is None else None
        for name, group in groups.items():
            if group:
                numbers = {snapshot.number for snapshot in group}
                yield from _check_study(home, client, name, with_events[name], numbers, steps)
    except Exception as error:
        if home.tracking_server is None:
            raise
        yield Finding(CHECK, home.tracking_server, f"it cannot be read ({addresses.one_line(error)})")


def _check_credentials(observed: Observation) -> Iterator[Finding]:
    """Finds credentials of a server, which earlier versions wrote into the cursors."""
    home = observed.home
    for name in observed.idle():
        folder = home.study(name)
        paths = [folder.trial(number).tracking for number in folder.numbers()]
        paths = [path for path in paths if Cursor.has_credentials(path)]
        if paths:
            what = f"{len(paths)} files named {paths[0].name} contain user and password of the MLflow server"
            fix = studies.with_study_lock(home, name, lambda paths=paths: _remove_credentials(paths))  # type: ignore[misc]
            yield Finding(CHECK, f"study {name}", what, "they are removed from the files", fix)


def _remove_credentials(paths: list[Path]) -> str:
    for path in paths:
        Cursor.load(path).save(path)
    return "they are removed; other copies of this home may still have them, so consider a new password"


def _check_study(
    home: Home, client: Any, name: str, group: list[TrialSnapshot], numbers: set[int], steps: MetricSteps | None
) -> Iterator[Finding]:
    """Checks the runs of one study.

    Args:
        home: contains the study.
        client: MLflow's.
        name: the study's name.
        group: its trials that have events.
        numbers: all of its trials.
        steps: of all metrics; None if a server stores the runs.
    """
    experiment = client.get_experiment_by_name(name)
    if experiment is None or experiment.lifecycle_stage != "active":
        if group:
            what = "MLflow has no experiment of it" if experiment is None else "its experiment was deleted in MLflow"
            repair = "it is created and every trial is sent again" if experiment is None else "it is restored"
            fix = studies.with_study_lock(home, name, lambda: _resend_all(home, name, group))
            yield Finding(CHECK, f"study {name}", what, repair, fix)
        return
    ownership = Ownership.of(home, name, studies.identity(home, name))
    own_ids = ownership.run_ids(home.study(name))
    is_own_database, experiment_id = home.tracking_server is None, experiment.experiment_id
    recorded = mlflow_tables.active_runs(home, experiment_id) if is_own_database else search_runs(client, experiment_id)
    runs = runs_by_trial(recorded, ownership, own_ids)
    places = mlflow_tables.run_places(home) if is_own_database else {}
    for snapshot in group:
        outside = _place_outside(home, snapshot, runs.get(snapshot.number, []), places)
        if outside is not None:
            what = f"its run in MLflow stores files in {outside}, outside this home; it is neither checked nor repaired"
            yield Finding(CHECK, snapshot.where, what)
            continue
        if snapshot.state in FINISHED and history.missing(snapshot):
            continue  # MLflow may have more of it than its events
        what = _difference(home, ownership, snapshot, runs.get(snapshot.number, []), steps)
        if what:
            fix = studies.with_study_lock(home, name, lambda snapshot=snapshot: _send(home, snapshot))  # type: ignore[misc]
            yield Finding(CHECK, snapshot.where, what, "its events are sent again", fix)
    for number in sorted(set(runs) - numbers):
        # The run of a trial whose tag was changed in MLflow's UI is not unknown: the cursor names it.
        ids = [run.run_id for run in runs[number] if run.run_id not in own_ids]
        if not ids:
            continue
        what = f"MLflow has a run of trial {number}, which does not exist"
        fix = studies.with_study_lock(home, name, lambda ids=ids: _delete(client, ids))  # type: ignore[misc]
        yield Finding(CHECK, f"study {name}", what, "the run is deleted", fix)


def _difference(
    home: Home, ownership: Ownership, snapshot: TrialSnapshot, runs: list[RunRecord], steps: MetricSteps | None
) -> str:
    """Returns in words how MLflow differs from a trial's events; an empty text if it does not."""
    cursor = snapshot.cursor
    if cursor.store != ownership.store:
        return ""  # the trial is recorded in another MLflow
    if not ownership.counts(cursor):
        return ""  # by the home of which this one is a copy; the next sweep sends it again as a run of this home
    if not runs:
        return "it has no run in MLflow"
    if len(runs) > 1:
        return f"it has {len(runs)} runs in MLflow"
    run = runs[0]
    if cursor.run_id != run.run_id:
        return "it is not known how many of its events MLflow has"
    if cursor.sent != len(snapshot.events):
        return f"MLflow has {cursor.sent} of its {len(snapshot.events)} events"
    return (
        _state_difference(snapshot, run)
        or _metrics_difference(snapshot, run, steps)
        or _files_difference(home, snapshot)
    )


def _place_outside(home: Home, snapshot: TrialSnapshot, runs: list[RunRecord], places: dict[str, str]) -> str | None:
    """Returns the place of a run's files if it is outside this home: sending an event can delete files there."""
    for run_id in dict.fromkeys((snapshot.cursor.run_id, *(run.run_id for run in runs))):
        if run_id in places and own_artifact_folder(home, places[run_id], run_id) is None:
            return places[run_id]
    return None


def _state_difference(snapshot: TrialSnapshot, run: RunRecord) -> str:
    last = next((event for event in reversed(snapshot.events) if isinstance(event, AttemptEnded | Started)), None)
    state = State(last.state) if isinstance(last, AttemptEnded) else State.RUNNING
    if run.status != RUN_STATUS[state]:
        return f"its run is {run.status} in MLflow, but the trial is {state}"
    expected = {"rnnexp.state": str(state), "rnnexp.study": snapshot.study}
    if isinstance(last, AttemptEnded):
        expected["rnnexp.attempts"] = str(last.attempts)
    if any(isinstance(event, Evicted) for event in snapshot.events):
        expected["rnnexp.checkpoint"] = "evicted"
    wrong = [name for name, value in expected.items() if run.tags.get(name) != value]
    return f"its run's tag {wrong[0]} is {run.tags.get(wrong[0])}, not {expected[wrong[0]]}" if wrong else ""


def _metrics_difference(snapshot: TrialSnapshot, run: RunRecord, steps: MetricSteps | None) -> str:
    expected: dict[str, set[int]] = defaultdict(set)
    for epoch in events.epochs(snapshot.events):
        for name in epoch.metrics:
            expected[name].add(epoch.epoch)
    recorded = steps.get(run.run_id, {}) if steps is not None else {}
    missing = [
        name for name, epochs in expected.items() if steps is not None and not epochs <= recorded.get(name, set())
    ]
    if any(isinstance(event, Finished) for event in snapshot.events):
        missing += [name for name in ("best_epoch", "n_params", "train_seconds") if name not in run.metrics]
    missing += [name for name in expected if name not in run.metrics and name not in missing]
    return f"its run lacks points of {', '.join(missing)}" if missing else ""


def _files_difference(home: Home, snapshot: TrialSnapshot) -> str:
    """Compares MLflow's copies of the trial's files with the originals; files on a server are not checked."""
    copy = mlflow_copy_of_best(home, snapshot)
    if copy is None or home.tracking_server is not None or snapshot.state not in FINISHED:
        return ""
    folder = snapshot.folder
    if folder.best.exists() and disk.zip_fault(folder.best) is None:
        fault = disk.zip_fault(copy) if copy.exists() else "it is missing"
        if fault is not None:
            return f"MLflow's copy of best.keras is damaged ({fault})"
    files = [folder.config]
    if any(isinstance(event, AttemptEnded) for event in snapshot.events):
        files += [folder.history, folder.curves, folder.log]
    artifacts = copy.parent.parent
    missing = [path.name for path in files if path.exists() and not (artifacts / path.name).exists()]
    return f"MLflow lacks its {', '.join(missing)}" if missing else ""


def _send(home: Home, snapshot: TrialSnapshot) -> str:
    projection = Projection.open(home, snapshot.study, studies.identity(home, snapshot.study))
    cursor = Cursor.load(snapshot.folder.tracking)
    if cursor.run_id is not None and cursor.sent < len(snapshot.events):
        projection.replay(snapshot.number)
        return f"the missing events are sent to run {cursor.run_id}"
    return f"all events are sent again to run {projection.resend(snapshot.number)}"


def _resend_all(home: Home, name: str, group: list[TrialSnapshot]) -> str:
    projection = Projection.open(home, name, studies.identity(home, name))
    for snapshot in group:
        projection.resend(snapshot.number)
    return f"{len(group)} trials are in MLflow again"


def _delete(client: Any, ids: list[str]) -> str:
    for run_id in ids:
        client.delete_run(run_id)
    return f"deleted run {', '.join(ids)}"
