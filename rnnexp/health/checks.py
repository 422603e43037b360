"""The list of all checks, and two functions that run them: `examine` only reports, `repair` also repairs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rnnexp import addresses
from rnnexp.health import databases, files, leftovers, machine, moved, orphans, runs, trials, unknown
from rnnexp.health.finding import Finding
from rnnexp.home import Home

_MAX_ROUNDS = 3
"""A repair may reveal another fault: the checkpoint of a trial is checked only after it was set back to WAITING."""

_OPTUNA, _MLFLOW = "optuna.db", "mlflow.db"


@dataclass(frozen=True)
class Check:
    """One kind of check.

    Attributes:
        find: yields the faults of a home.
        needs: the databases that must be readable.
    """

    find: Callable[[Home], Iterator[Finding]]
    needs: frozenset[str] = frozenset()


CHECKS = (
    Check(orphans.check),
    Check(databases.check),
    Check(moved.check, frozenset({_MLFLOW})),
    Check(unknown.check, frozenset({_OPTUNA})),
    Check(trials.check, frozenset({_OPTUNA})),
    Check(files.check_stores),
    Check(files.check_checkpoints, frozenset({_OPTUNA})),
    Check(runs.check, frozenset({_OPTUNA, _MLFLOW})),
    Check(leftovers.check, frozenset({_OPTUNA, _MLFLOW})),
    Check(machine.check_data, frozenset({_OPTUNA})),
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
    readable: set[str] | None = None
    for check in CHECKS:
        if check.needs and readable is None:
            readable = databases.usable(home)
        if check.needs <= (readable or set()):
            yield from check.find(home)


def repair(home: Home) -> Iterator[RepairOutcome]:
    """Repairs check by check, so that each check sees the repairs of the earlier ones; then runs all checks again.

    Yields:
        Each repair when it is done; at the end the remaining findings, without `done`.
    """
    failures: dict[tuple[str, str, str], str] = {}
    for _ in range(_MAX_ROUNDS):
        repaired = False
        for outcome in _repair_once(home):
            repaired = repaired or outcome.done is not None
            if outcome.done is not None:
                yield outcome
            else:
                finding = outcome.finding
                failures[finding.check, finding.where, finding.what] = outcome.failure or ""
        if not repaired:
            break
    for finding in find_problems(home):
        yield RepairOutcome(finding, failure=failures.get((finding.check, finding.where, finding.what)))


def _repair_once(home: Home) -> Iterator[RepairOutcome]:
    """Runs each check once and repairs what it finds."""
    readable: set[str] | None = None
    for check in CHECKS:
        if check.needs and readable is None:
            readable = databases.usable(home)
        if not check.needs <= (readable or set()):
            continue
        for finding in list(check.find(home)):
            if finding.fix is None:
                continue
            try:
                yield RepairOutcome(finding, done=finding.fix())
            except Exception as error:  # a failed repair does not prevent the others
                yield RepairOutcome(finding, failure=addresses.one_line(error, 240))
