"""The code under simulation: the real modules, or copies of them with one planted bug."""

import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

PLACES = {
    "trial_files": "rnnexp.engine.trial_files",
    "slot_server": "rnnexp.engine.slot_server",
    "remote": "rnnexp.engine.remote",
    "promotion": "rnnexp.storage.promotion",
    "paused": "rnnexp.storage.paused",
    "drawing": "rnnexp.storage.drawing",
    "planned": "rnnexp.storage.planned",
    "settings_source": "rnnexp.storage.settings_source",
    "store": "rnnexp.storage.store",
    "sender": "rnnexp.tracking.sender",
    "runs": "rnnexp.tracking.runs",
    "event_writer": "rnnexp.tracking.event_writer",
    "projection": "rnnexp.tracking.projection",
    "failures": "rnnexp.study.failures",
    "start_failures": "rnnexp.study.start_failures",
    "running": "rnnexp.study.running",
    "limits": "rnnexp.study.limits",
    "retention": "rnnexp.study.retention",
    "best": "rnnexp.study.best",
    "progress": "rnnexp.study.progress",
    "stopping": "rnnexp.study.stopping",
    "records": "rnnexp.study.records",
    "enforcement": "rnnexp.study.enforcement",
    "recovery": "rnnexp.study.recovery",
    "settlement": "rnnexp.study.settlement",
    "supervisor": "rnnexp.study.supervisor",
}
"""The modules that are copied. A module comes after the modules that it imports."""


@dataclass(frozen=True)
class Change:
    """A replacement of one snippet of source text.

    Attributes:
        module: the module, a key of `PLACES`.
        old: the snippet; the module's source must contain it exactly once.
        new: its replacement.
    """

    module: str
    old: str
    new: str


@dataclass(frozen=True)
class Modules:
    """The modules that the simulation calls."""

    trial_files: ModuleType
    slot_server: ModuleType
    remote: ModuleType
    store: ModuleType
    records: ModuleType
    sender: ModuleType
    event_writer: ModuleType
    projection: ModuleType
    supervisor: ModuleType


def real() -> Modules:
    """Returns the real modules."""
    return _select({name: importlib.import_module(place) for name, place in PLACES.items()})


def check_snippet(change: Change) -> None:
    """Raises an error if a snippet cannot be replaced.

    Raises:
        ValueError: if the module's source does not contain the snippet exactly once.
    """
    path = _source_path(importlib.import_module(PLACES[change.module]))
    count = path.read_text(encoding="utf-8").count(change.old)
    if count != 1:
        raise ValueError(
            f"the snippet to replace must be found once in {PLACES[change.module]} ({path.name}), but is found "
            f"{count} times. The code has changed: adapt the snippet in tests/simulation/planted.py, and its module if "
            f"the code has moved. The snippet is:\n{change.old}"
        )


def changed(change: Change) -> Modules:
    """Returns copies of the modules with one change. The real modules stay as they are.

    Raises:
        ValueError: if the module's source does not contain the snippet exactly once.
    """
    check_snippet(change)
    originals = {name: importlib.import_module(place) for name, place in PLACES.items()}
    copies: dict[str, ModuleType] = {}
    try:
        for name, original in originals.items():
            path = _source_path(original)
            source = path.read_text(encoding="utf-8")
            if name == change.module:
                source = source.replace(change.old, change.new)
            copy = ModuleType(original.__name__)
            copy.__file__ = original.__file__
            sys.modules[original.__name__] = copies[name] = copy  # needed by `dataclass`, and by the copies that follow
            setattr(_package(original), name, copy)
            exec(compile(source, path, "exec"), copy.__dict__)
    finally:
        for name, original in originals.items():
            sys.modules[original.__name__] = original
            setattr(_package(original), name, original)
    return _select(copies)


def _source_path(module: ModuleType) -> Path:
    assert module.__file__ is not None
    return Path(module.__file__)


def _package(module: ModuleType) -> ModuleType:
    return sys.modules[module.__name__.rpartition(".")[0]]


def _select(modules: Mapping[str, ModuleType]) -> Modules:
    return Modules(**{name: modules[name] for name in Modules.__dataclass_fields__})
