"""The contract that every cell fulfils."""

import numpy as np
import pytest

from rnnexp.config.names import cells

pytestmark = pytest.mark.tensorflow


@pytest.fixture(params=cells())
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_gives_a_state_for_each_step(name: str) -> None:
    from rnnexp.model.cells import cell

    layer = cell(name).layer(units=5, recurrent_dropout=0.0, name="layer")
    assert layer(np.ones((2, 7, 3), dtype="float32")).shape == (2, 7, 5)


def test_a_state_does_not_know_what_comes_later(name: str) -> None:
    from rnnexp.model.cells import cell

    layer = cell(name).layer(units=5, recurrent_dropout=0.0, name="layer")
    rng = np.random.default_rng(0)
    one = rng.normal(size=(2, 7, 3)).astype("float32")
    other = one.copy()
    other[:, 4:] = rng.normal(size=(2, 3, 3))
    first, second = np.asarray(layer(one)), np.asarray(layer(other))
    np.testing.assert_array_equal(first[:, :4], second[:, :4])
    assert not np.allclose(first[:, 4:], second[:, 4:])


def test_a_state_remembers_what_came_before(name: str) -> None:
    from rnnexp.model.cells import cell

    layer = cell(name).layer(units=5, recurrent_dropout=0.0, name="layer")
    one = np.zeros((1, 4, 3), dtype="float32")
    other = one.copy()
    other[:, 0] = 1.0
    assert not np.allclose(np.asarray(layer(one))[:, -1], np.asarray(layer(other))[:, -1])
