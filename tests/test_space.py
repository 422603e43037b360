import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from rnnexp.space import Choice, Distribution, FloatRange, IntRange, applies, grid, grid_size, ordered

_SCALARS = [0, 1, 2, True, False, "none", "norm", None, 0.5]
_FIXED = {"outside": 1, "flag": True}


def _read(value: Any) -> Choice | IntRange | FloatRange:
    distribution: Choice | IntRange | FloatRange = TypeAdapter(Distribution).validate_python(value)
    return distribution


@st.composite
def _spaces(draw: st.DrawFn) -> dict[str, Choice | IntRange | FloatRange]:
    """Up to four settings in any order, with conditions on earlier ones, on settings outside the space, or none."""
    space: dict[str, Choice | IntRange | FloatRange] = {}
    for name in ["a", "b", "c", "d"][: draw(st.integers(1, 4))]:
        controls = draw(st.lists(st.sampled_from([*space, "outside", "flag", "nowhere"]), max_size=2, unique=True))
        when = {control: draw(st.lists(st.sampled_from(_SCALARS), min_size=1, max_size=3)) for control in controls}
        if draw(st.booleans()):
            choice = draw(st.lists(st.sampled_from(_SCALARS), min_size=1, max_size=3, unique=True))
            space[name] = _read({"choice": choice, "when": when})
        else:
            low = draw(st.integers(-1, 1))
            high = low + draw(st.integers(0, 3))
            space[name] = _read({"int": [low, high], "step": draw(st.integers(1, 3)), "when": when})
    return {name: space[name] for name in draw(st.permutations(list(space)))}


def _same(left: Any, right: Any) -> bool:
    return bool(left == right) and isinstance(left, bool) == isinstance(right, bool)


def _key(row: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, repr(value)) for name, value in row.items()))


def _brute_force(space: dict[str, Any]) -> set[tuple[tuple[str, str], ...]]:
    """All assignments of all settings, without the settings that do not apply; the names are in order a to d."""
    names = sorted(space)
    found = set()
    for values in itertools.product(*(space[name].grid() for name in names)):
        row: dict[str, Any] = {}
        for name, value in zip(names, values, strict=True):
            known = _FIXED | row
            if all(
                control in known and any(_same(known[control], item) for item in allowed)
                for control, allowed in space[name].when.items()
            ):
                row[name] = value
        found.add(_key(row))
    return found


@settings(max_examples=50, deadline=None)
@given(space=_spaces())
def test_a_grid_is_every_combination_once_without_settings_that_do_not_apply(space: dict[str, Any]) -> None:
    rows = [_key(row) for row in grid(space, _FIXED)]
    assert len(rows) == len(set(rows))
    assert set(rows) == _brute_force(space)
    assert grid_size(space, _FIXED, 1000) == len(rows)
    assert grid_size(space, _FIXED, 2) == min(2, len(rows))


@settings(max_examples=50, deadline=None)
@given(space=_spaces())
def test_ordered_puts_each_setting_after_those_in_its_condition(space: dict[str, Any]) -> None:
    order = ordered(space)
    assert sorted(order) == sorted(space)
    for name in order:
        assert all(order.index(control) < order.index(name) for control in space[name].when if control in space)


def test_ordered_otherwise_keeps_the_given_order() -> None:
    free = {name: _read({"choice": [1, 2]}) for name in ("c", "a", "b")}
    assert ordered(free) == ["c", "a", "b"]
    assert ordered({"t": _read({"choice": [1], "when": {"k": 1}}), "z": free["a"], "k": free["b"]}) == ["z", "k", "t"]


@pytest.mark.parametrize("when", [{"a": "a"}, {"a": "b", "b": "a"}, {"a": "b", "b": "c", "c": "a"}])
def test_settings_with_circular_conditions_are_named(when: dict[str, str]) -> None:
    space = {name: _read({"choice": [1], "when": {control: 1}}) for name, control in when.items()}
    with pytest.raises(ValueError, match=f"{', '.join(when)}: .* are circular"):
        ordered(space)


