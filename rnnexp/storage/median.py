"""The median rule, with the trials that ended early among those that are compared."""

import math
import statistics

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState


class CarryingMedianPruner(optuna.pruners.BasePruner):  # type: ignore[misc]
    """Prunes a trial whose value is worse than the median of the complete trials' values at the same step.

    Optuna's own `MedianPruner` takes the median over the trials that reported at this step. A trial whose patience ran
    out earlier is missing there. The trials that go on are then compared with the longest trials only. Here a complete
    trial that ended before a step counts with its last report.

    A report is the value at the best epoch so far, and a step is an epoch, from 1.
    """

    def __init__(self, n_startup_trials: int, n_warmup_steps: int, interval_steps: int) -> None:
        """Args:
        n_startup_trials: the complete trials before any trial is pruned.
        n_warmup_steps: the steps of a trial before it can be pruned.
        interval_steps: the steps between two checks of a trial.
        """
        self._n_startup_trials = n_startup_trials
        self._first_step = n_warmup_steps + 1
        self._interval_steps = interval_steps

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Tells whether a trial should be pruned after its last report."""
        step = trial.last_step
        if step is None or not self._is_due(step, trial):
            return False
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if len(complete) < max(1, self._n_startup_trials):
            return False
        maximize = study.direction == StudyDirection.MAXIMIZE
        others = [value for one in complete if (value := _value_at(one, step)) is not None]
        own = _value_at(trial, step)
        if own is None:
            return True  # it reported no number
        if not others:
            return False
        median = statistics.median(others)
        return own < median if maximize else own > median

    def _is_due(self, step: int, trial: FrozenTrial) -> bool:
        """Tells whether a check is due: at the first report at or after each step of a check."""
        if step < self._first_step:
            return False
        due = self._first_step + (step - self._first_step) // self._interval_steps * self._interval_steps
        return all(earlier < due for earlier in trial.intermediate_values if earlier != step)


def _value_at(trial: FrozenTrial, step: int) -> float | None:
    """Returns the last report of a trial up to a step; None if there is none."""
    reports = trial.intermediate_values
    steps = [at for at, value in reports.items() if at <= step and not math.isnan(value)]
    return reports[max(steps)] if steps else None
