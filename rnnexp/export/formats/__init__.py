"""The formats of an exported model, one module each, named after the format.

To add a format, add its name to `rnnexp.runtime.manifest.FORMATS` and a module that has what `Format` describes.
"""

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from rnnexp.export.bundle import Bundle, Source

Probabilities = Callable[[Sequence[str]], NDArray[np.float32]]
"""A loaded model: from texts to the probabilities of each label (n, C)."""


class Format(Protocol):
    """What a module of this package has."""

    PATH: str
    """The file or folder of the model in the bundle."""

    TOLERANCE: float
    """Largest accepted difference between its probabilities and those of training."""

    def write(self, root: Path, source: Source, formats: Sequence[str]) -> None:
        """Writes the model.

        Args:
            root: the folder of the bundle; it has the settings, the vocabulary, and the formats that come before this
                one in `FORMATS`.
            source: the trial.
            formats: all formats that the bundle gets.

        Raises:
            UserError: if the format cannot represent the model, with the reason.
        """
        ...

    def load(self, bundle: Bundle) -> Probabilities:
        """Loads the model."""
        ...


def module(name: str) -> Format:
    """Returns the module of a format."""
    return cast(Format, importlib.import_module(f"{__name__}.{name}"))
