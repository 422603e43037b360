"""Studies as pandas data frames: one row per trial, or one row per epoch."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rnnexp.home import Home
from rnnexp.storage.views import StudyView
from rnnexp.trial import events

if TYPE_CHECKING:
    import pandas as pd


def trials(views: Sequence[StudyView]) -> "pd.DataFrame":
    """Returns a data frame with one row per trial.

    Args:
        views: the studies.

    Returns:
        Columns: study, trial, state, value, best_epoch, each metric, each setting by its dotted name, duration_s,
        attempts, run_id and reason.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = [
        {
            "study": view.name,
            "trial": row.number,
            "state": str(row.state),
            "value": row.value,
            "best_epoch": row.best_epoch,
            **row.metrics,
            **row.settings,
            "duration_s": row.duration_s,
            "attempts": row.attempts,
            "run_id": row.run_id,
            "reason": row.reason,
        }
        for view in views
        for row in view.trials
    ]
    frame = pd.DataFrame(rows)
    return frame.astype({"best_epoch": "Int64"}) if rows else frame


def curves(home: Home, view: StudyView) -> "pd.DataFrame":
    """Returns a data frame with one row per epoch of each trial: trial, epoch, each metric and seconds."""
    import pandas as pd

    folder = home.study(view.name)
    rows = [
        {"trial": row.number, "epoch": epoch.epoch, **epoch.metrics, "seconds": epoch.seconds}
        for row in view.trials
        for epoch in events.epochs(events.read(folder.trial(row.number).events))
    ]
    return pd.DataFrame(rows)


def reasons_not_comparable(views: Sequence[StudyView]) -> list[str]:
    """Returns the reasons why the values of these studies cannot be compared; empty if they can.

    Values are comparable only if they are the same metric on the same rows of the same data.
    """
    first, reasons = views[0], []
    for other in views[1:]:
        for label, path in (
            ("objective", ("objective", "metric")),
            ("data", ("data_digest",)),
            ("validation_split", ("base", "data.validation_split")),
            ("split", ("base", "data.split")),
            ("data seed", ("base", "data.seed")),
        ):
            value, other_value = _lookup(first.definition, path), _lookup(other.definition, path)
            if value != other_value:
                reasons.append(f"{label}: {first.name} has {value}, {other.name} has {other_value}")
    return reasons


def _lookup(values: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        values = values.get(key) if isinstance(values, dict) else None
    return values
