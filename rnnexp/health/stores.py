"""Checks the token stores in the cache, and removes the damaged ones: the next use builds them again."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from rnnexp import locks
from rnnexp.data import store as data
from rnnexp.health import studies
from rnnexp.health.finding import Finding
from rnnexp.health.places import is_inside
from rnnexp.health.studies import Observation
from rnnexp.health.usage import size

CHECK = "cache"


def check(observed: Observation) -> Iterator[Finding]:
    """Checks every token store, unless a study is running: its trials read one, and it may just be building one."""
    home = observed.home
    if not home.cache.is_dir() or not is_inside(home.root, home.cache) or studies.running(home):
        return
    for root in sorted(home.cache.iterdir()):
        store = _store(root)
        if not root.is_dir() or not is_inside(home.cache, root) or store.name.startswith("."):
            continue
        if locks.is_held(_lock(store)):
            continue  # a process is building it
        if root != store:
            what, repair = "it is an incomplete token store of a killed process", "removed"
        elif not data.is_valid(root):
            what, repair = (
                "its files differ from those that were written",
                "it is removed; the next use builds it again",
            )
        else:
            continue
        fix = lambda root=root: _remove(root)  # noqa: E731
        yield Finding(CHECK, f"cache/{root.name}", what, repair, fix, size(root))


def _store(root: Path) -> Path:
    """Returns the store that a folder is, or whose temporary folder (`.NAME-RANDOM`) it is."""
    stem = root.name[1:].rpartition("-")[0]
    return root.with_name(stem) if root.name.startswith(".") and stem else root


def _lock(store: Path) -> Path:
    """Returns the lock that a process holds while it builds the store."""
    return store.with_name(f"{store.name}.lock")


def _remove(root: Path) -> str:
    """Removes a store or a temporary folder of one, unless a process has just begun to build the store."""
    file = locks.open_locked(_lock(_store(root)), 0)
    if file is None:
        return "kept: a process is building it"
    with file:
        if root == _store(root) and data.is_valid(root):
            return "kept: a process has just built it"
        shutil.rmtree(root)
    return "removed; the next use builds it again"
