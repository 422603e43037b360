"""Where the trials of a study run: on this machine, or on those of a Ray cluster."""

from typing import Protocol

from rnnexp.engine.executor import Executor
from rnnexp.engine.local import LocalExecutor, SlotPlan


class Engine(Protocol):
    """Makes the executor of a study."""

    @property
    def device(self) -> str:
        """The device of new trials: `CPU`, `GPU`, or `auto` to leave the choice to TensorFlow."""
        ...

    @property
    def n_fitting(self) -> int | None:
        """How many processes of a trial's size this machine has memory for; None if unknown."""
        ...

    def describe(self) -> str:
        """Returns how many trials run at once and with what, for the line at the start of a study."""
        ...

    def executor(self, signals: int) -> Executor:
        """Returns the executor; a new one after the last one was closed.

        Args:
            signals: a file descriptor that becomes readable when a signal arrives.
        """
        ...


class LocalEngine:
    """Processes on this machine."""

    def __init__(self, plan: SlotPlan) -> None:
        self.plan = plan

    @property
    def device(self) -> str:
        return self.plan.use.device

    @property
    def n_fitting(self) -> int | None:
        return self.plan.fitting

    def describe(self) -> str:
        threads = "1 thread" if self.plan.threads == 1 else f"{self.plan.threads} threads"
        return f"{self.plan.slots} at once, {threads} each"

    def executor(self, signals: int) -> LocalExecutor:
        return LocalExecutor(self.plan.slots, signals=signals, gpus=self.plan.use.gpus)
