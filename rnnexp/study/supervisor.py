"""The loop that runs a study: it fills the slots, handles the trials' messages, and settles their outcomes.

The loop is single-threaded. Only it writes to Optuna; the sender replays the events of the trials into MLflow. The
supervisor holds the study's lock, so a trial that is RUNNING in Optuna when it starts is stale, and is resumed.

The process may be killed after each write. The order is therefore fixed: first Optuna, then the trial's record, then
the removal of files. The next start completes what is missing. Clock, slots, stores, files and sender are passed in,
so that a simulation can replace them.

The other modules of this package hold what the loop uses: `recovery`, `failures`, `start_failures`, `limits`,
`enforcement`, `retention`, `stopping`, `progress` and `best`.
"""

from collections.abc import Callable
from pathlib import Path

from rnnexp import disk
from rnnexp.config.sweep import SweepConfig
from rnnexp.config.trial import TrialConfig
from rnnexp.engine.executor import Executor, Exited
from rnnexp.errors import DataError
from rnnexp.storage.store import StudyStore, TrialRequest
from rnnexp.study import failures, limits, start_failures
from rnnexp.study.best import BestTrial
from rnnexp.study.clock import Clock
from rnnexp.study.enforcement import Enforcer
from rnnexp.study.failures import FINAL_ACTIONS, ConsecutiveFailures, Failure, FailureAction, FailureKind
from rnnexp.study.limits import LimitChecker
from rnnexp.study.progress import ProgressReporter, ProgressSnapshot, TimeEstimate
from rnnexp.study.records import TrialRecords, is_terminal
from rnnexp.study.recovery import recover
from rnnexp.study.retention import Retention
from rnnexp.study.running import RunningTrial, TrialOutcome
from rnnexp.study.start_failures import StartFailures
from rnnexp.study.stopping import DATABASE_LOCKED, Outcome, StopConditions
from rnnexp.tracking.sender import Sender
from rnnexp.trial import events
from rnnexp.trial.events import STOPPED_BY_HAND, AttemptEnded, EpochEnded, Event, Failed, Finished, Started
from rnnexp.trial.process import Heartbeat, TrialJob
from rnnexp.trial.states import FINISHED, State

_POLL_TIMEOUT_S = 0.25


