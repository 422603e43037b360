"""What a trial costs beside training: small trials run by the program itself, timers put around its parts.

One slot, so that nothing waits for a core. The first trial is left out: it waits for the forkserver's imports.
"""

import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.benchmarks.frame import Options, Result, Target, median, python, users_environment, wall_s
from tests.benchmarks.trial_cost import spans
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
_START_MOST_S, _TRIAL_MOST_S = 0.1, 1.0


class Trial:
    """One trial's spans, by label, with the beginning of the trial after it."""

    def __init__(self, found: Sequence[Span], following: float) -> None:
        self._by_label: dict[str, list[Span]] = defaultdict(list)
        for span in found:
            self._by_label[span.label].append(span)
        self._following = following

    def total(self, *labels: str) -> float:
        """Returns the seconds of all calls."""
        return sum(span.seconds for label in labels for span in self._by_label[label])

    def first(self, label: str) -> Span:
        return self._by_label[label][0]

    def tracing(self, label: str) -> float:
        """Returns what the first call took longer than the later ones."""
        first, *later = (span.seconds for span in self._by_label[label])
        return first - median(later)

    @property
    def start(self) -> float:
        return self.first("process").begin - self.first("submit").begin

    @property
    def prelude(self) -> float:
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
    def settling(self) -> float:
        """From the end of the trial's process to the next one's request, without the asking for it."""
        return self._following - self.first("exited").begin

    @property
    def slot(self) -> float:
        """From the request for the trial's process to that for the next one."""
        return self._following - self.first("submit").begin

    @property
    def training(self) -> float:
        """Steps and measuring, with the batches but the first, without tracing."""
        steps = self.total("function step", "function measure") - self.tracing("function step")
        batches = self.total("training batch", "validation batch")
        firsts = self.first("training batch").seconds + self.first("validation batch").seconds
        return steps - self.tracing("function measure") + batches - firsts


_ON_THE_PATH: tuple[tuple[str, Callable[[Trial], float]], ...] = (
    ("start: from the request to the process' first line", lambda trial: trial.start),
    ("its log, its lock, its supervisor's watch", lambda trial: trial.prelude),
    ("imports that are left, plan, TensorFlow's settings", lambda trial: trial.imports),
    ("data: token store, split, first batches", lambda trial: trial.data),
    ("network and optimizer", lambda trial: trial.network),
    ("events written", lambda trial: trial.events),
    ("answers awaited: Optuna's report and pruner", lambda trial: trial.total("answer")),
    ("checkpoint state.npz", lambda trial: trial.total("checkpoint")),
    ("best.keras and held_out.npz", lambda trial: trial.total("best model")),
    ("history.csv and curves.png", lambda trial: trial.total("picture")),
    ("end of the process", lambda trial: trial.end),
    ("settling, retention, and asking for the next trial", lambda trial: trial.settling),
)
_BESIDE: tuple[tuple[str, Callable[[Trial], float]], ...] = (
    ("Optuna's tell, beside the trial's picture", lambda trial: trial.total("tell")),
    ("MLflow, by the sender, beside training", lambda trial: trial.total("mlflow")),
)
_TRACING: tuple[tuple[str, Callable[[Trial], float]], ...] = (
    ("tracing and compiling the training step", lambda trial: trial.tracing("function step")),
    ("tracing and compiling the measuring", lambda trial: trial.tracing("function measure")),
)


def run(options: Options) -> Result:
    """Runs a small sweep with timers and adds them up."""
    n_trials = 5 if options.quick else 2 + 4 * options.rounds
    trials = _trials(n_trials)
    rows = [_row(name, "in the slot", of, trials) for name, of in _ON_THE_PATH]
    rows += [_row(name, "beside it", of, trials) for name, of in _BESIDE]
    rows += [_row(name, "tracing", of, trials) for name, of in _TRACING]

    def accounted(trial: Trial) -> float:
        return sum(of(trial) for _, of in (*_ON_THE_PATH, *_TRACING))

    def without_tracing(trial: Trial) -> float:
        return sum(of(trial) for _, of in (*_ON_THE_PATH, *_BESIDE)) + rest(trial)

    def rest(trial: Trial) -> float:
        return trial.slot - trial.training - accounted(trial)

    rows.append(_row("what no row above accounts for", "in the slot", rest, trials))
    rows.append(_row("all but tracing", "sum", without_tracing, trials))
    rows.append(_row("training, for comparison", "training", lambda trial: trial.training, trials))
    return Result(
        name="trial_cost",
        title="What a trial costs beside training",
        rows=rows,
        targets=(
            Target("start of a trial, s", median([trial.start for trial in trials]), _START_MOST_S, at_least=False),
            Target(
                "a trial beside training and tracing, s",
                median([without_tracing(trial) for trial in trials]),
                _TRIAL_MOST_S,
                at_least=False,
            ),
        ),
        notes=(
            f"{len(trials)} trials of {_EPOCHS} epochs each, LSTM(64), embedding 64, vocabulary 10,000, one slot; "
            "seconds a trial",
            "what is beside a trial delays nothing while a core is free, and is in the sum all the same",
        ),
    )


def _row(name: str, where: str, of: Callable[[Trial], float], trials: Sequence[Trial]) -> dict[str, object]:
    values = [of(trial) for trial in trials]
    return {"what": name, "where": where, "s": median(values), "least": min(values), "most": max(values)}


def _trials(n_trials: int) -> list[Trial]:
    """Runs the sweep; returns what was measured of every trial but the first and the last, which has none after it."""
    with tempfile.TemporaryDirectory() as place:
        folder, file = Path(place) / "spans", Path(place) / "cost.yaml"
        folder.mkdir()
        file.write_text(_SWEEP.format(n_trials=n_trials, epochs=_EPOCHS))
        program = python("-m", "tests.benchmarks.trial_cost.program")
        command = [*program, "sweep", str(file), "--home", str(Path(place) / "home"), "--workers", "1"]
        root = str(Path(__file__).resolve().parents[3])
        wall_s(command, cwd=root, env={**users_environment(), "PYTHONPATH": root, spans.FOLDER: str(folder)})
        found = spans.read(folder)
    begins = {span.trial: span.begin for span in found if span.label == "submit"}
    if not any(span.label == "process" for span in found):
        raise RuntimeError("no trial was timed: the forkserver could not import tests.benchmarks.trial_cost.inside")
    return [
        Trial([span for span in found if span.trial == number], begins[number + 1]) for number in range(1, n_trials - 1)
    ]
