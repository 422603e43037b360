"""The code under simulation: the study's own modules, or copies of them with one planted bug."""

import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

NAMES = ("retention", "store", "records", "sender", "tracking", "supervisor")
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
    tracking: ModuleType
    supervisor: ModuleType


def real() -> Modules:
    """Returns the modules as everybody imports them."""
    return _chosen({name: importlib.import_module(f"rnnexp.study.{name}") for name in NAMES})


def changed(change: Change) -> Modules:
    """Returns copies of the modules, one of them changed; everybody else's stay as they are.

    Raises:
        ValueError: if the source does not have the text exactly once.
    """
    package = importlib.import_module("rnnexp.study")
    originals = {name: importlib.import_module(f"rnnexp.study.{name}") for name in NAMES}
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
            setattr(package, name, copy)
            exec(compile(source, original.__file__, "exec"), copy.__dict__)
    finally:
        for name, original in originals.items():
            sys.modules[original.__name__] = original
            setattr(package, name, original)
    return _chosen(copies)


def _chosen(found: Mapping[str, ModuleType]) -> Modules:
    return Modules(**{name: found[name] for name in Modules.__dataclass_fields__})
