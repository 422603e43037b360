"""The one place that turns the values of trials into a ranking.

With one objective, a larger or smaller value is better. With several, a trial is better than another if it is at least
as good in each and better in one (Pareto); trials that no other one beats are the front. The front comes first, then
what would be the front without it, and so on; within each, the first objective decides. A trial that violates a
constraint comes after all that do not. Equal trials are ranked by their numbers.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rnnexp.config.names import COSTS, METRICS

if TYPE_CHECKING:
    from rnnexp.config.sweep import SweepConfig


@dataclass(frozen=True)
class Score:
    """What ranks a trial.

    Attributes:
        values: of the objectives; larger is better.
        violation: by how much it is outside the constraints, in units of their bounds; 0 if it is inside.
    """

    values: tuple[float, ...]
    violation: float = 0.0

    def beats(self, other: "Score") -> bool:
        """Whether it is at least as good in each objective and better in one."""
        pairs = list(zip(self.values, other.values, strict=True))
        return all(own >= its for own, its in pairs) and any(own > its for own, its in pairs)


class Ranking:
    """The objectives and constraints of a study.

    Attributes:
        metrics: of the objectives.
        directions: of the objectives.
    """

    def __init__(self, objectives: Sequence[Mapping[str, str]], constraints: Mapping[str, Mapping[str, Any]]) -> None:
        """Args:
        objectives: metric and direction of each.
        constraints: for each metric the bounds `min` and `max`; None where there is none.
        """
        self.metrics = tuple(one["metric"] for one in objectives)
        self.directions = tuple(one["direction"] for one in objectives)
        self._signs = tuple(1.0 if direction == "maximize" else -1.0 for direction in self.directions)
        self._constraints = constraints

    @classmethod
    def of(cls, definition: Mapping[str, Any]) -> "Ranking":
        """Returns the ranking of a study by its stored definition."""
        stored = definition.get("objective") or {}
        objectives = stored if isinstance(stored, list) else [{"metric": "val_accuracy", **stored}]
        known = METRICS | COSTS
        return cls(
            [{"direction": known.get(one["metric"], "maximize"), **one} for one in objectives],
            definition.get("constraints") or {},
        )

    @classmethod
    def of_config(cls, config: "SweepConfig") -> "Ranking":
        return cls.of(config.definition())

    @property
    def has_places(self) -> bool:
        """Whether trials can be on a front or outside constraints."""
        return self.has_front or bool(self._constraints)

    @property
    def has_front(self) -> bool:
        """Whether there are several objectives."""
        return len(self.metrics) > 1

    def values(self, value: float, summary: Mapping[str, Any]) -> tuple[float, ...]:
        """Returns the values of all objectives.

        Args:
            value: of the first one.
            summary: of the trial: its metrics and costs. What it lacks counts as worst of all.
        """
        others = [found(metric, summary) for metric in self.metrics[1:]]
        worst = [-sign * math.inf for sign in self._signs[1:]]
        return (value, *(bad if one is None else one for one, bad in zip(others, worst, strict=True)))

    def violations(self, summary: Mapping[str, Any]) -> dict[str, float]:
        """Returns for each constraint by how much a trial violates it; 0 or less if it does not."""
        violations = {}
        for metric, bounds in self._constraints.items():
            value, over, under = found(metric, summary), -math.inf, -math.inf
            if value is None:
                violations[metric] = math.inf
                continue
            if bounds.get("max") is not None:
                over = (value - bounds["max"]) / (abs(bounds["max"]) or 1.0)
            if bounds.get("min") is not None:
                under = (bounds["min"] - value) / (abs(bounds["min"]) or 1.0)
            violations[metric] = max(over, under)
        return violations

    def score(self, value: float, summary: Mapping[str, Any]) -> Score:
        """Returns the score of a trial; arguments as for `values`."""
        if not self.has_places:  # as most studies are; lists have thousands of trials
            return Score((self._signs[0] * value,))
        oriented = (sign * one for sign, one in zip(self._signs, self.values(value, summary), strict=True))
        return Score(tuple(oriented), sum(max(0.0, excess) for excess in self.violations(summary).values()))

    def order(self, scores: Mapping[int, Score]) -> list[int]:
        """Returns the numbers of trials, best first."""
        outside = sorted((n for n in scores if scores[n].violation), key=lambda n: (scores[n].violation, n))
        return [*(number for front in self._fronts(scores) for number in front), *outside]

    def front(self, scores: Mapping[int, Score]) -> list[int]:
        """Returns the trials inside the constraints that no other one beats, best in the first objective first."""
        return next(iter(self._fronts(scores)), [])

    def extremes(self, scores: Mapping[int, Score]) -> set[int]:
        """Returns the trial of the front that is best in each objective; with one objective none."""
        front = self.front(scores) if self.has_front else []
        places = range(len(self.metrics)) if front else ()
        return {max(front, key=lambda number: scores[number].values[place]) for place in places}

    def _fronts(self, scores: Mapping[int, Score]) -> list[list[int]]:
        inside = [number for number in scores if not scores[number].violation]
        ordered = sorted(inside, key=lambda number: (*(-value for value in scores[number].values), number))
        if not self.has_front:
            return [ordered]
        fronts: list[list[int]] = []
        for number in ordered:  # only one before it can beat it
            place = next(
                (
                    place
                    for place, front in enumerate(fronts)
                    if not any(scores[other].beats(scores[number]) for other in reversed(front))
                ),
                len(fronts),
            )
            if place == len(fronts):
                fronts.append([])
            fronts[place].append(number)
        return fronts


def is_better(one: Score, other: Score) -> bool:
    """Tells whether a trial would be first of two; equal ones are not better."""
    return (-one.violation, *one.values) > (-other.violation, *other.values)


def found(metric: str, summary: Mapping[str, Any]) -> float | None:
    """Returns a metric or cost of a trial by its summary; None if the trial does not report it."""
    value = summary.get("metrics", {}).get(metric, summary.get("costs", {}).get(metric))
    return None if value is None else float(value)
