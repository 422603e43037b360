"""Reads the texts of a request; what is wrong with it is one line and a status."""

import csv
import io
import json
import re
from typing import Any

from rnnexp.errors import is_unicode, shown
from rnnexp.serve.limits import Limits

BAD_REQUEST, TOO_LARGE, UNSUPPORTED, UNPROCESSABLE = 400, 413, 415, 422
JSON, CSV = "application/json", "text/csv"

_INVOCATIONS = ("inputs", "instances", "dataframe_split", "dataframe_records")


class RequestError(Exception):
    """The request cannot be answered.

    Attributes:
        status: of HTTP.
        headers: further headers of the answer.
    """

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers or {}


def of_predict(body: bytes, content_type: str, limits: Limits) -> list[str]:
    """Returns the texts of a body of `/predict`: `{"texts": [...]}` or `{"text": "..."}`.

    Raises:
        RequestError: if it is something else, or too large.
    """
    _check_type(content_type, (JSON,))
    found = _json(body)
    if not isinstance(found, dict) or len(found.keys() & {"text", "texts"}) != 1:
        raise RequestError(UNPROCESSABLE, f'got {_kind(found)}, expected {{"texts": ["a text", ...]}}')
    unknown = sorted(found.keys() - {"text", "texts"})
    if unknown:
        raise RequestError(UNPROCESSABLE, f"unknown key {shown(unknown[0])}, expected only texts")
    return _checked([found["text"]] if "text" in found else found["texts"], "texts", limits)


def of_invocations(body: bytes, content_type: str, limits: Limits) -> list[str]:
    """Returns the texts of a body of MLflow's protocol: one column of texts, as JSON or CSV.

    Raises:
        RequestError: if it is something else, or too large.
    """
    if _check_type(content_type, (JSON, CSV)) == CSV:
        return _checked(_csv_column(body, limits), "the column", limits)
    found = _json(body)
    keys = [key for key in _INVOCATIONS if isinstance(found, dict) and key in found]
    if len(keys) != 1:
        raise RequestError(BAD_REQUEST, f"got {_kind(found)}, expected one of the keys {', '.join(_INVOCATIONS)}")
    key, value = keys[0], found[keys[0]]
    if key == "dataframe_split":
        value = value.get("data") if isinstance(value, dict) else None
        if not isinstance(value, list):
            raise RequestError(UNPROCESSABLE, "dataframe_split: expected columns and data")
    if isinstance(value, dict) and len(value) == 1:
        value = next(iter(value.values()))
    if isinstance(value, list):
        value = [_only(one) for one in value]
    return _checked(value, key, limits)


def _check_type(content_type: str, accepted: tuple[str, ...]) -> str:
    """Returns the content type without its parameters."""
    kind, _, parameters = content_type.partition(";")
    charset = re.search(r"charset\s*=\s*\"?([^\";\s]+)", parameters, re.IGNORECASE)
    if kind.strip().lower() not in accepted:
        raise RequestError(UNSUPPORTED, f"Content-Type: got {shown(content_type)}, expected {' or '.join(accepted)}")
    if charset and charset[1].lower() not in ("utf-8", "utf8"):
        raise RequestError(UNSUPPORTED, f"Content-Type: got charset {shown(charset[1])}, expected utf-8")
    return kind.strip().lower()


def _decoded(body: bytes) -> str:
    if not body.strip():
        raise RequestError(BAD_REQUEST, "the body is empty")
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequestError(BAD_REQUEST, f"the body is not UTF-8 (byte {error.start})") from None


def _json(body: bytes) -> Any:
    try:
        return json.loads(_decoded(body))
    except (ValueError, RecursionError) as error:
        raise RequestError(BAD_REQUEST, f"the body is not JSON ({' '.join(str(error).split())[:120]})") from None


def _csv_column(body: bytes, limits: Limits) -> list[str]:
    try:
        rows = list(csv.reader(io.StringIO(_decoded(body), newline=""), strict=True))
    except csv.Error as error:
        raise RequestError(BAD_REQUEST, f"the body is not CSV ({error})") from None
    wrong = [number for number, row in enumerate(rows) if len(row) != 1]
    if wrong:
        raise RequestError(UNPROCESSABLE, f"row {wrong[0]} has {len(rows[wrong[0]])} fields, expected one: the text")
    return [row[0] for row in rows[1:]]


def _only(value: Any) -> Any:
    """Returns the only value of a row: MLflow sends a row as a list, or as an object with one column."""
    values = list(value.values()) if isinstance(value, dict) else value
    return values[0] if isinstance(values, list) and len(values) == 1 else value


def _checked(texts: Any, where: str, limits: Limits) -> list[str]:
    if not isinstance(texts, list) or not texts:
        raise RequestError(UNPROCESSABLE, f"{where}: got {_kind(texts)}, expected a list of one or more texts")
    if len(texts) > limits.texts:
        raise RequestError(TOO_LARGE, f"{where}: got {len(texts):,} texts, expected at most {limits.texts:,}")
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise RequestError(UNPROCESSABLE, f"{where}: number {number}: got {_kind(text)}, expected a string")
        if len(text) > limits.characters:
            raise RequestError(
                TOO_LARGE,
                f"{where}: number {number}: got {len(text):,} characters, expected at most {limits.characters:,}",
            )
        if not is_unicode(text):
            raise RequestError(UNPROCESSABLE, f"{where}: number {number}: has half of a surrogate pair")
    return texts


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return f"an object with the keys {shown(sorted(value))}" if value else "an empty object"
    return "an empty list" if value == [] else shown(value)
