"""The supervisor's answer to a trial that has ended an epoch."""

from enum import Enum


class Answer(Enum):
    """What a trial does after an epoch."""

    CONTINUE = "continue"
    """It trains the next epoch."""
    END = "end"
    """It ends with the result of its best epoch: it is pruned, or the user has stopped it."""
    PAUSE = "pause"
    """Its process ends. The trial may resume later from its checkpoint."""
