"""The best value that a search is expected to have after some of its trials."""

import pytest

from rnnexp.analysis.expected_best import expected_best


def test_the_expected_best_is_the_mean_over_all_draws() -> None:
    """Checked against all draws of 1, 2 and 3 of four values."""
    found = expected_best([0.1, 0.4, 0.2, 0.3])
    assert found == pytest.approx([0.25, (0.4 * 3 + 0.3 * 2 + 0.2) / 6, (0.4 * 3 + 0.3) / 4, 0.4])
    assert expected_best([]) == []
