"""A hundred simulated sweeps, and whether they would notice if the code were wrong."""

import sys
from collections import Counter

import pytest

from tests.simulation.modules import Change, changed
from tests.simulation.plan import KINDS
from tests.simulation.planted import BUGS, Planted, find
from tests.simulation.sweep import simulate

_SEEDS = 100
_SEEDS_FOR_A_BUG = 200


def test_no_fault_of_a_hundred_sweeps_violates_an_invariant() -> None:
    injected: Counter[str] = Counter()
    for seed in range(_SEEDS):
        result = simulate(seed)
        assert not result.violation, f"seed {seed}: {result.violation}"
        injected += result.injected
    missing = [kind for kind in (*KINDS, "larger budget") if not injected[kind]]
    assert not missing, f"none of the seeds injects {missing}"
    assert injected.total() > 10 * _SEEDS


def test_a_seed_gives_the_same_sweep_again() -> None:
    for seed in (3, 4):
        once, again = simulate(seed, tracing=True), simulate(seed, tracing=True)
        assert len(once.trace) > 100
        assert once == again


def test_nothing_here_needs_tensorflow() -> None:
    import subprocess

    code = "import sys; from tests.simulation.sweep import simulate; simulate(0); sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("planted", BUGS, ids=lambda planted: planted.bug.replace(" ", "-"))
def test_a_planted_bug_is_found(planted: Planted) -> None:
    assert find(planted, _SEEDS_FOR_A_BUG).n_seeds is not None


def test_the_place_of_a_bug_is_named_exactly() -> None:
    with pytest.raises(ValueError, match="0 times, not once"):
        changed(Change("store", "no such text", ""))
