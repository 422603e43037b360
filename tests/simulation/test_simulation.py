"""A hundred simulated sweeps, and a check that they find bugs."""

import sys
from collections import Counter

import pytest

from tests.simulation.modules import Change, changed, check_snippet
from tests.simulation.plan import KINDS
from tests.simulation.planted import BUGS, Planted, find
from tests.simulation.sweep import simulate

_N_SWEEPS = 100
_MAX_SEEDS_PER_BUG = 400


def _id(planted: Planted) -> str:
    return planted.bug.replace(" ", "-")


def test_no_injected_fault_violates_an_invariant() -> None:
    injected: Counter[str] = Counter()
    for seed in range(_N_SWEEPS):
        result = simulate(seed)
        assert not result.violation, f"seed {seed}: {result.violation}"
        injected += result.injected
    missing = [kind for kind in (*KINDS, "larger budget") if not injected[kind]]
    assert not missing, f"no seed injects {missing}"
    assert injected.total() > 10 * _N_SWEEPS


def test_a_seed_repeats_the_same_sweep() -> None:
    for seed in (3, 4):
        first, second = simulate(seed, tracing=True), simulate(seed, tracing=True)
        assert len(first.trace) > 100
        assert first == second


@pytest.mark.integration
def test_the_simulation_does_not_import_tensorflow() -> None:
    import subprocess

    code = "import sys; from tests.simulation.sweep import simulate; simulate(0); sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("planted", BUGS, ids=_id)
def test_the_snippet_of_a_planted_bug_is_in_the_code(planted: Planted) -> None:
    check_snippet(planted.change)


@pytest.mark.integration
@pytest.mark.parametrize("planted", BUGS, ids=_id)
def test_a_planted_bug_is_found(planted: Planted) -> None:
    assert find(planted, _MAX_SEEDS_PER_BUG).n_seeds is not None


def test_a_missing_snippet_is_reported_with_its_text_and_module() -> None:
    with pytest.raises(ValueError, match=r"(?s)found once in rnnexp\.storage\.store .* is found 0 times.*no such text"):
        changed(Change("store", "no such text", ""))
    bug = Planted("a bug without a place", Change("store", "no such text", ""))
    with pytest.raises(ValueError, match="planted bug 'a bug without a place'"):
        find(bug, 1)
