"""The best trial of a study so far."""

from rnnexp.storage.ranking import Score, is_better


class BestTrial:
    """The best trial; the first of equal trials stays the best.

    Attributes:
        number: its number; None before a trial has a value.
        value: its first objective.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self.value: float | None = None
        self._score: Score | None = None

    def update(self, number: int, value: float, score: Score) -> None:
        """Compares a trial with the best one so far."""
        if self._score is None or is_better(score, self._score):
            self.number, self.value, self._score = number, value, score
