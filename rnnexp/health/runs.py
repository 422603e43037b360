"""MLflow against the trials' events: runs that are missing, behind, doubled, or of no trial."""

import contextlib
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from rnnexp import disk
from rnnexp.health import history, studies
from rnnexp.health.files import copy_of_best
from rnnexp.health.finding import Finding
from rnnexp.health.studies import TrialSnapshot
from rnnexp.home import FORMER_SINGLE_RUNS, Home
from rnnexp.tracking.client import open_client
from rnnexp.tracking.projection import Projection
from rnnexp.trial import events
from rnnexp.trial.cursor import Cursor
from rnnexp.trial.events import AttemptEnded, Evicted, Finished, Started
from rnnexp.trial.states import FINISHED, RUN_STATUS, State

CHECK = "runs"
_PAGE = 1000
Points = dict[str, dict[str, set[int]]]


def check(home: Home) -> Iterator[Finding]:
    """Looks at the runs of the studies that nobody runs, and at single runs'."""
    groups = {name: studies.trials(home, name) for name in studies.idle(home)}
    groups[FORMER_SINGLE_RUNS] = studies.single_runs(home)
    recorded = {name: [seen for seen in group if seen.happened] for name, group in groups.items()}
    if not any(recorded.values()) or (home.tracking_server is None and not home.mlflow_db.exists()):
        return
    try:
        client, points = open_client(home), _points(home)
        for name, group in groups.items():
            if group:
                yield from _study(home, client, name, recorded[name], {seen.number for seen in group}, points)
    except Exception as error:
        if home.tracking_server is None:
            raise
        yield Finding(CHECK, home.tracking_server, f"it cannot be asked ({' '.join(str(error).split())[:160]})")


def _study(
    home: Home, client: Any, name: str, group: list[TrialSnapshot], known: set[int], points: Points | None
) -> Iterator[Finding]:
    experiment = client.get_experiment_by_name(name)
    if experiment is None or experiment.lifecycle_stage != "active":
        if group:
            what = "MLflow has no experiment of it" if experiment is None else "its experiment was deleted in MLflow"
            repair = "it is created and every trial is sent again" if experiment is None else "it is restored"
            fix = studies.held(home, name, lambda: _send_all(home, name, group))
            yield Finding(CHECK, f"study {name}", what, repair, fix)
        return
    identity = studies.identity(home, name)
    runs = _runs(client, experiment.experiment_id, identity)
    for seen in group:
        if seen.trial is not None and seen.state in FINISHED and history.missing(seen):
            continue  # MLflow may have more of it than its events
        what = _difference(home, seen, runs.get(seen.number, []), points)
        if what:
            fix = studies.held(home, name, lambda seen=seen: _send(home, seen))  # type: ignore[misc]
            yield Finding(CHECK, seen.where, what, "its events are sent again", fix)
    own = {Cursor.load(seen.folder.tracking).run_id for seen in group}
    for number in sorted(set(runs) - known):
        # A trial's own run, whose tag somebody has changed, is not a stranger.
        ids = [run.info.run_id for run in runs[number] if run.info.run_id not in own]
        if not ids:
            continue
        what = f"MLflow has a run of a trial {number} that there is not"
        fix = studies.held(home, name, lambda ids=ids: _delete(client, ids))  # type: ignore[misc]
        yield Finding(CHECK, f"study {name}", what, "the run is deleted", fix)


def _runs(client: Any, experiment: str, identity: str) -> dict[int, list[Any]]:
    """Returns the active runs of a study's trials, by the trial's number."""
    found: dict[int, list[Any]] = defaultdict(list)
    token = None
    while True:
        page = client.search_runs([experiment], max_results=_PAGE, page_token=token)
        for run in page:
            number = run.data.tags.get("rnnexp.trial", "")
            if run.data.tags.get("rnnexp.study_id") == identity and number.isdigit():
                found[int(number)].append(run)
        token = page.token
        if not token:
            return found


