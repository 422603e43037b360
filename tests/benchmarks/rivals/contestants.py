"""Who takes part in the first benchmark, how each is run, and where its answer is found."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.benchmarks import plain
from tests.benchmarks.frame import python, timed, users_environment
from tests.benchmarks.rivals.task import REUSE, Task

PYTHON = "RNNEXP_BENCH_PYTHON"
"""The environment variable that names the rivals' Python."""

_ROOT = Path(__file__).resolve().parents[3]
_MADE = _ROOT / "build" / "rivals" / "bin" / "python"
_GATES = {"simple_rnn": 1, "gru": 3, "lstm": 4}
PLAIN, KERAS_TUNER, RAY, RNNEXP = "plain loop", "KerasTuner", "Ray Tune", "rnnexp sweep"
RAY_REUSED = "Ray Tune, workers used again"


@dataclass(frozen=True)
class Ran:
    """What a contestant's run gave.

    Attributes:
        seconds: of the whole process.
        accuracies: the best validation accuracy of each of the eight configurations, in their order.
        parts: seconds of what the contestant tells apart.
    """

    seconds: float
    accuracies: list[float]
    parts: Mapping[str, float]


Contestant = Callable[[Task], Ran]


def installed() -> tuple[dict[str, Contestant], list[str]]:
    """Returns the contestants in the order in which they run, and a line for each that is left out."""
    there: dict[str, Contestant] = {PLAIN: _program("plain_loop", sys.executable)}
    missing: list[str] = []
    rivals = Path(os.environ.get(PYTHON) or _MADE)
    for name, package, module, *more in (
        (KERAS_TUNER, "keras_tuner", "keras_tuner_loop"),
        (RAY, "ray", "ray_tune_loop"),
        (RAY_REUSED, "ray", "ray_tune_loop", REUSE),
    ):
        if _has(rivals, package):
            there[name] = _program(module, str(rivals), *more)
        else:
            missing.append(
                f"left out: {name}; {rivals} has no {package} (`make bench` makes it, {PYTHON} names another Python)"
            )
    return there | {RNNEXP: _sweep}, missing


def _has(interpreter: Path, package: str) -> bool:
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({package!r}) is None)"
    try:
        timed([str(interpreter), "-c", code])
    except (OSError, RuntimeError):
        return False
    return True


def _environment() -> dict[str, str]:
    """The environment of every contestant."""
    kept = users_environment()
    data = str(Path(os.environ["RNNEXP_DATA"]).absolute())
    return {**kept, "RNNEXP_DATA": data, "PYTHONPATH": str(_ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"}


def _program(module: str, interpreter: str, *more: str) -> Contestant:
    def run(task: Task) -> Ran:
        command = [interpreter, "-m", f"tests.benchmarks.rivals.{module}", *task.arguments(), *more]
        seconds, said = timed(command, cwd=_ROOT, env=_environment())
        answer = json.loads(said.strip().splitlines()[-1])
        return Ran(seconds, answer["accuracies"], answer["parts"])

    return run


def _sweep(task: Task) -> Ran:
    """Runs `rnnexp sweep` in a new home, the longest trials first."""
    file, home = task.folder / "eight.yaml", task.folder / "home"
    order = sorted(range(len(plain.EIGHT)), key=lambda index: -_work(task.configurations[index]))
    file.write_text(yaml.safe_dump(sweep(task, order), sort_keys=False))
    environment = _environment()
    rnnexp = python("-m", "rnnexp")
    seconds, _ = timed([*rnnexp, "sweep", str(file), "--home", str(home)], env=environment)
    _, said = timed([*rnnexp, "trials", "eight", "--home", str(home), "--json"], env=environment)
    rows = json.loads(said)
    values = {order[row["number"]]: row["value"] for row in rows}
    durations = {f"trial {order[row['number']]}": row["duration_s"] for row in rows}
    return Ran(seconds, [values[index] for index in range(len(order))], durations)


def _work(settings: Mapping[str, Any]) -> float:
    """Returns about how much there is to compute in a step, in any unit."""
    width = settings["units"] + settings["embedding_dim"]
    return float(_GATES[settings["cell"]] * settings["units"] * width * settings["maxlen"])


def sweep(task: Task, order: list[int]) -> dict[str, Any]:
    """Returns the sweep file of the eight configurations.

    Args:
        task: what is run.
        order: in which the configurations are tried.
    """
    few = task.configurations[0].get("n_reviews")
    data = {"name": "imdb", "split": "tail", "validation_split": 0.2, "vocab_size": plain.VOCAB_SIZE}
    return {
        "study": "eight",
        "sampler": {"name": "random", "seed": task.seed},
        "pruner": {"name": "none"},
        "budget": {"trials": len(order)},
        "base": {
            "data": data | ({"train_samples": few} if few else {}),
            "train": {
                "epochs": plain.EPOCHS,
                "batch_size": plain.BATCH_SIZE,
                "optimizer": "rmsprop",
                "seed": task.seed,
            },
        },
        "try": [_settings(task.configurations[index]) for index in order],
        "space": {
            "model.cell": {"choice": sorted(_GATES)},
            "model.units": {"choice": [32, 64, 128]},
            "model.embedding_dim": {"choice": [32, 64, 128]},
            "data.maxlen": {"choice": sorted({settings["maxlen"] for settings in task.configurations})},
            "clip.kind": {"choice": ["none", "value", "global_norm"]},
            "clip.threshold": {"float": [0.1, 10.0], "log": True, "when": {"clip.kind": ["value", "global_norm"]}},
        },
    }


def _settings(plain_settings: Mapping[str, Any]) -> dict[str, Any]:
    named = {
        "model.cell": plain_settings["cell"],
        "model.units": plain_settings["units"],
        "model.embedding_dim": plain_settings["embedding_dim"],
        "data.maxlen": plain_settings["maxlen"],
        "clip.kind": plain_settings["clip"],
    }
    return named | ({"clip.threshold": plain_settings["threshold"]} if plain_settings["threshold"] else {})
