"""Harm to files while nothing of the sweep runs: cut short, altered, emptied, removed."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

from rnnexp.home import TrialFolder
from rnnexp.trial import events
from rnnexp.trial.events import AttemptEnded
from tests.drill.sweeps import Sweep

Harm = Callable[[Path, random.Random], None]


def cut(path: Path, rng: random.Random) -> None:
    """Leaves the beginning of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content))])


def alter(path: Path, rng: random.Random) -> None:
    """Changes some bytes of a file, its length stays."""
    content = bytearray(path.read_bytes())
    for _ in range(16):
        content[rng.randrange(len(content))] ^= 1 + rng.randrange(255)
    path.write_bytes(bytes(content))


def empty(path: Path, _: random.Random) -> None:
    path.write_bytes(b"")


def remove(path: Path, _: random.Random) -> None:
    path.unlink()


def tear(path: Path, rng: random.Random) -> None:
    """Adds the beginning of a line, as a process does that is killed while it writes."""
    line = path.read_bytes().splitlines()[-1]
    with path.open("ab") as file:
        file.write(line[: 1 + rng.randrange(len(line) - 1)])


def unfinished(sweep: Sweep) -> Iterator[TrialFolder]:
    """The folders of trials that are to go on."""
    for root in sorted(sweep.home.study(sweep.study).trials.glob("*")):
        folder = TrialFolder(root)
        happened = events.read(folder.events)
        last = [event for event in happened if isinstance(event, AttemptEnded)]
        if happened and not (last and last[-1].state != "WAITING"):
            yield folder


def of_a_trial(name: str, harm: Harm) -> Callable[[Sweep, random.Random], bool]:
    """Returns what harms a file of an unfinished trial; it tells whether there was one."""

    def inflict(sweep: Sweep, rng: random.Random) -> bool:
        paths: list[Path] = [getattr(folder, name) for folder in unfinished(sweep)]
        paths = [path for path in paths if path.exists() and path.stat().st_size]
        if not paths:
            return False
        harm(rng.choice(paths), rng)
        return True

    return inflict


def of_the_cache(harm: Harm) -> Callable[[Sweep, random.Random], bool]:
    """Returns what harms the token store; it tells whether there was one."""

    def inflict(sweep: Sweep, rng: random.Random) -> bool:
        paths = sorted(path for path in sweep.home.cache.glob("*/tokens.npy") if path.stat().st_size)
        if paths:
            harm(rng.choice(paths), rng)
        return bool(paths)

    return inflict
