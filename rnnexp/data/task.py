"""What goes in, what comes out, and what is measured: the head, the loss and the metrics follow from here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """One label a text: two classes or many.

    Attributes:
        labels: the classes' names; a class's id is its place.
    """

    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.labels) < 2:
            raise ValueError(f"a task needs two labels or more, got {self.labels}")

    @property
    def binary(self) -> bool:
        return len(self.labels) == 2

    @property
    def n_outputs(self) -> int:
        """Width of the head: one logit for two classes, else one a class."""
        return 1 if self.binary else len(self.labels)

    @property
    def activation(self) -> str:
        """Turns logits into probabilities."""
        return "sigmoid" if self.binary else "softmax"

    @property
    def loss(self) -> str:
        """The loss, by Keras' name."""
        return "binary_crossentropy" if self.binary else "sparse_categorical_crossentropy"
