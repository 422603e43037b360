"""What MLflow shows of a trial, built without MLflow."""

from pathlib import Path

from rnnexp.tracking import payload
from rnnexp.tracking.descriptions import StudyText, run_name, study_note
from rnnexp.trial.events import AttemptEnded, EpochEnded, Event

SETTINGS = {"model.cell": "lstm", "model.units": 61, "clip.kind": "none", "clip.threshold": None}
STUDY = StudyText("val_accuracy", ("model.units", "clip.threshold"))
EPOCHS: list[Event] = [
    EpochEnded(1.0, 1, {"val_accuracy": 0.8}, 10.0, 1, 0.8),
    EpochEnded(2.0, 2, {"val_accuracy": 0.8754}, 12.0, 2, 0.8754),
    EpochEnded(3.0, 3, {"val_accuracy": 0.85}, 11.0, 2, 0.8754),
]


def end_tags(event: AttemptEnded, log: Path) -> dict[str, str]:
    return payload.end_tags(5, event, EPOCHS, SETTINGS, STUDY, log)


def test_a_pruned_run_says_that_its_best_values_are_not_final(tmp_path: Path) -> None:
    tags = end_tags(AttemptEnded(1.0, "PRUNED", "pruned after epoch 3"), tmp_path / "log.txt")
    assert tags["rnnexp.state"] == "PRUNED"
    note = tags["mlflow.note.content"]
    assert note.startswith("**Pruned:** pruned after epoch 3.")
    assert "no final result" in note
    assert "mlflow.runColor" in tags


def test_a_complete_run_says_its_result_and_the_searched_settings(tmp_path: Path) -> None:
    tags = end_tags(AttemptEnded(1.0, "COMPLETE"), tmp_path / "log.txt")
    assert tags["mlflow.runName"] == "5 · lstm 61 · 0.875"
    note = tags["mlflow.note.content"]
    assert note.startswith("**0.8754** val_accuracy at epoch 2, in 33 s.")
    assert "| model.units | 61 |" in note
    assert "clip.threshold" not in note, "it has no effect in this trial"
    assert "model.cell" not in note, "it is the same in all trials"
    assert "mlflow.runColor" not in tags
    assert tags.keys() - {"mlflow.runName", "mlflow.note.content"} == {"rnnexp.state", "rnnexp.attempts"}


def test_a_failed_run_shows_the_end_of_its_log(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("".join(f"line {number}\n" for number in range(100)))
    tags = end_tags(AttemptEnded(1.0, "FAIL", "killed"), tmp_path / "log.txt")
    note = tags["mlflow.note.content"]
    assert note.startswith("**Failed:** killed")
    assert "line 99" in note
    assert "line 50" not in note
    assert tags["mlflow.runName"] == "5 · lstm 61", "the value of a failed trial does not count"


def test_an_interrupted_run_keeps_its_name(tmp_path: Path) -> None:
    tags = end_tags(AttemptEnded(1.0, "WAITING", "interrupted"), tmp_path / "log.txt")
    assert "mlflow.runName" not in tags
    assert "mlflow.note.content" not in tags


def test_the_name_of_a_run_has_what_is_known() -> None:
    assert run_name(7, {}) == "7"
    assert run_name(7, {"model.cell": "gru", "model.units": 8}) == "7 · gru 8"


def test_the_experiment_begins_with_the_question() -> None:
    note = study_note("Which size?", ["Trial 5 is the best."], "sizes")
    assert note.startswith("Which size?\n\nTrial 5 is the best.")
    assert "rnnexp compare sizes" in note
