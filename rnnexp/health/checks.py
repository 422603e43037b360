"""All checks in the order in which their repairs make sense, and the two ways to go through them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rnnexp.health import databases, files, leftovers, machine, moved, orphans, runs, trials, unknown
from rnnexp.health.finding import Finding
from rnnexp.home import Home

_ROUNDS = 3
"""A repair may lay open what another hid: a trial that is set back to WAITING has a checkpoint that is looked at."""

_OPTUNA, _MLFLOW = "optuna.db", "mlflow.db"


@dataclass(frozen=True)
class Check:
    """One kind of check.

    Attributes:
        find: gives what is wrong with a home.
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
"""First what still writes, then the databases, then what is read from them; what is removed comes last."""


@dataclass(frozen=True)
class Repair:
    """What became of a finding.

    Attributes:
        finding: what was wrong.
        done: what was done, None where nothing was.
        failure: why it could not be.
    """

    finding: Finding
    done: str | None = None
    failure: str | None = None


def examine(home: Home) -> Iterator[Finding]:
    """Goes through all checks; those that a damaged database keeps from looking are left out."""
    readable: set[str] | None = None
    for check in CHECKS:
        if check.needs and readable is None:
            readable = databases.usable(home)
        if check.needs <= (readable or set()):
            yield from check.find(home)


def repair(home: Home) -> Iterator[Repair]:
    """Mends check by check, so that each looks at what the earlier ones have mended; then looks again.

    Yields:
        What was mended as it is mended; at the end what is still wrong, without `done`.
    """
    failures: dict[tuple[str, str, str], str] = {}
    for _ in range(_ROUNDS):
        mended = False
        for outcome in _round(home):
            mended = mended or outcome.done is not None
            if outcome.done is not None:
                yield outcome
            else:
                finding = outcome.finding
                failures[finding.check, finding.where, finding.what] = outcome.failure or ""
        if not mended:
            break
    for finding in examine(home):
        yield Repair(finding, failure=failures.get((finding.check, finding.where, finding.what)))


def _round(home: Home) -> Iterator[Repair]:
    """Mends what each check finds, once."""
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
                yield Repair(finding, done=finding.fix())
            except Exception as error:  # one repair that fails keeps no other from being made
                yield Repair(finding, failure=" ".join(str(error).split())[:240])
