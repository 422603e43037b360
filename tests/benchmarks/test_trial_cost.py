"""The functions that the benchmark `trial_cost` patches exist in rnnexp."""

import pytest

from tests.benchmarks.trial_cost import patch_points


@pytest.mark.tensorflow
def test_every_patch_point_exists() -> None:
    paths = [*patch_points.SUPERVISOR.values(), *patch_points.TRIAL.values(), *patch_points.BATCHES.values()]
    for path in (*paths, patch_points.POLL, patch_points.MAIN):
        assert callable(patch_points.get(path)), path
    assert isinstance(patch_points.get(patch_points.PRELOAD), str)
