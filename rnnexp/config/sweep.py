"""A sweep file: what is searched, how, and for how long."""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, field_validator, model_validator

from rnnexp import space as spaces
from rnnexp.config import names
from rnnexp.config.files import dump
from rnnexp.config.trial import Metric, Section, TrialConfig, setting_names
from rnnexp.space import Distribution

STUDY_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}"


class Objective(Section):
    """What makes one trial better than another."""

    metric: Metric = Field("val_accuracy", description="taken at the best epoch")
    direction: Literal["maximize", "minimize"] = Field("maximize", description="which way is better")

    @model_validator(mode="before")
    @classmethod
    def _direction_of_the_metric(cls, values: Any) -> Any:
        metric = values.get("metric", "val_accuracy") if isinstance(values, dict) else None
        if isinstance(metric, str) and metric in names.METRICS:
            right = names.METRICS[metric]
            values = {"direction": right, **values}
            if values["direction"] in ("maximize", "minimize") and values["direction"] != right:
                raise ValueError(f"direction: got {values['direction']} for {metric}, expected {right}")
        return values


class _Seeded(Section):
    seed: int = Field(0, ge=0, description="makes the study's points repeatable")


class TpeSampler(_Seeded):
    """Tree-structured Parzen estimator, grouped, so that conditional settings are modelled."""

    name: Literal["tpe"]
    n_startup_trials: int = Field(10, ge=0, description="random trials before the model is used")


class RandomSampler(_Seeded):
    """Independent draws."""

    name: Literal["random"]


class GridSampler(Section):
    """Every combination once, then the study ends."""

    name: Literal["grid"]


Sampler = Annotated[TpeSampler | RandomSampler | GridSampler, Field(discriminator="name")]


class NoPruner(Section):
    """Every trial runs to its end."""

    name: Literal["none"]


class MedianPruner(Section):
    """Stops a trial that is worse than the median of the others at the same epoch."""

    name: Literal["median"]
    n_startup_trials: int = Field(5, ge=0, description="complete trials before any is pruned")
    n_warmup_steps: int = Field(1, ge=0, description="epochs that every trial is given")
    interval_steps: int = Field(1, ge=1, description="epochs between two checks")


class SuccessiveHalvingPruner(Section):
    """Gives each rung's best share more epochs."""

    name: Literal["successive_halving"]
    min_resource: int = Field(1, ge=1, description="epochs before the first check")
    reduction_factor: int = Field(4, ge=2, description="one of so many is promoted")
    min_early_stopping_rate: int = Field(0, ge=0, description="rungs left out at the start")


class HyperbandPruner(Section):
    """Several successive halvings that begin to check at different epochs."""

    name: Literal["hyperband"]
    min_resource: int = Field(1, ge=1, description="epochs before the earliest check")
    reduction_factor: int = Field(3, ge=2, description="one of so many is promoted")


Pruner = Annotated[NoPruner | MedianPruner | SuccessiveHalvingPruner | HyperbandPruner, Field(discriminator="name")]


class Budget(Section):
    """When the study is done."""

    trials: int | None = Field(None, ge=1, description="trials in all, over every start of the command")
    timeout_s: float | None = Field(None, gt=0, description="seconds for one start of the command")


class Limits(Section):
    """What one trial may take, and how many may fail."""

    trial_s: float | None = Field(None, gt=0, description="seconds, then the trial is killed and fails")
    memory_gb: float | None = Field(None, gt=0, description="private memory, then the trial is killed (on Linux)")
    heartbeat_timeout_s: float | None = Field(
        600, gt=0, description="seconds without an epoch or a heartbeat, then the trial is killed"
    )
    retries: int = Field(2, ge=0, description="further attempts of a trial that was killed, hung or lacked memory")
    consecutive_failures: int | None = Field(
        5, ge=1, description="trials that fail one after another, then the sweep stops"
    )

    @model_validator(mode="before")
    @classmethod
    def _former_names(cls, values: Any) -> Any:
        """Accepts `silence_s`, the name of `heartbeat_timeout_s` until November 2026."""
        if isinstance(values, dict) and "silence_s" in values:
            return {"heartbeat_timeout_s" if key == "silence_s" else key: value for key, value in values.items()}
        return values


