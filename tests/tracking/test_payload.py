"""What MLflow shows of a trial, built without MLflow."""

from pathlib import Path

from rnnexp.tracking import payload
from rnnexp.trial.events import AttemptEnded


def test_a_pruned_run_says_that_its_best_values_are_not_final(tmp_path: Path) -> None:
    tags = payload.end_tags(AttemptEnded(1.0, "PRUNED", "pruned after epoch 2"), [], tmp_path / "log.txt")
    assert tags["rnnexp.state"] == "PRUNED"
    note = tags["mlflow.note.content"]
    assert note.startswith("**Pruned:** pruned after epoch 2.")
    assert "no final result" in note


def test_a_complete_run_has_no_note(tmp_path: Path) -> None:
    tags = payload.end_tags(AttemptEnded(1.0, "COMPLETE"), [], tmp_path / "log.txt")
    assert tags == {"rnnexp.state": "COMPLETE", "rnnexp.attempts": "1"}
