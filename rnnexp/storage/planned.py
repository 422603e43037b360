"""The settings that `try` and a grid give, in the order in which their trials start.

The trials that take longest start first, so that no slot waits for a long trial at the end of a study: the rule of the
longest processing time (Graham, 1969). Trials that take equally long start in the order of the file. Trials are
numbered in the order in which they start.

Two things keep the order of the file. Which settings run if the budget is smaller: the first ones, however long they
take. And `try` before draws of TPE, which depend on the order of the earlier trials.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rnnexp import space as spaces
from rnnexp.config.sweep import GridSampler, SweepConfig, TpeSampler
from rnnexp.config.trial import TrialConfig
from rnnexp.storage.drawing import Drawer, UsedSettings, rounded

Seconds = Callable[[TrialConfig], float]
"""Returns the expected duration of a trial; only the order of the durations counts."""

_MAX_ORDERED = 10_000
"""A larger grid is ordered in parts of this size, so that its first trial starts soon."""


@dataclass(frozen=True)
class _Planned:
    """Settings of a trial to come; `config` is None if they leave settings open, which are then drawn."""

    settings: Mapping[str, Any]
    config: TrialConfig | None
    seconds: float


class PlannedSettings:
    """The settings of `try` and of a grid that no trial has yet.

    While a complete entry of `try` waits, its settings are in the drawer's `used`. So what is drawn for an incomplete
    entry before it does not take its settings.

    Attributes:
        repeated: the places in `try` of complete entries that repeat an earlier one; they are left out.
    """

    def __init__(
        self, config: SweepConfig, drawer: Drawer, trials: Iterable[Mapping[str, Any]], n_left: int, seconds: Seconds
    ) -> None:
        """Args:
        config: the sweep file.
        drawer: draws what an entry leaves open; its `used` has the settings of all trials.
        trials: the settings of the study's trials, by number.
        n_left: how many trials the budget allows in addition to them.
        seconds: the expected duration of a trial.
        """
        self._drawer, self._base, self._seconds = drawer, config.base, seconds
        self.repeated: list[int] = []
        left = _without_started(self._entries(config), trials)
        entries = [entry for entry in left if entry.config is None or entry.config not in drawer.used][: max(0, n_left)]
        for entry in entries:
            if entry.config is not None:
                drawer.used.add(entry.config)
        draws_of_tpe = isinstance(config.sampler, TpeSampler) and n_left > len(entries)
        self._tries = deque(entries if draws_of_tpe else _longest_first(entries))
        is_grid = isinstance(config.sampler, GridSampler)
        self._combinations = spaces.grid(config.space, config.base.settings()) if is_grid else iter(())
        self._grid: deque[_Planned] = deque()
        self._listed = UsedSettings(config.space)

    def next(self, n_left: int) -> Mapping[str, Any] | None:
        """Removes and returns the settings of the next trial; None if nothing is planned.

        Args:
            n_left: how many trials the budget still allows, with this one.
        """
        if self._tries:
            entry = self._tries.popleft()
            if entry.config is not None:
                self._drawer.used.discard(entry.config)
            return entry.settings
        while not self._grid and (part := list(itertools.islice(self._combinations, _MAX_ORDERED))):
            self._grid = deque(_longest_first(self._unused(part)[: max(0, n_left)]))
        return self._grid.popleft().settings if self._grid else None

    def _entries(self, config: SweepConfig) -> list[_Planned]:
        """Returns the entries of `try`; a complete one only once."""
        known, entries = UsedSettings(config.space), list[_Planned]()
        for place, settings in enumerate(config.tries):
            point = self._drawer.complete(settings)
            if point is None:
                entries.append(_Planned(settings, None, self._seconds_of(settings)))
            elif point.config in known:
                self.repeated.append(place)
            else:
                known.add(point.config)
                entries.append(_Planned(settings, point.config, self._seconds(point.config)))
        return entries

    def _unused(self, combinations: Iterable[Mapping[str, Any]]) -> list[_Planned]:
        """Returns the combinations that no trial has; of those that are the same in effect, the first one."""
        planned = []
        for settings in combinations:
            config = self._drawer.point(settings).config
            if config not in self._drawer.used and config not in self._listed:
                self._listed.add(config)
                planned.append(_Planned(settings, None, self._seconds(config)))
        return planned

    def _seconds_of(self, entry: Mapping[str, Any]) -> float:
        """Returns the expected duration with an entry of `try`; what it leaves open has the value of the base."""
        try:
            return self._seconds(self._base.with_settings(entry))
        except ValueError:  # not allowed with what the base has; the drawn settings will allow it
            return self._seconds(self._base)


def _longest_first(planned: list[_Planned]) -> list[_Planned]:
    return sorted(planned, key=lambda each: -each.seconds)


def _without_started(entries: list[_Planned], trials: Iterable[Mapping[str, Any]]) -> list[_Planned]:
    """Removes the entries that have a trial. A trial counts for one entry: of those that fit, the most specific."""
    left = list(entries)
    for settings in trials:
        if not left:
            break
        fitting = [entry for entry in left if _fits(entry.settings, settings)]
        if fitting:
            left.remove(max(fitting, key=lambda entry: len(entry.settings)))
    return left


def _fits(entry: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Tells whether a trial has the settings of an entry, except those that are switched off."""
    return all(rounded(settings.get(name, value)) == rounded(value) for name, value in entry.items())
