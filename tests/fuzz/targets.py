"""What the program does with the files of a case. Each function ends, or raises an error for the user."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rnnexp.config.files import parse_assignment
from rnnexp.config.load import load_sweep
from rnnexp.config.sweep import fingerprint
from rnnexp.config.trial import DataConfig, load_trial
from rnnexp.data import npz, rows, store
from rnnexp.data.task import Task
from rnnexp.data.text_rows import TextRow, text_rows
from rnnexp.errors import ConfigError, RnnexpError, UserError
from rnnexp.export import scored_file
from rnnexp.export.bundle import Bundle
from rnnexp.home import Home
from rnnexp.runtime.manifest import FORMATS
from rnnexp.serve import texts
from rnnexp.serve.limits import Limits
from tests.fuzz.case import Case
from tests.serve import fake_server

_MAX_FAULT = 300
_MAX_LINE = 3000
"""Largest number of characters of a line of an error; the line contains the path."""


class ViolationError(Exception):
    """A property does not hold."""


def _sweep(sandbox: Path, options: dict[str, Any]) -> None:
    config = load_sweep(sandbox / "in.yaml", dict(parse_assignment(text) for text in options["set"]))
    fingerprint(config.definition())
    again = sandbox / "again.yaml"
    again.write_text(config.to_yaml(), encoding="utf-8")
    if load_sweep(again) != config:
        raise ViolationError("the sweep that was written is not the one that was read")


def _trial(sandbox: Path, options: dict[str, Any]) -> None:
    config = load_trial(sandbox / "in.yaml", dict(parse_assignment(text) for text in options["set"]))
    again = sandbox / "again.yaml"
    again.write_text(config.to_yaml(), encoding="utf-8")
    if load_trial(again, {}) != config:
        raise ViolationError("the trial that was written is not the one that was read")


def _texts(sandbox: Path, options: dict[str, Any]) -> None:
    (path,) = sandbox.glob("in.*")
    home = Home.open(sandbox / "home")
    config = DataConfig.model_validate({"name": "mine", "path": str(path), **options["data"]})
    rows._N_ROWS = options["n_rows"]
    try:
        tokens = store.prepare(config, home)
    except RnnexpError:
        if home.root.exists():
            raise ViolationError("files were left by a refused data set") from None
        raise
    n_texts = tokens.n_pool + tokens.n_test
    if not store.is_valid(tokens.root) or len(tokens.label_ids) != n_texts:
        raise ViolationError("the store is damaged")
    words = [tokens.vocabulary.decode(tokens.token_ids(row)) for row in range(n_texts)]
    if len(words) != n_texts or set(np.unique(tokens.label_ids).tolist()) != set(range(len(tokens.labels))):
        raise ViolationError("a label of the store has no row")


def _npz(sandbox: Path, options: dict[str, Any]) -> None:
    arrays = npz.read(sandbox / "in.npz", ("x", "y"))
    for values in (arrays["y"], *arrays["x"]):
        if np.size(values) and np.asarray(values).dtype.kind not in "iu":
            raise ViolationError("an array of something else than whole numbers")


def _bundle(sandbox: Path, options: dict[str, Any]) -> None:
    bundle = Bundle.open(sandbox / "bundle")
    Task(bundle.labels)
    bundle.vocabulary.encode(["good", "x"])
    if not set(bundle.formats) <= set(FORMATS):
        raise ViolationError("an unknown format")


def _model(sandbox: Path, options: dict[str, Any]) -> None:
    from rnnexp.export import predictor

    found = predictor.load(Bundle.open(sandbox / "bundle")).predict(["a good film", ""])
    if any(prediction.probability < 0 or prediction.probability > 1 for prediction in found):
        raise ViolationError("a probability outside 0 to 1")


def _scored(sandbox: Path, options: dict[str, Any]) -> None:
    (path,) = sandbox.glob("in.*")
    to, columns = sandbox / f"out{options['out']}", options["columns"]
    broken: list[TextRow] = []
    try:
        scored_file.check_target(to, path, columns)
        read = list(text_rows(path, columns[0], columns[1:]))
        found = scored_file.score(fake_server.model(0), read, to, columns, lambda _: None, broken.append)
    except RnnexpError:
        if to.exists():
            raise ViolationError("a file was left by a refused one") from None
        raise
    if any((row.text is None) == (row.fault is None) for row in read):
        raise ViolationError("a row without a text and a fault, or with both")
    if len(read) != sum(found.labels.values()) + found.n_broken or len(broken) != found.n_broken:
        raise ViolationError("a row is missing")
    if any(not row.fault or not row.fault.isprintable() or len(row.fault) > _MAX_FAULT for row in broken):
        raise ViolationError("the fault of a row is not one line")
    if not to.exists():
        raise ViolationError("there is no result")


def _request(sandbox: Path, options: dict[str, Any]) -> None:
    limits = Limits(texts=5, characters=50)
    read = {"predict": texts.of_predict, "invocations": texts.of_invocations}[options["path"]]
    try:
        found = read((sandbox / "body").read_bytes(), options["content_type"], limits)
    except texts.RequestError as error:
        if not 400 <= error.status < 500:
            raise ViolationError(f"status {error.status}") from None
        raise UserError(str(error)) from None
    if not 0 < len(found) <= limits.texts or not all(isinstance(text, str) for text in found):
        raise ViolationError("something else than texts")
    fake_server.model(0).predict(found)


TARGETS: dict[str, Callable[[Path, dict[str, Any]], None]] = {
    "sweep": _sweep,
    "trial": _trial,
    "texts": _texts,
    "scored": _scored,
    "request": _request,
    "npz": _npz,
    "bundle": _bundle,
    "model": _model,
}


def run(case: Case, sandbox: Path) -> bool:
    """Gives the program a case, in an empty folder; tells whether it was accepted.

    Raises:
        ViolationError: if the error is not one line for each fault.
        Exception: if the program has a bug.
    """
    case.write(sandbox)
    try:
        TARGETS[case.target](sandbox, case.options)
    except RnnexpError as error:
        lines = str(error).split("\n")
        expected = len(error.faults) if isinstance(error, ConfigError) else 1
        if len(lines) != expected:
            raise ViolationError(f"{len(lines)} lines for {expected} faults: {str(error)[:300]!r}") from None
        if not all(line.isprintable() and 0 < len(line) <= _MAX_LINE for line in lines):
            raise ViolationError(f"an error that cannot be shown: {str(error)[:300]!r}") from None
        return False
    return True
