"""How much the results of the same model may differ."""

import pytest

from rnnexp.trial.recompute_predictions import tolerance


@pytest.mark.parametrize("n_texts", [67, 1000, 5000, 7500, 25_000])
def test_a_few_texts_may_be_classified_differently(n_texts: int) -> None:
    """Another machine rounds differently, and one text next to the threshold changes the accuracy by 1 / n."""
    for n_correct in (n_texts // 2, n_texts - 4):
        for n_changed in (1, 3):
            difference = abs(round(n_correct / n_texts, 6) - round((n_correct + n_changed) / n_texts, 6))
            assert difference <= tolerance("accuracy", n_texts)
        assert abs(n_correct / n_texts - (n_correct + 4) / n_texts) > tolerance("accuracy", n_texts)


def test_the_loss_distinguishes_epochs_where_texts_are_few() -> None:
    assert tolerance("loss", 67) == tolerance("loss", 25_000) == 1e-3