class Keep(Section):
    """What stays on disk."""

    checkpoints: int = Field(5, ge=1, description="best models kept of a study, beside the newest and those exported")


class SweepConfig(Section):
    """One sweep file, checked: executed, it is a study."""

    model_config = ConfigDict(populate_by_name=True)

    study: str = Field(pattern=f"^{STUDY_NAME}$", description="the study's name, and its experiment's in MLflow")
    objective: Objective = Objective()
    sampler: Sampler = TpeSampler(name="tpe")
    pruner: Pruner = NoPruner(name="none")
    budget: Budget = Budget()
    base: TrialConfig = Field(TrialConfig(), description="the settings that every trial shares")
    tries: tuple[dict[str, Any], ...] = Field((), alias="try", strict=False, description="settings to run first")
    space: dict[str, Distribution] = Field(
        default_factory=dict,
        strict=False,
        description="the settings that are searched",
        json_schema_extra=lambda schema: schema.update(propertyNames={"enum": [*setting_names()]}),
    )
    limits: Limits = Limits()
    keep: Keep = Keep()

    @field_validator("tries", mode="before")
    @classmethod
    def _rows(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @property
    def n_trials(self) -> int:
        """The number of trials that the study is to have; a grid may end earlier."""
        if isinstance(self.sampler, GridSampler):
            most = self.budget.trials or 1_000_000
            return spaces.grid_size(self.space, self.base.settings(), most)
        assert self.budget.trials is not None  # the loader has seen to it
        return self.budget.trials

    def definition(self) -> dict[str, Any]:
        """Returns what must not change while a study lasts, as plain values.

        Where a file of the user's own lies may change; what is in it may not, and the study knows its digest.
        """
        base = self.base.settings()
        del base["data.path"]
        return {
            "objective": self.objective.model_dump(),
            "sampler": self.sampler.model_dump(),
            "pruner": self.pruner.model_dump(),
            "base": base,
            "try": list(self.tries),
            "space": {name: _plain(distribution) for name, distribution in self.space.items()},
        }

    def to_yaml(self) -> str:
        """Returns the sweep as a file, every default written out."""
        values = self.model_dump(by_alias=True, exclude={"space"}, mode="json")
        values["space"] = {name: _plain(distribution) for name, distribution in self.space.items()}
        return dump(values)


def _plain(distribution: Any) -> dict[str, Any]:
    values: dict[str, Any] = distribution.model_dump(by_alias=True, mode="json", exclude_defaults=True)
    return values


def fingerprint(definition: Mapping[str, Any]) -> str:
    """Returns a short hash of plain values, the same on every machine."""
    text = json.dumps(definition, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def with_defaults(stored: Mapping[str, Any], config: SweepConfig) -> dict[str, Any]:
    """Returns a stored definition with the settings that the program did not know when it was stored.

    Those had the defaults of today.

    Args:
        stored: a definition, perhaps an older version's.
        config: of today, for the same study.
    """
    base = TrialConfig().settings() | dict(stored["base"])
    filled = {**stored, "base": {name: value for name, value in base.items() if name != "data.path"}}
    for section in ("objective", "sampler", "pruner"):
        now, kind = getattr(config, section), type(getattr(config, section))
        if stored[section].get("name") == getattr(now, "name", None):
            required = {"name": now.name} if hasattr(now, "name") else {}
            filled[section] = kind(**required).model_dump() | dict(stored[section])
    plain: dict[str, Any] = json.loads(json.dumps(filled))
    return plain


def differences(old: Mapping[str, Any], new: Mapping[str, Any], place: str = "") -> list[str]:
    """Returns `place: was X, is Y` for every leaf in which two definitions differ."""
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
    return schema
