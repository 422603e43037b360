"""Recorded learning curves: which settings they are of, what they hold, and the file that they are kept in.

Knows neither who records them nor what is replayed over them.
"""

import dataclasses
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import optuna

from rnnexp import disk
from rnnexp import space as spaces
from rnnexp.config.load import load_sweep
from rnnexp.config.sweep import RandomSampler, SweepConfig
from rnnexp.storage.store import StudyStore

SEED = 4
"""Draws the settings."""

KINDS = ("rnnexp", "plain")
PARTS = ("whole", "values", "seconds")
"""What of a curve is recorded: seconds want a machine that does nothing else; values do not, and take hours."""
WORKERS = 2
N_SMALL, EPOCHS_SMALL = 6, 2
"""To see whether it runs."""

SHIPPED = Path(__file__).parent / "recorded"
_SWEEP = Path(__file__).resolve().parents[3] / "sweeps" / "imdb.yaml"
_SAME = ("kind", "machine", "workers", "small")
"""What must not differ between the parts of one recording."""


@dataclass(frozen=True)
class Curve:
    """One configuration's recording.

    Attributes:
        number: the place in the draw.
        settings: those of the search space, under their dotted names.
        val_accuracy: after each epoch; empty where only seconds were measured.
        seconds: of each epoch, training and measuring; empty where only values were recorded.
        beside_s: the trial's other seconds: start, data, saving, logging; None where they could not be told.
        scaled: whether the seconds are scaled up from some steps.
        failed: why the trial ended before its time, or nothing.
    """

    number: int
    settings: dict[str, Any]
    val_accuracy: tuple[float, ...]
    seconds: tuple[float, ...]
    beside_s: float | None
    scaled: bool = False
    failed: str = ""

    def is_whole(self, epochs: int) -> bool:
        """Tells whether so many epochs were really trained, or no more could be."""
        return bool(self.failed) or len(self.val_accuracy) >= epochs

    def suffices(self, epochs: int, part: str) -> bool:
        """Tells whether nothing is left to record of that part."""
        timed = bool(self.failed) or len(self.seconds) >= epochs
        return {
            "whole": self.is_whole(epochs) and timed and not self.scaled,
            "values": self.is_whole(epochs),
            "seconds": timed,
        }[part]

    def completed_by(self, old: "Curve") -> "Curve":
        """Returns the curve with what only an older one of the same settings has."""
        curve = self
        if len(old.val_accuracy) > len(curve.val_accuracy):
            curve = dataclasses.replace(curve, val_accuracy=old.val_accuracy, failed=old.failed)
        if old.seconds and (not curve.seconds or (curve.scaled and not old.scaled)):
            curve = dataclasses.replace(curve, seconds=old.seconds, beside_s=old.beside_s, scaled=old.scaled)
        return curve

    def first(self, epochs: int) -> "Curve":
        """Returns the curve of so many epochs; for seconds that were not recorded, those of the last epoch stand in."""
        lacking = 0 if self.failed else epochs - len(self.seconds)
        seconds = (*self.seconds, *self.seconds[-1:] * lacking)[:epochs]
        return dataclasses.replace(self, val_accuracy=self.val_accuracy[:epochs], seconds=seconds)


@dataclass(frozen=True)
class Recording:
    """The curves of one program on one machine.

    Attributes:
        about: kind (`rnnexp` or `plain`), machine, versions, epochs asked for, workers; what the recorder keeps there.
        curves: by number.
    """

    about: dict[str, Any]
    curves: tuple[Curve, ...] = ()

    @classmethod
    def load(cls, path: Path) -> "Recording":
        """Reads a recording; raises `FileNotFoundError` where there is none."""
        values = json.loads(path.read_text(encoding="utf-8"))
        curves = [
            Curve(**{**curve, "val_accuracy": tuple(curve["val_accuracy"]), "seconds": tuple(curve["seconds"])})
            for curve in values["curves"]
        ]
        return cls(values["about"], tuple(curves))

    @classmethod
    def open(cls, path: Path, about: Mapping[str, Any]) -> "Recording":
        """Reads a recording to go on with, or begins one.

        Raises:
            SystemExit: where the old parts would not fit the new ones.
        """
        if not path.exists():
            return cls(dict(about))
        found = cls.load(path)
        other = [f"{name} was {found.about[name]}" for name in _SAME if found.about[name] != about[name]]
        if other:
            raise SystemExit(f"{path}: {'; '.join(other)}; record into another folder with --state, or remove the file")
        return cls(found.about | about, found.curves)

    def save(self, path: Path) -> None:
        """Writes the recording, a line a curve, so that the file is whole or as it was."""
        lines = ",\n".join(json.dumps(dataclasses.asdict(curve)) for curve in self.curves)
        disk.write_text(path, f'{{"about": {json.dumps(self.about)},\n"curves": [\n{lines}\n]}}\n')

    def find(self, number: int, settings: Mapping[str, Any]) -> Curve | None:
        """Returns the curve of these settings, None where it is not recorded."""
        return next((curve for curve in self.curves if curve.number == number and curve.settings == settings), None)

    def lacking(self, settings: Sequence[Mapping[str, Any]], epochs: int, part: str) -> dict[int, Mapping[str, Any]]:
        """Returns, by number, the settings of which that part is left to record."""
        return {
            number: each
            for number, each in enumerate(settings)
            if not ((found := self.find(number, each)) and found.suffices(epochs, part))
        }

    def with_curve(self, curve: Curve) -> "Recording":
        """Returns the recording with one more curve, together with what was recorded of it before."""
        old = self.find(curve.number, curve.settings)
        if old is not None:
            curve = curve.completed_by(old)
        others = [other for other in self.curves if other.number != curve.number]
        return dataclasses.replace(self, curves=tuple(sorted([*others, curve], key=lambda one: one.number)))


def about(kind: str, epochs: int, workers: int, *, small: bool) -> dict[str, Any]:
    """Returns what a recording says of itself."""
    from importlib.metadata import version

    return {
        "kind": kind,
        "machine": f"{platform.platform()}, {os.cpu_count()} cores",
        "versions": {name: version(name) for name in ("tensorflow", "keras", "optuna", "mlflow")},
        "epochs": epochs,
        "workers": workers,
        "small": small,
    }


@lru_cache(maxsize=1)
def sweep() -> SweepConfig:
    """Returns the sweep whose space is recorded."""
    return load_sweep(_SWEEP)


def draw(n: int) -> list[dict[str, Any]]:
    """Returns the first n random settings of the sweep's space, as a study with a random sampler draws them."""
    update = {"tries": (), "sampler": RandomSampler(name="random", seed=SEED)}
    store = StudyStore(optuna.create_study(), sweep().model_copy(update=update))
    return [asked.settings for asked in (store.ask() for _ in range(n)) if asked is not None]


def check_space(recording: Recording) -> None:
    """Raises `ValueError` where a recorded configuration is no point of the sweep's space any more."""
    space, fixed = sweep().space, sweep().base.settings()
    outside = {name: value for name, value in fixed.items() if name not in space}
    for curve in recording.curves:
        known = outside | curve.settings
        expected = {name for name in space if spaces.applies(space[name], known)}
        if expected != set(curve.settings) or not all(space[name].holds(curve.settings[name]) for name in expected):
            raise ValueError(f"curve {curve.number} is not in the space of {_SWEEP.name}: it has changed; record anew")
