"""Settles trials: decides what the end of an attempt means, writes it to Optuna, and remembers what follows from it.

What follows are the best trial, the models to keep, the failures in a row and the time that a trial takes. The trial's
record is closed later, when its slot is released.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rnnexp.config.sweep import SweepConfig
from rnnexp.engine.executor import End, Exited
from rnnexp.storage.ranking import Ranking
from rnnexp.storage.store import StudyStore
from rnnexp.storage.trial_values import FinishedTrial
from rnnexp.study import failures, limits, start_failures
from rnnexp.study.best import BestTrial
from rnnexp.study.clock import Clock
from rnnexp.study.failures import FINAL_ACTIONS, ConsecutiveFailures, Failure, FailureAction, FailureKind, LostSlots
from rnnexp.study.progress import ProgressReporter, TimeEstimate
from rnnexp.study.records import TrialRecords
from rnnexp.study.retention import Retention
from rnnexp.study.running import RunningTrial, TrialOutcome
from rnnexp.study.start_failures import StartFailures
from rnnexp.study.stopping import StopConditions
from rnnexp.trial import events
from rnnexp.trial.events import STOPPED_BY_HAND, Failed, Finished, Paused
from rnnexp.trial.states import State


class EndedTrial(NamedTuple):
    """A trial that has ended without a process.

    Attributes:
        outcome: as written to Optuna.
        attempts: how often it was started.
    """

    outcome: TrialOutcome
    attempts: int


class Settlement:
    """Writes the outcomes of a study's trials to Optuna.

    Attributes:
        best: the best trial so far.
        retention: selects the models that are kept.
        estimate: of the time left.
    """

    def __init__(
        self,
        config: SweepConfig,
        store: StudyStore,
        records: TrialRecords,
        reporter: ProgressReporter,
        clock: Clock,
        stopping: StopConditions,
        start_failures: StartFailures,
        running: Mapping[int, RunningTrial],
    ) -> None:
        """Args:
        config: the sweep file.
        store: the study in Optuna, open.
        records: the folders of its trials.
        reporter: receives messages to the user.
        clock: the time.
        stopping: is told of a problem that must stop the study.
        start_failures: counts the starts that failed.
        running: the trials that occupy a slot, by number; the supervisor changes it.
        """
        self._config, self._store, self._records = config, store, records
        self._reporter, self._clock, self._stopping = reporter, clock, stopping
        self._start_failures, self._running = start_failures, running
        self._failures = ConsecutiveFailures(config.limits.consecutive_failures)
        self._lost_slots = LostSlots()
        self._ranking = Ranking.of_config(config)
        self.retention = Retention(self._ranking, config.keep.checkpoints)
        self.best = BestTrial()
        self.estimate = TimeEstimate()

    def restore(self, finished: Sequence[FinishedTrial]) -> None:
        """Restores what is known of the trials that earlier supervisors have settled."""
        for trial in finished:
            if trial.value is not None:
                self._update_best(trial.number, trial.value, trial.summary)
            if trial.seconds:
                self.estimate.add(trial.number, trial.seconds)
        with_value = [trial for trial in finished if trial.value is not None]
        if with_value:
            self.retention.newest = max(with_value, key=lambda trial: trial.ended).number
        for number in self._store.paused.reasons:
            self.estimate.add(number, sum(epoch.seconds for epoch in events.epochs(self._records.read(number))))

    def settle_end(self, running: RunningTrial, end: End) -> None:
        """Settles a trial whose attempt has ended without an outcome."""
        number = running.request.number
        # The process may have died after it wrote its result and before it sent it, so the record is read too.
        result = running.result or self._records.pending_result(number, self._reporter.note)
        if isinstance(result, Paused):
            self._pause(running)
            return
        if result is not None:
            self.settle_result(running, result)
            return
        has_trained = self._records.has_trained(number, running.request.attempt)
        was_killed = isinstance(end, Exited) and end.code < 0
        may_be_environment = not was_killed or self._start_failures.may_be_killed_again(number)
        failure = failures.classify_end(end, has_trained=has_trained or not may_be_environment)
        if failure.kind is FailureKind.SLOT_LOST:
            failure = self._lost_slots.classify(number, failure, len(events.epochs(self._records.read(number))))
        cause = running.kill_cause
        if cause is not None and cause.kind is FailureKind.HEARTBEAT_TIMEOUT and not isinstance(end, Exited):
            cause = None  # it was silent because its machine was lost, or because it had not started
        self.handle_failure(running, cause or failure)

    def settle_result(self, running: RunningTrial, result: Finished | Failed) -> None:
        """Settles a trial by the result that it reported."""
        if isinstance(result, Failed):
            self.handle_failure(running, Failure(failures.parse_kind(result.kind), result.reason))
            return
        state, reason = State.COMPLETE, result.reason
        if result.ended in ("pruned", "stopped"):
            last_epoch = events.epochs(self._records.read(running.request.number))[-1].epoch
            state, reason = State.PRUNED, result.reason or f"pruned after epoch {last_epoch}"
        self._finish_trial(running, TrialOutcome(state, reason, result.metrics[self._config.objective.metric]))

    def _pause(self, running: RunningTrial) -> None:
        """Settles a trial whose process has ended for a pause."""
        number = running.request.number
        if running.stop_requested:  # the request came after the answer
            result = self._records.result_of_paused(number, "stopped", STOPPED_BY_HAND, self._clock.time())
            self.settle_result(running, result)
            return
        running.outcome = TrialOutcome(State.WAITING, self._store.pause(number))
        self.estimate.add(number, self._clock.monotonic() - running.started_at)

    def end_paused(self, number: int, *, by_hand: bool) -> EndedTrial | None:
        """Ends a paused trial with the result of its best epoch.

        Args:
            number: the trial's.
            by_hand: whether the user has stopped it; otherwise it is pruned.

        Returns:
            Its outcome; None if its model is lost, so that it must be trained again to the same epoch.
        """
        fault = self._records.fault_of_paused(number)
        if fault:
            self._reporter.note(f"trial {number} was paused, but {fault}; it is trained again from the beginning")
            self._store.paused.remove(number)
            return None
        reason = STOPPED_BY_HAND if by_hand else f"pruned {self._store.paused.place(number)}"
        result = self._records.result_of_paused(number, "stopped" if by_hand else "pruned", reason, self._clock.time())
        value = result.metrics[self._config.objective.metric]
        summary = events.summary(self._records.read(number), value, result.reason)
        attempts = self._store.end_paused(number, value, summary)
        self._add_value(number, value, summary)
        return EndedTrial(TrialOutcome(State.PRUNED, result.reason, value), attempts)

    def handle_failure(self, running: RunningTrial, failure: Failure) -> None:
        """Requeues or fails a trial by the failure policy."""
        number, n_crashes = running.request.number, running.request.n_crashes
        decision = failures.decide(failure, n_crashes, self._config.limits.retries)
        if decision.action in FINAL_ACTIONS:
            # A version before December 2026 also reported a divergence of trials with epochs. Those have no result.
            has_epochs = bool(events.epochs(self._records.read(number)))
            state = State.PRUNED if decision.action is FailureAction.PRUNE and not has_epochs else State.FAIL
            self._finish_trial(running, TrialOutcome(state, decision.reason))
            return
        self._store.requeue(number, crashed=decision.action is FailureAction.RETRY)
        running.outcome = TrialOutcome(State.WAITING, decision.reason)
        if failure.kind is FailureKind.DISK:
            self.halt_on_full_disk()
        elif failure.kind is FailureKind.ENVIRONMENT:
            self._pause_starts(running, failure.reason)

    def _pause_starts(self, running: RunningTrial, reason: str) -> None:
        """Starts no trial for some time; ends the sweep if that has not helped for long."""
        self._start_failures.add(running.request.number, running.started_at, self._clock.monotonic())
        other_trials_run = any(trial is not running and trial.is_active for trial in self._running.values())
        if self._start_failures.is_hopeless and not other_trials_run:
            self._stopping.halt(start_failures.stop_reason(reason))

    def _finish_trial(self, running: RunningTrial, outcome: TrialOutcome) -> None:
        """Writes the final outcome of a trial to Optuna."""
        number, value, reason = running.request.number, outcome.value, outcome.reason
        summary = events.summary(self._records.read(number), value, reason)
        self._store.tell(number, outcome.state, value, summary)
        running.outcome = outcome
        self.estimate.add(number, self._clock.monotonic() - running.started_at)
        if value is not None:
            self._add_value(number, value, summary)
        elif outcome.state is State.FAIL and reason != STOPPED_BY_HAND:
            self._failures.add(reason)
            self._check_failure_limit()

    def _add_value(self, number: int, value: float, summary: Mapping[str, Any]) -> None:
        """Notes that a trial has ended with a value."""
        self._update_best(number, value, summary)
        self.retention.newest = number
        self._failures.reset()

    def _update_best(self, number: int, value: float, summary: Mapping[str, Any]) -> None:
        score = self._ranking.score(value, summary)
        self.retention.add(number, score)
        self.best.update(number, value, score)

    def _check_failure_limit(self) -> None:
        """Stops a sweep in which too many consecutive trials fail."""
        if self._failures.stop_reason and not self._stopping.halt_reason:
            self._stopping.halt(self._failures.stop_reason)

    def halt_on_full_disk(self) -> None:
        """Stops the study: the user must free disk space."""
        reason = limits.disk_full_message(self._records.home, self._records.free_bytes())
        self._stopping.halt(reason, disk_full=True)
