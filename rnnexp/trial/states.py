"""What becomes of a trial: Optuna's states, and what MLflow shows for each. The one table."""

from enum import StrEnum


class State(StrEnum):
    """A trial's state, by Optuna's name."""

    COMPLETE = "COMPLETE"
    PRUNED = "PRUNED"
    FAIL = "FAIL"
    RUNNING = "RUNNING"
    WAITING = "WAITING"
    """Interrupted or lost: it goes on under its own number from its last epoch."""


RUN_STATUS = {
    State.COMPLETE: "FINISHED",
    State.PRUNED: "FINISHED",
    State.FAIL: "FAILED",
    State.RUNNING: "RUNNING",
    State.WAITING: "KILLED",
}
"""MLflow's status for each state; the tag `rnnexp.state` tells PRUNED from COMPLETE."""

FINISHED = (State.COMPLETE, State.PRUNED, State.FAIL)
"""The states that count against the budget and never change."""
