"""Reads studies and their trials from Optuna's tables, in a few SQL queries and without Optuna. Nothing here writes.

The tables are in SQLite or in PostgreSQL; the queries are the same.

Importing Optuna takes longer than any list needs, and Optuna builds an object for every cell, which takes many times as
long for 10,000 trials. This module depends on the schema of Optuna's tables; tests compare its result with Optuna's.
"""

import contextlib
import json
import math
import re
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from rnnexp import disk
from rnnexp.config.names import STUDY_NAME
from rnnexp.errors import HomeError, StudyError, did_you_mean, short
from rnnexp.home import Home
from rnnexp.storage import metadata, postgres, sqlite
from rnnexp.trial.states import State

_NOT_FINITE = {"INF_POS": math.inf, "INF_NEG": -math.inf, "NAN": math.nan}


@dataclass(frozen=True)
class StoredStudy:
    """A study as Optuna stores it.

    Attributes:
        study_name: its name.
        direction: `maximize` or `minimize`; the first one if there are several objectives.
        user_attrs: its attributes.
    """

    study_name: str
    direction: str
    user_attrs: dict[str, Any]


@dataclass(slots=True)
class StoredTrial:
    """A trial as Optuna stores it.

    Attributes:
        number: from 0.
        state: its state.
        datetime_start: when it started, with the time zone; None if it has not.
        datetime_complete: when it ended, with the time zone; None if it has not.
        value: the objective; the first one if there are several. None if it has none.
        params: the values that were drawn, by name, in the order in which they were drawn.
        distributions: for each of them the distribution, in Optuna's JSON.
        user_attrs: its attributes.
        intermediate_values: the reported values by step; empty if the caller did not ask for them.
    """

    number: int
    state: State
    datetime_start: datetime | None
    datetime_complete: datetime | None
    value: float | None = None
    params: dict[str, Any] = field(default_factory=dict)
    distributions: dict[str, str] = field(default_factory=dict)
    user_attrs: dict[str, Any] = field(default_factory=dict)
    intermediate_values: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Dialect:
    """What differs between the two databases: the mark of a parameter, and how to ask whether there are tables."""

    parameter: str
    has_tables: str


_SQLITE = _Dialect("?", "SELECT 1 FROM sqlite_master WHERE name = 'studies'")
_POSTGRES = _Dialect("%s", "SELECT 1 WHERE to_regclass('studies') IS NOT NULL")


class Tables:
    """Optuna's tables at one moment. If the database has no tables yet, there are no studies."""

    def __init__(self, connection: Any, dialect: _Dialect = _SQLITE) -> None:
        """Args:
        connection: of `sqlite3` or `psycopg`.
        dialect: of the database.
        """
        self._connection, self._dialect = connection, dialect

    def _query(self, query: str, *parameters: str) -> Any:
        """Runs a query with `?` for each parameter."""
        return self._connection.execute(query.replace("?", self._dialect.parameter), parameters)

    def study_names(self) -> list[str]:
        """Returns the studies' names, oldest first.

        A name is the name of a folder, too. A study whose name could lead to another place (`../x`) was not written by
        this program and is left out.
        """
        if not self._query(self._dialect.has_tables).fetchone():
            return []
        rows = self._query("SELECT study_name FROM studies ORDER BY study_id")
        return [name for (name,) in rows if re.fullmatch(STUDY_NAME, name)]

    def lock_holder(self, name: str) -> str | None:
        """Returns who holds the lock of a study in the database; None in SQLite, where it is in a file."""
        return postgres.lock_holder(self._connection, name) if self._dialect is _POSTGRES else None

    def study(self, name: str) -> StoredStudy:
        """Returns a study that `study_names` has listed."""
        about = "FROM studies JOIN {table} ON {table}.study_id = studies.study_id WHERE study_name = ? ORDER BY {order}"
        direction = self._query(
            f"SELECT direction {about.format(table='study_directions', order='objective')}", name
        ).fetchone()[0]
        attributes = self._query(
            f"SELECT key, value_json {about.format(table='study_user_attributes', order='study_user_attribute_id')}",
            name,
        )
        return StoredStudy(name, direction.lower(), {key: json.loads(stored) for key, stored in attributes})

    def trials(self, name: str, *, with_reports: bool = True) -> list[StoredTrial]:
        """Returns the trials of a study that `study_names` has listed, ordered by number.

        Args:
            name: the study's name.
            with_reports: whether to read the intermediate values, which are the largest part of the tables.
        """
        trials: dict[int, StoredTrial] = {}
        for trial, number, state, start, complete in self._rows(name, "trials", _TRIAL, "trials.number"):
            trials[trial] = StoredTrial(number, State[state], _time(start), _time(complete))
        for trial, setting, value, distribution in self._rows(name, "trial_params", _PARAM, "param_id"):
            trials[trial].params[setting] = _decoder(distribution)(value)
            trials[trial].distributions[setting] = distribution
        # Of several objectives, the first one comes last.
        for trial, value, kind in self._rows(name, "trial_values", _VALUE, "objective DESC"):
            trials[trial].value = _NOT_FINITE.get(kind, value)
        for trial, key, stored in self._rows(name, "trial_user_attributes", _ATTRIBUTE, "trial_user_attribute_id"):
            trials[trial].user_attrs[key] = json.loads(stored)
        if with_reports:
            for trial, step, value, kind in self._rows(name, "trial_intermediate_values", _REPORT, "step"):
                trials[trial].intermediate_values[step] = _NOT_FINITE.get(kind, value)
        return list(trials.values())

    def _rows(self, study: str, table: str, columns: str, order: str) -> Iterator[Any]:
        """Queries a table that has rows for trials, for the trials of one study."""
        join = "" if table == "trials" else f"JOIN {table} ON {table}.trial_id = trials.trial_id"
        rows: Iterator[Any] = self._query(
            f"SELECT trials.trial_id, {columns} FROM studies JOIN trials ON trials.study_id = studies.study_id {join} "
            f"WHERE study_name = ? ORDER BY {order}",
            study,
        )
        return rows


