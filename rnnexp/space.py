"""The search space: distributions of settings, and conditions under which a setting applies.

Does not import Optuna; the `storage` package converts these distributions to Optuna's.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from rnnexp.errors import shown

Scalar = bool | int | float | str | None

MAX_GRID = 100_000
"""Largest number of values of one setting in a grid."""

_MAX_STEPS = 2.0**53


class _Distribution(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)

    when: dict[str, tuple[Scalar, ...]] = Field(
        default_factory=dict,
        description="condition: this setting applies only if each setting listed here has one of the listed values",
    )

    @field_validator("when", mode="before")
    @classmethod
    def _single_value_to_list(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: item if isinstance(item, list | tuple) else [item] for key, item in value.items()}
        return value


class Choice(_Distribution):
    """One of the listed values."""

    choice: tuple[Scalar, ...] = Field(min_length=1, description="the values to choose from")

    @field_validator("choice")
    @classmethod
    def _no_duplicates(cls, value: tuple[Scalar, ...]) -> tuple[Scalar, ...]:
        seen: set[Scalar] = set()
        for item in value:
            if item in seen:
                raise ValueError(f"{shown(item)} is listed twice")
            seen.add(item)
        return value

    def extremes(self) -> tuple[Scalar, ...]:
        """Returns values that stand for all: if these are allowed, all values are."""
        return self.choice

    def grid(self) -> tuple[Scalar, ...]:
        """Returns all values, for the grid sampler."""
        return self.choice

    def values(self) -> Iterable[Scalar]:
        """Returns all values."""
        return self.choice

    def holds(self, value: Scalar) -> bool:
        """Tells whether the value can be drawn."""
        return any(value == item and isinstance(value, bool) == isinstance(item, bool) for item in self.choice)

    def __str__(self) -> str:
        return "one of " + ", ".join(str(value) for value in self.choice)


class _Range(_Distribution):
    bounds: tuple[int, int] | tuple[float, float]
    log: bool = Field(False, description="whether values are drawn uniformly on a logarithmic scale")
    step: int | float | None = Field(
        None, gt=0, description="distance between neighbouring values; null: all values in the range"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Any:
        low, high = self.bounds
        if low > high:
            raise ValueError(f"got the bounds [{low}, {high}], expected the lower one first: [{high}, {low}]")
        if self.step is not None and not (float(high) - float(low)) / self.step < _MAX_STEPS:
            raise ValueError(f"got the step {self.step}, which is too small for the bounds [{low}, {high}]")
        if self.log and low <= 0:
            raise ValueError(f"got the lower bound {low} with log: true, expected a bound above 0")
        if self.log and self.step is not None and (isinstance(self.step, float) or self.step != 1):
            raise ValueError("log and step cannot be combined; leave one out")
        return self

    def extremes(self) -> tuple[Scalar, ...]:
        """Returns values that stand for all: if these are allowed, all values are."""
        return self.bounds

    def holds(self, value: Scalar) -> bool:
        """Tells whether the value can be drawn."""
        low, high = self.bounds
        if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
            return False
        steps = 0.0 if self.step is None else (value - low) / self.step
        return abs(steps - round(steps)) < 1e-6

    @property
    def _n_values(self) -> int:
        """The number of values that can be drawn, with a step."""
        low, high = self.bounds
        return math.floor((high - low) / (self.step or 1) + 1e-9) + 1

    @property
    def last(self) -> float:
        """The largest value that can be drawn: the upper bound, or the last step below it."""
        low, high = self.bounds
        return high if self.step is None else round(low + (self._n_values - 1) * self.step, 12)

    def __str__(self) -> str:
        extra = " (log)" if self.log else f" in steps of {self.step}" if self.step else ""
        return f"{self.bounds[0]} to {self.bounds[1]}{extra}"


class IntRange(_Range):
    """An integer between two bounds, both included."""

    bounds: tuple[int, int] = Field(alias="int", description="smallest and largest value")
    step: int | None = Field(
        None, gt=0, description="distance between neighbouring values; null: all values in the range"
    )

    def grid(self) -> tuple[Scalar, ...] | None:
        """Returns all values, or None if there are too many: without a `step`, or on a log scale."""
        values = self.values()
        return None if self.log or values[MAX_GRID:] else tuple(values)

    def values(self) -> range:
        """Returns all values."""
        return range(self.bounds[0], self.bounds[1] + 1, self.step or 1)

    def holds(self, value: Scalar) -> bool:
        """Tells whether the value can be drawn."""
        return isinstance(value, int) and super().holds(value)


class FloatRange(_Range):
    """A number between two bounds."""

    bounds: tuple[float, float] = Field(alias="float", description="smallest and largest value")
    step: float | None = Field(
        None, gt=0, description="distance between neighbouring values; null: all values in the range"
    )

    def grid(self) -> tuple[Scalar, ...] | None:
        """Returns all values, or None if there are too many: without a `step`, or on a log scale."""
        return None if self.step is None or self._n_values > MAX_GRID else tuple(self.values() or ())

    def values(self) -> Iterable[float] | None:
        """Returns all values, or None without a `step`: there is no end of them."""
        if self.step is None:
            return None
        low, step = self.bounds[0], self.step
        return (round(low + index * step, 12) for index in range(self._n_values))


def _kind(value: Any) -> str | None:
    if isinstance(value, Choice | IntRange | FloatRange):
        return {Choice: "choice", IntRange: "int", FloatRange: "float"}[type(value)]
    if isinstance(value, dict):
        found = [kind for kind in ("choice", "int", "float") if kind in value]
        return found[0] if len(found) == 1 else None
    return None


Distribution = Annotated[
    Annotated[Choice, Tag("choice")] | Annotated[IntRange, Tag("int")] | Annotated[FloatRange, Tag("float")],
    Discriminator(
        _kind,
        custom_error_type="union_tag_distribution",
        custom_error_message="expected exactly one of choice: [a, b], int: [low, high], float: [low, high]",
    ),
]

Space = Mapping[str, Choice | IntRange | FloatRange]


def widening(old: Choice | IntRange | FloatRange, new: Choice | IntRange | FloatRange) -> str | None:
    """Returns why the new distribution does not extend the old one; None if it does.

    It does if every value of the old one can be drawn from the new one too, in the same way.

    Args:
        old: the stored distribution.
        new: the distribution of the changed file.
    """
    if type(old) is not type(new):
        return "another kind of distribution"
    if old.when != new.when:
        return "another condition"
    if isinstance(old, Choice) or isinstance(new, Choice):
        gone = [value for value in old.choice if not new.holds(value)] if isinstance(old, Choice) else []
        return f"without {', '.join(str(value) for value in gone)}" if gone else None
    if old.log != new.log or old.step != new.step:
        return "drawn in another way"
    if new.bounds[0] > old.bounds[0] or new.bounds[1] < old.bounds[1]:
        return "narrower"
    return None if new.holds(old.bounds[0]) else "with other steps"


def applies(distribution: Choice | IntRange | FloatRange, values: Mapping[str, Any]) -> bool:
    """Tells whether the condition of a setting holds.

    Args:
        distribution: the distribution of the setting.
        values: settings by name; a setting that is missing does not apply, so a condition on it does not hold.
    """
    return all(
        name in values
        and any(values[name] == item and isinstance(values[name], bool) == isinstance(item, bool) for item in allowed)
        for name, allowed in distribution.when.items()
    )


def ordered(space: Space) -> list[str]:
    """Returns the names of the settings: each after the settings in its condition, otherwise in the given order.

    Raises:
        ValueError: if conditions are circular.
    """
    result: list[str] = []
    waiting = list(space)
    while waiting:
        ready = [name for name in waiting if all(c in result or c not in space for c in space[name].when)]
        if not ready:
            raise ValueError(f"{', '.join(waiting)}: the conditions (when) of these settings are circular")
        result.append(ready[0])
        waiting.remove(ready[0])
    return result


def applying(space: Space, fixed: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns the values of the settings that apply, in the order of `ordered`; None if one of them has no value.

    Args:
        space: the search space.
        fixed: values of settings outside the space, for conditions on them.
        values: values of settings in the space; those that do not apply are left out.
    """
    known = {name: value for name, value in fixed.items() if name not in space}
    result: dict[str, Any] = {}
    for name in ordered(space):
        if applies(space[name], known):
            if name not in values:
                return None
            known[name] = result[name] = values[name]
    return result


