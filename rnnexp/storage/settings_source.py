"""Where the settings of a study's trials come from: from `try`, then from a grid or the sampler."""

from collections.abc import Iterable, Mapping
from typing import Any

import optuna
from optuna.trial import TrialState

from rnnexp.config.sweep import GridSampler, SweepConfig
from rnnexp.config.trial import TrialConfig
from rnnexp.storage.drawing import Drawer, Point, UsedSettings
from rnnexp.storage.metadata import ATTEMPTS
from rnnexp.storage.planned import PlannedSettings, Seconds

FIXED = "fixed_params"
"""Optuna's attribute of a waiting trial: settings that it gets when it starts."""


def equal_seconds(_: TrialConfig) -> float:
    """Expected durations that keep the order of the file."""
    return 0.0


class SettingsSource:
    """Gives each new trial of a study settings that no other trial has.

    Attributes:
        repeated: the places in `try` of entries that repeat an earlier one; they are left out.
    """

    def __init__(
        self, study: optuna.Study, config: SweepConfig, trials: Iterable[Mapping[str, Any]], seconds: Seconds
    ) -> None:
        """Args:
        study: the study in Optuna, from which the sampler learns.
        config: its sweep file.
        trials: the settings of its trials, by number.
        seconds: the expected duration of a trial.
        """
        trials = list(trials)
        self._study, self._n_trials = study, config.n_trials
        self._is_grid = isinstance(config.sampler, GridSampler)
        self._drawer = Drawer(study, config, UsedSettings(config.space))
        for point in map(self._drawer.complete, trials):
            if point is not None:
                self._drawer.used.add(point.config)
        self._planned = PlannedSettings(config, self._drawer, trials, self._n_trials - len(trials), seconds)
        self.repeated = self._planned.repeated

    def create_trial(self, number: int) -> optuna.Trial | None:
        """Creates a running trial with all its settings, in one write; None if every point of the space is used.

        Args:
            number: the number that the trial will have.
        """
        point = self._next_point(number)
        if point is None:
            return None
        new = optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params=point.settings,
            distributions={name: self._drawer.distributions[name] for name in point.settings},
            user_attrs={ATTEMPTS: 1},
        )
        trial_id = self._study._storage.create_new_trial(self._study._study_id, template_trial=new)
        self._drawer.used.add(point.config)
        return optuna.Trial(self._study, trial_id)

    def _next_point(self, number: int) -> Point | None:
        while (planned := self.next_planned(number)) is not None:
            point = self._drawer.draw(number, planned)
            if point is not None:
                return point
        return None if self._is_grid else self._drawer.draw(number, {})

    def next_planned(self, number: int) -> Mapping[str, Any] | None:
        """Removes and returns the next settings of `try` or of a grid; None if there are none left.

        Args:
            number: the number of the trial that gets them.
        """
        return self._planned.next(self._n_trials - number)

    def complete(self, trial: optuna.Trial) -> None:
        """Draws the settings that a trial lacks: it replaces one whose folder was lost, or was created incompletely.

        If every combination with the settings that it has is used, it repeats one.
        """
        if self._drawer.complete(trial.params) is not None:
            return
        stored = self._study._storage.get_trial(trial._trial_id)
        given = {**stored.system_attrs.get(FIXED, {}), **stored.params}
        point = self._drawer.draw(trial.number, given) or self._drawer.draw(trial.number, given, may_repeat=True)
        assert point is not None
        trial._fixed_params = point.settings
        for name in point.settings:
            trial._suggest(name, self._drawer.distributions[name])
        self._drawer.used.add(point.config)
