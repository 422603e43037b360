"""The plan of a simulated sweep, drawn from its seed: the sweep file, the slots, and the probability of each fault."""

import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from rnnexp.config.sweep import SweepConfig

RATES: Mapping[str, Mapping[str, float]] = {
    "idle": {
        "supervisor killed": 0.0004,
        "power loss": 0.0001,
        "signal": 0.0004,
        "clock jump": 0.001,
        "second supervisor": 0.0004,
        "stop request": 0.0006,
        "supervisor stalls": 0.0003,
    },
    "write": {
        "supervisor killed": 0.012,
        "power loss": 0.003,
        "signal": 0.004,
        "clock jump": 0.004,
        "second supervisor": 0.002,
        "stop request": 0.003,
    },
    "removal": {"supervisor killed": 0.1, "power loss": 0.02},
    "mlflow: step": {"supervisor killed": 0.002, "signal": 0.001},
    "optuna": {"optuna: disk full": 0.004, "optuna: locked": 0.002, "optuna: connection lost": 0.003},
    "lock": {"lock lost": 0.0004},
    "append": {"record: disk full": 0.008, "record: torn": 0.008, "supervisor killed in a write": 0.012},
    "begin": {"record: disk full": 0.01, "supervisor killed in a write": 0.015},
    "disk check": {"disk nearly full": 0.02},
    "submit": {"submit fails": 0.03, "environment unfit": 0.01},
    "orphan": {"orphan hangs": 0.25},
    "between starts": {"model damaged": 0.15, "model missing": 0.05},
    "prepare": {"data error": 0.02},
    "answer": {"answer lost": 0.008},
    "message": {"message lost": 0.02, "message late": 0.04},
    "result message": {"message lost": 0.06, "message late": 0.02},
    "mlflow: create run": {"mlflow: reply lost": 0.06, "mlflow: call late": 0.08},
    "mlflow": {
        "mlflow: outage": 0.012,
        "mlflow: call fails": 0.012,
        "mlflow: locked": 0.006,
        "mlflow: reply lost": 0.012,
        "mlflow: call late": 0.02,
    },
    "trial": {
        "trial killed": 0.012,
        "trial exits": 0.006,
        "trial raises": 0.004,
        "trial out of memory": 0.004,
        "trial hangs": 0.004,
        "trial slow": 0.004,
        "trial exceeds memory limit": 0.005,
    },
    "trial write": {"trial: disk full": 0.006, "trial: torn": 0.004, "trial killed in a write": 0.008},
    "epoch": {"trial diverges": 0.03},
    "restore": {"checkpoint damaged": 0.05},
    "call": {"call lost": 0.04, "call late": 0.03, "call doubled": 0.04, "reply lost": 0.04},
    "node": {"node lost": 0.02, "node cut": 0.02, "node declared dead": 0.012},
    "start on a node": {"node starts no process": 0.03},
}
"""The probability of each fault, by the place where it can occur."""

KINDS = tuple(dict.fromkeys(kind for rates in RATES.values() for kind in rates))

_FAVOURED = 6.0
"""The factor of the rate of a favoured kind."""

_NEED_HEARTBEAT_TIMEOUT = ("message lost", "answer lost", "trial hangs")
"""Without a heartbeat timeout, a trial with one of these faults would never end."""


@dataclass(frozen=True)
class Plan:
    """A sweep to simulate.

    Attributes:
        seed: the seed of the plan and of all random events.
        config: the sweep file.
        n_slots: trials at once.
        more_trials: by how much the budget grows at a restart; 0 for no growth.
        epoch_s: how long an epoch takes.
        n_faults: the maximum number of faults.
        rates: the probability of each fault, by place.
        is_remote: whether the slots are on other machines.
    """

    seed: int
    config: SweepConfig
    n_slots: int
    more_trials: int
    epoch_s: float
    n_faults: int
    rates: Mapping[str, Mapping[str, float]]
    is_remote: bool = False


def draw(seed: int, *, faults: bool = True, favoured: Collection[str] = ()) -> Plan:
    """Returns the plan of a seed.

    Args:
        seed: any number.
        faults: False for the same sweep without faults.
        favoured: kinds of fault that are frequent in every sweep.
    """
    rng = random.Random(seed)
    values = _sweep(rng, random.Random(f"pause {seed}"))
    if values["sampler"]["name"] != "grid":
        _limit_space(random.Random(f"search space of {seed}"), values)
    config = SweepConfig.model_validate(values)
    grid = config.sampler.name == "grid"
    return Plan(
        seed=seed,
        config=config,
        n_slots=rng.randint(1, 3),
        more_trials=0 if grid else rng.choice([0, 0, 0, 1, 3]),
        epoch_s=rng.choice([0.3, 1.0, 3.0] + [10.0] * (config.budget.timeout_s is None)),
        n_faults=rng.randint(8, 40) if faults else 0,
        rates=_rates(rng, config, favoured),
        is_remote=random.Random(f"engine of {seed}").random() < 0.5,
    )


