"""Splits the rows into a training and a validation part: disjoint, seeded, the same on every machine."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rnnexp.config.trial import DataConfig
from rnnexp.data.groups import hold_out_groups
from rnnexp.errors import DataError

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """The row numbers of both parts, ascending and disjoint."""

    train: Rows
    validation: Rows

    @property
    def digest(self) -> str:
        """A short hash of both parts; runs with the same hash were evaluated on the same rows."""
        digest = hashlib.sha256()
        for rows in (self.train, self.validation):
            digest.update(len(rows).to_bytes(8, "little"))
            digest.update(rows.astype("<i8").tobytes())
        return digest.hexdigest()[:16]


def hold_out(
    labels: NDArray[np.int32],
    share: float,
    how: str,
    seed: int,
    source: str,
    groups: NDArray[np.int32] | None = None,
) -> tuple[Rows, Rows]:
    """Splits rows into two parts.

    Args:
        labels: class ids, shape (n,).
        share: share of the rows that is held out, in (0, 1).
        how: `tail` holds out the last rows; `stratified` draws the same share of each class.
        seed: seed of the draw.
        source: the name of the data for error messages.
        groups: group of each row, shape (n,): whole groups are held out; None holds out single rows.

    Returns:
        The kept and the held-out row numbers, both ascending.

    Raises:
        DataError: if a part would be empty, or a class has too few rows for both parts.
    """
    n_rows = len(labels)
    if how == "tail":
        first = int(n_rows * (1 - share))
        kept, held = np.arange(first), np.arange(first, n_rows)
        if not len(kept) or not len(held):
            raise DataError(f"{source}: {n_rows} rows cannot be split {1 - share:g} to {share:g}; add more rows")
        return kept, held
    rng = np.random.default_rng([seed, n_rows])
    if groups is not None:
        is_held = hold_out_groups(labels, groups, share, rng, source)
        return np.flatnonzero(~is_held), np.flatnonzero(is_held)
    held_parts = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        if len(rows) < 2:
            raise DataError(
                f"{source}: class {label} has {len(rows)} row; training and validation part need one row each; add more"
            )
        n_held = min(max(1, round(len(rows) * share)), len(rows) - 1)
        held_parts.append(rng.permutation(rows)[:n_held])
    held = np.sort(np.concatenate(held_parts))
    return np.setdiff1d(np.arange(n_rows), held, assume_unique=True), held


def split(labels: NDArray[np.int32], config: DataConfig, source: str, groups: NDArray[np.int32] | None = None) -> Split:
    """Splits the training pool by the settings.

    Args:
        labels: class ids of the pool, shape (n,).
        config: `split`, `validation_split`, `train_samples` and `seed` are used.
        source: the name of the data for error messages.
        groups: group of each row of the pool, shape (n,), if the split keeps groups together, else None.

    Raises:
        DataError: if there are too few rows.
    """
    train, validation = hold_out(labels, config.validation_split, config.split, config.seed, source, groups)
    if config.train_samples is not None:
        if config.train_samples > len(train):
            raise DataError(
                f"{source}: data.train_samples: got {config.train_samples}, expected at most {len(train)}, "
                "the size of the training part"
            )
        rng = np.random.default_rng([config.seed, config.train_samples, 1])
        train = np.sort(rng.permutation(train)[: config.train_samples])
    for part, rows in (("training", train), ("validation", validation)):
        if len(np.unique(labels[rows])) < 2:
            raise DataError(
                f"{source}: the {part} part has only one class ({len(rows)} rows); "
                f"{_more_of_both(config)}, or add more rows"
            )
    return Split(train, validation)


def _more_of_both(config: DataConfig) -> str:
    """Returns what the user can change so that both parts have all classes."""
    return "use smaller groups" if config.keeps_groups else "use data.split: stratified"