class Supervisor:
    """Runs one study until its budget is used up or it is stopped."""

    def __init__(
        self,
        config: SweepConfig,
        store: StudyStore,
        records: TrialRecords,
        executor: Executor,
        sender: Sender,
        reporter: ProgressReporter,
        prepare: Callable[[TrialConfig], Path],
        threads: int,
        clock: Clock,
        device: str = "auto",
    ) -> None:
        """Args:
        config: the sweep file.
        store: the study in Optuna, open.
        records: the folders of its trials.
        executor: the slots.
        sender: is notified of each trial that has new events.
        reporter: shows the progress.
        prepare: returns the token store for a trial's settings; raises `DataError`.
        threads: for each trial.
        clock: the time.
        device: for each trial: `CPU`, `GPU`, or `auto`.
        """
        self._config, self._store, self._records = config, store, records
        self._executor, self._sender, self._reporter = executor, sender, reporter
        self._prepare, self._threads, self._clock, self._device = prepare, threads, clock, device
        self._n_trials = config.n_trials
        self._running: dict[int, RunningTrial] = {}
        maximize, now = config.objective.direction == "maximize", clock.monotonic()
        self._stopping = StopConditions(config.budget.timeout_s, now)
        self._enforcer = Enforcer(LimitChecker(config.limits, now), records, executor, clock)
        self._failures = ConsecutiveFailures(config.limits.consecutive_failures)
        self._start_failures = StartFailures()
        self._retention = Retention(maximize=maximize, n_best=config.keep.checkpoints)
        self._best = BestTrial(maximize=maximize)
        self._estimate = TimeEstimate()

    def receive_signal(self, number: int) -> None:
        """Requests a clean end; can be called from a signal handler."""
        self._stopping.signal = number

    def run(self, show: Callable[[Outcome], None] = lambda _: None) -> Outcome:
        """Runs until the budget is used up, the time is up, a signal arrives, or the databases cannot be written.

        Args:
            show: is called when no trial runs any more, before the sender sends what is left.
        """
        try:
            self._recover()
            self._loop()
        except Exception as error:
            # The next start completes what could not be written, as after a kill.
            if disk.is_full(error):
                self._halt_on_full_disk()
            elif disk.is_locked(error):
                self._stopping.halt(DATABASE_LOCKED)
            else:
                raise
        stopping = self._stopping
        try:
            show(stopping.outcome([]))
        finally:
            unsent = self._sender.close(stopping.sender_timeout_s)
        return stopping.outcome(unsent)

    def _loop(self) -> None:
        while True:
            if not self._must_stop():
                self._fill_slots()
            # Trials that wait without a stop wait for the end of a pause between starts.
            if not self._running and (self._store.counts[State.WAITING] == 0 or self._must_stop()):
                return
            for number, message in self._executor.poll(_POLL_TIMEOUT_S):
                self._on_message(number, message)
            if self._must_stop():
                self._interrupt_trials()
            if self._enforcer.enforce_limits(self._running):
                self._halt_on_full_disk()
            self._enforcer.handle_stop_requests(self._running)
            self._reporter.tick(self._snapshot())

    def _must_stop(self) -> bool:
        is_complete = self._store.n_finished >= self._n_trials
        self._stopping.check_time_budget(self._clock.monotonic(), is_complete=is_complete)
        return self._stopping.must_stop

    def _recover(self) -> None:
        """Completes what the last supervisor left unfinished, and restores what is known of the finished trials."""
        finished = recover(self._store, self._records, self._sender, self._reporter, self._clock)
        for trial in finished:
            if trial.value is not None:
                self._update_best(trial.number, trial.value)
            if trial.seconds:
                self._estimate.add(trial.seconds)
        with_value = [trial for trial in finished if trial.value is not None]
        if with_value:
            self._retention.newest = max(with_value, key=lambda trial: trial.ended).number
        self._apply_retention()

    def _fill_slots(self) -> None:
        while (
            len(self._running) < self._executor.n_slots
            and not self._start_failures.is_paused(self._clock.monotonic())
            and not self._must_stop()
        ):
            counts = self._store.counts
            if counts[State.WAITING] == 0 and (counts.total() >= self._n_trials or self._stopping.space_is_used):
                return
            request = self._store.ask()
            if request is None:
                self._stopping.space_is_used = True
                return
            self._start(request)

    def _start(self, request: TrialRequest) -> None:
        number, now = request.number, self._clock.monotonic()
        running = RunningTrial(request, started_at=now, last_heartbeat=now)
        self._running[number] = running
        self._records.create_folder(request)
        result = self._records.pending_result(number, self._reporter.note)
        if result is not None and is_terminal(result):  # the last supervisor died before it processed the result
            self._settle_without_process(running, result)
            return
        try:
            store = self._prepare(request.config)
        except DataError as error:
            failed = Failed(self._clock.time(), FailureKind.DATA, str(error))
            self._records.append(number, failed)
            self._settle_without_process(running, failed)
            return
        title = f"{self._config.study} · trial {number}"
        folder = self._records.folder.trial(number)
        job = TrialJob(
            request.config, folder, store, self._threads, request.attempt, title, self._device, self._store.identity
        )
        try:
            self._executor.submit(number, job)
        except OSError as error:
            reason = f"its process could not be started ({error})"
            self._handle_failure(running, Failure(FailureKind.ENVIRONMENT, reason))
            self._release_slot(running)
            return
        # The first start waits until the forkserver has imported TensorFlow. That time counts towards no limit.
        running.started_at = running.last_heartbeat = self._clock.monotonic()

    def _settle_without_process(self, running: RunningTrial, result: Finished | Failed) -> None:
        """Settles a trial that has no process, and releases its slot."""
        running.result = result
        self._settle_result(running, result)
        self._release_slot(running)

    def _on_message(self, number: int, message: Event | Heartbeat | Exited) -> None:
        running = self._running[number]
        running.last_heartbeat = self._clock.monotonic()
        if running.stop_requested and running.outcome is None:
            limits.set_kill_deadline(running, running.last_heartbeat)  # it does not hang
        if isinstance(message, Started):
            self._start_failures.reset(number)
            request = running.request
            self._reporter.started(
                number, request.settings, message.attempt, message.from_epoch, request.config.train.epochs
            )
        elif isinstance(message, EpochEnded):
            self._on_epoch_ended(running, message)
        elif isinstance(message, Finished):
            running.result = message
            self._settle_result(running, message)
        elif isinstance(message, Failed):
            running.result = message  # settled when the process has exited
        elif isinstance(message, Exited):
            if running.outcome is None:
                self._settle_exit(running, message)
            self._release_slot(running)
        if not isinstance(message, Heartbeat):
            self._sender.notify(number)

    def _on_epoch_ended(self, running: RunningTrial, event: EpochEnded) -> None:
        """Reports the epoch to Optuna, and answers whether the trial trains on."""
        number = running.request.number
        self._reporter.epoch_ended(number, event)
        prune = self._store.report(number, event.epoch, event.best_value)
        # A trial that repeats epochs after a damaged checkpoint must reach the last reported epoch before it may end:
        # Optuna already has the values of the later epochs.
        repeating = self._store.is_behind(number, event.epoch)
        self._executor.answer(number, repeating or not (prune or running.stop_requested))

    def _settle_exit(self, running: RunningTrial, exited: Exited) -> None:
        """Settles a trial whose process has exited without an outcome."""
        number = running.request.number
        # The process may have died after it wrote its result and before it sent it, so the record is read too.
        result = running.result or self._records.pending_result(number, self._reporter.note)
        if result is not None:
            self._settle_result(running, result)
            return
        has_trained = self._records.has_trained(number, running.request.attempt)
        may_be_environment = exited.code >= 0 or self._start_failures.may_be_killed_again(number)
        failure = failures.classify_exit(exited, has_trained=has_trained or not may_be_environment)
        self._handle_failure(running, running.kill_cause or failure)

    def _settle_result(self, running: RunningTrial, result: Finished | Failed) -> None:
        """Settles a trial by the result that it reported."""
        if isinstance(result, Failed):
            self._handle_failure(running, Failure(failures.parse_kind(result.kind), result.reason))
            return
        state, reason = State.COMPLETE, result.reason
        if result.ended in ("pruned", "stopped"):
            last_epoch = events.epochs(self._records.read(running.request.number))[-1].epoch
            state, reason = State.PRUNED, result.reason or f"pruned after epoch {last_epoch}"
        self._finish_trial(running, TrialOutcome(state, reason, result.metrics[self._config.objective.metric]))

    def _handle_failure(self, running: RunningTrial, failure: Failure) -> None:
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
            self._halt_on_full_disk()
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
        curve = events.epochs(self._records.read(number))
        self._store.tell(number, outcome.state, value, events.summary(curve, value, reason))
        running.outcome = outcome
        self._estimate.add(self._clock.monotonic() - running.started_at)
        if value is not None:
            self._update_best(number, value)
            self._retention.newest = number
            self._failures.reset()
        elif outcome.state is State.FAIL and reason != STOPPED_BY_HAND:
            self._failures.add(reason)
            self._check_failure_limit()

    def _update_best(self, number: int, value: float) -> None:
        self._retention.add(number, value)
        self._best.update(number, value)

    def _check_failure_limit(self) -> None:
        """Stops a sweep in which too many consecutive trials fail."""
        if self._failures.stop_reason and not self._stopping.halt_reason:
            self._stopping.halt(self._failures.stop_reason)

    def _release_slot(self, running: RunningTrial) -> None:
        """Closes the record of a trial that has an outcome, and frees its slot."""
        assert running.outcome is not None
        number, outcome = running.request.number, running.outcome
        state, reason = outcome.state, outcome.reason
        self._records.append(number, AttemptEnded(self._clock.time(), state, reason, running.request.attempt))
        del self._running[number]
        if state in FINISHED:
            self._records.clean_up(number, keep_model=state is not State.FAIL)
            self._apply_retention()
        self._sender.notify(number)
        self._reporter.ended(number, state, outcome.value, reason)

    def _apply_retention(self) -> None:
        """Removes the models that are not kept; a running trial's process may still use its model."""
        for number in self._retention.to_evict():
            if number not in self._running:
                if self._records.evict(number, self._clock.time()):
                    self._sender.notify(number)
                self._retention.discard(number)

    def _interrupt_trials(self) -> None:
        """Kills every trial; each resumes later from its last epoch."""
        for number, running in self._running.items():
            if running.is_active:
                running.kill_cause = Failure(FailureKind.INTERRUPTED, "interrupted")
                self._executor.kill(number)

    def _halt_on_full_disk(self) -> None:
        reason = limits.disk_full_message(self._records.home, self._records.free_bytes())
        self._stopping.halt(reason, disk_full=True)

    def _snapshot(self) -> ProgressSnapshot:
        n_finished, now = self._store.n_finished, self._clock.monotonic()
        elapsed_s = [now - running.started_at for running in self._running.values()]
        seconds_left = self._estimate.seconds_left(self._n_trials - n_finished, elapsed_s, self._executor.n_slots)
        return ProgressSnapshot(n_finished, self._n_trials, self._best.number, self._best.value, seconds_left)
