"""The list of all checks, and two functions that run them: `find_problems` only reports, `repair` also repairs.

A repair never acts on an old observation: it takes the lock of the study, or of the whole home, searches the fault
again, and acts only if the fault is still there.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

from rnnexp import addresses, disk
from rnnexp.errors import StudyError
from rnnexp.health import (
    databases,
    files,
    leftovers,
    machine,
    moved,
    orphans,
    outside,
    runs,
    servers,
    stores,
    trials,
    unknown,
)
from rnnexp.health.finding import Finding
from rnnexp.health.studies import Observation
from rnnexp.home import Home
from rnnexp.storage.study_lock import hold_home_lock, hold_study_lock

_MAX_ROUNDS = 3
"""A repair may reveal another fault: the checkpoint of a trial is checked only after it was set back to WAITING."""

_OPTUNA, _MLFLOW = "optuna.db", "mlflow.db"
_NOT_ATTEMPTED = "not attempted, because an earlier repair or check failed"


@dataclass(frozen=True)
class Check:
    """One kind of check.

    Attributes:
        name: of its findings.
        find: yields the faults of a home. If the observation is of one study, the caller holds its lock, and only the
            faults that need this lock are searched.
        needs: the databases that must be readable.
    """

    name: str
    find: Callable[[Observation], Iterator[Finding]]
    needs: frozenset[str] = frozenset()


CHECKS = (
    Check(outside.CHECK, outside.check),
    Check(servers.CHECK, servers.check),
    Check(orphans.CHECK, orphans.check),
    Check(databases.CHECK, databases.check),
    Check(moved.CHECK, moved.check, frozenset({_MLFLOW})),
    Check(unknown.CHECK, unknown.check, frozenset({_OPTUNA})),
    Check(trials.CHECK, trials.check, frozenset({_OPTUNA})),
    Check(stores.CHECK, stores.check),
    Check(files.CHECK, files.check, frozenset({_OPTUNA})),
    Check(runs.CHECK, runs.check, frozenset({_OPTUNA, _MLFLOW})),
    Check(leftovers.CHECK, leftovers.check, frozenset({_OPTUNA, _MLFLOW})),
    Check(machine.DATA, machine.check_data, frozenset({_OPTUNA})),
)
"""In the order of repair: first processes that still write, then the databases, then what is compared with them, then
deletions."""


@dataclass(frozen=True)
class RepairOutcome:
    """A finding and the result of its repair.

    Attributes:
        finding: the fault.
        done: what the repair did; None if there was none.
        failure: why the repair failed.
    """

    finding: Finding
    done: str | None = None
    failure: str | None = None


def find_problems(home: Home) -> Iterator[Finding]:
    """Runs all checks; skips those that need a database that cannot be read."""
    observed = Observation(home)
    unusable: set[str] = set()
    for check in CHECKS:
        if check.needs.isdisjoint(unusable):
            for finding in _find(check, observed):
                if finding.unusable:
                    unusable.add(finding.where)
                yield finding


def _find(check: Check, observed: Observation) -> Iterator[Finding]:
    """Runs one check. If files cannot be read now, that is its last finding: it says nothing about their content."""
    try:
        yield from check.find(observed)
    except Exception as error:
        if not disk.has_cause(error, (OSError, sqlite3.OperationalError)):
            raise
        what = f"this check could not be completed ({_one_line(error)}); run `rnnexp doctor` again"
        yield Finding(check.name, str(observed.home.root), what, blocks=True)


def repair(home: Home) -> Iterator[RepairOutcome]:
    """Repairs check by check, so that each check sees the repairs of the earlier ones; then runs all checks again.

    Yields:
        Each repair when it is done; at the end the remaining findings, without `done`.
    """
    failures: dict[tuple[str, str, str | None], str] = {}
    for _ in range(_MAX_ROUNDS):
        repaired = False
        for outcome in _repair_once(home):
            repaired = repaired or outcome.done is not None
            if outcome.done is not None:
                yield outcome
            else:
                failures[outcome.finding.identity] = outcome.failure or ""
        if not repaired:
            break
    for finding in find_problems(home):
        yield RepairOutcome(finding, failure=failures.get(finding.identity))


def _repair_once(home: Home) -> Iterator[RepairOutcome]:
    """Runs each check once and repairs what it finds.

    After a repair has failed, its study gets no further repair, and neither does the home: what a later repair removes
    may be what the earlier one would have saved.
    """
    readable: set[str] | None = None
    failed: set[str | None] = set()
    for check in CHECKS:
        if check.needs and readable is None:
            readable = databases.usable(home)
        if not check.needs <= (readable or set()):
            continue
        found = list(_find(check, Observation(home)))
        if any(finding.blocks for finding in found):
            failed.add(None)
        for study, group in _by_study(found).items():
            if None in failed or study in failed or (study is None and failed):
                yield from (RepairOutcome(finding, failure=_NOT_ATTEMPTED) for finding in group)
                continue
            for outcome in _repair_group(home, check, study, group):
                if outcome.done is None:
                    failed.add(study)
                yield outcome


def _by_study(found: list[Finding]) -> dict[str | None, list[Finding]]:
    """Groups the findings that can be repaired by the lock that their repair needs."""
    groups: dict[str | None, list[Finding]] = {}
    for finding in found:
        if finding.fix is not None:
            groups.setdefault(finding.study, []).append(finding)
    return groups


def _repair_group(home: Home, check: Check, study: str | None, group: list[Finding]) -> Iterator[RepairOutcome]:
    """Takes the lock of a study or of the home, searches the findings again, and repairs those that are still there."""
    wanted = {finding.identity for finding in group}
    try:
        with _lock(home, study):
            for finding in list(_find(check, Observation(home, study))):
                if finding.fix is not None and finding.study == study and finding.identity in wanted:
                    yield _repair_one(finding, finding.fix)
    except (StudyError, OSError) as error:  # the lock cannot be taken
        yield from (RepairOutcome(finding, failure=_one_line(error)) for finding in group)


def _lock(home: Home, study: str | None) -> AbstractContextManager[object]:
    return hold_home_lock(home) if study is None else hold_study_lock(home, study)


def _repair_one(finding: Finding, fix: Callable[[], str]) -> RepairOutcome:
    try:
        return RepairOutcome(finding, done=fix())
    except Exception as error:  # a failed repair of one finding does not prevent those of other studies
        return RepairOutcome(finding, failure=_one_line(error))


def _one_line(error: Exception) -> str:
    return addresses.one_line(error, 240) or type(error).__name__
