"""The sweep file: search space, objective, sampler, pruner, budget and limits."""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, field_validator, model_validator

from rnnexp import space as spaces
from rnnexp.config import names
from rnnexp.config.files import dump
from rnnexp.config.objectives import Bound, FurtherObjective, Objective
from rnnexp.config.trial import Section, TrialConfig, setting_names
from rnnexp.space import Distribution


class _Seeded(Section):
    seed: int = Field(0, ge=0, description="seed of the sampler; the same seed gives the same trials")


class TpeSampler(_Seeded):
    """Optuna's tree-structured Parzen estimator, multivariate and grouped: it models conditional settings.

    While trials run in parallel, a running one counts as a bad one (Optuna's `constant_liar`). Settings that a trial
    has are drawn anew; after ten such draws they are drawn at random.
    """

    name: Literal["tpe"]
    seed: int = Field(
        0,
        ge=0,
        description="seed of the sampler; the same seed gives the same trials if they run one at a time "
        "(`--workers 1`); with parallel trials they also depend on which trial ends first",
    )
    n_startup_trials: int = Field(10, ge=0, description="number of random trials before the estimator is used")


class RandomSampler(_Seeded):
    """Independent random values. Settings that a trial has are drawn anew."""

    name: Literal["random"]


class GridSampler(Section):
    """Every combination of the search space once, the longest trials first; then the study ends.

    Each setting is a `choice`, an `int` without `log`, or has a `step`.
    """

    name: Literal["grid"]


Sampler = Annotated[TpeSampler | RandomSampler | GridSampler, Field(discriminator="name")]


class NoPruner(Section):
    """No pruning: a trial ends after its epochs, or when its patience is used up."""

    name: Literal["none"]


class MedianPruner(Section):
    """Prunes a trial whose best value is worse than the median of the complete trials at the same epoch.

    A trial that was complete earlier, because its patience ran out, counts with its best value.
    """

    name: Literal["median"]
    n_startup_trials: int = Field(5, ge=0, description="number of complete trials before any trial is pruned")
    n_warmup_steps: int = Field(1, ge=0, description="number of epochs of a trial before it can be pruned")
    interval_steps: int = Field(1, ge=1, description="number of epochs between two checks of a trial")


_PAUSE = (
    "whether a trial that does not continue at a check is paused instead of pruned: it resumes from its checkpoint "
    "when it is among the best share of those that have reached the check; the trials that are still paused when no "
    "other trial is left to run are pruned"
)


_FEWER = (
    "trials of fewer epochs are never pruned. Earlier checks end good trials: on IMDB the best value until then has a "
    "rank correlation with the final one of 0.29 after epoch 1, 0.42 after 2 and 0.74 after 3"
)


class SuccessiveHalvingPruner(Section):
    """Optuna's asynchronous successive halving: at each rung, only the best share of the trials continues."""

    name: Literal["successive_halving"]
    pause: bool = Field(False, description=_PAUSE)
    min_resource: int = Field(3, ge=1, description=f"number of epochs before the first check; {_FEWER}")
    reduction_factor: int = Field(4, ge=2, description="one in this many trials continues to the next check")
    min_early_stopping_rate: int = Field(0, ge=0, description="number of rungs that are skipped at the start")


class HyperbandPruner(Section):
    """Several brackets of successive halving, which start their checks at different epochs."""

    name: Literal["hyperband"]
    pause: bool = Field(False, description=_PAUSE)
    min_resource: int = Field(3, ge=1, description=f"number of epochs before the earliest check; {_FEWER}")
    reduction_factor: int = Field(3, ge=2, description="one in this many trials continues to the next check")


Pruner = Annotated[NoPruner | MedianPruner | SuccessiveHalvingPruner | HyperbandPruner, Field(discriminator="name")]


class Budget(Section):
    """When a study ends."""

    trials: int | None = Field(
        None,
        ge=1,
        description="total number of trials of the study, failed and pruned ones "
        "included, over all starts of the command; a study ends earlier when each combination of settings has a trial; "
        "optional with the grid sampler",
    )
    timeout_s: float | None = Field(
        None, gt=0, description="time limit in seconds of one start of the command; null: no limit"
    )


