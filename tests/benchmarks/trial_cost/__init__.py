"""The cost of a trial in addition to training: the program runs small trials, with timers around its functions.

There is one slot, so that nothing waits for a core. The first trial is left out: it waits for the forkserver's imports.
"""

import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.benchmarks.harness import Options, Result, Target, median, python_command, users_environment, wall_s
from tests.benchmarks.trial_cost import patch_points, spans
from tests.benchmarks.trial_cost.spans import Span

_EPOCHS = 2
_SWEEP = """
study: cost
sampler: {{name: tpe, n_startup_trials: 2}}
budget: {{trials: {n_trials}}}
base:
  data: {{name: imdb, fallback: reviews, vocab_size: 10000, maxlen: 100, train_samples: 1000, validation_split: 0.04}}
  model: {{cell: lstm, units: 64, embedding_dim: 64}}
  train: {{epochs: {epochs}, batch_size: 128, optimizer: rmsprop}}
space:
  train.learning_rate: {{float: [0.0003, 0.003], log: true}}
"""
_MAX_START_S, _MAX_TRIAL_S = 0.1, 0.4

_TRAIN, _EVALUATE = f"function {patch_points.TRAIN_STEP}", f"function {patch_points.EVALUATION_STEP}"


class Trial:
    """The seconds of one trial's parts, computed from its spans."""

    def __init__(self, trial_spans: Sequence[Span], next_submit: float) -> None:
        """Args:
        trial_spans: the spans of the trial.
        next_submit: when the next trial was submitted.
        """
        self._by_label: dict[str, list[Span]] = defaultdict(list)
        for span in trial_spans:
            self._by_label[span.label].append(span)
        self._next_submit = next_submit

    def total(self, *labels: str) -> float:
        """Returns the seconds of all calls with these labels."""
        return sum(span.seconds for label in labels for span in self._by_label[label])

    def first(self, label: str) -> Span:
        return self._by_label[label][0]

    def tracing(self, label: str) -> float:
        """Returns how much longer the first call took than the median of the later ones."""
        first, *later = (span.seconds for span in self._by_label[label])
        return first - median(later)

    @property
    def start(self) -> float:
        return self.first("process").begin - self.first("submit").begin

    @property
    def setup(self) -> float:
        return self.first("run").begin - self.first("process").begin

    @property
    def imports(self) -> float:
        return self.first("fit").begin - self.first("run").begin - self.first("open").seconds

    @property
    def data(self) -> float:
        batches = self.first("training batch").seconds + self.first("validation batch").seconds
        return self.total("open", "split") + batches

    @property
    def network(self) -> float:
        return self.first("event").begin - self.first("fit").begin - self.first("split").seconds

    @property
    def events(self) -> float:
        return self.total("event") - self.total("answer")

    @property
    def end(self) -> float:
        return self.first("exited").begin - self.first("process").end

    @property
    def after(self) -> float:
        """From the exit of the trial's process to the submission of the next trial, which includes `ask`."""
        return self._next_submit - self.first("exited").begin

    @property
    def slot(self) -> float:
        """From the submission of the trial to that of the next one."""
        return self._next_submit - self.first("submit").begin

    @property
    def training(self) -> float:
        """Training and evaluation with all batches except the first, without tracing."""
        steps = self.total(_TRAIN, _EVALUATE) - self.tracing(_TRAIN)
        batches = self.total("training batch", "validation batch")
        firsts = self.first("training batch").seconds + self.first("validation batch").seconds
        return steps - self.tracing(_EVALUATE) + batches - firsts


