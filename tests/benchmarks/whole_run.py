"""A run of all benchmarks. The same command continues an interrupted run; after a finished one it starts a new one.

The file `unfinished.json` in the state folder has the benchmarks that are done and the seconds that each took so far.
"""

import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmarks.budget import TimeShare, share_s
from tests.benchmarks.harness import Options, Target, table

MEASUREMENTS = (("rivals", ".jsonl"), ("scale", ""))
"""What benchmarks store in the state folder between starts; a new run of all benchmarks measures it again."""


@dataclass(frozen=True)
class Done:
    """A benchmark that has been run.

    Attributes:
        name: its name for `--only`.
        seconds: how long it took, over all starts.
        targets: its targets.
        text: its table and lines, as they were printed.
        error: why it could not be run; empty if it was run.
    """

    name: str
    seconds: float
    targets: tuple[Target, ...]
    text: str
    error: str = ""

    @property
    def n_missed(self) -> int:
        return sum(not target.met for target in self.targets) + bool(self.error)


@dataclass
class Progress:
    """What is done of a run of some benchmarks.

    Attributes:
        path: the file that keeps it; None if the run is not kept, because it is not one of all benchmarks.
        key: what must be equal for a run to be continued: options, program, machine.
        done: the benchmarks that are done, in their order.
        spent: the seconds of earlier starts for benchmarks that are not done, by name.
    """

    path: Path | None
    key: Mapping[str, Any]
    done: list[Done] = field(default_factory=list)
    spent: dict[str, float] = field(default_factory=dict)

    @classmethod
    def open(cls, options: Options, key: Mapping[str, Any]) -> "Progress":
        """Loads the interrupted run, or starts a new one and removes the stored measurements of earlier runs."""
        path = options.stored("unfinished", ".json")
        stored = json.loads(path.read_text()) if path.exists() else {}
        if stored.get("key") == key:
            return cls(path, key, [_loaded(one) for one in stored["done"]], stored["spent"])
        for stem, suffix in MEASUREMENTS:
            _remove(options.stored(stem, suffix))
        new = cls(path, key)
        new._save()
        return new

    def find(self, name: str) -> Done | None:
        """Returns a benchmark that is done, or None."""
        return next((one for one in self.done if one.name == name), None)

    @contextmanager
    def timed(self, name: str, rounds: int) -> Iterator[TimeShare]:
        """Gives a benchmark the rest of its share of time; keeps the time that it took, even if it is interrupted."""
        share = TimeShare(share_s(name, rounds) - self.spent.get(name, 0.0))
        try:
            yield share
        finally:
            self.spent[name] = self.spent.get(name, 0.0) + share.used_s
            self._save()

    def add(self, one: Done) -> None:
        """Keeps a benchmark that is done."""
        self.done.append(one)
        self._save()

    def finish(self) -> None:
        """Forgets the run, because all of it is done."""
        if self.path:
            self.path.unlink(missing_ok=True)

    def _save(self) -> None:
        if self.path:
            values = {"key": self.key, "done": [asdict(one) for one in self.done], "spent": self.spent}
            self.path.write_text(json.dumps(values, indent=1))


def _loaded(values: Mapping[str, Any]) -> Done:
    return Done(**{**values, "targets": tuple(Target(**target) for target in values["targets"])})


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def summary(done: Sequence[Done], rounds: int) -> str:
    """Returns the table of how long each benchmark took, with the total, and the targets that are missed."""
    rows = [_row(one.name, one.seconds, share_s(one.name, rounds), one.n_missed) for one in done]
    total_s, total_share_s = sum(one.seconds for one in done), sum(share_s(one.name, rounds) for one in done)
    rows.append(_row("total", total_s, total_share_s, sum(one.n_missed for one in done)))
    missed = [f"- {one.name}: {target}" for one in done for target in one.targets if not target.met]
    errors = [f"- {one.name}: not run: {one.error}" for one in done if one.error]
    return "\n".join(["## Time", "", table(rows), "", *missed, *errors])


def _row(name: str, seconds: float, share: float, n_missed: int) -> dict[str, Any]:
    is_limited = share < math.inf
    return {
        "benchmark": name,
        "minutes": f"{seconds / 60:.1f}",
        "may take": f"{share / 60:g}" if is_limited else "–",
        "within": ("yes" if seconds <= share else "NO") if is_limited else "–",
        "targets missed": n_missed,
    }
