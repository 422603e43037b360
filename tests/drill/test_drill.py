"""A short drill with ten kinds of fault, once each; `make drill` injects more than a hundred faults."""

import random
import sys
from pathlib import Path

import pytest

from tests.drill.__main__ import Drill
from tests.drill.faults import KINDS, RoundType
from tests.drill.rounds import plan_faults, split_into_rounds

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc, which only Linux has"),
]

_SHORT = (
    "trial: SIGKILL (as by the out-of-memory killer)",
    "trial: SIGSEGV",
    "trial: SIGTERM",
    "trial: every write fails, exit code 1",
    "supervisor: Ctrl-C",
    "supervisor: SIGKILL",
    "MLflow: database locked for a while",
    "events.jsonl: incomplete last line",
    "best.keras corrupted",
    "mlflow.json removed",
)


def test_ten_faults_lose_nothing(tmp_path: Path) -> None:
    drill = Drill(tmp_path, seed=1)
    reference = drill.run_reference(n_trials=5)
    drill.run([kind for kind in KINDS if kind.name in _SHORT], reference, max_trials=5)
    print(drill.table())
    assert set(drill.n_injected) == set(_SHORT)
    assert drill.n_survived == drill.n_injected


def test_plan_has_every_kind_three_times_and_is_repeatable() -> None:
    faults = plan_faults(120, random.Random(0))
    assert len(faults) == 120
    assert min(faults.count(kind) for kind in KINDS) == 3
    assert faults == plan_faults(120, random.Random(0))
    assert len(plan_faults(10, random.Random(0))) == 10


def test_every_fault_is_in_a_round_in_which_it_is_possible() -> None:
    own_rounds = (RoundType.FAILING, RoundType.TWO_HOMES, RoundType.RETENTION)
    faults = [kind for kind in plan_faults(120, random.Random(0)) if kind.round_type not in own_rounds]
    rounds = split_into_rounds(faults, 13, random.Random(0))
    assert sorted(kind.name for _, kinds in rounds for kind in kinds) == sorted(kind.name for kind in faults)
    assert all(kind.round_type in (RoundType.ANY, round_type) for round_type, kinds in rounds for kind in kinds)
