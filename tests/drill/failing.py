"""A sweep in which every trial must fail: each trial fails with its own reason, and nothing else is affected."""

import time

from rnnexp.trial.states import State
from tests.drill import check, processes
from tests.drill.faults import KINDS, FaultKind, RoundType
from tests.drill.rounds import Result
from tests.drill.sweeps import NotSurvivedError, Sandbox, Sweep

STUDY = "failing"
_SWEEP = f"""
study: {STUDY}
sampler: {{name: random, seed: 5}}
pruner: {{name: none}}
budget: {{trials: 4}}
base:
  data: {{name: reviews, train_samples: 900, validation_split: 0.02, maxlen: 60, vocab_size: 500}}
  model: {{embedding_dim: 8}}
  train: {{epochs: 3, batch_size: 32, learning_rate: 0.01, optimizer: adam}}
try:
  - {{train.optimizer: adam, train.learning_rate: 0.01, train.epochs: 100000, model.embedding_dim: 8}}
  - {{train.optimizer: adam, train.learning_rate: 0.01, train.epochs: 3, model.embedding_dim: 65536}}
  - {{train.optimizer: sgd, train.learning_rate: 1.0e+38, train.epochs: 3, model.embedding_dim: 8}}
  - {{train.optimizer: adam, train.learning_rate: 0.01, train.epochs: 3, model.embedding_dim: 8}}
space:
  train.optimizer: {{choice: [adam, sgd]}}
  train.learning_rate: {{choice: [0.01, 1.0e+38]}}
  train.epochs: {{choice: [3, 100000]}}
  model.embedding_dim: {{choice: [8, 65536]}}
limits: {{memory_gb: 0.6, trial_s: 25, retries: 1, consecutive_failures: null}}
keep: {{checkpoints: 100}}
"""
_ENDS = (
    (State.FAIL, "limits.trial_s"),
    (State.FAIL, "limits.memory_gb"),
    (State.PRUNED, "loss is nan"),
    (State.FAIL, "FileExistsError"),
)
"""The state of trials 0 to 3 and a part of its reason: in the order of `try`, whose longest trials come first."""
_BLOCKED = 3
"""The trial whose model cannot be written."""


def run(sandbox: Sandbox) -> Result:
    """Runs the sweep once."""
    result = Result(done=all_kinds())
    sweep = Sweep(sandbox, _SWEEP, STUDY)
    try:
        sweep.start()
        _block_model(sweep)
        code = sweep.wait(180)
        if code != 1:
            result.problems.append(f"exit code {code}, expected 1 because no trial finished: {sweep.last_lines}")
        left = processes.wait_until_gone(sweep.sessions, 20)
        result.problems += [f"still alive after the sweep's end: {process}" for process in left]
        for row, (state, reason) in zip(sweep.view().trials, _ENDS, strict=False):  # their number is checked below
            if row.state is not state or reason not in (row.reason or ""):
                result.problems.append(
                    f"trial {row.number} is {row.state}: {row.reason}; expected {state} with {reason!r}"
                )
        result.problems += check.check_finished_study(sweep, len(_ENDS), None)
    except NotSurvivedError as error:
        result.problems.append(str(error))
    finally:
        sweep.kill_all()
    return result


def _block_model(sweep: Sweep) -> None:
    """Puts a file in the place of the folder for a trial's model, before its process has trained an epoch."""
    folder, deadline = sweep.home.study(STUDY).trial(_BLOCKED), time.monotonic() + 60
    while not folder.config.exists():  # a new study is refused if the folder of a trial exists before
        if time.monotonic() > deadline or not sweep.running:
            raise NotSurvivedError(f"trial {_BLOCKED} does not start; last output: {sweep.last_lines}")
        time.sleep(0.005)
    folder.best.parent.write_text("a file")


def all_kinds() -> list[FaultKind]:
    """Returns the kinds of fault that one run of this sweep contains."""
    return [kind for kind in KINDS if kind.round_type is RoundType.FAILING]
