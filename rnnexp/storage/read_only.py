"""Opens a study with Optuna so that nothing can be changed, not even by mistake: the supervisor alone writes."""

import sqlite3
from typing import Any, NoReturn, TypeAlias

import optuna
from sqlalchemy.pool import NullPool

from rnnexp.errors import StudyError
from rnnexp.home import Home
from rnnexp.storage import bulk_reader, postgres
from rnnexp.storage.sqlite import LOCK_TIMEOUT_S

OptunaStudy: TypeAlias = optuna.Study


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise StudyError("this study is opened for reading only; `rnnexp sweep` adds trials to it")


class _ReadOnlyStorage(optuna.storages.RDBStorage):  # type: ignore[misc]
    """Refuses changes with a clear message; the database would refuse them, too."""

    create_new_study = delete_study = create_new_trial = _create_new_trial = _refuse
    set_study_user_attr = set_study_system_attr = _refuse
    set_trial_param = set_trial_state_values = set_trial_intermediate_value = _refuse
    set_trial_user_attr = set_trial_system_attr = _refuse


def open_study(home: Home, name: str) -> OptunaStudy:
    """Opens a study for Optuna's own functions, such as its visualizations.

    Args:
        home: contains the study.
        name: its name.

    Returns:
        The study. Its methods that change it raise `StudyError`.

    Raises:
        StudyError: if there is none of that name.
    """
    bulk_reader.check_exists(home, name, bulk_reader.study_names(home))
    study: OptunaStudy = optuna.load_study(study_name=name, storage=open_storage(home))
    return study


def open_storage(home: Home) -> optuna.storages.RDBStorage:
    """Opens the database of the studies for reading only."""
    options: dict[str, Any]
    if home.storage_server is not None:
        address = home.storage_url
        options = {"connect_args": {**postgres.CONNECTION, "options": "-c default_transaction_read_only=on"}}
    else:
        address, place = "sqlite://", f"{home.optuna_db.as_uri()}?mode=ro"
        options = {"creator": lambda: sqlite3.connect(place, LOCK_TIMEOUT_S, uri=True, check_same_thread=False)}
    return _ReadOnlyStorage(
        address,
        engine_kwargs={**options, "poolclass": NullPool},
        skip_compatibility_check=True,
        skip_table_creation=True,
    )
