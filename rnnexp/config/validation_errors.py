"""Turns pydantic's validation errors into messages for the user."""

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from rnnexp.errors import did_you_mean, short, shown


def _line(place: str, error: ErrorDetails, known: list[str]) -> str:
    kind, message = error["type"], error["msg"]
    if kind == "extra_forbidden":
        return f"{place}: unknown setting{did_you_mean(place, known)}"
    if kind == "missing":
        return f"{place}: missing; a value is required"
    if kind in ("value_error", "assertion_error"):
        return f"{place}: {message.removeprefix('Value error, ')}"
    if kind == "union_tag_invalid":
        tags = [tag.strip().strip("'") for tag in error["ctx"]["expected_tags"].split(",")]
        return f"{place}.name: got {shown(error['ctx']['tag'])}{did_you_mean(error['ctx']['tag'], tags)}"
    if kind == "union_tag_not_found":
        return f"{place}: expected a mapping with a name, as in {{name: …}}"
    if kind == "union_tag_distribution":
        return f"{place}: {message}"
    if kind == "too_short":
        return f"{place}: got {shown(error['input'])}, expected at least {error['ctx']['min_length']} value"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        message = "Input should be a mapping of settings"
    expected = message.removeprefix("Input should be ")
    expected = expected.replace("a valid ", "a ").replace("a integer", "an integer")
    return f"{place}: got {shown(error['input'])}, expected {expected[0].lower()}{expected[1:]}"


def lines(
    error: ValidationError, place: str = "", known: list[str] | None = None, *, within_union: bool = False
) -> list[str]:
    """Returns one line for each fault: `place.key: what is wrong`.

    Args:
        error: the exception that pydantic raised.
        place: the dotted place of the validated value; it becomes a prefix of each line.
        known: the dotted names that an unknown name is compared with, for "did you mean".
        within_union: the value is one of several kinds; the kind, with which pydantic's location starts, is dropped.
    """
    result = []
    for detail in error.errors(include_url=False):
        path = ".".join(short(part) for part in detail["loc"][1 if within_union else 0 :])
        where = ".".join(part for part in (place, path) if part)
        result.append(_line(where, detail, known or []))
    return result
