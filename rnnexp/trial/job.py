"""What a trial's process gets: the attempt to run, where its files are, and its share of the machine."""

from dataclasses import dataclass
from pathlib import Path

from rnnexp.config.trial import TrialConfig
from rnnexp.home import TrialFolder


@dataclass(frozen=True)
class TrialJob:
    """One attempt of a trial. It has no paths, so it means the same on every machine.

    Attributes:
        number: the trial's.
        config: all settings.
        attempt: from 1.
        title: of the figure.
        device: for TensorFlow; the stored plan of an earlier attempt takes precedence.
        study: the identity of the trial's study.
    """

    number: int
    config: TrialConfig
    attempt: int
    title: str
    device: str = "auto"
    study: str = ""


@dataclass(frozen=True)
class Place:
    """Where the files of a trial are on one machine.

    Attributes:
        folder: of the trial. An attempt resumes from its checkpoint, if it contains one.
        store: the folder of the token store.
    """

    folder: TrialFolder
    store: Path


@dataclass(frozen=True)
class Share:
    """The part of a machine that a trial's process may use.

    Attributes:
        threads: maximum number at the start.
        gpu: the value of `CUDA_VISIBLE_DEVICES` that selects its GPU; None to leave the variable as it is.
    """

    threads: int = 1
    gpu: str | None = None