def test_a_setting_applies_if_all_its_conditions_hold() -> None:
    threshold = _read({"float": [1, 2], "when": {"clip.kind": ["norm", "value"], "model.layers": 2}})
    assert applies(threshold, {"clip.kind": "norm", "model.layers": 2})
    assert not applies(threshold, {"clip.kind": "none", "model.layers": 2})
    assert not applies(threshold, {"clip.kind": "norm", "model.layers": 1})
    assert not applies(threshold, {"clip.kind": "norm"})
    assert applies(_read({"choice": [1]}), {})


def test_a_setting_does_not_apply_if_one_in_its_condition_does_not() -> None:
    space = {
        "a": _read({"choice": ["on", "off"]}),
        "b": _read({"choice": [1, 2], "when": {"a": "on"}}),
        "c": _read({"choice": [5], "when": {"b": 2}}),
    }
    assert list(grid(space, {"b": 2})) == [{"a": "on", "b": 1}, {"a": "on", "b": 2, "c": 5}, {"a": "off"}]


def test_true_is_not_one() -> None:
    one, true = _read({"choice": [1, 0]}), _read({"choice": [True, False]})
    assert one.holds(1)
    assert not one.holds(True)
    assert true.holds(True)
    assert not true.holds(1)
    assert not _read({"int": [0, 2]}).holds(True)
    assert not _read({"float": [0, 2]}).holds(True)
    assert applies(_read({"choice": [5], "when": {"x": True}}), {"x": True})
    assert not applies(_read({"choice": [5], "when": {"x": True}}), {"x": 1})
    assert not applies(_read({"choice": [5], "when": {"x": 1}}), {"x": True})


def test_a_condition_may_name_one_value_or_several() -> None:
    assert _read({"choice": [1], "when": {"x": "a"}}) == _read({"choice": [1], "when": {"x": ["a"]}})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"choice": ["b", "a", None]}, ("b", "a", None)),
        ({"int": [1, 4]}, (1, 2, 3, 4)),
        ({"int": [3, 3]}, (3,)),
        ({"int": [0, 10], "step": 4}, (0, 4, 8)),
        ({"int": [16, 64], "step": 16}, (16, 32, 48, 64)),
        ({"int": [16, 64], "log": True}, None),
        ({"float": [0.1, 0.5], "step": 0.1}, (0.1, 0.2, 0.3, 0.4, 0.5)),
        ({"float": [0, 1], "step": 0.4}, (0.0, 0.4, 0.8)),
        ({"float": [0, 1], "step": 2}, (0.0,)),
        ({"float": [0, 1]}, None),
    ],
)
def test_the_values_of_a_distribution(value: dict[str, Any], expected: tuple[Any, ...] | None) -> None:
    distribution = _read(value)
    assert distribution.grid() == expected
    assert all(distribution.holds(item) for item in expected or ())


def test_a_value_outside_a_distribution_is_not_held() -> None:
    assert not _read({"int": [1, 4]}).holds(5)
    assert not _read({"int": [1, 4]}).holds(2.0)
    assert not _read({"int": [1, 4]}).holds("2")
    assert not _read({"float": [0, 1]}).holds(1.1)
    assert not _read({"float": [0, 1]}).holds(None)
    assert _read({"float": [0, 1]}).holds(1)
    assert not _read({"choice": ["a"]}).holds("b")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"int": [2, 1]}, r"\[2, 1\].*expected the lower one first: \[1, 2\]"),
        ({"float": [0, 1], "log": True}, "a bound above 0"),
        ({"int": [1, 8], "log": True, "step": 2}, "cannot be combined"),
        ({"float": [1, 8], "log": True, "step": 1}, "cannot be combined"),
        ({"choice": [1, 2, 1]}, "1 is listed twice"),
        ({"choice": [True, 1]}, "listed twice"),
        ({"float": [0, float("inf")]}, "finite"),
        ({}, "exactly one of"),
        ([1, 2], "exactly one of"),
    ],
)
def test_an_invalid_distribution_is_refused(value: Any, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        _read(value)
