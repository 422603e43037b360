"""A short drill: one fault each of ten kinds; `make drill` runs more than a hundred."""

import random
import sys
from pathlib import Path

import pytest

from tests.drill.__main__ import Drill
from tests.drill.faults import KINDS, Where
from tests.drill.rounds import deal, plan

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.skipif(sys.platform != "linux", reason="finds its victims in /proc, which only Linux has"),
]

_SHORT = (
    "trial: SIGKILL (as the kernel's want of memory)",
    "trial: SIGSEGV",
    "trial: SIGTERM",
    "trial: can write nothing; exit code 1",
    "supervisor: Ctrl-C",
    "supervisor: SIGKILL",
    "MLflow: database locked for a while",
    "events.jsonl: a torn last line",
    "best.keras altered",
    "mlflow.json removed",
)


def test_ten_faults_lose_nothing(tmp_path: Path) -> None:
    drill = Drill(tmp_path, seed=1)
    reference = drill.reference(n_trials=5)
    drill.run([kind for kind in KINDS if kind.name in _SHORT], reference, most_trials=5)
    print(drill.table())
    assert set(drill.times) == set(_SHORT)
    assert drill.survived == drill.times


def test_a_drill_has_every_kind_three_times_and_the_same_for_the_same_seed() -> None:
    faults = plan(110, random.Random(0))
    assert len(faults) == 110
    assert min(faults.count(kind) for kind in KINDS) == 3
    assert faults == plan(110, random.Random(0))
    assert len(plan(10, random.Random(0))) == 10


def test_every_fault_is_dealt_to_a_round_in_which_it_can_happen() -> None:
    faults = [kind for kind in plan(110, random.Random(0)) if kind.where is not Where.DOOMED]
    rounds = deal(faults, 13, random.Random(0))
    assert sorted(kind.name for _, kinds in rounds for kind in kinds) == sorted(kind.name for kind in faults)
    assert all(kind.where in (Where.ANY, where) for where, kinds in rounds for kind in kinds)
