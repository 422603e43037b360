"""The progress of a trial: its curve, its best epoch, and whether its patience is used up."""

import math
from dataclasses import dataclass, field

from rnnexp.config.names import METRICS
from rnnexp.config.trial import TrainConfig

_LOSSES = ("loss", "val_loss")
_LARGEST_FLOAT32 = float.fromhex("0x1.fffffep+127")


def finite(metrics: dict[str, float]) -> dict[str, float]:
    """Returns metrics of the gradients that can be stored and drawn: the largest float32 replaces infinity and NaN."""
    return {name: value if math.isfinite(value) else _LARGEST_FLOAT32 for name, value in metrics.items()}


def better(metric: str, value: float, than: float | None) -> bool:
    """Tells whether a value of the metric is better than another. Any number is better than none, NaN never."""
    if than is None:
        return not math.isnan(value)
    return value > than if METRICS[metric] == "maximize" else value < than


@dataclass
class Progress:
    """The epochs of a trial so far.

    Attributes:
        train: defines the monitor, the metric of the best epoch, and the patience.
        curve: the metrics of each epoch; epoch 1 has index 0.
        seconds: time spent in epochs, over all attempts.
    """

    train: TrainConfig
    curve: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def epoch(self) -> int:
        """The number of completed epochs."""
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
        """The monitor at the best epoch: the value that is reported and compared."""
        return self.best_metrics[self.train.monitor]

    @property
    def out_of_patience(self) -> bool:
        """Whether the monitor has not improved for `patience` epochs."""
        patience = self.train.patience
        return patience is not None and self.epoch - self._best_by(self.train.monitor) >= patience

    @property
    def diverged(self) -> str:
        """The losses of the last epoch that are not finite, as text; empty if both are.

        Only the losses tell: a norm may overflow although the weights stay finite, because the gradient is clipped.
        """
        last = self.curve[-1]
        return ", ".join(f"{name} is {last[name]}" for name in _LOSSES if not math.isfinite(last[name]))
