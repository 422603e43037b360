"""The exceptions that are reported to the user, and their exit codes.

    RnnexpError
    ├── UserError            2   the user's input is wrong
    │   ├── ConfigError          a sweep file, a trial file, or `--set`: all faults at once
    │   ├── DataError            a data set: missing, damaged, too small
    │   │   └── DataUnavailableError     not on this machine, and the download failed
    │   ├── StudyError           a study: unknown, already running, or changed
    │   ├── HomeError            the home folder cannot be used
    │   └── StorageError         the database of the studies cannot be used
    └── WorkError            1   the input is correct, but the work failed
        ├── EngineLostError      the engine that runs the trials is lost
        └── StorageLostError     the database of the studies, or the lock in it, is lost

Every other exception is a bug (exit code 3). A message says where the fault is, what was received, what was expected
and what to do; each fault is one line.
"""

import difflib
import re
import reprlib
from collections.abc import Iterable

BUG = 3
"""The exit code of a bug."""

MAX_SHOWN = 80
"""Largest number of characters of a value in an error message."""

_HALF_PAIR = re.compile("[\ud800-\udfff]")
_MAX_FAULTS = 50
_MAX_BITS = 256
_MAX_WORD = 200


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
        found = [escaped(fault) for fault in faults]
        if len(found) > _MAX_FAULTS:
            found[_MAX_FAULTS:] = [f"and {len(found) - _MAX_FAULTS} more faults"]
        self.source = source
        self.faults = tuple(found)
        super().__init__("\n".join(f"{escaped(source)}: {fault}" for fault in self.faults))


class DataError(UserError):
    """A data set is missing, damaged or unsuitable."""

    def __init__(self, message: str) -> None:
        super().__init__(escaped(message))


class DataUnavailableError(DataError):
    """The data are not on this machine and cannot be downloaded; only this error makes `data.fallback` apply."""


class StudyError(UserError):
    """A study is unknown, is run by another process, or differs from the sweep file."""


class HomeError(UserError):
    """The home folder cannot be used."""


class StorageError(UserError):
    """The database of the studies (RNNEXP_STORAGE) cannot be used."""


class WorkError(RnnexpError):
    """The input was correct, but the work failed: no trial finished, or a check did not pass."""


class EngineLostError(WorkError):
    """The engine that runs the trials is lost; the same command resumes the study when it is back."""


class StorageLostError(WorkError):
    """The connection to the database of the studies is lost, and with it the lock of a running study."""


def escaped(text: str) -> str:
    """Returns the text with line breaks and other control characters as escape sequences, so that it is one line."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def is_unicode(text: str) -> bool:
    """Tells whether a text can be encoded; JSON can contain halves of surrogate pairs."""
    return _HALF_PAIR.search(text) is None


def shown(value: object) -> str:
    """Returns a value as an error message shows it: as in Python, at most `MAX_SHOWN` characters.

    A large value is never expanded: only its first items are read.
    """
    return short(_BRIEF.repr(value))


def short(text: object, limit: int = MAX_SHOWN) -> str:
    """Returns a text, such as a name from a file, on one line and cut to a number of characters."""
    start = escaped(str(text)[: limit + 1])
    return start if len(start) <= limit else start[: limit - 3] + "..."


class _Brief(reprlib.Repr):
    """`repr` that reads only the first items of a value, and no digits of a huge number."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 4
        self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdict = 12
        self.maxstring = self.maxother = self.maxlong = 2 * MAX_SHOWN

    def repr_int(self, value: int, level: int) -> str:
        if value.bit_length() > _MAX_BITS:  # Python refuses to write very large numbers as text
            return f"a number of {value.bit_length()} bits"
        return repr(value)


_BRIEF = _Brief()


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Returns `; did you mean X?` with the most similar known word; without one, the list of the known words."""
    options = [str(option) for option in known]
    near = difflib.get_close_matches(str(word)[:_MAX_WORD], options, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; expected one of {', '.join(sorted(options))}" if options else ""
