"""`rnnexp trials` on a long study."""

import json
from pathlib import Path

import optuna
import pytest
from optuna.distributions import IntDistribution
from optuna.trial import TrialState, create_trial

from rnnexp.cli import main
from rnnexp.home import Home
from rnnexp.storage.database import open_storage

N_TRIALS = 150


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("home")
    study = optuna.create_study(storage=open_storage(Home.open(root)), study_name="long", direction="maximize")
    for number in range(N_TRIALS):
        space = {"model.units": IntDistribution(1, 1000)}
        state = TrialState.WAITING if number == 7 else TrialState.COMPLETE
        value = None if number == 7 else 0.5
        study.add_trial(create_trial(params={"model.units": number + 1}, distributions=space, value=value, state=state))
    return root


def _listed(home: Path, capsys: pytest.CaptureFixture[str], *options: str) -> list[str]:
    assert main(["trials", "long", "--home", str(home), *options]) == 0
    return capsys.readouterr().out.splitlines()


def test_only_the_latest_and_the_unfinished_trials_are_listed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = _listed(home, capsys)
    numbers = [int(line.split()[0]) for line in lines if line.strip()[:1].isdigit()]
    assert numbers == [7, *range(50, N_TRIALS)]
    assert "49 earlier ones" in lines[-1]


def test_all_lists_every_trial(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = _listed(home, capsys, "--all")
    assert [int(line.split()[0]) for line in lines if line.strip()[:1].isdigit()] == list(range(N_TRIALS))


def test_json_contains_every_trial(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads("\n".join(_listed(home, capsys, "--json")))
    assert [row["number"] for row in rows] == list(range(N_TRIALS))
    assert rows[9]["settings"] == {"model.units": 10}
