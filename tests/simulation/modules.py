"""The code under simulation: the study's own modules, or copies of them with one planted bug."""

import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

PLACES = {
    "store": "rnnexp.storage.store",
    "sender": "rnnexp.tracking.sender",
    "projection": "rnnexp.tracking.projection",
    "retention": "rnnexp.study.retention",
    "records": "rnnexp.study.records",
    "supervisor": "rnnexp.study.supervisor",
}
"""In the order in which they import each other."""


@dataclass(frozen=True)
class Change:
    """One small textual change.

    Attributes:
        module: whose source.
        old: a text that the source has exactly once.
        new: what stands there instead.
    """

    module: str
    old: str
    new: str


@dataclass(frozen=True)
class Modules:
    """What the simulation runs."""

    store: ModuleType
    records: ModuleType
    sender: ModuleType
    projection: ModuleType
    supervisor: ModuleType


def real() -> Modules:
    """Returns the modules as everybody imports them."""
    return _chosen({name: importlib.import_module(place) for name, place in PLACES.items()})


def changed(change: Change) -> Modules:
    """Returns copies of the modules, one of them changed; everybody else's stay as they are.

    Raises:
        ValueError: if the source does not have the text exactly once.
    """
    originals = {name: importlib.import_module(place) for name, place in PLACES.items()}
    copies: dict[str, ModuleType] = {}
    try:
        for name, original in originals.items():
            assert original.__file__ is not None
            source = Path(original.__file__).read_text(encoding="utf-8")
            if name == change.module:
                if source.count(change.old) != 1:
                    raise ValueError(f"{name}.py has {source.count(change.old)} times, not once: {change.old}")
                source = source.replace(change.old, change.new)
            copy = ModuleType(original.__name__)
            copy.__file__ = original.__file__
            sys.modules[original.__name__] = copies[name] = copy  # its dataclasses look themselves up here
            setattr(_package(original), name, copy)
            exec(compile(source, original.__file__, "exec"), copy.__dict__)
    finally:
        for name, original in originals.items():
            sys.modules[original.__name__] = original
            setattr(_package(original), name, original)
    return _chosen(copies)


def _package(module: ModuleType) -> ModuleType:
    return sys.modules[module.__name__.rpartition(".")[0]]


def _chosen(found: Mapping[str, ModuleType]) -> Modules:
    return Modules(**{name: found[name] for name in Modules.__dataclass_fields__})
