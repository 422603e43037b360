"""One fault as a value: where it is, what is wrong, how it can be repaired."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One fault.

    Attributes:
        check: the check that found it.
        where: a file, a study, a trial or a device.
        what: the fault, in one line.
        repair: what `--repair` does; None if `rnnexp doctor` cannot repair it.
        fix: repairs it and returns one line about what it did.
        frees_bytes: the disk space that the repair frees.
    """

    check: str
    where: str
    what: str
    repair: str | None = None
    fix: Callable[[], str] | None = None
    frees_bytes: int = 0