def _difference(home: Home, seen: TrialSnapshot, runs: list[Any], points: Points | None) -> str:
    """Returns in words how MLflow differs from a trial's events; nothing where it does not."""
    cursor = Cursor.load(seen.folder.tracking)
    if cursor.store != (home.tracking_server or Cursor().store):
        return ""  # recorded in another MLflow, which is not asked
    if not runs:
        return "it has no run in MLflow"
    if len(runs) > 1:
        return f"it has {len(runs)} runs in MLflow"
    run = runs[0]
    if cursor.run_id != run.info.run_id:
        return "how much of it MLflow has is not known"
    if cursor.sent != len(seen.happened):
        return f"MLflow has {cursor.sent} of its {len(seen.happened)} events"
    return _tags(seen, run) or _metrics(seen, run, points) or _copy(home, seen)


def _tags(seen: TrialSnapshot, run: Any) -> str:
    last = next((event for event in reversed(seen.happened) if isinstance(event, AttemptEnded | Started)), None)
    state = State(last.state) if isinstance(last, AttemptEnded) else State.RUNNING
    if run.info.status != RUN_STATUS[state]:
        return f"its run is {run.info.status} in MLflow, and it is {state}"
    wanted = {"rnnexp.state": str(state), "rnnexp.study": seen.study}
    if isinstance(last, AttemptEnded):
        wanted["rnnexp.attempts"] = str(last.attempts)
    if any(isinstance(event, Evicted) for event in seen.happened):
        wanted["rnnexp.checkpoint"] = "evicted"
    wrong = [name for name, value in wanted.items() if run.data.tags.get(name) != value]
    return f"its run's tag {wrong[0]} is {run.data.tags.get(wrong[0])}, not {wanted[wrong[0]]}" if wrong else ""


def _metrics(seen: TrialSnapshot, run: Any, points: Points | None) -> str:
    curve = events.epochs(seen.happened)
    due: dict[str, set[int]] = defaultdict(set)
    for epoch in curve:
        for name in epoch.metrics:
            due[name].add(epoch.epoch)
    own = points.get(run.info.run_id, {}) if points is not None else {}
    lacking = [name for name, steps in due.items() if points is not None and not steps <= own.get(name, set())]
    if any(isinstance(event, Finished) for event in seen.happened):
        lacking += [name for name in ("best_epoch", "n_params", "train_seconds") if name not in run.data.metrics]
    lacking += [name for name in due if name not in run.data.metrics and name not in lacking]
    return f"its run lacks points of {', '.join(lacking)}" if lacking else ""


def _copy(home: Home, seen: TrialSnapshot) -> str:
    """Compares what MLflow keeps of the trial's files; those of a server are not looked at."""
    kept = copy_of_best(home, seen)
    if kept is None or home.tracking_server is not None or seen.state not in FINISHED:
        return ""
    if seen.folder.best.exists() and disk.zip_fault(seen.folder.best) is None:
        fault = disk.zip_fault(kept) if kept.exists() else "it is missing"
        if fault is not None:
            return f"MLflow's copy of best.keras is damaged ({fault})"
    files = [seen.folder.config]
    if any(isinstance(event, AttemptEnded) for event in seen.happened):
        files += [seen.folder.history, seen.folder.curves, seen.folder.log]
    lacking = [path.name for path in files if path.exists() and not (kept.parent.parent / path.name).exists()]
    return f"MLflow lacks its {', '.join(lacking)}" if lacking else ""


def _points(home: Home) -> Points | None:
    """Returns the steps of every metric of every run, in one look; None where a server has them."""
    if home.tracking_server is not None:
        return None
    found: Points = defaultdict(lambda: defaultdict(set))
    with contextlib.closing(sqlite3.connect(home.mlflow_db, timeout=30)) as connection:
        for run, name, step in connection.execute("SELECT run_uuid, key, step FROM metrics"):
            found[run][name].add(step)
    return found


def _send(home: Home, seen: TrialSnapshot) -> str:
    projection = Projection.open(home, seen.study, studies.identity(home, seen.study))
    cursor = Cursor.load(seen.folder.tracking)
    if cursor.run_id is not None and cursor.sent < len(seen.happened):
        projection.replay(seen.number)
        return f"sent what it lacked, into run {cursor.run_id}"
    return f"sent again, into run {projection.resend(seen.number)}"


def _send_all(home: Home, name: str, group: list[TrialSnapshot]) -> str:
    projection = Projection.open(home, name, studies.identity(home, name))
    for seen in group:
        projection.resend(seen.number)
    return f"{len(group)} trials are in MLflow again"


def _delete(client: Any, ids: list[str]) -> str:
    for run_id in ids:
        client.delete_run(run_id)
    return f"deleted run {', '.join(ids)}"
