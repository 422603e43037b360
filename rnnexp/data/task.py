"""The task of a data set. The head and the loss of a model follow from it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Task:
    """Classification with one label for each text: two or more classes.

    Attributes:
        labels: the names of the classes; the id of a class is its index.
    """

    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.labels) < 2:
            raise ValueError(f"a task needs at least two labels, got {self.labels}")

    @property
    def binary(self) -> bool:
        return len(self.labels) == 2

    @property
    def n_outputs(self) -> int:
        """Number of outputs of the head: one for two classes, otherwise one for each class."""
        return 1 if self.binary else len(self.labels)

    @property
    def activation(self) -> str:
        """The activation function of the head, which turns logits into probabilities."""
        return "sigmoid" if self.binary else "softmax"

    @property
    def loss(self) -> str:
        """The loss, by its name in Keras."""
        return "binary_crossentropy" if self.binary else "sparse_categorical_crossentropy"

    def decide(self, probabilities: NDArray[np.float32]) -> NDArray[np.int64]:
        """Returns the class ids that a head's probabilities, (n, 1) or (n, C), decide for, shape (n,)."""
        return (probabilities[:, 0] > 0.5).astype(np.int64) if self.binary else np.argmax(probabilities, axis=1)