class Limits(Section):
    """Limits of a trial's time and memory, and how failures are handled."""

    trial_s: float | None = Field(
        None,
        gt=0,
        description="time limit in seconds of one attempt of a trial; a trial that "
        "exceeds it is killed and fails; null: no limit",
    )
    memory_gb: float | None = Field(
        None,
        gt=0,
        description="limit in gigabytes of a trial's private memory; a trial that exceeds it is killed; null: no limit",
    )
    heartbeat_timeout_s: float | None = Field(
        600,
        gt=0,
        description="a trial that sends neither a heartbeat nor an event for "
        "this many seconds is killed; null: no limit",
    )
    retries: int = Field(
        2, ge=0, description="number of further attempts of a trial that crashed, hung or ran out of memory"
    )
    consecutive_failures: int | None = Field(
        5, ge=1, description="the sweep stops after this many failed trials in a row; null: it never does"
    )

    @model_validator(mode="before")
    @classmethod
    def _former_names(cls, values: Any) -> Any:
        """Accepts `silence_s`, the name of `heartbeat_timeout_s` until November 2026."""
        if isinstance(values, dict) and "silence_s" in values:
            return {"heartbeat_timeout_s" if key == "silence_s" else key: value for key, value in values.items()}
        return values


class EngineConfig(Section):
    """Where the trials run. Everything but `name` and `max_slots` is for the engine `ray` only.

    It may change at each start of the command.
    """

    name: Literal["local", "ray"] = Field(
        "local", description="`local`: processes on this machine; `ray`: slots of a Ray cluster (`rnnexp[ray]`)"
    )
    address: str | None = Field(
        None,
        description="the cluster: `auto`, `HOST:PORT` or `ray://HOST:PORT`; null: a Ray of its own on this machine",
    )
    cpus: int = Field(1, ge=1, description="cores of a node that each slot takes; its trials have as many threads")
    gpus: float = Field(0.0, ge=0, description="GPUs of a node that each slot takes; a fraction shares one")
    memory_gb: float | None = Field(
        None, gt=0, description="gigabytes of a node that each slot takes; null: memory is not considered"
    )
    max_slots: int | None = Field(
        None,
        ge=1,
        description="trials at once, also where more nodes may join later; null: as many as the machines can hold",
    )


class Keep(Section):
    """Which files stay on disk."""

    checkpoints: int = Field(
        5, ge=1, description="number of best models of a study that are kept; the newest and exported ones are kept too"
    )


_TRIES = (
    "settings of the first trials; what an entry leaves open is drawn. The longest trials start first, except before "
    "draws of `tpe`, which depend on the order. A complete entry that repeats an earlier one is left out"
)


