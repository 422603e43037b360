import math

import pytest

from rnnexp.config.trial import TrainConfig
from rnnexp.trial.progress import Progress, better, finite


def _progress(train: TrainConfig, *, accuracy: list[float], loss: list[float] | None = None) -> Progress:
    losses = loss or [1.0] * len(accuracy)
    curve = [{"loss": 0.5, "val_accuracy": a, "val_loss": b} for a, b in zip(accuracy, losses, strict=True)]
    return Progress(train, curve)


@pytest.mark.parametrize(
    ("metric", "value", "than", "expected"),
    [
        ("val_accuracy", 0.6, 0.5, True),
        ("val_accuracy", 0.5, 0.5, False),
        ("accuracy", 0.4, 0.5, False),
        ("val_loss", 0.4, 0.5, True),
        ("loss", 0.5, 0.5, False),
        ("val_loss", 0.6, 0.5, False),
        ("val_loss", 99.0, None, True),
        ("val_accuracy", math.nan, None, False),
        ("val_accuracy", math.nan, 0.5, False),
        ("val_loss", math.nan, 0.5, False),
    ],
)
def test_better_follows_the_metrics_direction(metric: str, value: float, than: float | None, expected: bool) -> None:
    assert better(metric, value, than) is expected


def test_the_monitor_defines_the_best_epoch() -> None:
    assert _progress(TrainConfig(), accuracy=[0.6, 0.8, 0.7], loss=[0.5, 0.9, 0.1]).best_epoch == 2
    by_loss = TrainConfig(monitor="val_loss")
    assert _progress(by_loss, accuracy=[0.6, 0.8, 0.7], loss=[0.5, 0.9, 0.1]).best_epoch == 3


def test_the_checkpoint_metric_names_the_epoch_and_the_monitor_gives_the_value() -> None:
    train = TrainConfig(checkpoint_metric="val_loss")
    progress = _progress(train, accuracy=[0.9, 0.8, 0.7], loss=[0.5, 0.2, 0.3])
    assert (progress.best_epoch, progress.best_value) == (2, 0.8)
    assert progress.best_metrics == {"loss": 0.5, "val_accuracy": 0.8, "val_loss": 0.2}


def test_among_equals_the_earlier_epoch_is_the_best() -> None:
    assert _progress(TrainConfig(), accuracy=[0.7, 0.8, 0.8]).best_epoch == 2
    assert _progress(TrainConfig(monitor="val_loss"), accuracy=[0.1] * 3, loss=[0.5, 0.5, 0.6]).best_epoch == 1


def test_the_reported_value_never_gets_worse() -> None:
    train, values = TrainConfig(), [0.6, 0.5, 0.9, 0.7]
    reported = [_progress(train, accuracy=values[:n]).best_value for n in range(1, 5)]
    assert reported == [0.6, 0.6, 0.9, 0.9]


@pytest.mark.parametrize(
    ("accuracy", "expected"),
    [
        ([0.5], False),
        ([0.5, 0.4], False),
        ([0.5, 0.4, 0.4], True),
        ([0.5, 0.5, 0.5], True),
        ([0.5, 0.4, 0.6], False),
        ([0.5, 0.6, 0.6], False),
        ([0.5, 0.4, 0.3, 0.2], True),
    ],
)
def test_patience_ends_after_so_many_epochs_without_a_better_one(accuracy: list[float], expected: bool) -> None:
    assert _progress(TrainConfig(patience=2), accuracy=accuracy).out_of_patience is expected
    assert not _progress(TrainConfig(), accuracy=accuracy).out_of_patience


def test_patience_watches_the_monitor_not_the_checkpoint_metric() -> None:
    train = TrainConfig(patience=1, checkpoint_metric="val_loss")
    assert _progress(train, accuracy=[0.5, 0.5], loss=[0.5, 0.4]).out_of_patience
    assert not _progress(train, accuracy=[0.5, 0.6], loss=[0.5, 0.6]).out_of_patience


def test_an_epoch_with_nan_is_never_the_best() -> None:
    assert _progress(TrainConfig(), accuracy=[0.5, math.nan]).best_epoch == 1
    assert _progress(TrainConfig(), accuracy=[math.nan, 0.1]).best_epoch == 2
    by_loss = TrainConfig(monitor="val_loss")
    assert _progress(by_loss, accuracy=[0.1] * 3, loss=[math.nan, 0.9, math.nan]).best_epoch == 2


def test_losses_that_are_not_finite_are_named() -> None:
    progress = _progress(TrainConfig(), accuracy=[0.5, 0.5], loss=[math.nan, 0.5])
    assert progress.diverged == ""
    progress.curve.append({"val_accuracy": 0.5, "loss": math.nan, "val_loss": math.inf})
    assert progress.diverged == "loss is nan, val_loss is inf"
    assert progress.epoch == 3


def test_only_losses_tell_that_a_trial_diverges() -> None:
    progress = _progress(TrainConfig(), accuracy=[0.5], loss=[0.5])
    progress.curve[-1] |= {"loss": 0.3, "clip/grad_norm": math.inf, "clip/rate": math.nan}
    assert progress.diverged == ""


def test_metrics_of_the_gradients_are_finite() -> None:
    assert finite({"clip/grad_norm": math.inf, "clip/rate": 0.5}) == {
        "clip/grad_norm": 3.4028234663852886e38,
        "clip/rate": 0.5,
    }
    assert math.isfinite(finite({"clip/grad_norm": math.nan})["clip/grad_norm"])
