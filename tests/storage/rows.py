"""Builds views of studies for tests, without a database."""

from pathlib import Path
from typing import Any

from rnnexp.home import StudyFolder
from rnnexp.storage.views import StudyView, TrialRow
from rnnexp.trial.states import State


def trial_row(number: int, state: State, value: float | None, *, best_epoch: int = 2, **settings: Any) -> TrialRow:
    return TrialRow(
        number=number,
        state=state,
        value=value,
        best_epoch=best_epoch if value is not None else None,
        settings={key.replace("__", "."): value for key, value in settings.items()},
        metrics={"val_accuracy": value} if value is not None else {},
        duration_s=1.0,
        attempts=1,
        run_id=None,
        reason=f"pruned after epoch {best_epoch}" if state is State.PRUNED else None,
    )


def study_view(*rows: TrialRow, **fields: Any) -> StudyView:
    values: dict[str, Any] = {
        "name": "s",
        "identity": "i",
        "metric": "val_accuracy",
        "direction": "maximize",
        "definition": {},
        "n_trials": len(rows),
        "owner": None,
        "folder": StudyFolder(Path("no-such-folder")),
    }
    return StudyView(**(values | fields), trials=rows)
