"""A repetition is the same to the bit, within noise whose source is named, or another result."""

from collections.abc import Sequence

from rnnexp.analysis.reproduction import compare, setting_changes
from rnnexp.trial.events import EpochEnded


def curve(*accuracies: float) -> list[EpochEnded]:
    return [
        EpochEnded(0.0, n, {"val_accuracy": value}, 1.0, 1, max(accuracies[:n]))
        for n, value in enumerate(accuracies, start=1)
    ]


def found(again: Sequence[float], noise: float | None = None, changes: Sequence[str] = ()) -> tuple[str, int | None]:
    result = compare(curve(0.80, 0.85, 0.84), curve(*again), "val_accuracy", 5000, noise, changes, ["Numba 1, now 2"])
    assert result.recorded == 0.85
    return result.verdict, result.first_difference


def test_equal_epochs_are_reproduced() -> None:
    assert found((0.80, 0.85, 0.84)) == ("reproduced", None)
    assert found((0.80, 0.85, 0.84), changes=["a"]) == ("reproduced", None), "what changed has no effect"


def test_a_small_difference_is_noise_unless_a_setting_changed() -> None:
    assert found((0.80, 0.852, 0.84)) == ("within noise", 2), "two standard errors are 1.01 points"
    assert found((0.80, 0.852, 0.84), changes=["a"]) == ("diverged", 2)
    assert found((0.79, 0.83, 0.83)) == ("diverged", 1)
    assert found((0.80, 0.83, 0.84), noise=0.02) == ("within noise", 2), "the seeds differ by more"
    assert found((0.80, 0.852, 0.84), noise=0.0005) == ("diverged", 2)


def test_a_repetition_that_ends_earlier_differs() -> None:
    assert found((0.80, 0.85)) == ("within noise", 3)
    assert found(()) == ("diverged", 1)


def test_a_loss_without_known_noise_has_none() -> None:
    first = [EpochEnded(0.0, 1, {"val_loss": 0.4}, 1.0, 1, 0.4)]
    again = [EpochEnded(0.0, 1, {"val_loss": 0.4001}, 1.0, 1, 0.4)]
    result = compare(first, again, "val_loss", 5000, None, [], [])
    assert (result.verdict, result.noise) == ("diverged", None)


def test_the_value_is_that_of_the_best_epoch_by_whatever_metric_it_is_chosen() -> None:
    recorded = [EpochEnded(0.0, n, {"val_accuracy": 0.8 + n / 100}, 1.0, 1, 0.81) for n in (1, 2)]
    result = compare(recorded, recorded, "val_accuracy", 5000, None, [], [])
    assert result.recorded == 0.81, "the checkpoint metric chose epoch 1"


def test_settings_are_compared_with_those_of_the_study() -> None:
    assert setting_changes({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 3}) == [
        "b: the study gave 3, the trial's record has 2"
    ]
