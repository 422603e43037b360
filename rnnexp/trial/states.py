"""The states of a trial, named as in Optuna, and MLflow's status for each, in one table."""

from enum import StrEnum


class State(StrEnum):
    """The state of a trial, named as in Optuna."""

    COMPLETE = "COMPLETE"
    PRUNED = "PRUNED"
    FAIL = "FAIL"
    RUNNING = "RUNNING"
    WAITING = "WAITING"
    """Interrupted, lost or paused: it resumes from its last epoch and keeps its number; a paused one may be pruned."""


RUN_STATUS = {
    State.COMPLETE: "FINISHED",
    State.PRUNED: "FINISHED",
    State.FAIL: "FAILED",
    State.RUNNING: "RUNNING",
    State.WAITING: "KILLED",
}
"""MLflow's status for each state; the tag `rnnexp.state` distinguishes PRUNED from COMPLETE."""

FINISHED = (State.COMPLETE, State.PRUNED, State.FAIL)
"""The states that count against the budget and never change."""
