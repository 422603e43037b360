"""Start-up time of five commands, in multiples of `python -c pass`, on a home with a small finished study."""

import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from tests.benchmarks.harness import (
    Options,
    Result,
    Target,
    interleaved,
    median,
    python_command,
    users_environment,
    wall_s,
)

_PROGRAM = "import sys; from rnnexp.cli import main; sys.exit(main())"
"""The code of the installed script `rnnexp`."""

_SWEEP = """
study: small
sampler: {name: random, seed: 5}
budget: {trials: 3}
base:
  data: {name: reviews, train_samples: 600, maxlen: 60}
  model: {embedding_dim: 8}
  train: {epochs: 2, batch_size: 64}
space:
  model.cell: {choice: [simple_rnn, gru]}
  model.units: {int: [4, 16]}
"""

_MAX_MULTIPLES = {"--help": 3.0, "studies": 15.0, "trials": 15.0}
_TURNS_PER_ROUND = 8


def run(options: Options) -> Result:
    """Times the commands and an empty Python, interleaved."""
    environment = environment_with_bytecode(options.state)
    with tempfile.TemporaryDirectory() as folder:
        home, file = Path(folder) / "home", Path(folder) / "small.yaml"
        file.write_text(_SWEEP)
        wall_s(_rnnexp("sweep", str(file), "--home", str(home)), env=environment)
        commands = {
            "python -c pass": python_command("-c", "pass"),
            "--help": _rnnexp("--help"),
            "studies": _rnnexp("studies", "--home", str(home)),
            "trials": _rnnexp("trials", "small", "--home", str(home)),
            "sweep --dry-run": _rnnexp("sweep", str(file), "--dry-run", "--home", str(home)),
        }
        measures = [partial(wall_s, command, env=environment) for command in commands.values()]
        interleaved(1, *measures)  # compiles the code and loads the files into the page cache
        timings = interleaved(2 if options.quick else _TURNS_PER_ROUND * options.rounds, *measures, share=options.share)
    empty = timings[0]
    multiples = {
        name: median([value / base for value, base in zip(values, empty, strict=True)])
        for name, values in zip(commands, timings, strict=True)
    }
    rows = [
        {
            "command": name,
            "seconds": median(values),
            "min": min(values),
            "max": max(values),
            "multiple of python -c pass": multiples[name],
        }
        for name, values in zip(commands, timings, strict=True)
    ]
    targets = [
        Target(f"{name}, in multiples of python -c pass", multiples[name], bound, at_least=False)
        for name, bound in _MAX_MULTIPLES.items()
    ]
    return Result(
        name="startup",
        title="Start-up",
        rows=rows,
        targets=targets,
        notes=(f"median, minimum and maximum of {len(empty)} turns; multiples: the median over the turns",),
    )


def environment_with_bytecode(state: Path) -> Mapping[str, str]:
    """Returns an environment in which all packages, this one too, are compiled only once, as for users."""
    return {**users_environment(), "PYTHONPYCACHEPREFIX": str(state / "bytecode")}


def _rnnexp(*arguments: str) -> list[str]:
    return python_command("-c", _PROGRAM, *arguments)
