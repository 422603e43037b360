"""One study, opened by its supervisor: ask for a trial, report its epochs, tell its result.

Optuna's database is the source of truth about the trials and their states. One supervisor writes to it, from one
thread. An interrupted trial is set back to WAITING: a later `ask` returns its number, settings and reports again.
"""

from collections import Counter
from collections.abc import Callable
from functools import cached_property
from typing import Any

import optuna
from optuna.trial import TrialState

from rnnexp import space as spaces
from rnnexp.config.sweep import SweepConfig, fingerprint
from rnnexp.home import Home
from rnnexp.storage import metadata, space_versions
from rnnexp.storage.database import create_in_memory_study, create_or_load_study, database_sync, open_storage
from rnnexp.storage.folders import check_new_study, check_trial_folders
from rnnexp.storage.metadata import ATTEMPTS, N_CRASHES, SUMMARY
from rnnexp.storage.paused import PausedTrials
from rnnexp.storage.planned import Seconds
from rnnexp.storage.ranking import Ranking
from rnnexp.storage.settings_source import SettingsSource, equal_seconds
from rnnexp.storage.trial_values import FinishedTrial, TrialRequest, finished_trial
from rnnexp.trial.states import FINISHED, State


class StudyStore:
    """One study, opened by its supervisor. It counts the trials in each state without a query.

    Attributes:
        counts: the number of trials in each state.
        paused: the waiting trials that are paused.
        seconds: the expected duration of a trial.
    """

    def __init__(
        self,
        study: optuna.Study,
        config: SweepConfig,
        sync: Callable[[], None] = lambda: None,
        seconds: Seconds = equal_seconds,
    ) -> None:
        """Args:
        study: the study in Optuna.
        config: its sweep file.
        sync: flushes what was committed to the disk; called before a trial starts and when its state changes.
        seconds: the expected duration of a trial: of the settings of `try` and of a grid, the longest start first.
        """
        self.seconds = seconds
        self._study = study
        self._sync = sync
        self._storage = study._storage
        self._config = config
        self._ranking = Ranking.of_config(config)
        self._running: dict[int, optuna.Trial] = {}
        self._requests: dict[int, TrialRequest] = {}
        self._reported_epochs: dict[int, set[int]] = {}
        trials = study.get_trials(deepcopy=False)
        self._states = {trial.number: State(trial.state.name) for trial in trials}
        self.counts: Counter[State] = Counter(self._states.values())
        self.paused = PausedTrials(study, config, trials)

    @classmethod
    def open(cls, home: Home, config: SweepConfig, data_digest: str, seconds: Seconds = equal_seconds) -> "StudyStore":
        """Opens the study that the config names; creates it if it is missing.

        A search space that is wider than the stored one is stored as a new version.

        Args:
            home: holds the database.
            config: the sweep file.
            data_digest: digest of the data that the base settings name.
            seconds: the expected duration of a trial, as in the constructor.

        Raises:
            StudyError: if the study exists with another definition, if its deletion was interrupted, or if its folder
                has trials that Optuna does not know.
        """
        storage = open_storage(home)
        check_new_study(home, config.study, optuna.get_all_study_names(storage))
        study = create_or_load_study(storage, config)
        metadata.claim_study(home, study)
        check_trial_folders(home, config.study, storage.get_n_trials(study._study_id))
        definition, stored = metadata.build_definition(config, data_digest), metadata.definition(study)
        if not stored:
            metadata.write_definition(study, metadata.new_identity(), definition, [])
        elif fingerprint(stored) != fingerprint(definition):
            space_versions.apply_new_definition(storage, study, definition, config)
            study = create_or_load_study(storage, config)
        metadata.write_budget(study, config.n_trials)
        metadata.save_metadata(home, study)
        return cls(study, config, database_sync(home), seconds)

    @classmethod
    def in_memory(cls, config: SweepConfig) -> "StudyStore":
        """Creates a study that is not stored, for drawing sample trials."""
        return cls(create_in_memory_study(), config)

    @property
    def identity(self) -> str:
        """Distinguishes this study from earlier and later ones of the same name."""
        return metadata.identity(self._study)

    @property
    def n_finished(self) -> int:
        """The number of trials in a final state."""
        return sum(self.counts[state] for state in FINISHED)

    @property
    def waiting(self) -> list[int]:
        """The numbers of the trials that wait to start or to resume."""
        return sorted(number for number, state in self._states.items() if state is State.WAITING)

    def next_waiting(self) -> int | None:
        """Returns the waiting trial to start next: an interrupted one, else a paused one that its rung admits now.

        None if there is none. A new trial is next then.
        """
        paused = self.paused.reasons
        if self.counts[State.WAITING] > len(paused):
            return next(number for number in self.waiting if number not in paused)
        return self.paused.next(n_started=len(self._states))

    def finished(self) -> list[FinishedTrial]:
        """Returns the trials in a final state."""
        trials = self._study.get_trials(deepcopy=False)
        return [finished_trial(trial) for trial in trials if trial.state.name in FINISHED]

    def ask(self) -> TrialRequest | None:
        """Returns the next trial: a waiting one, else a new one. Returns None if every point of the space is used.

        The caller must check the budget first.
        """
        waiting = self.next_waiting()
        trial = self._create() if waiting is None else self._start_waiting(waiting)
        if trial is None:
            self.paused.close()
            return None
        settings = {name: trial.params[name] for name in spaces.ordered(self._config.space) if name in trial.params}
        attempt = trial.user_attrs[ATTEMPTS]
        self._running[trial.number] = trial
        config, n_crashes = self._config.base.with_settings(settings), trial.user_attrs.get(N_CRASHES, 0)
        self._reported_epochs[trial.number] = reported = self._stored_epochs(trial) if attempt > 1 else set()
        paused_after = max(reported, default=0) if self.paused.remove(trial.number) else 0
        request = TrialRequest(trial.number, settings, config, attempt, n_crashes, paused_after)
        self._requests[trial.number] = request
        self._sync()
        return request

    def _stored_epochs(self, trial: optuna.Trial) -> set[int]:
        """Returns the epochs that earlier attempts reported."""
        return set(self._storage.get_trial(trial._trial_id).intermediate_values)

    def _start_waiting(self, number: int) -> optuna.Trial:
        """Starts a waiting trial. Optuna's `ask` would start the first one, even if it is paused."""
        trial_id = self._storage.get_trial_id_from_study_id_trial_number(self._study._study_id, number)
        self._storage.set_trial_state_values(trial_id, TrialState.RUNNING)
        trial = optuna.Trial(self._study, trial_id)
        self._set_state(number, State.RUNNING)
        self._source.complete(trial)
        trial.set_user_attr(ATTEMPTS, trial.user_attrs.get(ATTEMPTS, 0) + 1)
        return trial

    def _create(self) -> optuna.Trial | None:
        """Creates a trial; returns None if every point of the search space is used."""
        trial = self._source.create_trial(len(self._states))
        if trial is not None:
            self._set_state(trial.number, State.RUNNING)
        return trial

    @cached_property
    def _source(self) -> SettingsSource:
        """Where settings come from. Built when the first trial is asked for: a finished study does not need it."""
        trials = [trial.params for trial in self._study.get_trials(deepcopy=False)]
        return SettingsSource(self.paused.seen_by_sampler(self._study), self._config, trials, self.seconds)

    @property
    def repeated_tries(self) -> list[int]:
        """The places of entries in `try` that repeat an earlier one; they are left out."""
        return self._source.repeated

    def is_behind(self, number: int, epoch: int) -> bool:
        """Tells whether a later epoch of the trial was reported already.

        That is so when a trial trains some epochs again because its checkpoint was damaged.
        """
        return epoch < max(self._reported_epochs[number], default=0)

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Reports a trial's value after an epoch.

        Args:
            number: the trial's number.
            epoch: from 1.
            value: the best value so far.

        Returns:
            Whether the trial should be pruned.
        """
        if self._ranking.has_front:  # Optuna takes no reports then
            return False
        trial = self._running[number]
        if epoch not in self._reported_epochs[number]:
            trial.report(value, epoch)
            self._reported_epochs[number].add(epoch)
            self.paused.add_reports(number, {epoch: value})
        return epoch < self._requests[number].config.train.epochs and trial.should_prune()

    def must_pause(self, number: int, epoch: int) -> bool:
        """Tells whether a running trial must pause after an epoch that it has reported: its rung does not admit it.

        A trial that has resumed from a pause was admitted there. It continues at least to its next rung.
        """
        request = self._requests[number]
        may_pause = request.paused_after < epoch < request.config.train.epochs
        return may_pause and self.paused.must_pause(number, epoch, n_started=len(self._states))

    def tell(self, number: int, state: State, value: float | None, summary: dict[str, Any]) -> None:
        """Stores the final state of a running trial.

        Args:
            number: the trial's number.
            state: COMPLETE, PRUNED or FAIL.
            value: the first objective at the best epoch; None for FAIL.
            summary: what a list of trials shows: best epoch, metrics, duration, reason.
        """
        trial = self._running.pop(number)
        trial.set_user_attr(SUMMARY, summary)
        values = None if value is None else list(self._ranking.values(value, summary))
        if values is not None:
            for metric, violation in self._ranking.violations(summary).items():
                trial.set_constraint(metric, violation)
        if values is not None and state is State.PRUNED and self._ranking.has_front:
            # `tell` would take the value from the reports.
            self._storage.set_trial_state_values(trial._trial_id, TrialState.PRUNED, values)
        else:
            of_complete = values if state is State.COMPLETE else None
            self._study.tell(trial, values=of_complete, state=TrialState[state.value])
        self._sync()
        self._stop_running(number, state)

    def requeue(self, number: int, *, crashed: bool) -> None:
        """Sets a running trial back to WAITING. It keeps its number, settings and reports.

        Args:
            number: the trial's number.
            crashed: whether its process crashed, which uses up one of its retries.
        """
        trial = self._running.pop(number)
        if crashed:
            trial.set_user_attr(N_CRASHES, self._requests[number].n_crashes + 1)
        self._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
        self._sync()
        self._stop_running(number, State.WAITING)

    def pause(self, number: int) -> str:
        """Sets a running trial back to WAITING until its rung admits it; returns the reason for the user."""
        reason = self.paused.add(number)
        self.requeue(number, crashed=False)
        return reason

    def end_paused(self, number: int, value: float, summary: dict[str, Any]) -> int:
        """Stores the final state of a paused trial, PRUNED; returns how often it was started.

        Args:
            number: the trial's number.
            value, summary: as for `tell`.
        """
        trial_id = self._storage.get_trial_id_from_study_id_trial_number(self._study._study_id, number)
        self._storage.set_trial_user_attr(trial_id, SUMMARY, summary)
        self._storage.set_trial_state_values(trial_id, TrialState.PRUNED, [value])
        self._sync()
        del self.paused.reasons[number]
        self._set_state(number, State.PRUNED)
        return int(self._storage.get_trial(trial_id).user_attrs.get(ATTEMPTS, 1))

    def requeue_running(self) -> list[int]:
        """Sets every trial that a dead supervisor left RUNNING back to WAITING; returns their numbers."""
        numbers = requeue_running_trials(self._study)
        for number in numbers:
            self._set_state(number, State.WAITING)
        return numbers

    def _stop_running(self, number: int, state: State) -> None:
        self._set_state(number, state)
        del self._requests[number], self._reported_epochs[number]

    def _set_state(self, number: int, state: State) -> None:
        if number in self._states:
            self.counts[self._states[number]] -= 1
        self._states[number] = state
        self.counts[state] += 1


def requeue_running_trials(study: optuna.Study) -> list[int]:
    """Sets every RUNNING trial of a study back to WAITING; the caller holds the study's lock.

    Returns:
        The trials' numbers.
    """
    left = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    for trial in left:
        study._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
    return [trial.number for trial in left]
