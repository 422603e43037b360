"""Selects trials by a condition such as `model.cell=lstm and value>0.85`, and names what it can be about."""

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rnnexp.errors import UserError, did_you_mean, short, shown
from rnnexp.storage.views import StudyView, TrialRow

_FIELDS: dict[str, Callable[[TrialRow], Any]] = {
    "trial": lambda row: row.number,
    "state": lambda row: str(row.state),
    "value": lambda row: row.value,
    "best_epoch": lambda row: row.best_epoch,
    "time": lambda row: row.duration_s,
    "attempts": lambda row: row.attempts,
    "run_id": lambda row: row.run_id,
    "reason": lambda row: row.reason,
}
"""Columns of a trial besides its settings and metrics."""

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "!=": operator.ne,
    "=": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}
_CONDITION = re.compile(r"\s*([A-Za-z_][\w.]*)\s*(<=|>=|!=|==|=|<|>)\s*('[^']*'|\"[^\"]*\"|[^\s'\"]+)\s*")


@dataclass(frozen=True)
class _Condition:
    column: str
    operator: str
    value: str

    def holds(self, row: TrialRow) -> bool:
        found = value_of(row, self.column)
        if found is None:
            return self.operator == "!=" or (self.operator == "=" and self.value in ("none", "null", "–"))
        compare = _OPERATORS[self.operator]
        try:
            if isinstance(found, bool):
                return compare(str(found).lower(), self.value.lower())
            if isinstance(found, int | float):
                return bool(compare(float(found), float(self.value)))
            return bool(compare(str(found), self.value))
        except ValueError:  # a number is compared with a word
            return self.operator == "!="


@dataclass(frozen=True)
class Filter:
    """A parsed condition: alternatives, each of which is a list of conditions that must all hold."""

    alternatives: tuple[tuple[_Condition, ...], ...]

    def matches(self, row: TrialRow) -> bool:
        """Tells whether a trial meets the condition."""
        return any(all(condition.holds(row) for condition in every) for every in self.alternatives)


def columns(study: StudyView) -> list[str]:
    """Returns the names of a study's columns."""
    names = dict.fromkeys(name for row in study.trials for name in (*row.settings, *row.metrics))
    return [*_FIELDS, *(name for name in names if name not in _FIELDS)]


def column(name: str, known: Sequence[str], option: str) -> str:
    """Returns a column by its name; of a setting the name without its section will do if it is clear.

    Args:
        name: as the user types it.
        known: all columns.
        option: for the error message.

    Raises:
        UserError: if there is no such column, or several.
    """
    if name in known:
        return name
    found = [each for each in known if each.rpartition(".")[2] == name]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"{option}: {shown(name)} is not clear: {', '.join(found)}")
    raise UserError(f"{option}: {shown(name)} is no column{did_you_mean(name, known)}")


def value_of(row: TrialRow, name: str) -> Any:
    """Returns the value of a column; None if the trial has none."""
    if name in _FIELDS:
        return _FIELDS[name](row)
    return row.settings.get(name, row.metrics.get(name))


def parse(text: str, known: Sequence[str]) -> Filter:
    """Parses a condition.

    Args:
        text: comparisons `COLUMN OPERATOR VALUE`, joined by `and` and `or`; `and` binds more closely.
        known: the columns.

    Raises:
        UserError: if it cannot be parsed, or names an unknown column.
    """
    alternatives: list[list[_Condition]] = [[]]
    place = 0
    while True:
        match = _CONDITION.match(text, place)
        if match is None:
            got = shown(text[place:].strip()) if text[place:].strip() else "nothing"
            raise UserError(
                f"--where: got {got}, expected COLUMN OPERATOR VALUE, as in {short('model.cell=lstm and value>0.85')}"
            )
        name, sign, value = match.groups()
        sign = "=" if sign == "==" else sign
        alternatives[-1].append(_Condition(column(name, known, "--where"), sign, value.strip("'\"")))
        place = match.end()
        if place >= len(text):
            return Filter(tuple(tuple(every) for every in alternatives))
        word = re.compile(r"(and|or)\b", re.IGNORECASE).match(text, place)
        if word is None:
            raise UserError(f"--where: got {shown(text[place:])} after a comparison, expected and, or the end")
        if word.group().lower() == "or":
            alternatives.append([])
        place = word.end()
