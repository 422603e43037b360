"""What the store tells the supervisor about a trial: one that is to run, or one in a final state."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna

from rnnexp.config.trial import TrialConfig
from rnnexp.storage.metadata import ATTEMPTS, SUMMARY
from rnnexp.trial.states import State


@dataclass(frozen=True)
class TrialRequest:
    """A trial to run.

    Attributes:
        number: the trial's number, from 0.
        settings: the values that were drawn from the search space.
        config: all settings.
        attempt: from 1.
        n_crashes: earlier attempts whose process crashed.
        paused_after: the epoch after which it was paused, if it resumes from a pause now; else 0.
    """

    number: int
    settings: dict[str, Any]
    config: TrialConfig
    attempt: int
    n_crashes: int = 0
    paused_after: int = 0


@dataclass(frozen=True)
class FinishedTrial:
    """A trial in a final state.

    Attributes:
        number: the trial's number, from 0.
        state: COMPLETE, PRUNED or FAIL.
        value: the first objective, None for FAIL.
        summary: what a list of trials shows: metrics, costs.
        reason: why it was pruned or failed.
        attempts: number of attempts.
        seconds: time spent in epochs.
        ended: seconds since 1970.
    """

    number: int
    state: State
    value: float | None
    summary: Mapping[str, Any]
    reason: str
    attempts: int
    seconds: float
    ended: float


def finished_trial(trial: optuna.trial.FrozenTrial) -> FinishedTrial:
    """Returns a trial of Optuna that is in a final state."""
    summary = trial.user_attrs.get(SUMMARY, {})
    return FinishedTrial(
        number=trial.number,
        state=State(trial.state.name),
        value=trial.values[0] if trial.values else None,
        summary=summary,
        reason=summary.get("reason") or "",
        attempts=trial.user_attrs.get(ATTEMPTS, 1),
        seconds=summary.get("duration_s") or 0.0,
        ended=trial.datetime_complete.timestamp() if trial.datetime_complete else 0.0,
    )