_IN_SLOT: tuple[tuple[str, Callable[[Trial], float]], ...] = (
    ("start: from the submission to the first line of the process", lambda trial: trial.start),
    ("set-up: log, lock, watch of the supervisor", lambda trial: trial.setup),
    ("remaining imports, plan, TensorFlow settings", lambda trial: trial.imports),
    ("data: token store, split, first batches", lambda trial: trial.data),
    ("network and optimizer", lambda trial: trial.network),
    ("writing events", lambda trial: trial.events),
    ("waiting for answers: Optuna's report and pruner", lambda trial: trial.total("answer")),
    ("checkpoint state.npz", lambda trial: trial.total("checkpoint")),
    ("best.keras and held_out.npz", lambda trial: trial.total("best model")),
    ("history.csv and curves.png", lambda trial: trial.total("history")),
    ("end of the process", lambda trial: trial.end),
    ("after the trial: clean-up, retention, ask for the next trial", lambda trial: trial.after),
)
_CONCURRENT: tuple[tuple[str, Callable[[Trial], float]], ...] = (
    ("Optuna's tell, while the trial draws its curves", lambda trial: trial.total("tell")),
    ("MLflow, in the sender thread, during training", lambda trial: trial.total("mlflow")),
)
_TRACING: tuple[tuple[str, Callable[[Trial], float]], ...] = (
    ("tracing and compiling the training step", lambda trial: trial.tracing(_TRAIN)),
    ("tracing and compiling the evaluation step", lambda trial: trial.tracing(_EVALUATE)),
)


def run(options: Options) -> Result:
    """Runs a small sweep with timers and adds up the spans."""
    n_trials = 5 if options.quick else 2 + 8 * options.rounds
    trials = _trials(n_trials)
    rows = [_row(name, "in the slot", seconds, trials) for name, seconds in _IN_SLOT]
    rows += [_row(name, "concurrent", seconds, trials) for name, seconds in _CONCURRENT]
    rows += [_row(name, "tracing", seconds, trials) for name, seconds in _TRACING]

    def accounted(trial: Trial) -> float:
        return sum(seconds(trial) for _, seconds in (*_IN_SLOT, *_TRACING))

    def without_tracing(trial: Trial) -> float:
        return sum(seconds(trial) for _, seconds in (*_IN_SLOT, *_CONCURRENT)) + rest(trial)

    def rest(trial: Trial) -> float:
        return trial.slot - trial.training - accounted(trial)

    rows.append(_row("rest: not in any row above", "in the slot", rest, trials))
    rows.append(_row("everything except tracing", "sum", without_tracing, trials))
    rows.append(_row("training, for comparison", "training", lambda trial: trial.training, trials))
    return Result(
        name="trial_cost",
        title="The cost of a trial in addition to training",
        rows=rows,
        targets=(
            Target("start of a trial, s", median([trial.start for trial in trials]), _MAX_START_S, at_least=False),
            Target(
                "cost of a trial without training and tracing, s",
                median([without_tracing(trial) for trial in trials]),
                _MAX_TRIAL_S,
                at_least=False,
            ),
        ),
        notes=(
            f"{len(trials)} trials of {_EPOCHS} epochs each, LSTM(64), embedding 64, vocabulary 10,000, one slot; "
            "seconds per trial",
            "concurrent work delays nothing while a core is free; the sum includes it",
        ),
    )


def _row(name: str, where: str, seconds: Callable[[Trial], float], trials: Sequence[Trial]) -> dict[str, object]:
    values = [seconds(trial) for trial in trials]
    return {"part": name, "where": where, "s": median(values), "min": min(values), "max": max(values)}


def _trials(n_trials: int) -> list[Trial]:
    """Runs the sweep; returns all trials except the first and the last, which has no next trial."""
    with tempfile.TemporaryDirectory() as root_folder:
        folder, file = Path(root_folder) / "spans", Path(root_folder) / "cost.yaml"
        folder.mkdir()
        file.write_text(_SWEEP.format(n_trials=n_trials, epochs=_EPOCHS))
        program = python_command("-m", "tests.benchmarks.trial_cost.program")
        command = [*program, "sweep", str(file), "--home", str(Path(root_folder) / "home"), "--workers", "1"]
        root = str(Path(__file__).resolve().parents[3])
        wall_s(command, cwd=root, env={**users_environment(), "PYTHONPATH": root, spans.FOLDER: str(folder)})
        all_spans = spans.read(folder)
    begins = {span.trial: span.begin for span in all_spans if span.label == "submit"}
    if not any(span.label == "process" for span in all_spans):
        raise RuntimeError("no trial was timed: the forkserver could not import tests.benchmarks.trial_cost.inside")
    return [
        Trial([span for span in all_spans if span.trial == number], begins[number + 1])
        for number in range(1, n_trials - 1)
    ]