_TRIAL = "number, state, datetime_start, datetime_complete"
_PARAM = "param_name, param_value, distribution_json"
_VALUE = "value, value_type"
_REPORT = "step, intermediate_value, intermediate_value_type"
_ATTRIBUTE = "key, value_json"

_OF_INTEGERS = ("IntDistribution", "IntUniformDistribution", "IntLogUniformDistribution", "int")
_OF_NUMBERS = (
    "FloatDistribution",
    "UniformDistribution",
    "LogUniformDistribution",
    "DiscreteUniformDistribution",
    "float",
)
"""The names of the distributions, with those that earlier versions of Optuna stored."""


def _time(stored: str | datetime | None) -> datetime | None:
    """Returns a stored time: Optuna stores UTC, without a time zone."""
    if not stored:
        return None
    return (stored if isinstance(stored, datetime) else datetime.fromisoformat(stored)).replace(tzinfo=UTC)


@lru_cache(maxsize=1024)
def _decoder(distribution: str) -> Callable[[float], Any]:
    """Returns the function that converts a stored number to the value of a setting with this distribution."""
    stored = json.loads(distribution)
    kind, about = (stored["name"], stored["attributes"]) if "name" in stored else (stored["type"], stored)
    if kind in ("CategoricalDistribution", "categorical"):
        choices = about["choices"]
        return lambda value: choices[int(value)]
    if kind in _OF_INTEGERS:
        return int
    if kind in _OF_NUMBERS:
        return float
    raise ValueError(f"Optuna's database has an unknown distribution: {short(distribution)}")


@contextlib.contextmanager
def open_tables(home: Home) -> Iterator[Tables]:
    """Opens Optuna's database for reading; all that is read from it is of one moment.

    It creates no file and no table. The caller reads what it needs and closes it before it does anything else: on a
    network file system no process can write while it is open.

    Raises:
        HomeError: if the database cannot be read, is damaged, or has the tables of another version of Optuna.
        StorageError: if the database in RNNEXP_STORAGE cannot be used.
        sqlite3.OperationalError: if another program locks it.
    """
    if home.storage_server is not None:
        with postgres.reading(home.storage_url) as connection:
            yield Tables(connection, _POSTGRES)
        return
    if not home.optuna_db.exists():
        with contextlib.closing(sqlite3.connect(":memory:")) as connection:
            yield Tables(connection)
        return
    try:
        sqlite.leave_log_on_network(home.optuna_db)
        address = f"{home.optuna_db.as_uri()}?mode=rw"  # without permission to write, SQLite opens it for reading
        with contextlib.closing(sqlite3.connect(address, timeout=sqlite.LOCK_TIMEOUT_S, uri=True)) as connection:
            connection.execute("BEGIN")  # one transaction: all queries see the same state
            yield Tables(connection)
    except sqlite3.DatabaseError as error:
        if disk.is_locked(error) or disk.is_full(error) or isinstance(error, sqlite3.ProgrammingError):
            raise
        raise HomeError(f"{home.optuna_db}: {_fault(error)}") from error


def _fault(error: sqlite3.DatabaseError) -> str:
    """Returns why a database cannot be read, and what to do."""
    if sqlite.is_damage(error):
        return f"it is damaged ({error}); `rnnexp doctor --repair` rebuilds it"
    if "no such" in str(error):  # a table or a column
        return f"its tables are of another version of Optuna ({error}); `rnnexp doctor` says what to do"
    return f"it cannot be read ({error}); remove the cause, then run the same command again"


def study_names(home: Home) -> list[str]:
    """Returns the studies' names as `Tables.study_names` does; empty if the home has no database."""
    with open_tables(home) as tables:
        return tables.study_names()


def own_study_names(home: Home) -> list[str]:
    """Returns the names of the studies whose files are in this home; a database of a team has others, too."""
    with open_tables(home) as tables:
        names = tables.study_names()
        if home.storage_server is None:
            return names
        return [name for name in names if metadata.other_home(home, tables.study(name)) is None]


def load_study(home: Home, name: str) -> StoredStudy:
    """Returns a study; raises `StudyError` if there is none of that name."""
    with open_tables(home) as tables:
        check_exists(home, name, tables.study_names())
        return tables.study(name)


def read(home: Home, name: str, *, with_reports: bool = True) -> list[StoredTrial]:
    """Returns the trials of a study as `Tables.trials` does; empty if there is no such study."""
    with open_tables(home) as tables:
        return tables.trials(name, with_reports=with_reports) if name in tables.study_names() else []


def check_exists(home: Home, name: str, names: list[str]) -> None:
    """Raises `StudyError` if a study is not among the known ones; the message names a similar one."""
    if name not in names:
        hint = did_you_mean(name, names) if names else "; the home has no studies, start one with `rnnexp sweep FILE`"
        raise StudyError(f"no study {name} in {home.root}{hint}")
