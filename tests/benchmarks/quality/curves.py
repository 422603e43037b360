"""Recorded learning curves: their settings, their content and their file.

This module knows neither how curves are recorded nor how they are used.
"""

import dataclasses
import json
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
from tests.benchmarks import machine
from tests.benchmarks.harness import UnavailableError

SEED = 4
"""The seed with which the settings are drawn."""

KINDS = ("rnnexp", "plain")
PARTS = ("whole", "values", "seconds")
"""The parts of a curve: `seconds` need a machine without other load; `values` do not, but take hours."""
WORKERS = 2
N_SMALL, EPOCHS_SMALL = 6, 2
"""For `--quick`."""

SHIPPED = Path(__file__).parent / "recorded"
_SWEEP_FILE = Path(__file__).resolve().parents[3] / "sweeps" / "imdb.yaml"
_MUST_MATCH = ("kind", "machine", "workers", "small")
"""The entries of `about` that must be equal for all parts of one recording."""
ONLY_FOR_THE_RECORDER = ("starts",)
"""The entries of `about` that only a recording which may be continued needs."""
_N_DIGITS = 4
"""Of drawn settings, and of recorded accuracies, which are shares of 5,000 texts. Seconds have two decimals."""


@dataclass(frozen=True)
class Curve:
    """The recorded curve of one configuration; the names of the fields are keys in the file.

    Attributes:
        number: the index of the configuration among the drawn ones.
        settings: the settings of the search space, under their dotted names.
        val_accuracy: the value after each epoch; empty if only seconds were recorded.
        seconds: the seconds of each epoch, training and evaluation; empty if only values were recorded.
        beside_s: the trial's seconds outside its epochs: start, data, saving, logging; None if they are unknown.
        scaled: whether the seconds are extrapolated from some steps.
        failed: the reason if the trial failed, else empty.
    """

    number: int
    settings: dict[str, Any]
    val_accuracy: tuple[float, ...]
    seconds: tuple[float, ...]
    beside_s: float | None
    scaled: bool = False
    failed: str = ""

    def is_complete(self, epochs: int) -> bool:
        """Tells whether at least so many epochs were trained, or the trial failed before."""
        return bool(self.failed) or len(self.val_accuracy) >= epochs

    def has_part(self, epochs: int, part: str) -> bool:
        """Tells whether a part (one of `PARTS`) is recorded for so many epochs."""
        timed = bool(self.failed) or len(self.seconds) >= epochs
        return {
            "whole": self.is_complete(epochs) and timed and not self.scaled,
            "values": self.is_complete(epochs),
            "seconds": timed,
        }[part]

    def merged_with(self, old: "Curve") -> "Curve":
        """Returns the curve with the parts that only an older curve of the same settings has."""
        curve = self
        if len(old.val_accuracy) > len(curve.val_accuracy):
            curve = dataclasses.replace(curve, val_accuracy=old.val_accuracy, failed=old.failed)
        if old.seconds and (not curve.seconds or (curve.scaled and not old.scaled)):
            curve = dataclasses.replace(curve, seconds=old.seconds, beside_s=old.beside_s, scaled=old.scaled)
        return curve

    def rounded(self) -> "Curve":
        """Returns the curve as it is stored: figures without digits that are only noise."""
        return dataclasses.replace(
            self,
            val_accuracy=tuple(round(value, _N_DIGITS) for value in self.val_accuracy),
            seconds=tuple(round(value, 2) for value in self.seconds),
            beside_s=None if self.beside_s is None else round(self.beside_s, 2),
        )

    def with_epochs(self, epochs: int) -> "Curve":
        """Returns the curve with so many epochs; missing seconds are filled with those of the last recorded epoch."""
        n_missing = 0 if self.failed else epochs - len(self.seconds)
        seconds = (*self.seconds, *self.seconds[-1:] * n_missing)[:epochs]
        return dataclasses.replace(self, val_accuracy=self.val_accuracy[:epochs], seconds=seconds)


