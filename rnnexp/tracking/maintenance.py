"""Maintenance of MLflow's database for `rnnexp doctor`: schema versions, upgrade, permanent deletion, and searches."""

import contextlib
import functools
import io
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any

from rnnexp.home import Home
from rnnexp.tracking.client import as_global, import_mlflow
from rnnexp.tracking.ownership import STUDY_ID, TRIAL, Ownership
from rnnexp.trial.events import MEASURED

_PAGE_SIZE = 1000


@functools.cache
def schema_versions() -> tuple[str, frozenset[str]]:
    """Returns the schema version of the installed library, and all versions that it knows."""
    import_mlflow()
    from alembic.script import ScriptDirectory
    from mlflow.store.db import utils

    script = ScriptDirectory.from_config(utils._get_alembic_config(""))
    known = frozenset(revision.revision for revision in script.walk_revisions())
    return utils._get_latest_schema_revision(), known


def upgrade(home: Home) -> None:
    """Upgrades the home's database to the schema version of the installed library."""
    import_mlflow()
    from mlflow.store.db import utils
    from sqlalchemy import create_engine

    engine = create_engine(home.mlflow_uri)
    try:
        utils._upgrade_db(engine)
    finally:
        engine.dispose()


def delete_permanently(home: Home) -> None:
    """Deletes everything that is marked as deleted, with its files, as `mlflow gc` does."""
    mlflow, output = import_mlflow(), io.StringIO()
    with (
        as_global(mlflow, home),  # the command changes the global address
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(output),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # importing the command warns about MLflow's own code
        from mlflow.cli import gc

        arguments = ["--backend-store-uri", home.mlflow_uri, "--tracking-uri", home.mlflow_uri]
        gc.main(args=arguments, standalone_mode=False)


def find_trial_run(client: Any, ownership: Ownership, number: int) -> Any:
    """Returns the oldest active run of a trial; None if MLflow has no such run.

    Raises:
        Exception: if MLflow fails.
    """
    experiment = client.get_experiment_by_name(ownership.study)
    if experiment is None:
        return None
    wanted = {TRIAL: str(number), STUDY_ID: ownership.identity}
    query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in wanted.items())
    found = client.search_runs([experiment.experiment_id], filter_string=query)
    return next((run for run in reversed(found) if ownership.owns(run.data.tags)), None)


@dataclass(frozen=True)
class RunRecord:
    """What is compared with a trial's events.

    Attributes:
        run_id: MLflow's id.
        status: MLflow's status.
        tags: those that start with `rnnexp.`, and perhaps others.
        metrics: the names of its metrics.
    """

    run_id: str
    status: str
    tags: Mapping[str, str]
    metrics: Set[str]


def search_runs(client: Any, experiment_id: str) -> Iterator[RunRecord]:
    """Yields the active runs of an experiment."""
    token = None
    while True:
        page = client.search_runs([experiment_id], max_results=_PAGE_SIZE, page_token=token)
        for run in page:
            yield RunRecord(run.info.run_id, run.info.status, run.data.tags, run.data.metrics.keys())
        token = page.token
        if not token:
            return


def runs_by_trial(
    runs: Iterable[RunRecord], ownership: Ownership, known: Set[str] = frozenset()
) -> dict[int, list[RunRecord]]:
    """Returns the runs of a study's trials, by the trial's number.

    Args:
        runs: the active runs of the study's experiment.
        ownership: identifies the study's runs by their tags.
        known: runs that belong to the study unless they have the tag of another home.
    """
    found: dict[int, list[RunRecord]] = defaultdict(list)
    for run in runs:
        number = run.tags.get(TRIAL, "")
        is_known = run.run_id in known and run.tags.get(STUDY_ID) == ownership.identity
        if number.isdigit() and (ownership.owns(run.tags) or (is_known and ownership.owns_named(run.tags))):
            found[int(number)].append(run)
    return found


def epoch_metrics(client: Any, run: Any) -> dict[int, dict[str, tuple[float, float]]]:
    """Returns the value and the time (in seconds) of each metric, by epoch and name.

    Metrics that have one value per run are at step 0 and are left out, like what was measured.
    """
    points: dict[int, dict[str, tuple[float, float]]] = {}
    for name in run.data.metrics:
        if name.startswith(MEASURED):
            continue
        for point in client.get_metric_history(run.info.run_id, name):
            if point.step > 0:
                points.setdefault(point.step, {})[name] = (point.value, point.timestamp / 1000)
    return points
