"""The bulk reader returns the same studies and trials as Optuna."""

import json
import math
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    json_to_distribution,
)
from optuna.trial import FrozenTrial, TrialState, create_trial

from rnnexp.errors import HomeError, StudyError
from rnnexp.home import Home
from rnnexp.storage import bulk_reader, metadata, sqlite
from rnnexp.storage.bulk_reader import StoredTrial
from rnnexp.storage.database import open_storage
from tests.storage.optuna_studies import create_study

ZONES = ("UTC0", "XXX-5:30", "XXX8")
"""Optuna stores UTC and returns local times."""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home.open(tmp_path_factory.mktemp("home"))


@pytest.fixture(params=ZONES)
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


def from_optuna(trial: FrozenTrial) -> str:
    """Returns what Optuna tells of a trial as text, because NaN is unequal to itself."""
    times = [when and when.astimezone().timestamp() for when in (trial.datetime_start, trial.datetime_complete)]
    value = trial.values[0] if trial.values else None
    drawn = [(name, value, trial.distributions[name]) for name, value in sorted(trial.params.items())]
    reports = sorted(trial.intermediate_values.items())
    return repr((trial.number, trial.state.name, *times, value, drawn, sorted(trial.user_attrs.items()), reports))


def from_tables(trial: StoredTrial) -> str:
    times = [when and when.timestamp() for when in (trial.datetime_start, trial.datetime_complete)]
    drawn = [
        (name, value, json_to_distribution(trial.distributions[name])) for name, value in sorted(trial.params.items())
    ]
    reports = sorted(trial.intermediate_values.items())
    attributes = sorted(trial.user_attrs.items())
    return repr((trial.number, str(trial.state), *times, trial.value, drawn, attributes, reports))


def assert_equal(home: Home, study: optuna.Study) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of distributions that earlier versions of Optuna stored
        expected = [from_optuna(trial) for trial in study.get_trials()]
        found = bulk_reader.read(home, study.study_name)
        assert [from_tables(trial) for trial in found] == expected
        for trial in found:
            trial.intermediate_values = {}
        without = bulk_reader.read(home, study.study_name, with_reports=False)
        assert [from_tables(trial) for trial in without] == [from_tables(trial) for trial in found]


def test_every_state_and_kind_of_value(home: Home, zone: str) -> None:
    for name in ("one", "other"):
        assert_equal(home, create_study(home, name))


def test_the_settings_are_in_the_order_in_which_they_were_drawn(home: Home) -> None:
    create_study(home, "one")
    assert list(bulk_reader.read(home, "one")[0].params) == ["kind", "units", "step", "rate"]


def test_studies_are_those_of_optuna(home: Home) -> None:
    for name in ("b", "a", "../c"):
        create_study(home, name)
    assert bulk_reader.study_names(home) == ["b", "a"], "oldest first, without a name that leads to another folder"
    expected = optuna.load_study(study_name="a", storage=open_storage(home))
    found = bulk_reader.load_study(home, "a")
    assert (found.study_name, found.direction) == ("a", expected.direction.name.lower())
    assert found.user_attrs == expected.user_attrs
    for ask in (metadata.definition, metadata.identity, metadata.n_trials, metadata.space_versions):
        assert ask(found) == ask(expected)


_NUMBERS = st.floats(-1e6, 1e6)
_VALUES = st.one_of(_NUMBERS, st.sampled_from([math.inf, -math.inf]))
_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), _NUMBERS, st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=4), inner, max_size=2)),
    max_leaves=4,
)
_NAMES = st.sampled_from(["model.units", "clip.threshold", "ü", "%s{}"])
_CHOICES = st.lists(st.one_of(st.none(), st.booleans(), st.integers(), _NUMBERS, st.text(max_size=6)), min_size=1)


@st.composite
def _distributions(draw: Callable[[Any], Any]) -> tuple[BaseDistribution, st.SearchStrategy[Any]]:
    """Returns a distribution and the strategy of its values."""
    kind = draw(st.sampled_from(["choice", "int", "log int", "float", "log float", "steps"]))
    low = draw(st.integers(1, 1000))
    high = low + draw(st.integers(0, 1000))
    if kind == "choice":
        choices = draw(_CHOICES)
        return CategoricalDistribution(choices), st.sampled_from(choices)
    if kind in ("int", "log int"):
        return IntDistribution(low, high, log=kind == "log int"), st.integers(low, high)
    if kind == "steps":
        step = draw(st.integers(1, 10))
        return FloatDistribution(low, low + 10 * step, step=step), st.integers(0, 10).map(lambda n: low + step * n)
    return FloatDistribution(low, high, log=kind == "log float"), st.floats(low, high)


@st.composite
def _studies(draw: Callable[[Any], Any]) -> list[FrozenTrial]:
    """Returns the trials of a study: each has drawn some of the settings of one space."""
    space = draw(st.dictionaries(_NAMES, _distributions(), max_size=3))
    trials = []
    for state in draw(st.lists(st.sampled_from(list(TrialState)), max_size=5)):
        drawn = [name for name in space if draw(st.booleans())]
        has_value = state == TrialState.COMPLETE or (state == TrialState.PRUNED and draw(st.booleans()))
        reports = st.dictionaries(st.integers(0, 20), st.one_of(_VALUES, st.just(math.nan)), max_size=4)
        trials.append(
            create_trial(
                state=state,
                value=draw(_VALUES) if has_value else None,
                params={name: draw(space[name][1]) for name in drawn},
                distributions={name: space[name][0] for name in drawn},
                user_attrs=draw(st.dictionaries(st.text(max_size=6), _JSON, max_size=2)),
                intermediate_values=draw(reports),
            )
        )
    return trials


