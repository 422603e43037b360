"""How soon the program answers, in multiples of `python -c pass`, on a home with a small finished study."""

import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from tests.benchmarks.frame import Options, Result, Target, in_turn, median, python, users_environment, wall_s

_PROGRAM = "import sys; from rnnexp.cli import main; sys.exit(main())"
"""What the installed `rnnexp` does."""

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

_AT_MOST = {"--help": 12.0, "trials": 60.0}
_TURNS_A_ROUND = 5


def run(options: Options) -> Result:
    """Times four commands and an empty Python in turn."""
    environment = with_bytecode(options.state)
    with tempfile.TemporaryDirectory() as folder:
        home, file = Path(folder) / "home", Path(folder) / "small.yaml"
        file.write_text(_SWEEP)
        wall_s(_rnnexp("sweep", str(file), "--home", str(home)), env=environment)
        commands = {
            "python -c pass": python("-c", "pass"),
            "--help": _rnnexp("--help"),
            "studies": _rnnexp("studies", "--home", str(home)),
            "trials": _rnnexp("trials", "small", "--home", str(home)),
            "sweep --dry-run": _rnnexp("sweep", str(file), "--dry-run", "--home", str(home)),
        }
        timed = [partial(wall_s, command, env=environment) for command in commands.values()]
        in_turn(1, *timed)  # compiles, and brings the files into memory
        taken = in_turn(2 if options.quick else _TURNS_A_ROUND * options.rounds, *timed)
    empty = taken[0]
    multiples = {
        name: median([one / other for one, other in zip(each, empty, strict=True)])
        for name, each in zip(commands, taken, strict=True)
    }
    rows = [
        {
            "command": name,
            "seconds": median(each),
            "least": min(each),
            "most": max(each),
            "multiple of python -c pass": multiples[name],
        }
        for name, each in zip(commands, taken, strict=True)
    ]
    targets = [
        Target(f"{name}, in multiples of python -c pass", multiples[name], bound, at_least=False)
        for name, bound in _AT_MOST.items()
    ]
    return Result(
        name="startup",
        title="Start-up",
        rows=rows,
        targets=targets,
        notes=(f"median, least and most of {len(empty)} turns; a multiple is taken in each turn, then the median",),
    )


def with_bytecode(state: Path) -> Mapping[str, str]:
    """Returns an environment in which every package is compiled once, this one too, as it is for users."""
    kept = users_environment()
    return {**kept, "PYTHONPYCACHEPREFIX": str(state / "bytecode")}


def _rnnexp(*arguments: str) -> list[str]:
    return python("-c", _PROGRAM, *arguments)
