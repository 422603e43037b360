"""What surrounds the training: the time before the first trial, and the time after the last one.

The program prints one line per event, and the time at which each line arrives is recorded. The last trial ends at the
time of its result, as its own process has recorded it.
"""

import itertools
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rnnexp.home import Home
from rnnexp.trial import events
from rnnexp.trial.events import Finished
from tests.benchmarks.harness import Options, Result, Target, median, python_command, wall_s
from tests.benchmarks.startup import PROGRAM, environment_with_bytecode

_IMPORT = ("-c", "import tensorflow, keras")
_TRIAL = """
data: {name: reviews, train_samples: 600, maxlen: 60}
model: {cell: gru, units: 8, embedding_dim: 8}
train: {epochs: 1, batch_size: 64}
"""
_SWEEP = """
study: ends
pruner: {name: none}
budget: {trials: 4}
base:
  data: {name: reviews, maxlen: 60}
  model: {units: 16, embedding_dim: 8}
  train: {epochs: 3, batch_size: 64}
space: {train.seed: {int: [0, 1000000]}}
"""
_TURNS_PER_ROUND = 5
_MAX_MULTIPLE, _MAX_RANKING_S, _MAX_EXIT_S = 1.7, 1.0, 2.0


@dataclass(frozen=True)
class Command:
    """A command to time.

    Attributes:
        arguments: of the program, given the home and the number of the turn; every turn runs a new study.
        result: the start of the line that shows the result, given the study's name.
        new_home: whether every turn has a home of its own.
    """

    arguments: Callable[[Path, int], list[str]]
    result: Callable[[str], str]
    new_home: bool


@dataclass(frozen=True)
class Timing:
    """One run of a command, in seconds.

    Attributes:
        whole: from its start to its exit.
        first_trial: from its start to the first event of a trial, which has the training function by then.
        ranking: from the end of the last trial to the line with the result.
        exit: from that line to the exit.
    """

    whole: float
    first_trial: float
    ranking: float
    exit: float


def run(options: Options) -> Result:
    """Times the commands and the import of TensorFlow, in turn."""
    environment = environment_with_bytecode(options.state)
    n_turns = 2 if options.quick else _TURNS_PER_ROUND * options.rounds
    imports: list[float] = []
    timings: dict[str, list[Timing]] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        commands = _commands(root)
        turn_s = 0.0
        for turn in range(n_turns + 1):  # the first turn fills the caches
            if turn > 1 and not options.share.allows(turn_s):
                break
            began = time.monotonic()
            import_s = wall_s(python_command(*_IMPORT), env=environment)
            found = {name: _time(command, root, turn, environment) for name, command in commands.items()}
            if turn:
                imports.append(import_s)
                for name, timing in found.items():
                    timings.setdefault(name, []).append(timing)
            turn_s = time.monotonic() - began
    multiples = {
        name: median([one.whole / base for one, base in zip(each, imports, strict=True)])
        for name, each in timings.items()
    }
    rows = [
        {
            "command": name,
            "seconds": median([one.whole for one in each]),
            "multiple of the import": multiples[name],
            "before the first trial": median([one.first_trial for one in each]),
            "last trial to ranking": median([one.ranking for one in each]),
            "ranking to exit": median([one.exit for one in each]),
        }
        for name, each in timings.items()
    ]
    one_trial, sweep = itertools.islice(timings, 2)
    targets = [
        Target(f"{one_trial}, in multiples of the import", multiples[one_trial], _MAX_MULTIPLE, at_least=False),
        Target(
            f"{sweep}: last trial to ranking, seconds",
            median([one.ranking for one in timings[sweep]]),
            _MAX_RANKING_S,
            at_least=False,
        ),
        Target(
            f"{sweep}: ranking to exit, seconds",
            median([one.exit for one in timings[sweep]]),
            _MAX_EXIT_S,
            at_least=False,
        ),
    ]
    return Result(
        name="ends",
        title="Before the first trial and after the last one",
        rows=rows,
        targets=targets,
        notes=(
            f"medians of {len(imports)} turns; `import tensorflow, keras` takes {median(imports):.3g} s "
            f"({min(imports):.3g} to {max(imports):.3g})",
        ),
    )


def _commands(root: Path) -> Mapping[str, Command]:
    trial, sweep = root / "trial.yaml", root / "sweep.yaml"
    trial.write_text(_TRIAL)
    sweep.write_text(_SWEEP)

    def train(home: Path, turn: int) -> list[str]:
        return ["train", str(trial), "--set", f"train.seed={turn}", "--home", str(home)]

    def four_trials(home: Path, turn: int) -> list[str]:
        return ["sweep", str(sweep), "--study", f"ends-{turn}", "--workers", "2", "--home", str(home)]

    return {
        "one trial": Command(train, lambda study: f"study {study}: val_accuracy", new_home=False),
        "four trials on two workers": Command(four_trials, lambda _: "rank  trial", new_home=False),
        "one trial in a new home": Command(train, lambda study: f"study {study}: val_accuracy", new_home=True),
    }


def _time(command: Command, root: Path, turn: int, environment: Mapping[str, str]) -> Timing:
    """Runs a command once.

    Raises:
        RuntimeError: with the output, if it fails.
    """
    home = Home.at(root / (f"home-{turn}" if command.new_home else "home"))
    began, lines = time.time(), list[tuple[float, str]]()
    process = subprocess.Popen(
        python_command("-c", PROGRAM, *command.arguments(home.root, turn)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    lines += ((time.time(), line) for line in process.stdout)
    process.wait()
    ended = time.time()
    output = "".join(line for _, line in lines)
    if process.returncode:
        raise RuntimeError(f"{command.arguments(home.root, turn)}: exit code {process.returncode}\n{output[-4000:]}")
    study = next(line for _, line in lines if line.startswith("study ")).split()[1]
    ranked = next(when for when, line in lines if line.startswith(command.result(study)))
    folder = home.study(study)
    recorded = [event for number in folder.numbers() for event in events.read(folder.trial(number).events)]
    last = max(event.time for event in recorded if isinstance(event, Finished))
    first = min(event.time for event in recorded)
    return Timing(ended - began, first - began, ranked - last, ended - ranked)
