"""The exceptions that a user can meet, and the exit code of each.

    RnnexpError
    ├── UserError            2   the input is wrong
    │   ├── ConfigError          a sweep or trial file, or a `--set`: all faults at once
    │   ├── DataError            a data set: missing, damaged, too small
    │   │   └── DataUnavailableError     not here, and it cannot be fetched
    │   ├── StudyError           a study: unknown, busy, changed
    │   └── HomeError            the folder that holds all state
    └── WorkError            1   the input is right, the work failed

Anything else that leaves the program is a bug (exit code 3). A message says where, what was received, what was
expected and what to do next, each fault on one line.
"""

import difflib
from collections.abc import Iterable


class RnnexpError(Exception):
    """What a user can expect to see; `exit_code` is the process's."""

    exit_code = 1


class UserError(RnnexpError):
    """The user's input is wrong."""

    exit_code = 2


class ConfigError(UserError):
    """One or more faults of a configuration, all those that one pass can find.

    Attributes:
        faults: one line each, `place: what is wrong; what to do`.
    """

    def __init__(self, source: str, faults: Iterable[str]) -> None:
        self.source = source
        self.faults = tuple(faults)
        super().__init__("\n".join(f"{source}: {fault}" for fault in self.faults))


class DataError(UserError):
    """A data set is missing, damaged, or cannot serve."""


class DataUnavailableError(DataError):
    """The data are not here and cannot be fetched; the one error for which a named fallback is used."""


class StudyError(UserError):
    """A study is unknown, run by somebody else, or not the one that the file describes."""


class HomeError(UserError):
    """The home folder cannot be used."""


class WorkError(RnnexpError):
    """The input was right and the work failed: no trial finished, or a check did not hold."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Returns `; did you mean X?` for the nearest known word, else the list of what is known."""
    options = [str(option) for option in known]
    near = difflib.get_close_matches(str(word), options, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; expected one of {', '.join(sorted(options))}" if options else ""