@dataclass(frozen=True)
class Recording:
    """The curves of one program on one machine.

    Attributes:
        about: kind (`rnnexp` or `plain`), machine, versions, requested epochs, workers; entries of the recorder.
        curves: sorted by number.
    """

    about: dict[str, Any]
    curves: tuple[Curve, ...] = ()

    @classmethod
    def load(cls, path: Path) -> "Recording":
        """Loads a recording.

        Raises:
            FileNotFoundError: if there is no such file.
        """
        values = json.loads(path.read_text(encoding="utf-8"))
        curves = [
            Curve(**{**curve, "val_accuracy": tuple(curve["val_accuracy"]), "seconds": tuple(curve["seconds"])})
            for curve in values["curves"]
        ]
        return cls(values["about"], tuple(curves))

    @classmethod
    def open(cls, path: Path, about: Mapping[str, Any]) -> "Recording":
        """Loads a recording to continue it, or creates an empty one.

        Raises:
            SystemExit: if the recording was made in another way or on another machine.
        """
        if not path.exists():
            return cls(dict(about))
        old = cls.load(path)
        differences = [f"{name} was {old.about[name]}" for name in _MUST_MATCH if old.about[name] != about[name]]
        if differences:
            raise SystemExit(
                f"{path}: {'; '.join(differences)}; record into another folder with --state, or remove the file"
            )
        return cls(old.about | about, old.curves)

    def save(self, path: Path) -> None:
        """Writes the recording atomically and rounded, with one curve per line."""
        lines = ",\n".join(json.dumps(dataclasses.asdict(curve.rounded())) for curve in self.curves)
        disk.write_text(path, f'{{"about": {json.dumps(self.about, indent=1)},\n"curves": [\n{lines}\n]}}\n')

    def find(self, number: int, settings: Mapping[str, Any]) -> Curve | None:
        """Returns the curve of these settings, or None if it is not recorded."""
        return next((curve for curve in self.curves if curve.number == number and curve.settings == settings), None)

    def missing(self, settings: Sequence[Mapping[str, Any]], epochs: int, part: str) -> dict[int, Mapping[str, Any]]:
        """Returns the settings of which a part is not recorded yet, by number."""
        return {
            number: each
            for number, each in enumerate(settings)
            if not ((found := self.find(number, each)) and found.has_part(epochs, part))
        }

    def with_curve(self, curve: Curve) -> "Recording":
        """Returns the recording with a curve added, or merged with the older curve of the same settings."""
        old = self.find(curve.number, curve.settings)
        if old is not None:
            curve = curve.merged_with(old)
        others = [other for other in self.curves if other.number != curve.number]
        return dataclasses.replace(self, curves=tuple(sorted([*others, curve], key=lambda each: each.number)))


def describe(kind: str, epochs: int, workers: int, *, small: bool) -> dict[str, Any]:
    """Returns the entries of `Recording.about`."""
    return {
        "kind": kind,
        "machine": machine.name(),
        "versions": machine.versions(),
        "epochs": epochs,
        "workers": workers,
        "small": small,
    }


@lru_cache(maxsize=1)
def imdb_sweep() -> SweepConfig:
    """Returns the sweep whose search space is recorded."""
    return load_sweep(_SWEEP_FILE)


def draw_settings(n: int) -> list[dict[str, Any]]:
    """Returns the first n settings that a study with a random sampler draws from the sweep's search space, rounded."""
    update = {"tries": (), "sampler": RandomSampler(name="random", seed=SEED)}
    store = StudyStore(optuna.create_study(), imdb_sweep().model_copy(update=update))
    drawn = [request.settings for request in (store.ask() for _ in range(n)) if request is not None]
    return [{name: _rounded(value) for name, value in settings.items()} for settings in drawn]


def _rounded(value: Any) -> Any:
    return float(f"{value:.{_N_DIGITS}g}") if isinstance(value, float) else value


def check_space(recording: Recording) -> None:
    """Checks that all recorded configurations belong to the sweep's search space.

    Raises:
        UnavailableError: if one does not, because the search space has changed.
    """
    space, fixed = imdb_sweep().space, imdb_sweep().base.settings()
    outside = {name: value for name, value in fixed.items() if name not in space}
    for curve in recording.curves:
        known = outside | curve.settings
        expected = {name for name in space if spaces.applies(space[name], known)}
        if expected != set(curve.settings) or not all(space[name].holds(curve.settings[name]) for name in expected):
            raise UnavailableError(
                f"curve {curve.number} is not in the space of {_SWEEP_FILE.name}, which has changed; record again"
            )
