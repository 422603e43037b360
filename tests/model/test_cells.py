"""The contract of a cell. The cells of the package fulfil it, and so does one that is added as a single file."""

import sys
from pathlib import Path

import numpy as np
import pytest

from rnnexp.config import names
from rnnexp.config.trial import TrialConfig
from rnnexp.data.store import prepare
from rnnexp.home import Home
from rnnexp.model import cells as package
from rnnexp.model import cost
from rnnexp.model.cells import cell
from rnnexp.trial import events
from rnnexp.trial.answer import Answer
from rnnexp.trial.events import Event, Finished, Started
from rnnexp.trial.plan import choose, stored_or_chosen
from tests.model.test_kernel import assert_same, built, config, logits_and_gradients, tokens

pytestmark = pytest.mark.tensorflow

ADDED = "relu_rnn"
SOURCE = '''
"""A simple network with rectified states: h_t = max(0, W x_t + U h_{t-1} + b)."""

import numpy as np

from rnnexp.model.cells import Cell, Loops
from rnnexp.model.kernel.math import add, copy, times_recurrent, times_transposed

_f = np.float32


def layer(units, recurrent_dropout, name):
    import keras

    return keras.layers.SimpleRNN(
        units, activation="relu", recurrent_dropout=recurrent_dropout, return_sequences=True, name=name
    )


def forward(
    begin, end, active, first, kept, order, places, projected, recurrent, bias, gates, memory, before, last, states
):
    H = last.shape[1]
    product = np.empty((active[0], H), np.float32)
    if begin == 0:
        before[kept[0] : kept[0] + active[0]] = _f(0)
    for t in range(begin, end):
        n, at = active[t], kept[t]
        following = active[t + 1] if t + 1 < len(active) else 0
        times_recurrent(before[at : at + n], recurrent, product[:n])
        for b in range(n):
            x, u, a = projected[places[first[t] + b]], product[b], gates[at + b]
            for j in range(H):
                total = x[j] + u[j]
                a[j] = _f(0) if total < _f(0) else total
            copy(a, before[kept[t + 1] + b] if b < following else last[b])
            if states.shape[0]:
                copy(a, states[order[b], t])


def backward(
    begin, end, active, first, order, places, recurrent_t, gates, memory, before, gradient, carried, d_states,
    d_projected, summed
):
    H = gradient.shape[1]
    for t in range(end - 1, begin - 1, -1):
        n, at = active[t], first[t]
        for b in range(n):
            a, dh = gates[at + b], gradient[b]
            if d_states.shape[0]:
                add(dh, d_states[order[b], t])
            for j in range(H):
                a[j] = dh[j] if a[j] > _f(0) else _f(0)
            if summed:
                add(d_projected[places[at + b]], a)
        times_transposed(gates[at : at + n], recurrent_t, gradient[:n])


CELL = Cell(
    title="Plain",
    layer=layer,
    n_gates=1,
    word_ns=0.0,
    unit_ns=1.5,
    loops=Loops(forward=forward, backward=backward, layer_settings={"activation": "relu", "use_bias": True}),
)
'''


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A cell whose only file lies in another folder of the package."""
    (tmp_path / f"{ADDED}.py").write_text(SOURCE, encoding="utf-8")
    known = names.cells()
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    monkeypatch.setattr(names, "cells", lambda: (*known, ADDED))
    monkeypatch.delitem(sys.modules, f"{package.__name__}.{ADDED}", raising=False)
    return ADDED


@pytest.fixture(params=[*names.cells(), ADDED])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("added") if request.param == ADDED else request.param)


def test_gives_a_state_for_each_step(name: str) -> None:
    layer = cell(name).layer(units=5, recurrent_dropout=0.0, name="layer")
    assert layer(np.ones((2, 7, 3), dtype="float32")).shape == (2, 7, 5)


def test_a_state_does_not_depend_on_later_inputs(name: str) -> None:
    layer = cell(name).layer(units=5, recurrent_dropout=0.0, name="layer")
    rng = np.random.default_rng(0)
    one = rng.normal(size=(2, 7, 3)).astype("float32")
    other = one.copy()
    other[:, 4:] = rng.normal(size=(2, 3, 3))
    first, second = np.asarray(layer(one)), np.asarray(layer(other))
    np.testing.assert_array_equal(first[:, :4], second[:, :4])
    assert not np.allclose(first[:, 4:], second[:, 4:])


def test_a_state_depends_on_earlier_inputs(name: str) -> None:
    import keras

    keras.utils.set_random_seed(1)
    layer = cell(name).layer(units=5, recurrent_dropout=0.0, name="layer")
    one = np.zeros((1, 4, 3), dtype="float32")
    other = one.copy()
    other[:, 0] = 1.0
    assert not np.allclose(np.asarray(layer(one))[:, -1], np.asarray(layer(other))[:, -1])


@pytest.mark.parametrize("bidirectional", [False, True])
def test_its_gate_count_gives_the_number_of_weights(name: str, bidirectional: bool) -> None:
    made = config(model__cell=name, model__layers=2, model__bidirectional=bidirectional)
    assert cost.n_params(made, n_outputs=2) == built(made).count_params()
    assert cost.recurrence_seconds(made, 10) > 0
    assert cost.memory_gb(made, 2, 256) > 0


@pytest.mark.parametrize(
    ("bidirectional", "pooling", "layers", "threads"), [(False, "last", 1, 1), (True, "mean", 2, 3)]
)
def test_its_compiled_loops_compute_its_layer(
    name: str, bidirectional: bool, pooling: str, layers: int, threads: int
) -> None:
    made = config(model__cell=name, model__bidirectional=bidirectional, model__pooling=pooling, model__layers=layers)
    dropping = made.with_settings({"model.recurrent_dropout": 0.3})
    if cell(name).loops is None:
        pytest.skip("the cell has no compiled loops")
    assert choose(made, threads).kernel == "compiled"
    assert_same(made, threads)
    assert_same(dropping, threads)


def test_its_dropped_vectors_have_gradients(name: str) -> None:
    from rnnexp.model import compiled

    made = config(model__cell=name, model__dropout=0.4)
    if cell(name).loops is None:
        pytest.skip("the cell has no compiled loops")
    model = built(made)
    _, gradients = logits_and_gradients(model, compiled.logits(model, made, 2), tokens())
    assert all(np.isfinite(value).all() and np.abs(value).max() > 0 for value in gradients.values())


def test_a_cell_is_one_file(added: str, tmp_path: Path) -> None:
    """A trial of the added cell trains with its compiled loops, and Numba caches them."""
    from rnnexp.trial.fit import fit

    home = Home.open(tmp_path / "home")
    settings = {"data.name": "reviews", "data.train_samples": 400, "data.maxlen": 30, "model.cell": added}
    made = TrialConfig().with_settings({**settings, "model.units": 8, "train.epochs": 3, "train.learning_rate": 0.01})
    store, folder = prepare(made.data, home), home.study("cells").trial(0)
    folder.root.mkdir(parents=True)
    reported: list[Event] = []

    def report(event: Event) -> Answer:
        reported.append(event)
        return Answer.CONTINUE

    plan = stored_or_chosen(folder.plan, made, threads=1)
    fit(made, store, folder, plan, 1, report, lambda: True)
    started, finished = reported[0], reported[-1]
    assert isinstance(started, Started)
    assert isinstance(finished, Finished)
    assert started.plan["kernel"] == "compiled"
    assert started.n_params == cost.n_params(made, store.task.n_outputs)
    losses = [epoch.metrics["loss"] for epoch in events.epochs(reported)]
    assert losses[-1] < losses[0]
    assert list((tmp_path / "__pycache__").glob(f"{added}.forward-*.nbc")), "Numba has cached the loops"


def test_a_cell_imports_neither_keras_nor_numba() -> None:
    import subprocess

    code = (
        "import sys\n"
        "from rnnexp.config.names import cells\n"
        "from rnnexp.config.trial import TrialConfig\n"
        "from rnnexp.model import cost\n"
        "from rnnexp.trial.plan import choose\n"
        "for name in cells():\n"
        "    config = TrialConfig().with_settings({'model.cell': name})\n"
        "    choose(config, 1), cost.n_params(config, 1), cost.recurrence_seconds(config, 100)\n"
        "print([name for name in ('tensorflow', 'keras', 'numba') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
