"""SQL that reads and writes the tables of MLflow 3 directly: the only file of this package that knows them.

MLflow's client cannot answer these questions, or only with one request per run.
"""

import contextlib
import json
import sqlite3
from collections import defaultdict
from dataclasses import dataclass

from rnnexp import home_id
from rnnexp.health.sqlite_files import connect
from rnnexp.home import Home
from rnnexp.tracking.maintenance import RunRecord

MetricSteps = dict[str, dict[str, set[int]]]
"""The steps of each metric of each run: run id → metric name → steps."""

_WRITE_TIMEOUT_S = 120
_OWN_TAGS = "rnnexp.*"
_IS_DELETED = "lifecycle_stage = 'deleted'"
_PATH_COLUMNS = {
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
}
"""The columns that contain absolute paths of files."""


@dataclass(frozen=True)
class DeletedItems:
    """What is marked as deleted and still stored.

    Attributes:
        n_experiments: experiments.
        n_runs: runs.
        n_models: logged models.
        places: the id of each run and model, and the address of its files.
    """

    n_experiments: int
    n_runs: int
    n_models: int
    places: list[tuple[str, str]]


def study_identity(home: Home, study: str) -> str | None:
    """Returns the identity of a study by the newest of its runs; None if there is no such run or no database.

    Runs of another home come last: it may have written them through the server that `rnnexp ui` starts.
    """
    query = (
        "SELECT own.value FROM tags own JOIN tags study ON study.run_uuid = own.run_uuid "
        "JOIN runs ON runs.run_uuid = own.run_uuid "
        "LEFT JOIN tags home ON home.run_uuid = own.run_uuid AND home.key = 'rnnexp.home' "
        "WHERE own.key = 'rnnexp.study_id' AND study.key = 'rnnexp.study' AND study.value = ? "
        "ORDER BY coalesce(home.value, ?) IN (SELECT value FROM json_each(?)) DESC, runs.start_time DESC LIMIT 1"
    )
    identity = home_id.peek(home)
    own = [identity.value, *identity.former]
    try:
        with contextlib.closing(sqlite3.connect(f"{home.mlflow_db.as_uri()}?mode=ro", uri=True)) as connection:
            row = connection.execute(query, (study, own[0], json.dumps(own))).fetchone()
    except sqlite3.Error:
        return None
    return str(row[0]) if row else None


def active_runs(home: Home, experiment_id: str) -> list[RunRecord]:
    """Returns the active runs of an experiment, in three queries.

    MLflow's client creates an object for every parameter, metric and tag, which takes more time than all other checks.
    """
    of_experiment = "run_uuid IN (SELECT run_uuid FROM runs WHERE experiment_id = ? AND lifecycle_stage = 'active')"
    tags: dict[str, dict[str, str]] = defaultdict(dict)
    metrics: dict[str, set[str]] = defaultdict(set)
    with connect(home.mlflow_db) as connection:
        connection.execute("BEGIN")  # one transaction: all queries see the same state

        def rows(columns: str, table: str, condition: str = "") -> sqlite3.Cursor:
            query = f"SELECT run_uuid, {columns} FROM {table} WHERE {of_experiment} {condition}"
            return connection.execute(query, (int(experiment_id),))

        for run_id, name, value in rows("key, value", "tags", f"AND key GLOB '{_OWN_TAGS}'"):
            tags[run_id][name] = value
        for run_id, name in rows("key", "latest_metrics"):
            metrics[run_id].add(name)
        return [RunRecord(run_id, status, tags[run_id], metrics[run_id]) for run_id, status in rows("status", "runs")]


def metric_steps(home: Home) -> MetricSteps:
    """Returns the steps of all metrics of all runs, in one query."""
    steps: MetricSteps = defaultdict(lambda: defaultdict(set))
    with connect(home.mlflow_db) as connection:
        for run_id, name, step in connection.execute("SELECT run_uuid, key, step FROM metrics"):
            steps[run_id][name].add(step)
    return steps


def deleted_items(home: Home) -> DeletedItems:
    """Returns what is marked as deleted."""
    with connect(home.mlflow_db) as connection:
        runs = connection.execute(f"SELECT run_uuid, artifact_uri FROM runs WHERE {_IS_DELETED}").fetchall()
        models = connection.execute(
            f"SELECT model_id, artifact_location FROM logged_models WHERE {_IS_DELETED}"
        ).fetchall()
        n_experiments = connection.execute(f"SELECT count(*) FROM experiments WHERE {_IS_DELETED}").fetchone()[0]
    places = [(str(owner), str(place or "")) for owner, place in [*runs, *models]]
    return DeletedItems(int(n_experiments), len(runs), len(models), places)


def replace_place(home: Home, owner: str, place: str) -> None:
    """Replaces the address of the files of a deleted run or model."""
    with contextlib.closing(sqlite3.connect(home.mlflow_db, timeout=_WRITE_TIMEOUT_S)) as connection, connection:
        connection.execute(f"UPDATE runs SET artifact_uri = ? WHERE run_uuid = ? AND {_IS_DELETED}", (place, owner))
        connection.execute(
            f"UPDATE logged_models SET artifact_location = ? WHERE model_id = ? AND {_IS_DELETED}", (place, owner)
        )


def run_and_model_ids(home: Home) -> set[str]:
    """Returns the ids of all runs and logged models, with those that are marked as deleted."""
    with connect(home.mlflow_db) as connection:
        ids = {str(row[0]) for row in connection.execute("SELECT run_uuid FROM runs")}
        return ids | {str(row[0]) for row in connection.execute("SELECT model_id FROM logged_models")}


def run_places(home: Home) -> dict[str, str]:
    """Returns where each run stores its files, by the run's id."""
    with connect(home.mlflow_db) as connection:
        rows = connection.execute("SELECT run_uuid, artifact_uri FROM runs").fetchall()
    return {str(run_id): str(place or "") for run_id, place in rows}


def experiment_places(home: Home) -> list[str]:
    """Returns where the experiments store their files; none if the database has no tables."""
    with connect(home.mlflow_db) as connection:
        try:
            rows = connection.execute("SELECT artifact_location FROM experiments WHERE experiment_id != 0").fetchall()
        except sqlite3.OperationalError:
            return []
    return [str(place) for (place,) in rows if place]


def replace_root(home: Home, old: str, new: str) -> int:
    """Replaces the address of a folder at the start of all stored addresses; returns how many were changed."""
    n_changed = 0
    with contextlib.closing(sqlite3.connect(home.mlflow_db, timeout=_WRITE_TIMEOUT_S)) as connection, connection:
        connection.execute("BEGIN IMMEDIATE")
        for table, columns in _PATH_COLUMNS.items():
            existing = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
            for column in columns:
                if column in existing:
                    n_changed += _replace_prefix(connection, table, column, old, new)
    return n_changed


def _replace_prefix(connection: sqlite3.Connection, table: str, column: str, old: str, new: str) -> int:
    """Replaces the prefix of one column, with and without the scheme `file://`."""
    n_changed = 0
    for scheme in ("", "file://"):
        before, after = f"{scheme}{old}/", f"{new}/" if new.startswith("file:") else f"{scheme}{new}/"
        n_changed += connection.execute(
            f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
            (after, len(before) + 1, len(before), before),
        ).rowcount
    return n_changed
