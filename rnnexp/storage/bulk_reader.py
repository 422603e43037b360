"""Reads the trials of a study from Optuna's tables in a few SQL queries.

Optuna itself builds an object for every cell and parses every distribution twice, which takes many times as long for
10,000 trials. This module depends on the schema of Optuna's tables; a test compares its result with Optuna's.
"""

import contextlib
import json
import math
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from typing import Any

from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.trial import FrozenTrial, TrialState

from rnnexp.home import Home
from rnnexp.storage import sqlite

_NOT_FINITE = {"INF_POS": math.inf, "INF_NEG": -math.inf, "NAN": math.nan}
_distribution = cache(json_to_distribution)


def read(home: Home, study: str) -> list[FrozenTrial]:
    """Returns the trials of a study, ordered by number; empty if there is no such study."""
    with contextlib.closing(sqlite3.connect(home.optuna_db, timeout=sqlite.LOCK_TIMEOUT_S)) as connection:
        connection.execute("BEGIN")  # one transaction: all queries see the same state
        trials = {row[0]: _build_trial(*row) for row in _rows(connection, study, "trials", _TRIAL, "trials.number")}
        for trial, name, value, stored in _rows(connection, study, "trial_params", _PARAM, "param_id"):
            distribution: BaseDistribution = _distribution(stored)
            trials[trial].distributions[name] = distribution
            trials[trial].params[name] = distribution.to_external_repr(value)
        values = defaultdict[int, dict[int, float]](dict)
        for trial, objective, value, kind in _rows(connection, study, "trial_values", _VALUE, "objective"):
            values[trial][objective] = _NOT_FINITE.get(kind, value)
        for trial, by_objective in values.items():
            trials[trial].values = list(by_objective.values())
        for trial, step, value, kind in _rows(connection, study, "trial_intermediate_values", _REPORT, "step"):
            trials[trial].intermediate_values[step] = _NOT_FINITE.get(kind, value)
        for trial, key, stored in _rows(connection, study, "trial_user_attributes", _ATTRIBUTE, "key"):
            trials[trial].user_attrs[key] = json.loads(stored)
        for trial, key, stored in _rows(connection, study, "trial_system_attributes", _ATTRIBUTE, "key"):
            trials[trial].system_attrs[key] = json.loads(stored)
    return list(trials.values())


_TRIAL = "trials.trial_id, trials.number, trials.state, datetime_start, datetime_complete"
_PARAM = "trials.trial_id, param_name, param_value, distribution_json"
_VALUE = "trials.trial_id, objective, value, value_type"
_REPORT = "trials.trial_id, step, intermediate_value, intermediate_value_type"
_ATTRIBUTE = "trials.trial_id, key, value_json"


def _rows(connection: sqlite3.Connection, study: str, table: str, columns: str, order: str) -> Iterator[Any]:
    """Queries a table that has rows for trials, for the trials of one study."""
    join = "" if table == "trials" else f"JOIN {table} ON {table}.trial_id = trials.trial_id"
    return connection.execute(
        f"SELECT {columns} FROM studies JOIN trials ON trials.study_id = studies.study_id {join} "
        f"WHERE study_name = ? ORDER BY {order}",
        (study,),
    )


def _build_trial(trial_id: int, number: int, state: str, start: str | None, complete: str | None) -> FrozenTrial:
    return FrozenTrial(
        number=number,
        state=TrialState[state],
        value=None,
        datetime_start=datetime.fromisoformat(start) if start else None,
        datetime_complete=datetime.fromisoformat(complete) if complete else None,
        params={},
        distributions={},
        user_attrs={},
        system_attrs={},
        intermediate_values={},
        trial_id=trial_id,
    )
