"""Studies as pandas frames: a row a trial, and a row an epoch."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rnnexp.home import Home
from rnnexp.storage.views import StudyView
from rnnexp.trial import events

if TYPE_CHECKING:
    import pandas as pd


def trials(views: Sequence[StudyView]) -> "pd.DataFrame":
    """Returns a row a trial: study, number, state, value, best_epoch, metrics and settings under their dotted names."""
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
    """Returns a row an epoch of each trial: trial, epoch, and every metric."""
    import pandas as pd

    folder = home.study(view.name)
    rows = [
        {"trial": row.number, "epoch": epoch.epoch, **epoch.metrics, "seconds": epoch.seconds}
        for row in view.trials
        for epoch in events.epochs(events.read(folder.trial(row.number).events))
    ]
    return pd.DataFrame(rows)


def incomparable(views: Sequence[StudyView]) -> list[str]:
    """Returns why the values of these studies must not be ranked together; empty where they may be.

    Values compare only where they measure the same thing on the same rows.
    """
    first, reasons = views[0], []
    for other in views[1:]:
        for what, path in (
            ("objective", ("objective", "metric")),
            ("data", ("data_digest",)),
            ("validation_split", ("base", "data.validation_split")),
            ("split", ("base", "data.split")),
            ("data seed", ("base", "data.seed")),
        ):
            ours, theirs = _at(first.definition, path), _at(other.definition, path)
            if ours != theirs:
                reasons.append(f"{what}: {first.name} has {ours}, {other.name} {theirs}")
    return reasons


def _at(values: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        values = values.get(key) if isinstance(values, dict) else None
    return values
