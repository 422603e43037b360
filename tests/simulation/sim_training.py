"""What a simulated trial computes and writes: metrics, models, the description of its data; and how it may end."""

import dataclasses
import io
import zipfile
import zlib
from functools import lru_cache
from pathlib import Path

from rnnexp.config.trial import TrialConfig
from rnnexp.trial.events import Event

DATA = {
    "name": "reviews",
    "digest": "0" * 20,
    "split": "1" * 20,
    "labels": ["neg", "pos"],
    "n_train": 80,
    "n_validation": 20,
    "n_test": 10,
    "source": "reviews",
}


class ProcessExit(Exception):
    """The process ends at once."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class ProcessHang(Exception):
    """The process does nothing more, but does not end."""


class TrialError(Exception):
    """An exception in the trial's code. Its text is `kind: reason`."""


def metrics_of(config: TrialConfig, epoch: int) -> dict[str, float]:
    """Returns the metrics of an epoch. They depend only on the settings, so a repeated epoch has the same metrics."""
    key = f"{config.model.units}|{config.train.learning_rate}|{config.model.dropout}|{config.model.layers}|{epoch}"
    names = ("loss", "accuracy", "val_loss", "val_accuracy")
    return {name: 0.2 + 0.6 * zlib.crc32(f"{key}|{name}".encode()) / 2**32 for name in names}


def seconds_of(config: TrialConfig) -> float:
    """Returns the expected duration of a trial, by which the trials of `try` and of a grid are ordered."""
    return config.train.epochs * config.model.units


@lru_cache(maxsize=64)
def archive_of(epoch: int) -> bytes:
    """Returns a file whose part has a checksum, like a model; it contains the number of its epoch."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("epoch", str(epoch))
    return content.getvalue()


def epoch_of_archive(path: Path) -> int:
    """Returns the epoch of a model or of its probabilities."""
    with zipfile.ZipFile(path) as archive:
        return int(archive.read("epoch"))


def describe(event: Event) -> str:
    """Returns an event for the trace."""
    values = dataclasses.asdict(event)
    shown = {name: values[name] for name in ("attempt", "from_epoch", "epoch", "ended", "kind") if name in values}
    return f"{type(event).__name__} " + " ".join(f"{name} {value}" for name, value in shown.items())