def _rates(rng: random.Random, config: SweepConfig, favoured: Collection[str]) -> dict[str, dict[str, float]]:
    """Draws the rates of one sweep. Some kinds are off and some are frequent, so that rare combinations occur."""
    density = rng.choice([0.25, 0.5, 1.0])  # at a low density, the faults last until the sweep's end
    factors = {kind: density * rng.choice([0, 0.5, 1, 1, 3, 8]) for kind in KINDS}
    factors |= dict.fromkeys(favoured, _FAVOURED)
    limits = config.limits
    if limits.heartbeat_timeout_s is None:
        factors |= dict.fromkeys(_NEED_HEARTBEAT_TIMEOUT, 0)
    if limits.trial_s is None:
        factors["trial slow"] = 0
    if limits.memory_gb is None:
        factors["trial exceeds memory limit"] = 0
    return {place: {kind: rate * factors[kind] for kind, rate in rates.items()} for place, rates in RATES.items()}


def _limit_space(rng: random.Random, values: dict[str, Any]) -> None:
    """Gives some sweeps a search space of three or six settings in effect, fewer than the budget of many of them."""
    if rng.random() < 0.75:
        return
    when = rng.choice([{"when": {"clip.kind": ["norm"]}}, {}])  # without, the kind `none` switches the threshold off
    values["space"] = {
        "model.units": {"choice": rng.choice([[8], [8, 16]])},
        "clip.kind": {"choice": ["none", "norm"]},
        "clip.threshold": {"choice": [1.0, 5.0], **when},
    }
    first = {"model.units": 8, "clip.kind": "norm", "clip.threshold": 5.0}
    values["try"] = rng.choice([[], [{"clip.kind": "none"}, first], [first, first, {"clip.kind": "norm"}]])
    if values["sampler"]["name"] == "tpe":
        values["sampler"]["n_startup_trials"] = 2


def _sweep(rng: random.Random, pausing: random.Random) -> dict[str, Any]:
    sampler = rng.choice(["random"] * 8 + ["tpe", "grid"])
    metric = rng.choice(["val_accuracy", "val_accuracy", "val_loss"])
    epochs = rng.randint(1, 5)
    pruner: dict[str, Any] = {"name": rng.choice(["none", "median", "hyperband"])}
    if pruner["name"] == "median":
        pruner |= {"n_startup_trials": rng.randint(1, 2), "n_warmup_steps": rng.randint(0, 1)}
    if pruner["name"] == "hyperband":
        pruner |= {"min_resource": 1}
    if pausing.random() < 0.4:
        pruner = {"name": pausing.choice(["hyperband", "successive_halving"]), "pause": True}
        pruner |= {"reduction_factor": pausing.randint(2, 3), "min_resource": pausing.randint(1, 2)}
    space: dict[str, Any] = {
        "train.learning_rate": {"float": [1e-4, 1e-1], "log": True},
        "model.units": {"int": [4, 64]},
        "model.dropout": {"float": [0.0, 0.5]},
    }
    tries: list[dict[str, Any]] = [{"model.units": 11}, {"train.learning_rate": 0.01, "model.units": 12}]
    if sampler == "grid":
        space = {"model.units": {"choice": [8, 16, 32]}, "model.layers": {"choice": [1, 2]}}
        tries = [{"model.units": 16, "model.layers": 1}]
    return {
        "study": "s",
        "objective": {"metric": metric, "direction": "minimize" if metric == "val_loss" else "maximize"},
        "sampler": {"name": sampler} | ({} if sampler == "grid" else {"seed": rng.randint(0, 99)}),
        "pruner": pruner,
        "budget": {"trials": rng.randint(3, 8), "timeout_s": rng.choice([None] * 5 + [20.0])},
        "base": {
            "data": {"name": "reviews"},
            "train": {"epochs": epochs, "monitor": metric, "patience": rng.choice([None, None, 2])},
        },
        "try": rng.choice([[], [], tries[:1], tries]),
        "space": space,
        "limits": {
            "retries": rng.randint(0, 2),
            "trial_s": rng.choice([None, 40.0, 90.0]),
            "heartbeat_timeout_s": rng.choice([None, 4.0, 10.0, 30.0]),
            "memory_gb": rng.choice([None, 2.0]),
            "consecutive_failures": rng.choice([None, 1, 2, 5]),
        },
        "keep": {"checkpoints": rng.randint(1, 4)},
    }
