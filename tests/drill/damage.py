"""Damages files while the sweep is stopped: truncates, changes, empties or removes them."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

from rnnexp.errors import StudyError
from rnnexp.home import TrialFolder
from rnnexp.trial import events
from rnnexp.trial.states import FINISHED
from tests.drill.sweeps import Sweep

DamageFile = Callable[[Path, random.Random], None]
DamageSweep = Callable[[Sweep, random.Random], bool]


def truncate(path: Path, rng: random.Random) -> None:
    """Keeps only the first bytes of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content))])


def corrupt(path: Path, rng: random.Random) -> None:
    """Changes some bytes of a file; its length stays the same."""
    content = bytearray(path.read_bytes())
    for _ in range(16):
        content[rng.randrange(len(content))] ^= 1 + rng.randrange(255)
    path.write_bytes(bytes(content))


def empty(path: Path, _: random.Random) -> None:
    path.write_bytes(b"")


def remove(path: Path, _: random.Random) -> None:
    path.unlink()


def append_partial_line(path: Path, rng: random.Random) -> None:
    """Appends the first part of a line, as a process does that is killed while it writes."""
    line = path.read_bytes().splitlines()[-1]
    with path.open("ab") as file:
        file.write(line[: 1 + rng.randrange(len(line) - 1)])


def unfinished_trials(sweep: Sweep) -> Iterator[TrialFolder]:
    """Yields the folders of the trials whose result Optuna does not have.

    The model of a finished trial is not trained again; `rnnexp doctor` repairs it.
    """
    try:
        rows = sweep.view().trials
    except StudyError:  # the supervisor was killed before it had created the study
        return
    for row in rows:
        folder = sweep.home.study(sweep.study).trial(row.number)
        if row.state not in FINISHED and events.read(folder.events):
            yield folder


def damage_trial_file(attribute: str, damage: DamageFile) -> DamageSweep:
    """Returns a function that damages one file of an unfinished trial and tells whether such a file existed.

    Args:
        attribute: the file's attribute of `TrialFolder`.
        damage: is applied to the file.
    """

    def apply(sweep: Sweep, rng: random.Random) -> bool:
        paths: list[Path] = [getattr(folder, attribute) for folder in unfinished_trials(sweep)]
        paths = [path for path in paths if path.exists() and path.stat().st_size]
        if not paths:
            return False
        damage(rng.choice(paths), rng)
        return True

    return apply


def damage_token_store(damage: DamageFile) -> DamageSweep:
    """Returns a function that damages a token store and tells whether one existed."""

    def apply(sweep: Sweep, rng: random.Random) -> bool:
        paths = sorted(path for path in sweep.home.cache.glob("*/tokens.npy") if path.stat().st_size)
        if paths:
            damage(rng.choice(paths), rng)
        return bool(paths)

    return apply
