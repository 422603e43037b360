"""The contestants of the benchmark `rivals`: how each is run and where its results are found."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rnnexp.model.cells import cell
from tests.benchmarks import plain
from tests.benchmarks.harness import python_command, run_timed, users_environment
from tests.benchmarks.rivals.names import KERAS_TUNER, PLAIN, PLAIN_BY_LENGTH, PLAIN_WHOLE, RAY, RAY_REUSED, RNNEXP
from tests.benchmarks.rivals.task import BY_LENGTH, REUSE_WORKERS, WHOLE_GRADIENTS, Task

PYTHON = "RNNEXP_BENCH_PYTHON"
"""The environment variable with the path of the rivals' Python."""

_ROOT = Path(__file__).resolve().parents[3]
_DEFAULT_PYTHON = _ROOT / "build" / "rivals" / "bin" / "python"


@dataclass(frozen=True)
class RunResult:
    """The result of one run of a contestant; the names of the fields are keys in rivals.jsonl.

    Attributes:
        seconds: wall clock of the whole process.
        accuracies: the best validation accuracy of each of the eight configurations, in their order.
        parts: the seconds of the parts that the contestant measures.
    """

    seconds: float
    accuracies: list[float]
    parts: Mapping[str, float]


Contestant = Callable[[Task], RunResult]


def find_installed() -> tuple[dict[str, Contestant], list[str]]:
    """Returns the contestants in the order of the table, and lines about the rivals' versions or their absence."""
    installed: dict[str, Contestant] = {
        PLAIN: _program("plain_loop", sys.executable),
        PLAIN_BY_LENGTH: _program("plain_loop", sys.executable, BY_LENGTH),
    }
    lines: list[str] = []
    rivals = Path(os.environ.get(PYTHON) or _DEFAULT_PYTHON)
    for package, module, variants in (
        ("keras-tuner", "keras_tuner_loop", {KERAS_TUNER: ()}),
        ("ray", "ray_tune_loop", {RAY: (), RAY_REUSED: (REUSE_WORKERS,)}),
    ):
        version = _version(rivals, package)
        if version:
            installed |= {name: _program(module, str(rivals), *options) for name, options in variants.items()}
            lines.append(f"{package} {version}")
        else:
            lines.append(
                f"left out: {' and '.join(variants)}; {rivals} has no {package} (`make bench` installs it; {PYTHON} "
                "sets the Python)"
            )
    return installed | {RNNEXP: _sweep}, lines


def trained_differently() -> dict[str, Contestant]:
    """Returns the contestants whose training differs, so that their accuracies may; the reference is the first.

    KerasTuner and Ray Tune train as the plain loop does.
    """
    return {
        PLAIN: _program("plain_loop", sys.executable),
        PLAIN_BY_LENGTH: _program("plain_loop", sys.executable, BY_LENGTH),
        PLAIN_WHOLE: _program("plain_loop", sys.executable, WHOLE_GRADIENTS),
        RNNEXP: _sweep,
    }


def build_task(folder: Path, seed: int, quick: bool) -> Task:
    """Returns a run of a contestant: the configurations start longest first."""
    every = Task(folder, seed, quick).configurations
    order = sorted(range(len(every)), key=lambda index: -_cost(every[index]))
    return Task(folder, seed, quick, tuple(order))


def _version(interpreter: Path, package: str) -> str:
    """Returns the version of an installed package; nothing if it is not installed."""
    code = f"import importlib.metadata; print(importlib.metadata.version({package!r}))"
    try:
        return run_timed([str(interpreter), "-c", code])[1].strip()
    except (OSError, RuntimeError):
        return ""


def _environment() -> dict[str, str]:
    """Returns the environment of every contestant."""
    data = str(Path(os.environ["RNNEXP_DATA"]).absolute())
    return {**users_environment(), "RNNEXP_DATA": data, "PYTHONPATH": str(_ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"}


def _program(module: str, interpreter: str, *options: str) -> Contestant:
    def run(task: Task) -> RunResult:
        command = [interpreter, "-m", f"tests.benchmarks.rivals.{module}", *task.arguments(), *options]
        seconds, output = run_timed(command, cwd=_ROOT, env=_environment())
        result = json.loads(output.strip().splitlines()[-1])
        return RunResult(seconds, result["accuracies"], result["parts"])

    return run


def _sweep(task: Task) -> RunResult:
    """Runs `rnnexp sweep` in a new home."""
    file, home = task.folder / "eight.yaml", task.folder / "home"
    file.write_text(yaml.safe_dump(build_sweep(task), sort_keys=False))
    environment = _environment()
    rnnexp = python_command("-m", "rnnexp")
    seconds, _ = run_timed([*rnnexp, "sweep", str(file), "--home", str(home)], env=environment)
    _, output = run_timed([*rnnexp, "trials", "eight", "--home", str(home), "--json"], env=environment)
    rows = json.loads(output)
    every = [_settings(configuration) for configuration in task.configurations]
    places = [every.index(row["settings"]) for row in rows]  # a sweep numbers its trials in the order of their start
    values = {place: row["value"] for place, row in zip(places, rows, strict=True)}
    durations = {f"trial {place}": row["duration_s"] for place, row in zip(places, rows, strict=True)}
    return RunResult(seconds, [values[place] for place in range(len(rows))], durations)


def _cost(settings: Mapping[str, Any]) -> float:
    """Returns a number about proportional to the operations of a training step."""
    width = settings["units"] + settings["embedding_dim"]
    return float(cell(settings["cell"]).n_gates * settings["units"] * width * settings["maxlen"])


def build_sweep(task: Task) -> dict[str, Any]:
    """Returns the content of the sweep file for the eight configurations, in the order of the task."""
    n_train = task.configurations[0].get("n_train")
    data = {"name": "imdb", "split": "tail", "validation_split": 0.2, "vocab_size": plain.VOCAB_SIZE}
    return {
        "study": "eight",
        "sampler": {"name": "random", "seed": task.seed},
        "pruner": {"name": "none"},
        "budget": {"trials": len(task.order)},
        "base": {
            "data": data | ({"train_samples": n_train} if n_train else {}),
            "train": {
                "epochs": plain.EPOCHS,
                "batch_size": plain.BATCH_SIZE,
                "optimizer": "rmsprop",
                "seed": task.seed,
            },
        },
        "try": [_settings(task.configurations[index]) for index in task.order],
        "space": {
            "model.cell": {"choice": sorted({settings["cell"] for settings in plain.CONFIGURATIONS})},
            "model.units": {"choice": [32, 64, 128]},
            "model.embedding_dim": {"choice": [32, 64, 128]},
            "data.maxlen": {"choice": sorted({settings["maxlen"] for settings in task.configurations})},
            "clip.kind": {"choice": ["none", "value", "global_norm"]},
            "clip.threshold": {"float": [0.1, 10.0], "log": True, "when": {"clip.kind": ["value", "global_norm"]}},
        },
    }


def _settings(plain_settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns settings of the plain loop under rnnexp's names."""
    settings = {
        "model.cell": plain_settings["cell"],
        "model.units": plain_settings["units"],
        "model.embedding_dim": plain_settings["embedding_dim"],
        "data.maxlen": plain_settings["maxlen"],
        "clip.kind": plain_settings["clip"],
    }
    return settings | ({"clip.threshold": plain_settings["threshold"]} if plain_settings["threshold"] else {})
