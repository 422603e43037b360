"""Holds out whole groups of rows, for example all reviews of one film, so that no group is in both parts."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rnnexp.errors import DataError

_BULK = 0.9
"""So much of the wanted rows is taken in random order; then groups are moved until each class has its share."""

_N_REMOVABLE, _N_ADDABLE = 1_000, 50_000
"""The groups before and after the end of the first part that are tried; a file with a million groups needs no more."""

_MOST_PASSES = 10
_LEAST_CHANGE = 1e-9
"""A smaller change is a rounding error; it must not move a group back and forth."""


def hold_out_groups(
    labels: NDArray[np.int32], groups: NDArray[np.int32], share: float, rng: np.random.Generator, source: str
) -> NDArray[np.bool_]:
    """Chooses whole groups, so that about the wanted share of each class is held out.

    Groups are taken in random order. A group is added or removed if that brings the held-out numbers of rows of the
    classes closer to the wanted ones, and if no class loses its last group for training. A class of which nothing is
    held out in this way gets the best of its groups, if it has two.

    Args:
        labels: class ids, shape (n,).
        groups: group of each row, shape (n,).
        share: wanted share of the rows, in (0, 1).
        rng: draws the order of the groups.
        source: the name of the data for error messages.

    Returns:
        Whether each row is held out, shape (n,).

    Raises:
        DataError: if no group can be held out.
    """
    names, group_of = np.unique(groups, return_inverse=True)
    _, class_of = np.unique(labels, return_inverse=True)
    if len(names) < 2:
        raise DataError(f"{source}: all {len(labels)} rows are in one group; a split by groups needs two or more")
    draw = _Draw.start(group_of, class_of, share)
    order = rng.permutation(len(names))
    sizes = np.bincount(group_of)[order]
    bulk = order[np.cumsum(sizes) <= _BULK * share * len(labels)]
    if not draw.hold_all(bulk):
        bulk = bulk[:0]
    draw.improve(order[max(0, len(bulk) - _N_REMOVABLE) : len(bulk) + _N_ADDABLE])
    draw.add_missing_classes(order)
    if not draw.held.any():
        raise DataError(
            f"{source}: no group can be held out, because each of the {len(names)} groups has a class that no other "
            "group has; use groups that share their classes, or leave them out"
        )
    return draw.held[group_of]


@dataclass
class _Draw:
    """The groups that are held out so far.

    Attributes:
        classes: the classes of the rows of each group, concatenated.
        counts: the number of rows of each of these classes.
        starts: group g has the entries from starts[g] to starts[g + 1].
        weights: the reciprocal number of rows of each class.
        missing: the wanted number of rows of each class, minus the held-out one.
        n_kept: the number of groups of each class that are not held out.
        held: whether each group is held out.
    """

    classes: NDArray[np.int64]
    counts: NDArray[np.int64]
    starts: NDArray[np.int64]
    weights: NDArray[np.float64]
    missing: NDArray[np.float64]
    n_kept: NDArray[np.int64]
    held: NDArray[np.bool_]

    @classmethod
    def start(cls, group_of: NDArray[np.int64], class_of: NDArray[np.int64], share: float) -> "_Draw":
        """Returns the state in which nothing is held out."""
        per_class = np.bincount(class_of).astype(np.float64)
        n_classes, n_groups = len(per_class), int(group_of.max()) + 1
        pairs, counts = np.unique(group_of * n_classes + class_of, return_counts=True)
        classes, starts = pairs % n_classes, np.searchsorted(pairs // n_classes, np.arange(n_groups + 1))
        n_kept = np.bincount(classes, minlength=n_classes)
        held = np.zeros(n_groups, dtype=bool)
        return cls(classes, counts, starts, 1 / per_class, share * per_class, n_kept, held)

    @property
    def is_complete(self) -> bool:
        """Whether no single row could bring a class closer to its wanted number."""
        return bool((np.abs(self.missing) <= 1 / 2).all())

    def _entries(self, group: int) -> slice:
        return slice(self.starts[group], self.starts[group + 1])

    def change(self, group: int) -> float:
        """Returns by how much the squared distances to the wanted numbers change if the group changes its part."""
        entries = self._entries(group)
        classes, counts = self.classes[entries], self.counts[entries]
        towards = -1 if self.held[group] else 1
        return float((self.weights[classes] * counts * (counts - 2 * towards * self.missing[classes])).sum())

    def may_be_held(self, group: int) -> bool:
        """Tells whether each class of the group has another group that is kept."""
        return bool((self.n_kept[self.classes[self._entries(group)]] > 1).all())

    def move(self, group: int) -> None:
        """Moves a group to the other part."""
        entries, towards = self._entries(group), -1 if self.held[group] else 1
        self.missing[self.classes[entries]] -= towards * self.counts[entries]
        self.n_kept[self.classes[entries]] -= towards
        self.held[group] = not self.held[group]

    def improve(self, candidates: NDArray[np.int64]) -> None:
        """Moves groups, in the given order, as long as that brings the classes closer to their wanted numbers."""
        for _ in range(_MOST_PASSES):
            n_moved = 0
            for group in candidates:
                if self.is_complete:
                    return
                if self.change(group) < -_LEAST_CHANGE and (self.held[group] or self.may_be_held(group)):
                    self.move(group)
                    n_moved += 1
            if not n_moved:
                return

    def hold_all(self, groups: NDArray[np.int64]) -> bool:
        """Holds out many groups at once; does nothing and returns False if a class would lose its last group."""
        chosen = np.zeros_like(self.held)
        chosen[groups] = True
        entries = np.repeat(chosen, np.diff(self.starts))
        n_classes = len(self.n_kept)
        n_held = np.bincount(self.classes[entries], minlength=n_classes)
        if (n_held >= self.n_kept).any():
            return False
        self.n_kept -= n_held
        self.missing -= np.bincount(self.classes[entries], self.counts[entries], minlength=n_classes)
        self.held |= chosen
        return True

    def add_missing_classes(self, order: NDArray[np.int64]) -> None:
        """Holds out a group of each class of which no row is held out, if one may be held."""
        of_entry = np.repeat(np.arange(len(self.held)), np.diff(self.starts))
        n_groups = np.bincount(self.classes, minlength=len(self.n_kept))
        for wanted in np.flatnonzero(n_groups == self.n_kept):
            with_class = of_entry[self.classes == wanted]
            if self.held[with_class].any():
                continue  # a group that was added for another class has this one too
            candidates = [group for group in order[np.isin(order, with_class)] if self.may_be_held(group)]
            if candidates:
                self.move(min(candidates, key=self.change))
