"""What the report says without a browser."""

from rnnexp.analysis.report import content
from rnnexp.storage.views import TrialRow
from rnnexp.trial.events import EpochEnded, Event, Started
from rnnexp.trial.states import State


def _trial(number: int, threshold: float, rate: float, base: dict[str, object]) -> dict[str, object]:
    settings = {"clip.threshold": threshold}
    row = TrialRow(number, State.COMPLETE, 0.8, 1, settings, {}, 1.0, 1, None, None)
    metrics = {"val_accuracy": 0.8, "clip/rate": rate}
    history: list[Event] = [Started(0.0, 1, 0, 1, 10, {}, {}), EpochEnded(1.0, 1, metrics, 1.0, 1, 0.8)]
    return content._trial(row, history, 0.0, base)


def test_trials_that_clip_differently_are_not_the_same_network() -> None:
    """The kind is fixed for all trials, so that no trial has it among its own settings."""
    base = {"clip.kind": "norm"}
    clipping, others = _trial(0, 0.01, 0.9, base), [_trial(1, 100.0, 0.0, base), _trial(2, 90.0, 0.0, base)]
    assert [trial["inert"] for trial in (clipping, *others)] == [False, True, True]
    assert content._same_without_clipping([clipping, *others]) == [[1, 2]]
