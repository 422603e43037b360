"""Studies as pandas data frames: one row per trial, or one row per epoch."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rnnexp.storage.views import StudyView
from rnnexp.trial import events

if TYPE_CHECKING:
    import pandas as pd


def load_library() -> None:
    """Imports pandas."""
    import pandas as pd  # noqa: F401


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


def curves(view: StudyView) -> "pd.DataFrame":
    """Returns a data frame with one row per epoch of each trial: trial, epoch, each metric and seconds."""
    import pandas as pd

    rows = [
        {"trial": row.number, "epoch": epoch.epoch, **epoch.metrics, "seconds": epoch.seconds}
        for row in view.trials
        for epoch in events.epochs(events.read(view.folder.trial(row.number).events))
    ]
    return pd.DataFrame(rows)


def reasons_not_comparable(views: Sequence[StudyView]) -> list[str]:
    """Returns the reasons why the values of these studies cannot be compared; empty if they can.

    Values are comparable only if they are the same metric, at an epoch that was chosen in the same way, on the same
    rows of the same data. The rows are those that the trials recorded. If a study has no such record, the settings of
    the split are compared.
    """
    first, reasons = views[0], []
    for other in views[1:]:
        for label, value, other_value in (
            ("objective", _metric(first), _metric(other)),
            ("metric of the best epoch", _checkpoint_metric(first), _checkpoint_metric(other)),
            ("data", first.definition.get("data_digest"), other.definition.get("data_digest")),
        ):
            if value != other_value:
                reasons.append(f"{label}: {first.name} has {value}, {other.name} has {other_value}")
        reasons += _different_rows(first, other)
    return reasons


def _metric(view: StudyView) -> Any:
    return ", ".join(view.ranking.metrics)


def _checkpoint_metric(view: StudyView) -> Any:
    """Returns the metric that selects the best epoch."""
    return view.definition.get("base", {}).get("train.checkpoint_metric") or view.metric


def _different_rows(first: StudyView, other: StudyView) -> list[str]:
    """Returns how the rows of the validation parts differ; empty if they are the same."""
    records = [_recorded_data(view) for view in (first, other)]
    rows, both_parts = ([record.get(key) for record in records] for key in ("validation", "split"))
    if None not in rows:
        found = _different_split_settings(first, other)
        unexplained = [f"validation rows: {first.name} has {rows[0]}, {other.name} has {rows[1]}"]
        return [] if rows[0] == rows[1] else found or unexplained
    if None not in both_parts and both_parts[0] == both_parts[1]:
        return []
    # Records of earlier versions have one digest of both parts; if it differs, the validation parts may be equal.
    return _different_split_settings(first, other)


def _recorded_data(view: StudyView) -> dict[str, Any]:
    """Returns the description of the data that a trial of the study recorded; empty if none has started."""
    for row in view.trials:
        for event in events.read(view.folder.trial(row.number).events):
            if isinstance(event, events.Started):
                return event.data
    return {}


def _different_split_settings(first: StudyView, other: StudyView) -> list[str]:
    """Returns how the settings that choose the validation rows differ."""
    bases = [view.definition.get("base", {}) for view in (first, other)]
    names = {"validation_split": "data.validation_split", "split": "data.split", "data seed": "data.seed"}
    if all(base.get("data.split") == "tail" for base in bases):
        del names["data seed"]  # the last rows do not depend on it
    return [
        f"{label}: {first.name} has {bases[0].get(name)}, {other.name} has {bases[1].get(name)}"
        for label, name in names.items()
        if bases[0].get(name) != bases[1].get(name)
    ]
