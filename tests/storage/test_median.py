"""The median rule on real studies."""

import optuna
import pytest
from optuna.trial import TrialState

from rnnexp.config.sweep import MedianPruner
from rnnexp.storage import sampling


def study(
    direction: str = "maximize", n_startup_trials: int = 3, n_warmup_steps: int = 0, interval_steps: int = 1
) -> optuna.Study:
    config = MedianPruner(
        name="median",
        n_startup_trials=n_startup_trials,
        n_warmup_steps=n_warmup_steps,
        interval_steps=interval_steps,
    )
    return optuna.create_study(direction=direction, pruner=sampling.pruner(config, 8))


def complete(study: optuna.Study, *reports: float) -> None:
    trial = study.ask()
    for step, value in enumerate(reports, start=1):
        trial.report(value, step)
    study.tell(trial, reports[-1])


def pruned_at(study: optuna.Study, *reports: float) -> int | None:
    """Returns the step at which a trial with these reports is pruned; None if it is not."""
    trial = study.ask()
    for step, value in enumerate(reports, start=1):
        trial.report(value, step)
        if trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            return step
    study.tell(trial, reports[-1])
    return None


def test_trials_that_ended_early_count_at_later_steps() -> None:
    """Two of three trials ran out of patience at epoch 2. The new trial is better than both of them."""
    one = study()
    complete(one, 0.70, 0.75)
    complete(one, 0.72, 0.76)
    complete(one, 0.80, 0.85, 0.88, 0.90)
    assert pruned_at(one, 0.75, 0.78, 0.80, 0.82) is None


def test_a_trial_below_the_median_with_early_ends_is_pruned() -> None:
    """Two of three good trials ran out of patience at epoch 2, and only a poor one went on."""
    one = study()
    complete(one, 0.85, 0.90)
    complete(one, 0.84, 0.89)
    complete(one, 0.60, 0.62, 0.64)
    assert pruned_at(one, 0.86, 0.895, 0.895) is None
    other = study()
    complete(other, 0.60, 0.90)
    complete(other, 0.60, 0.89)
    complete(other, 0.60, 0.60, 0.64)
    assert pruned_at(other, 0.70, 0.89, 0.85) == 3, "the median at epoch 3 is 0.89, not 0.64"


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
@pytest.mark.parametrize(("warmup", "interval"), [(0, 1), (1, 1), (2, 1), (0, 2), (1, 3)])
def test_it_equals_optuna_s_if_no_trial_ends_early(direction: str, warmup: int, interval: int) -> None:
    ours = study(direction, n_startup_trials=2, n_warmup_steps=warmup, interval_steps=interval)
    theirs = optuna.create_study(
        direction=direction,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=warmup + 1, interval_steps=interval),
    )
    sign = 1.0 if direction == "maximize" else -1.0
    curves = [[sign * (0.1 * (number * 7 % 5) + 0.05 * step) for step in range(6)] for number in range(12)]
    found = [pruned_at(ours, *curve) for curve in curves]
    assert found == [pruned_at(theirs, *curve) for curve in curves]
    assert any(found)


def test_no_trial_is_pruned_before_enough_trials_are_complete() -> None:
    one = study(n_startup_trials=2)
    complete(one, 0.9, 0.9)
    assert pruned_at(one, 0.1, 0.1) is None
    assert pruned_at(one, 0.1, 0.1) == 1


def test_a_trial_without_a_number_is_pruned() -> None:
    one = study(n_startup_trials=1)
    complete(one, 0.5, 0.5)
    assert pruned_at(one, float("nan"), 0.9) == 1


def test_a_check_that_was_missed_is_made_at_the_next_report() -> None:
    one = study(n_startup_trials=1, interval_steps=3)
    complete(one, *[0.9] * 6)
    trial = one.ask()
    trial.report(0.1, 2)  # the report of step 1 was lost
    assert trial.should_prune()
    trial.report(0.1, 3)
    assert not trial.should_prune(), "the next check is at step 4"
