"""The paused trials of a study in Optuna: which they are, why, and which of them resumes next.

A paused trial is WAITING and has an attribute with the reason; one that was interrupted has no such attribute. Which
paused trial resumes follows from the reported values (`storage.promotion`).
"""

import copy
from collections.abc import Container, Iterable, Mapping, Sequence

import optuna
from optuna.trial import FrozenTrial, TrialState

from rnnexp.config.sweep import SweepConfig
from rnnexp.storage import promotion, sampling
from rnnexp.storage.metadata import PAUSED
from rnnexp.trial import events


class PausedTrials:
    """The paused trials of one study, and the rungs that admit them. Empty if the pruner pauses no trial.

    Attributes:
        reasons: why each is paused, by number.
    """

    def __init__(self, study: optuna.Study, config: SweepConfig, trials: Sequence[FrozenTrial]) -> None:
        """Args:
        study: the study in Optuna.
        config: its sweep file.
        trials: all its trials.
        """
        self._storage, self._study_id = study._storage, study._study_id
        epochs, maximize = sampling.max_epochs(config), config.objective.direction == "maximize"
        self._promotion = promotion.build(config.pruner, study.study_name, epochs, maximize=maximize)
        self._n_trials = config.n_trials if self._promotion is not None else 0
        unfinished = [trial for trial in trials if not trial.state.is_finished() and trial.user_attrs.get(PAUSED)]
        self.reasons: dict[int, str] = {trial.number: trial.user_attrs[PAUSED] for trial in unfinished}
        self._last_epochs: dict[int, int] = {}
        self._stored_epochs = {trial.number: set(trial.intermediate_values) for trial in trials}
        for trial in trials:
            self.add_reports(trial.number, trial.intermediate_values)

    def add_reports(self, number: int, values: Mapping[int, float]) -> None:
        """Adds the best values of a trial until some epochs, by epoch, to the rungs."""
        if self._promotion is not None:
            for epoch, value in values.items():
                self._promotion.add(number, epoch, value)
                self._last_epochs[number] = max(epoch, self._last_epochs.get(number, 0))

    def must_pause(self, number: int, epoch: int, n_started: int) -> bool:
        """Tells whether a rung does not admit a trial that has reported its epoch.

        Args:
            number: the trial's.
            epoch: the last one.
            n_started: how many trials the study has.
        """
        closing = n_started >= self._n_trials
        return self._promotion is not None and self._promotion.must_pause(number, epoch, closing=closing)

    def next(self, n_started: int) -> int | None:
        """Returns the paused trial that a rung admits now; None if there is none. Arguments as for `must_pause`."""
        if self._promotion is None or not self.reasons:
            return None
        return self._promotion.next(self.reasons, closing=n_started >= self._n_trials)

    def seen_by_sampler(self, study: optuna.Study) -> optuna.Study:
        """Returns the study as its sampler sees it: a paused trial is a pruned one. Samplers ignore waiting trials."""
        return _SeenBySampler(study, self.reasons) if self._promotion is not None else study

    def close(self) -> None:
        """Tells the rungs that no new trial will start before the budget is used up: the search space is exhausted."""
        self._n_trials = 0

    def place(self, number: int) -> str:
        """Returns the last epoch of a trial that has reached a rung, and its place: `after epoch 2, 14th of 31 in its
        rung`."""
        assert self._promotion is not None
        return f"after epoch {self._last_epochs[number]}, {self._promotion.place(number)}"

    def add(self, number: int) -> str:
        """Stores that a trial is paused, which the caller then sets back to WAITING; returns the reason.

        If the supervisor dies in between, the next one sets the trial back, and it is paused.
        """
        reason = f"{events.PAUSED} {self.place(number)}"
        self._store_reason(number, reason)
        self.reasons[number] = reason
        return reason

    def remove(self, number: int) -> bool:
        """Stores that a trial resumes; returns whether it was paused."""
        if number not in self.reasons:
            return False
        self._store_reason(number, None)
        del self.reasons[number]
        return True

    def restore_reports(self, number: int, values: Mapping[int, float]) -> None:
        """Reports epochs of a waiting trial that a power loss has removed from the database, at a start of the study.

        Args:
            number: the trial's.
            values: the best value until each epoch, by epoch, from the trial's record.
        """
        if self._promotion is None:
            return
        for epoch, value in values.items():
            if epoch not in self._stored_epochs[number]:
                self._storage.set_trial_intermediate_value(self._trial_id(number), epoch, value)
        self.add_reports(number, values)

    def _store_reason(self, number: int, reason: str | None) -> None:
        self._storage.set_trial_user_attr(self._trial_id(number), PAUSED, reason)

    def _trial_id(self, number: int) -> int:
        return int(self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number))


def as_seen_by_sampler(
    trials: Iterable[FrozenTrial], paused: Container[int], states: Container[TrialState] | None
) -> list[FrozenTrial]:
    """Returns trials, of which the paused ones count as pruned.

    Args:
        trials: in their states in Optuna.
        paused: the numbers of the paused trials.
        states: only trials that count as in one of these states are returned; None for all.
    """
    seen = []
    for trial in trials:
        if trial.number in paused:
            trial = copy.copy(trial)
            trial.state = TrialState.PRUNED
        if states is None or trial.state in states:
            seen.append(trial)
    return seen


class _SeenBySampler(optuna.Study):  # type: ignore[misc]
    """A study whose paused trials count as pruned."""

    def __init__(self, study: optuna.Study, paused: Container[int]) -> None:
        super().__init__(study.study_name, study._storage, sampler=study.sampler, pruner=study.pruner)
        self._paused = paused

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        return as_seen_by_sampler(super()._get_trials(deepcopy, None, use_cache), self._paused, states)
