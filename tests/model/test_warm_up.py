"""A trial compiles nothing: the forkserver has compiled the loops, or loaded them from Numba's cache."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration  # Numba compiles in processes

_PROGRAM = """
import sys
import numba.core.event as events
import numpy as np
from rnnexp.model.cells import cell
from rnnexp.model.kernel.inputs import Embedding, StateDropout
from rnnexp.model.kernel.recurrence import Recurrence, warm_up
from rnnexp.model.kernel.team import Team

def train(of):
    generator = np.random.default_rng(0)
    B, T, E, H = 40, 7, 3, 16
    def normal(*shape):
        return generator.standard_normal(shape).astype(np.float32)
    lengths = np.array([7, 2, 1, 5, 3, 6, 4, 7] * 5, np.int32)
    bias = normal(of.n_gates * H) if of.bias_rows == 1 else normal(of.bias_rows, of.n_gates * H)
    for dropout, of_states in ((0.0, None), (0.3, None), (0.0, StateDropout(0.3, np.array([1, 2], np.int32)))):
        first, second = Recurrence(of, Team(2)), Recurrence(of)
        embedding = Embedding(normal(20, E), dropout, np.array([1, 2], np.int32))
        weights = normal(E, of.n_gates * H), normal(H, of.n_gates * H), bias
        above = normal(H, of.n_gates * H), normal(H, of.n_gates * H), bias
        words = generator.integers(1, 20, (B, T)).astype(np.int32)
        for learn in (False, True):
            dropped = of_states if learn else None
            states = first.forward(
                words, lengths, embedding, weights, learn=learn, return_sequences=True, dropout=dropped
            )
            assert any(len(group) > 1 for group in first._parts(weights[1])), "two threads share the texts"
            second.forward(states, lengths, None, above, learn=learn, return_sequences=False)
        first.backward(second.backward(normal(B, H)).inputs)

of = cell(sys.argv[1])
with events.install_recorder("numba:compile") as before:
    warm_up(of)
with events.install_recorder("numba:compile") as during:
    train(of)
print(len(before.buffer), len(during.buffer))
"""


@pytest.mark.parametrize("name", ["simple_rnn", "gru"])  # biases of one row and of two
def test_training_after_the_warm_up_compiles_nothing(name: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(_PROGRAM)
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    environment.pop("NUMBA_DISABLE_JIT", None)

    def compiled() -> list[int]:
        command = [sys.executable, str(tmp_path / "program.py"), name]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return [int(word) for word in done.stdout.split()]

    in_warm_up, in_training = compiled()
    assert in_warm_up > 0
    assert in_training == 0
    assert compiled() == [0, 0], "the second process loads the loops from the cache"