@settings(max_examples=25, deadline=None)
@given(trials=_studies())
def test_any_trials(shared_home: Home, trials: list[FrozenTrial]) -> None:
    study = optuna.create_study(storage=open_storage(shared_home))  # each with a name of its own, beside the others
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Optuna warns of choices that other databases cannot store
        study.add_trials(trials)
    assert_equal(shared_home, study)


OLD_DISTRIBUTIONS = {
    "uniform": ({"name": "UniformDistribution", "attributes": {"low": 0.0, "high": 9.0}}, 2.5),
    "log uniform": ({"name": "LogUniformDistribution", "attributes": {"low": 0.1, "high": 9.0}}, 2.5),
    "steps": ({"name": "DiscreteUniformDistribution", "attributes": {"low": 0.0, "high": 9.0, "q": 0.5}}, 2.5),
    "int": ({"name": "IntUniformDistribution", "attributes": {"low": 1, "high": 9, "step": 2}}, 3.0),
    "log int": ({"name": "IntLogUniformDistribution", "attributes": {"low": 1, "high": 9, "step": 1}}, 3.0),
    "short choice": ({"type": "categorical", "choices": ["a", None]}, 1.0),
    "short int": ({"type": "int", "low": 1, "high": 9}, 3.0),
    "short float": ({"type": "float", "low": 1, "high": 9, "log": True}, 3.0),
}


@pytest.mark.parametrize("kind", OLD_DISTRIBUTIONS)
def test_distributions_of_earlier_versions(home: Home, kind: str) -> None:
    distribution, value = OLD_DISTRIBUTIONS[kind]
    study = optuna.create_study(storage=open_storage(home), study_name="s")
    study.add_trial(create_trial(params={"x": 1}, distributions={"x": IntDistribution(1, 9)}, value=0.5))
    execute(home, "UPDATE trial_params SET distribution_json = ?, param_value = ?", json.dumps(distribution), value)
    assert_equal(home, study)
    assert len(bulk_reader.read(home, "s")[0].params) == 1


def test_of_several_objectives_the_first_one_counts(home: Home) -> None:
    study = optuna.create_study(storage=open_storage(home), study_name="s", directions=["minimize", "maximize"])
    study.add_trial(create_trial(values=[0.25, 0.75]))
    assert_equal(home, study)
    assert bulk_reader.load_study(home, "s").direction == "minimize"


def test_a_missing_study(home: Home) -> None:
    with pytest.raises(StudyError, match="the home has no studies"):
        bulk_reader.load_study(home, "none")
    create_study(home, "small")
    assert bulk_reader.read(home, "smal") == []
    with pytest.raises(StudyError, match="did you mean small"):
        bulk_reader.load_study(home, "smal")


def test_reading_creates_no_files_and_no_tables(home: Home) -> None:
    assert bulk_reader.study_names(home) == []
    assert not home.root.exists()
    home.root.mkdir()
    home.optuna_db.touch()
    assert bulk_reader.study_names(home) == []
    assert bulk_reader.read(home, "s") == []
    assert [path.name for path in home.root.iterdir()] == ["optuna.db"]
    assert home.optuna_db.stat().st_size == 0


def test_a_writer_does_not_block_a_reader(home: Home) -> None:
    """A study that is being written is listed as it was before."""
    create_study(home, "s")
    before = list(map(from_tables, bulk_reader.read(home, "s")))
    with sqlite3.connect(home.optuna_db) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("DELETE FROM trials")
        assert list(map(from_tables, bulk_reader.read(home, "s"))) == before
        connection.rollback()
    connection.close()


def test_a_locked_database_is_reported_as_locked(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    create_study(home, "s")
    close(home)
    monkeypatch.setattr(sqlite, "LOCK_TIMEOUT_S", 0.05)
    connection = sqlite3.connect(home.optuna_db)
    connection.execute("PRAGMA locking_mode=EXCLUSIVE")
    connection.execute("DELETE FROM trials")
    with pytest.raises(sqlite3.OperationalError, match="database is locked"):
        bulk_reader.study_names(home)
    connection.close()


def test_an_earlier_schema_with_the_same_columns_is_read(home: Home) -> None:
    """Optuna itself refuses it."""
    study = create_study(home, "s")
    expected = [from_optuna(trial) for trial in study.get_trials()]
    execute(home, "DROP INDEX ix_trials_study_id")
    execute(home, "UPDATE alembic_version SET version_num = 'v3.0.0.d'")
    assert [from_tables(trial) for trial in bulk_reader.read(home, "s")] == expected


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE trial_values DROP COLUMN value_type",
        "ALTER TABLE trial_values RENAME TO trial_results",
        "ALTER TABLE studies RENAME COLUMN study_name TO name",
    ],
)
def test_tables_of_another_version_are_one_line(home: Home, change: str) -> None:
    create_study(home, "s")
    execute(home, change)
    before = home.optuna_db.read_bytes()
    with pytest.raises(HomeError, match=r"optuna.db: its tables are of another version of Optuna .*`rnnexp doctor`"):
        bulk_reader.read(home, "s")
    assert home.optuna_db.read_bytes() == before


def test_a_damaged_database_is_one_line(home: Home) -> None:
    home.root.mkdir()
    home.optuna_db.write_bytes(b"not a database" * 100)
    with pytest.raises(HomeError, match=r"optuna.db: it is damaged .*doctor --repair"):
        bulk_reader.study_names(home)


def execute(home: Home, statement: str, *values: Any) -> None:
    """Changes the database as another program would."""
    close(home)
    with sqlite3.connect(home.optuna_db) as connection:
        connection.execute(statement, values)
    connection.close()


def close(home: Home) -> None:
    """Closes Optuna's connections, so that everything is in the file of the database."""
    open_storage(home).engine.dispose()
