"""The exceptions that are reported to the user, and their exit codes.

    RnnexpError
    ├── UserError            2   the user's input is wrong
    │   ├── ConfigError          a sweep file, a trial file, or `--set`: all faults at once
    │   ├── DataError            a data set: missing, damaged, too small
    │   │   └── DataUnavailableError     not on this machine, and the download failed
    │   ├── StudyError           a study: unknown, already running, or changed
    │   └── HomeError            the home folder cannot be used
    └── WorkError            1   the input is correct, but the work failed

Every other exception is a bug (exit code 3). A message says where the fault is, what was received, what was expected
and what to do; each fault is one line.
"""

import difflib
from collections.abc import Iterable


class RnnexpError(Exception):
    """Base class of the errors that are reported in one line; `exit_code` is the exit code of the process."""

    exit_code = 1


class UserError(RnnexpError):
    """The user's input is wrong."""

    exit_code = 2


class ConfigError(UserError):
    """A configuration has faults; the error lists all that were found.

    Attributes:
        faults: one line for each, `place: what is wrong; what to do`.
    """

    def __init__(self, source: str, faults: Iterable[str]) -> None:
        self.source = source
        self.faults = tuple(faults)
        super().__init__("\n".join(f"{source}: {fault}" for fault in self.faults))


class DataError(UserError):
    """A data set is missing, damaged or unsuitable."""


class DataUnavailableError(DataError):
    """The data are not on this machine and cannot be downloaded; only this error makes `data.fallback` apply."""


class StudyError(UserError):
    """A study is unknown, is run by another process, or differs from the sweep file."""


class HomeError(UserError):
    """The home folder cannot be used."""


class WorkError(RnnexpError):
    """The input was correct, but the work failed: no trial finished, or a check did not pass."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Returns `; did you mean X?` with the most similar known word; without one, the list of the known words."""
    options = [str(option) for option in known]
    near = difflib.get_close_matches(str(word), options, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; expected one of {', '.join(sorted(options))}" if options else ""