def grid(space: Space, fixed: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields each combination of settings once; a setting that does not apply is left out.

    Args:
        space: each of its ranges is of integers or has a `step`.
        fixed: values of settings outside the space, for conditions on them.
    """
    return combinations(space, fixed, lambda name: space[name].grid() or ())


def combinations(
    space: Space, fixed: Mapping[str, Any], values_of: Callable[[str], Iterable[Any]]
) -> Iterator[dict[str, Any]]:
    """Yields each combination of some values of the settings; a setting that does not apply is left out.

    Args:
        space: the search space.
        fixed: values of settings outside the space, for conditions on them.
        values_of: returns the values of a setting to combine; called each time that the setting applies.
    """
    names = ordered(space)

    def extend(index: int, chosen: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if index == len(names):
            yield dict(chosen)
            return
        name = names[index]
        known = {key: value for key, value in fixed.items() if key not in space} | chosen
        if not applies(space[name], known):
            yield from extend(index + 1, chosen)
            return
        for value in values_of(name):
            yield from extend(index + 1, {**chosen, name: value})

    return extend(0, {})


def grid_size(space: Space, fixed: Mapping[str, Any], most: int) -> int:
    """Returns the number of combinations, or `most` if there are more."""
    return sum(1 for _ in itertools.islice(grid(space, fixed), most))
