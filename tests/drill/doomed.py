"""A sweep whose trials cannot succeed: each fails with its reason, and nothing else suffers."""

from rnnexp.trial.states import State
from tests.drill import check, processes
from tests.drill.faults import KINDS, Kind, Where
from tests.drill.rounds import Result
from tests.drill.sweeps import NotSurvivedError, Sweep, World

STUDY = "doomed"
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
  - {{train.optimizer: sgd, train.learning_rate: 1.0e+38, train.epochs: 3, model.embedding_dim: 8}}
  - {{train.optimizer: adam, train.learning_rate: 0.01, train.epochs: 3, model.embedding_dim: 8}}
  - {{train.optimizer: adam, train.learning_rate: 0.01, train.epochs: 3, model.embedding_dim: 65536}}
  - {{train.optimizer: adam, train.learning_rate: 0.01, train.epochs: 100000, model.embedding_dim: 8}}
space:
  train.optimizer: {{choice: [adam, sgd]}}
  train.learning_rate: {{choice: [0.01, 1.0e+38]}}
  train.epochs: {{choice: [3, 100000]}}
  model.embedding_dim: {{choice: [8, 65536]}}
limits: {{memory_gb: 0.6, trial_s: 25, retries: 1, consecutive_failures: null}}
keep: {{checkpoints: 100}}
"""
_REASONS = ("loss is nan", "FileExistsError", "limits.memory_gb", "limits.trial_s")
"""Of the trials 0 to 3, in the order of the table's doomed kinds."""


def run(world: World) -> Result:
    """Runs the sweep once."""
    result = Result(done=all_kinds())
    sweep = Sweep(world, _SWEEP, STUDY)
    taken = sweep.home.study(STUDY).trial(1).best.parent
    taken.parent.mkdir(parents=True)
    taken.write_text("a file where the folder of the trial's model would be")
    try:
        sweep.start()
        code = sweep.wait(180)
        if code != 1:
            result.complaints.append(f"exit code {code}, expected 1, no trial finished: {sweep.tail}")
        left = processes.wait_gone(sweep.sessions, 20)
        result.complaints += [f"lives on: {one.pid} {one.command[:80]}" for one in left]
        for row, reason in zip(sweep.view().trials, _REASONS, strict=False):  # that all are there is checked below
            if row.state is not State.FAIL or reason not in (row.reason or ""):
                result.complaints.append(f"trial {row.number} is {row.state}: {row.reason}; expected {reason!r}")
        result.complaints += check.whole(sweep, len(_REASONS), None)
    except NotSurvivedError as error:
        result.complaints.append(str(error))
    finally:
        sweep.end()
    return result


def all_kinds() -> list[Kind]:
    """Returns the kinds that one run of the sweep brings about."""
    return [kind for kind in KINDS if kind.where is Where.DOOMED]
