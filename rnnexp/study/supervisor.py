"""The loop that runs a study: it fills the slots, handles the trials' messages, and settles their outcomes.

The loop is single-threaded. Only it writes to Optuna; the sender replays the events of the trials into MLflow. The
supervisor holds the study's lock, so a trial that is RUNNING in Optuna when it starts is stale, and is resumed.

The process may be killed after each write. The order is therefore fixed: first Optuna, then the trial's record, then
the removal of files. The next start completes what is missing. Clock, slots, stores, files and sender are passed in,
so that a simulation can replace them.

The other modules of this package hold what the loop uses: `recovery`, `settlement`, `failures`, `start_failures`,
`limits`, `enforcement`, `retention`, `stopping`, `progress` and `best`.
"""

from collections.abc import Callable
from pathlib import Path

from rnnexp import disk
from rnnexp.config.sweep import SweepConfig
from rnnexp.config.trial import TrialConfig
from rnnexp.engine.executor import End, Executor, SlotLost, Unreachable
from rnnexp.errors import DataError, EngineLostError
from rnnexp.storage import postgres
from rnnexp.storage.store import StudyStore
from rnnexp.storage.trial_values import TrialRequest
from rnnexp.study import limits
from rnnexp.study.clock import Clock
from rnnexp.study.enforcement import Enforcer
from rnnexp.study.failures import Failure, FailureKind
from rnnexp.study.limits import LimitChecker
from rnnexp.study.progress import ProgressReporter, ProgressSnapshot
from rnnexp.study.records import TrialRecords, is_terminal
from rnnexp.study.recovery import recover
from rnnexp.study.running import RunningTrial, TrialOutcome
from rnnexp.study.settlement import Settlement
from rnnexp.study.start_failures import StartFailures
from rnnexp.study.stopping import DATABASE_LOCKED, Outcome, StopConditions
from rnnexp.tracking.sender import Sender
from rnnexp.trial.answer import Answer
from rnnexp.trial.events import AttemptEnded, EpochEnded, Event, Failed, Finished, Paused, Started
from rnnexp.trial.job import Place, TrialJob
from rnnexp.trial.process import Heartbeat
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
        clock: Clock,
        device: str = "auto",
        check_lock: Callable[[], None] = lambda: None,
        started_at: float | None = None,
    ) -> None:
        """Args:
        config: the sweep file.
        store: the study in Optuna, open.
        records: the folders of its trials.
        executor: the slots.
        sender: is notified of each trial that has new events.
        reporter: shows the progress.
        prepare: returns the token store for a trial's settings; raises `DataError`.
        clock: the time.
        device: for each trial: `CPU`, `GPU`, or `auto`.
        check_lock: raises `StorageLostError` if the lock of the study is lost. Returns at once.
        started_at: when the time budget began, on the monotonic clock; None for now.
        """
        self._config, self._store, self._records = config, store, records
        self._executor, self._sender, self._reporter = executor, sender, reporter
        self._prepare, self._clock, self._device = prepare, clock, device
        self._n_trials = config.n_trials
        self._running: dict[int, RunningTrial] = {}
        self._check_lock = check_lock
        now = clock.monotonic()
        self._stopping = StopConditions(config.budget.timeout_s, now if started_at is None else started_at)
        self._enforcer = Enforcer(LimitChecker(config.limits, now), records, executor, clock)
        self._start_failures = StartFailures()
        self._settlement = Settlement(
            config, store, records, reporter, clock, self._stopping, self._start_failures, self._running
        )

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
        except EngineLostError as error:
            self._stopping.halt(f"{error}; run the same command to resume when it works again")
            self._end_lost_trials()
        except Exception as error:
            # The next start completes what could not be written, as after a kill.
            if disk.is_full(error):
                self._settlement.halt_on_full_disk()
            elif disk.is_locked(error):
                self._stopping.halt(DATABASE_LOCKED)
            elif (loss := postgres.loss(error)) is not None:
                self._stopping.storage_fault = loss
            elif (fault := postgres.fault(error)) is not None:
                self._stopping.halt(f"{fault}; run the same command to resume")
            else:
                raise
        stopping = self._stopping
        try:
            if not stopping.storage_fault:
                show(stopping.outcome([], self._store.n_finished))
        finally:
            unsent = self._sender.close(stopping.sender_timeout_s)
        return stopping.outcome(unsent, self._store.n_finished)

    def _end_lost_trials(self) -> None:
        """Sets the running trials back to WAITING, after their slots were lost together with the engine."""
        for number in list(self._running):
            self._running[number].kill_cause = Failure(FailureKind.INTERRUPTED, "interrupted")
            self._on_message(number, SlotLost("the engine is lost"))

    def _loop(self) -> None:
        while True:
            if not self._must_stop():
                self._fill_slots()
            if not self._running and (self._must_stop() or self._is_done()):
                return
            messages = self._executor.poll(_POLL_TIMEOUT_S)
            self._check_lock()
            for number, message in messages:
                self._on_message(number, message)
            if self._must_stop():
                self._interrupt_trials()
            if self._enforcer.enforce_limits(self._running):
                self._settlement.halt_on_full_disk()
            for number in self._enforcer.handle_stop_requests(self._running):
                if number in self._store.paused.reasons:
                    self._end_paused(number, by_hand=True)
            self._reporter.tick(self._snapshot())

    def _must_stop(self) -> bool:
        is_complete = self._store.n_finished >= self._n_trials
        self._stopping.check_time_budget(self._clock.monotonic(), is_complete=is_complete)
        return self._stopping.must_stop

    def _is_done(self) -> bool:
        """Tells whether no trial is left to start. If so, prunes the trials that are still paused."""
        if self._may_draw or self._store.next_waiting() is not None:  # a start is delayed, or there is no slot yet
            return False
        for number in sorted(self._store.paused.reasons):
            if self._must_stop():
                break
            self._end_paused(number, by_hand=False)
        return self._store.next_waiting() is None  # a trial whose model is lost is trained again

    def _end_paused(self, number: int, *, by_hand: bool) -> None:
        ended = self._settlement.end_paused(number, by_hand=by_hand)
        if ended is not None:
            self._close_record(number, ended.outcome, ended.attempts)

    def _recover(self) -> None:
        """Completes what the last supervisor left unfinished, and restores what is known of the finished trials."""
        self._settlement.restore(recover(self._store, self._records, self._sender, self._reporter, self._clock))
        self._apply_retention()

    @property
    def _may_draw(self) -> bool:
        """Whether the budget and the search space allow a further trial."""
        return self._store.counts.total() < self._n_trials and not self._stopping.space_is_used

    def _fill_slots(self) -> None:
        while (
            len(self._running) < self._executor.n_slots
            and not self._start_failures.is_paused(self._clock.monotonic())
            and not self._must_stop()
        ):
            if not self._may_draw and self._store.next_waiting() is None:
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
        job = TrialJob(number, request.config, request.attempt, title, self._device, self._store.identity)
        try:
            self._executor.submit(job, Place(self._records.folder.trial(number), store))
        except OSError as error:
            reason = f"its process could not be started ({error})"
            self._settlement.handle_failure(running, Failure(FailureKind.ENVIRONMENT, reason))
            self._release_slot(running)
            return
        # The first start waits until the forkserver has imported TensorFlow. That time counts towards no limit.
        running.started_at = running.last_heartbeat = self._clock.monotonic()

    def _settle_without_process(self, running: RunningTrial, result: Finished | Failed) -> None:
        """Settles a trial that has no process, and releases its slot."""
        running.result = result
        self._settlement.settle_result(running, result)
        self._release_slot(running)

    def _on_message(self, number: int, message: Event | Heartbeat | Unreachable | End) -> None:
        running = self._running[number]
        running.last_heartbeat = self._clock.monotonic()
        if running.stop_requested and running.outcome is None and not isinstance(message, Unreachable):
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
            self._settlement.settle_result(running, message)
        elif isinstance(message, Failed | Paused):
            running.result = message  # settled when the process has exited
            if isinstance(message, Paused):
                limits.set_kill_deadline(running, running.last_heartbeat)
        elif isinstance(message, End):
            if running.outcome is None:
                self._settlement.settle_end(running, message)
            self._release_slot(running)
        if not isinstance(message, Heartbeat | Unreachable):
            self._sender.notify(number)

    def _on_epoch_ended(self, running: RunningTrial, event: EpochEnded) -> None:
        """Reports the epoch to Optuna, and answers whether the trial trains on."""
        number = running.request.number
        self._reporter.epoch_ended(number, event)
        prune = self._store.report(number, event.epoch, event.best_value)
        # A trial that repeats epochs after a damaged checkpoint must reach the last reported epoch before it may end:
        # Optuna already has the values of the later epochs.
        repeating = self._store.is_behind(number, event.epoch)
        must_end = prune or running.stop_requested
        answer = Answer.CONTINUE
        if not repeating and (must_end or self._store.must_pause(number, event.epoch)):
            answer = Answer.END if must_end else Answer.PAUSE
        self._executor.answer(number, answer)

    def _release_slot(self, running: RunningTrial) -> None:
        """Closes the record of a trial that has an outcome, and frees its slot."""
        assert running.outcome is not None
        del self._running[running.request.number]
        self._close_record(running.request.number, running.outcome, running.request.attempt)

    def _close_record(self, number: int, outcome: TrialOutcome, attempts: int) -> None:
        """Closes the record of a trial that is in no slot, and removes the files that it does not need any more."""
        state, reason = outcome.state, outcome.reason
        self._records.append(number, AttemptEnded(self._clock.time(), state, reason, attempts))
        if state in FINISHED:
            self._records.clean_up(number, keep_model=state is not State.FAIL)
            self._apply_retention()
        self._sender.notify(number)
        self._reporter.ended(number, state, outcome.value, reason)

    def _apply_retention(self) -> None:
        """Removes the models that are not kept; a running trial's process may still use its model."""
        for number in self._settlement.retention.to_evict():
            if number not in self._running:
                if self._records.evict(number, self._clock.time()):
                    self._sender.notify(number)
                self._settlement.retention.discard(number)

    def _interrupt_trials(self) -> None:
        """Kills every trial; each resumes later from its last epoch."""
        for number, running in self._running.items():
            if running.is_active:
                running.kill_cause = Failure(FailureKind.INTERRUPTED, "interrupted")
                self._executor.kill(number)

    def _snapshot(self) -> ProgressSnapshot:
        n_finished, now, settled = self._store.n_finished, self._clock.monotonic(), self._settlement
        elapsed_s = [now - running.started_at for running in self._running.values()]
        n_paused = len(self._store.paused.reasons)
        n_left = self._n_trials - n_finished - n_paused
        seconds_left = settled.estimate.seconds_left(n_left, elapsed_s, self._executor.n_slots)
        best = settled.best
        return ProgressSnapshot(n_finished, n_paused, self._n_trials, best.number, best.value, seconds_left)