class SweepConfig(Section):
    """A checked sweep file. A study is the execution of a sweep file."""

    model_config = ConfigDict(populate_by_name=True)

    study: str = Field(pattern=f"^{names.STUDY_NAME}$", description="name of the study and of its MLflow experiment")
    question: str | None = Field(
        None,
        description="the question that the study answers, for the report and MLflow's pages; default: the first "
        "paragraph of the comment at the beginning of the file",
    )
    objective: Objective = Field(
        Objective(),
        json_schema_extra=lambda schema: (
            schema.update(anyOf=[{"$ref": schema.pop("$ref")}, {"type": "array"}]) if "$ref" in schema else None
        ),
    )
    further_objectives: tuple[FurtherObjective, ...] = ()
    constraints: dict[str, Bound] = Field(
        default_factory=dict,
        description="bounds of metrics and costs, as in `n_params: {max: 1.0e6}`; a trial outside them ranks last",
    )
    sampler: Sampler = TpeSampler(name="tpe")
    pruner: Pruner = NoPruner(name="none")
    budget: Budget = Budget()
    base: TrialConfig = Field(TrialConfig(), description="settings that all trials share")
    tries: tuple[dict[str, Any], ...] = Field((), alias="try", strict=False, description=_TRIES)
    space: dict[str, Distribution] = Field(
        default_factory=dict,
        strict=False,
        description="search space: settings by dotted name, and their distributions",
        json_schema_extra=lambda schema: schema.update(propertyNames={"enum": [*setting_names()]}),
    )
    limits: Limits = Limits()
    keep: Keep = Keep()
    engine: EngineConfig = EngineConfig()

    @field_validator("tries", mode="before")
    @classmethod
    def _rows(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @property
    def n_trials(self) -> int:
        """The number of trials of the study; a grid may have fewer combinations than the budget allows."""
        if isinstance(self.sampler, GridSampler):
            most = self.budget.trials or 1_000_000
            return spaces.grid_size(self.space, self.base.settings(), most)
        assert self.budget.trials is not None  # the loader checks it
        return self.budget.trials

    @property
    def objectives(self) -> tuple[Objective | FurtherObjective, ...]:
        """All objectives; the first one chooses the best epoch of a trial."""
        return (self.objective, *self.further_objectives)

    def may_have(self, setting: str, value: Any) -> bool:
        """Tells whether a trial of the study can have a value of a setting."""
        if setting in self.space:
            return self.space[setting].holds(value)
        return bool(self.base.settings()[setting] == value)

    def definition(self) -> dict[str, Any]:
        """Returns the parts that must not change during a study, as plain values.

        The path of the user's own file may change, its content must not: the study stores the digest of the data.
        """
        base = self.base.settings()
        del base["data.path"]
        constraints = {metric: bound.model_dump() for metric, bound in self.constraints.items()}
        return {
            "objective": self._plain_objective(),
            **({"constraints": constraints} if constraints else {}),
            "sampler": self.sampler.model_dump(),
            "pruner": self.pruner.model_dump(),
            "base": base,
            "try": list(self.tries),
            "space": {name: _plain(distribution) for name, distribution in self.space.items()},
        }

    def _plain_objective(self) -> dict[str, Any] | list[dict[str, Any]]:
        plain = [objective.model_dump() for objective in self.objectives]
        return plain if self.further_objectives else plain[0]

    def to_yaml(self) -> str:
        """Returns the text of a sweep file with all defaults."""
        values = self.model_dump(by_alias=True, exclude={"space", "further_objectives"}, mode="json")
        values["objective"] = self._plain_objective()
        values["space"] = {name: _plain(distribution) for name, distribution in self.space.items()}
        return dump(values)


def _plain(distribution: Any) -> dict[str, Any]:
    values: dict[str, Any] = distribution.model_dump(by_alias=True, mode="json", exclude_defaults=True)
    return values


def fingerprint(definition: Mapping[str, Any]) -> str:
    """Returns a short hash of plain values; it is the same on every machine."""
    text = json.dumps(definition, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def with_defaults(stored: Mapping[str, Any], config: SweepConfig) -> dict[str, Any]:
    """Returns a stored definition, completed with the settings that are newer than it.

    A version of the program without a setting behaved as the default of that setting does now.

    Args:
        stored: the definition; an older version of the program may have stored it.
        config: the current configuration of the same study.
    """
    base = TrialConfig().settings() | dict(stored["base"])
    filled = {**stored, "base": {name: value for name, value in base.items() if name != "data.path"}}
    for section in ("objective", "sampler", "pruner"):
        if isinstance(stored[section], list):  # several objectives, each with all its settings
            continue
        now, kind = getattr(config, section), type(getattr(config, section))
        if stored[section].get("name") == getattr(now, "name", None):
            required = {"name": now.name} if hasattr(now, "name") else {}
            filled[section] = kind(**required).model_dump() | dict(stored[section])
    plain: dict[str, Any] = json.loads(json.dumps(filled))
    return plain


def differences(old: Mapping[str, Any], new: Mapping[str, Any], place: str = "") -> list[str]:
    """Returns one line `place: was X, is Y` for each value in which two definitions differ."""
    result: list[str] = []
    for key in [*old, *(key for key in new if key not in old)]:
        where = f"{place}.{key}" if place else str(key)
        before, after = old.get(key, "not there"), new.get(key, "not there")
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            result += differences(before, after, where)
        elif before != after:
            result.append(f"{where.removeprefix('base.')}: was {before}, is {after}")
    return result


def json_schema() -> dict[str, Any]:
    """Returns the JSON Schema of a sweep file, for editors."""
    schema = TypeAdapter(SweepConfig).json_schema(by_alias=True)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "rnnexp sweep file"
    del schema["properties"]["further_objectives"]  # the elements of a list of objectives
    return schema
