"""Where a trial stands: its curve, its best epoch, and whether its patience has run out."""

import math
from dataclasses import dataclass, field

from rnnexp.config.names import METRICS
from rnnexp.config.trial import TrainConfig


def better(metric: str, value: float, than: float | None) -> bool:
    """Tells whether a value of the metric is better than another; anything is better than none."""
    if than is None:
        return not math.isnan(value)
    return value > than if METRICS[metric] == "maximize" else value < than


@dataclass
class Progress:
    """Grows by one epoch at a time.

    Attributes:
        train: names the monitor, the metric of the best epoch, and the patience.
        curve: each epoch's metrics; epoch 1 is at place 0.
        seconds: spent in epochs, over all attempts.
    """

    train: TrainConfig
    curve: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def epoch(self) -> int:
        """Epochs that are done."""
        return len(self.curve)

    def _best_by(self, metric: str) -> int:
        best = 0
        for epoch, metrics in enumerate(self.curve, start=1):
            if better(metric, metrics[metric], self.curve[best - 1][metric] if best else None):
                best = epoch
        return best

    @property
    def best_epoch(self) -> int:
        """The first epoch whose checkpoint metric is the best so far, from 1."""
        return self._best_by(self.train.best_metric)

    @property
    def best_metrics(self) -> dict[str, float]:
        """The metrics of the best epoch."""
        return self.curve[self.best_epoch - 1]

    @property
    def best_value(self) -> float:
        """The monitor at the best epoch: what is reported, compared and exported."""
        return self.best_metrics[self.train.monitor]

    @property
    def out_of_patience(self) -> bool:
        """Whether the monitor has not got better for `patience` epochs."""
        patience = self.train.patience
        return patience is not None and self.epoch - self._best_by(self.train.monitor) >= patience

    @property
    def diverged(self) -> str:
        """What of the last epoch is not a number, or nothing."""
        return ", ".join(f"{name} is {value}" for name, value in self.curve[-1].items() if not math.isfinite(value))
