"""One fault as a value: where it is, what is wrong, how it can be repaired."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class StudyFix:
    """A repair that needs the lock of one study. The caller holds it.

    Attributes:
        study: the study's name.
        action: repairs it and returns one line about what it did.
    """

    study: str
    action: Callable[[], str]

    def __call__(self) -> str:
        return self.action()


@dataclass(frozen=True)
class Finding:
    """One fault.

    Attributes:
        check: the check that found it.
        where: a file, a study, a trial or a device.
        what: the fault, in one line.
        repair: what `--repair` does; None if `rnnexp doctor` cannot repair it.
        fix: repairs it and returns one line about what it did. The caller holds the lock of the study (`StudyFix`) or
            of the whole home (any other function), and has found the fault again since it took the lock.
        frees_bytes: the disk space that the repair frees.
        blocks: whether later checks must not repair anything: the state of the home is not known.
        unusable: whether no other check can use the file that `where` names.
    """

    check: str
    where: str
    what: str
    repair: str | None = None
    fix: Callable[[], str] | None = None
    frees_bytes: int = 0
    blocks: bool = False
    unusable: bool = False

    @property
    def study(self) -> str | None:
        """The study whose lock the repair needs; None if it needs the lock of the whole home."""
        return self.fix.study if isinstance(self.fix, StudyFix) else None

    @property
    def identity(self) -> tuple[str, str, str | None]:
        """Identifies the fault when it is searched again. The words of `what` may have changed meanwhile."""
        return self.check, self.where, self.repair
