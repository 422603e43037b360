"""Something that is wrong, as a value: where, what, and how it can be mended."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """Something that is wrong.

    Attributes:
        check: which check found it.
        where: a file, a study, a trial, a device.
        what: what is wrong, one line.
        repair: what `--repair` does; None where nothing can be done from here.
        fix: does it, and says in one line what it did.
        frees_bytes: the disk space that this gives back.
    """

    check: str
    where: str
    what: str
    repair: str | None = None
    fix: Callable[[], str] | None = None
    frees_bytes: int = 0
