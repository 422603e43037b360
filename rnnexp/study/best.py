"""The best trial of a study so far."""


class BestTrial:
    """The best trial; the first of equal trials stays the best.

    Attributes:
        number: its number; None before a trial has a value.
        value: its objective.
    """

    def __init__(self, *, maximize: bool) -> None:
        """Args:
        maximize: whether a larger value is better.
        """
        self._sign = 1 if maximize else -1
        self.number: int | None = None
        self.value: float | None = None

    def update(self, number: int, value: float) -> None:
        """Compares a trial with the best one so far."""
        if self.value is None or self._sign * value > self._sign * self.value:
            self.number, self.value = number, value
