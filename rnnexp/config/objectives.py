"""What ranks the trials of a study: one objective or several, and constraints."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError, model_validator

from rnnexp.config import names, validation_errors
from rnnexp.config.trial import Metric, Section
from rnnexp.errors import did_you_mean, shown

_ALL = names.METRICS | names.COSTS


def _known(value: Any) -> Any:
    if isinstance(value, str) and value not in _ALL:
        raise ValueError(f"got {shown(value)}{did_you_mean(value, list(_ALL))}")
    return value


AnyMetric = Annotated[str, BeforeValidator(_known), Field(json_schema_extra={"enum": [*_ALL]})]
Direction = Literal["maximize", "minimize"]


class _Objective(Section):
    @model_validator(mode="before")
    @classmethod
    def _direction_of_the_metric(cls, values: Any) -> Any:
        metric = values.get("metric", "val_accuracy") if isinstance(values, dict) else None
        if isinstance(metric, str) and metric in _ALL:
            right = _ALL[metric]
            values = {"direction": right, **values}
            if values["direction"] in ("maximize", "minimize") and values["direction"] != right:
                raise ValueError(f"direction: got {values['direction']} for {metric}, expected {right}")
        return values


class Objective(_Objective):
    """The metric that ranks the trials.

    A list has several objectives, as in `[{metric: val_accuracy}, {metric: ms_per_text}]`. The first one chooses the
    best epoch of a trial; the others can also be costs: `train_seconds`, `n_params`, and `ms_per_text`, milliseconds a
    text in batches. No trial is pruned then: Optuna cannot prune with several objectives.
    """

    metric: Metric = Field("val_accuracy", description="metric of a trial; its value at the best epoch counts")
    direction: Direction = Field(
        "maximize", description="whether a higher or a lower value is better; follows from the metric"
    )


class FurtherObjective(_Objective):
    """An objective after the first one."""

    metric: AnyMetric = Field(description="metric or cost of a trial")
    direction: Direction = "maximize"


class Bound(Section):
    """The values of a metric or cost that are allowed."""

    min: float | None = Field(None, strict=False, description="the smallest value that is allowed")
    max: float | None = Field(None, strict=False, description="the largest value that is allowed")

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("expected min, max or both, as in {max: 1.0e6}")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is greater than max {self.max:g}")
        return self


_FIRST, _FURTHER = TypeAdapter(Objective), TypeAdapter(FurtherObjective)
_BOUND = TypeAdapter(Bound)


def read_objectives(value: Any, faults: list[str]) -> tuple[Objective | None, tuple[FurtherObjective, ...]]:
    """Reads the key `objective` of a sweep file.

    Args:
        value: a mapping, or a list of mappings.
        faults: receives a line for each fault.

    Returns:
        The first objective, None if it has a fault; and the others.
    """
    if not isinstance(value, list):
        return _read(_FIRST, {} if value is None else value, "objective", faults), ()
    if not value:
        faults.append("objective: got an empty list, expected at least one objective, as in {metric: val_accuracy}")
        return None, ()
    first = value[0]
    if isinstance(first, dict) and first.get("metric") in names.COSTS:
        faults.append(
            f"objective.0.metric: got {shown(first['metric'])}, expected one of {', '.join(names.METRICS)}: the first "
            "objective chooses the best epoch of a trial"
        )
        return None, ()
    found = [_read(_FURTHER, one, f"objective.{place}", faults) for place, one in enumerate(value[1:], start=1)]
    main, further = _read(_FIRST, first, "objective.0", faults), tuple(one for one in found if one is not None)
    metrics = [one.metric for one in (main, *further) if one is not None]
    twice = next((metric for metric in metrics if metrics.count(metric) > 1), None)
    if twice is not None:
        faults.append(f"objective: {twice} is there twice; name each metric once")
    return main, further


def read_constraints(value: Any, faults: list[str]) -> dict[str, Bound]:
    """Reads the key `constraints` of a sweep file; `faults` receives a line for each fault."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        faults.append(
            f"constraints: got {shown(value)}, expected metrics and their bounds, as in n_params: {{max: 1.0e6}}"
        )
        return {}
    found = {}
    for metric, bound in value.items():
        if metric not in _ALL:
            faults.append(f"constraints: {shown(metric)} is no metric{did_you_mean(str(metric), list(_ALL))}")
            continue
        read = _read(_BOUND, bound, f"constraints.{metric}", faults)
        if read is not None:
            found[metric] = read
    return found


def _read(adapter: TypeAdapter[Any], value: Any, place: str, faults: list[str]) -> Any:
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        known = [f"{place}.{field}" for field in adapter.json_schema().get("properties", {})]
        faults += validation_errors.lines(error, place, known)
        return None
