"""`rnnexp compare`, `studies`, `show` and the report: the value of a pruned trial is never shown as a final one."""

import json
import random
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from rnnexp.analysis.report.content import plain
from rnnexp.cli import main
from rnnexp.home import Home
from rnnexp.storage import metadata
from rnnexp.storage.database import open_storage
from tests.report.pages import content

SPACE = {"model.cell": CategoricalDistribution(["gru", "lstm"]), "model.dropout": FloatDistribution(0.0, 0.5)}


def add(home: Home, name: str, trials: list[tuple[TrialState, float, str, float]]) -> None:
    """Adds a study with a state, value, cell and dropout for each trial. Pruned trials end after epoch 2."""
    study = optuna.create_study(storage=open_storage(home), study_name=name, direction="maximize")
    metadata.write_definition(study, name, {"objective": {"metric": "val_accuracy"}, "base": {}}, [])
    for state, value, cell, dropout in trials:
        n_epochs = 2 if state == TrialState.PRUNED else 5
        summary = {"best_epoch": n_epochs, "reason": "pruned after epoch 2" if n_epochs == 2 else "", "duration_s": 1.0}
        study.add_trial(
            create_trial(
                params={"model.cell": cell, "model.dropout": dropout},
                distributions=SPACE,
                value=value,
                state=state,
                intermediate_values=dict.fromkeys(range(1, n_epochs + 1), value),
                user_attrs={metadata.SUMMARY: summary},
            )
        )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("home")
    home, rng = Home.open(root), random.Random(1)
    add(
        home,
        "few",
        [
            (TrialState.COMPLETE, 0.8, "gru", 0.1),
            (TrialState.PRUNED, 0.774, "lstm", 0.2),
            (TrialState.COMPLETE, 0.7, "gru", 0.3),
        ],
    )
    add(home, "lead", [(TrialState.PRUNED, 0.85, "gru", 0.1), (TrialState.COMPLETE, 0.8, "gru", 0.2)])
    many = [(TrialState.COMPLETE, rng.gauss(0.8, 0.01), cell, rng.uniform(0, 0.5)) for cell in ["gru", "lstm"] * 30]
    add(home, "many", [(state, value + 0.05 * (cell == "gru"), cell, drop) for state, value, cell, drop in many])
    return root


def run(root: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main([*words, "--home", str(root)]) == 0
    return capsys.readouterr().out


def test_a_pruned_trial_is_marked_in_the_ranking(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = run(root, capsys, "compare", "few")
    (line,) = [line for line in output.splitlines() if "0.7740" in line]
    assert "0.7740 at epoch 2, pruned" in line
    assert "its rank is not final" in output
    assert "0.8000 at epoch" not in output, "a complete trial's value is final"


def test_a_ranking_without_pruned_trials_has_no_such_note(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "pruned" not in run(root, capsys, "compare", "many").lower()


@pytest.mark.parametrize("command", [("trials", "few"), ("show", "few", "1"), ("compare", "few")])
def test_each_list_shows_the_epoch_of_a_pruned_value(
    root: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    assert "0.7740 at epoch 2, pruned" in run(root, capsys, *command)


def test_a_pruned_best_trial_is_marked(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "0.8500 at epoch 2, pruned" in run(root, capsys, "studies")
    assert run(root, capsys, "compare", "lead", "few").count("0.8500 at epoch 2, pruned") == 2
    assert json.loads(run(root, capsys, "studies", "--json"))[1]["best_value"] == 0.85


def test_the_report_marks_pruned_trials(root: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run(root, capsys, "compare", "few", "--html", str(tmp_path / "r.html"))
    trials = content(tmp_path / "r.html")["trials"]
    assert [(trial["rank"], trial["state"], trial["value"]) for trial in trials] == [
        (1, "COMPLETE", 0.8),
        (2, "PRUNED", 0.774),
        (3, "COMPLETE", 0.7),
    ]


def test_no_text_of_a_study_can_leave_the_data_of_the_page() -> None:
    hostile = "<!--<script>alert(1)</script>"
    written = plain({"reason": hostile})
    assert "<" not in written
    assert json.loads(written) == {"reason": hostile}


def compared(root: Path, capsys: pytest.CaptureFixture[str], study: str) -> dict[str, Any]:
    (one,) = json.loads(run(root, capsys, "compare", study, "--json"))["studies"]
    found: dict[str, Any] = one
    return found


def test_a_column_is_known_if_no_trial_meets_the_condition(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = run(root, capsys, "compare", "few", "--where", "value>0.99", "--columns", "dropout,state")
    assert "no trial with a value meets the condition" in output


def test_few_trials_have_no_importances(root: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    need = "importances need 50 finished trials with a value; this study has 3"
    assert need in run(root, capsys, "compare", "few", "--html", str(tmp_path / "r.html"))
    assert need in content(tmp_path / "r.html")["importances_text"].lower()
    assert compared(root, capsys, "few")["importances"] == {}


def test_importances_are_shown_beside_chance(root: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    output = run(root, capsys, "compare", "many", "--html", str(tmp_path / "r.html"))
    assert "which of the 60 trials reach the best tenth" in output
    assert "variation" not in output, "PED-ANOVA is no share of the variation"
    cell, dropout = (next(line for line in output.splitlines() if line.startswith(name)) for name in SPACE)
    assert "chance" not in cell
    assert "not distinguishable from chance" in dropout
    shown = content(tmp_path / "r.html")
    assert "variation" not in shown["importances_text"]
    assert "More than chance explains, val_accuracy depends on model.cell." in shown["answer"]
    one = compared(root, capsys, "many")
    assert list(one["importances"]) == ["model.cell", "model.dropout"]
    assert sum(one["importances"].values()) == pytest.approx(1.0)
    assert one["importances_like_chance"] == ["model.dropout"]
    assert one["importances_by_chance"]["model.cell"]["limit"] < one["importances"]["model.cell"]
    assert one["importances_n_trials"] == 60
