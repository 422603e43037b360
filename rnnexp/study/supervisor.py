"""The loop that runs a study: fills slots, hears what trials say, settles what became of them.

One thread. It alone writes Optuna; what it writes to a trial's events is replayed into MLflow by the sender. Whoever
runs it holds the study's lock, so any trial that Optuna calls RUNNING at the start is nobody's, and goes on here.

Every write may be the last: Optuna is told first, then the trial's record is closed, then files are removed; the next
start finishes whatever was left between. Time, slots, stores, files and the sender are given to it.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rnnexp import disk
from rnnexp.config.sweep import SweepConfig
from rnnexp.config.trial import TrialConfig
from rnnexp.engine.executor import Executor, Exited
from rnnexp.errors import DataError
from rnnexp.storage.store import StudyStore, TrialRequest
from rnnexp.study import failures, retention
from rnnexp.study.clock import Clock
from rnnexp.study.failures import FAILURE_POLICY, FailureKind
from rnnexp.study.progress import ProgressReporter, ProgressSnapshot
from rnnexp.study.records import TrialRecords, fault_of, is_terminal, pending_result
from rnnexp.study.running import BY_HAND, RunningTrial
from rnnexp.tracking.sender import Sender
from rnnexp.trial import events
from rnnexp.trial.events import RESUMES, AttemptEnded, EpochEnded, Event, Failed, Finished, Started
from rnnexp.trial.process import Heartbeat, TrialJob
from rnnexp.trial.states import FINISHED, State

_TICK_S = 0.25
_LOOK_S = 1.0
"""How often memory and the disk are looked at."""
_LEAST_FREE_BYTES = 16 * 2**20
_SENDING_AT_THE_END_S, _SENDING_AFTER_A_SIGNAL_S = 60.0, 10.0
_STOP_PATIENCE_S = 30.0
"""A trial that is stopped by hand ends after its epoch, with its result; one that takes longer is killed. A process
that has said its last word and does not end is killed after the same time."""


@dataclass(frozen=True)
class Outcome:
    """How a supervisor's work ended.

    Attributes:
        signal: the signal that ended it, or None.
        out_of_time: whether the time budget did.
        halted: why the study cannot go on as it is, or nothing.
        unsent: trials whose records MLflow does not have yet.
    """

    signal: int | None
    out_of_time: bool
    halted: str
    unsent: list[int]


class Supervisor:
    """Runs one study until its budget is done or it is told to stop."""

    def __init__(
        self,
        config: SweepConfig,
        store: StudyStore,
        records: TrialRecords,
        executor: Executor,
        sender: Sender,
        watch: ProgressReporter,
        prepare: Callable[[TrialConfig], Path],
        threads: int,
        clock: Clock,
        device: str = "auto",
    ) -> None:
        """Args:
        config: what is searched.
        store: the study, open.
        records: its trials' folders.
        executor: the slots.
        sender: is told whose events have grown.
        watch: is told what happens.
        prepare: returns the token store for a trial's settings; raises `DataError`.
        threads: of each trial.
        clock: the time.
        device: of each trial: `CPU`, `GPU`, or `auto`.
        """
        self._config, self._store, self._records = config, store, records
        self._executor, self._sender, self._watch = executor, sender, watch
        self._prepare, self._threads, self._clock, self._device = prepare, threads, clock, device
        self._limits = config.limits
        self._n_trials = config.n_trials
        self._running: dict[int, RunningTrial] = {}
        self._signal: int | None = None
        self._out_of_time = False
        self._halted = ""
        self._disk_full = False
        self._exhausted = False
        self._began = clock.monotonic()
        self._looked = self._began
        self._n_timed, self._seconds = 0, 0.0
        self._best: tuple[int, float] | None = None
        self._kept: dict[int, float] = {}
        self._newest: int | None = None
        self._failures: list[str] = []

    def receive_signal(self, number: int) -> None:
        """Asks for a clean end; safe to call from a signal handler."""
        self._signal = number

    def run(self) -> Outcome:
        """Runs until the study is done, the time is up, a signal has come, or nothing can be written any more."""
        try:
            self._recover()
            self._loop()
        except Exception as error:
            # What is not written now is set right at the next start, as after a kill.
            if disk.is_full(error):
                self._halt_for_space()
            elif disk.is_locked(error):
                self._halted = (
                    "another program has held Optuna's file for too long; end it, then the same command goes on"
                )
            else:
                raise
        patience_s = _SENDING_AFTER_A_SIGNAL_S if self._signal or self._disk_full else _SENDING_AT_THE_END_S
        return Outcome(self._signal, self._out_of_time, self._halted, self._sender.close(patience_s))

    def _loop(self) -> None:
        while True:
            if not self._stopping():
                self._fill()
            if not self._running:
                return
            for number, message in self._executor.poll(_TICK_S):
                self._on_message(number, message)
            if self._stopping():
                self._interrupt()
            self._hold_limits()
            self._heed_stop_requests()
            self._watch.tick(self._snapshot())

    def _stopping(self) -> bool:
        limit = self._config.budget.timeout_s
        if limit is not None and self._clock.monotonic() - self._began > limit and not self._out_of_time:
            self._out_of_time = self._store.n_finished < self._n_trials
        return self._signal is not None or self._out_of_time or bool(self._halted)

    def _recover(self) -> None:
        """Takes over what a dead supervisor left, and has MLflow's gaps filled."""
        for number in self._store.requeue_running():
            self._watch.note(f"trial {number} was cut off; it resumes from its last epoch")
        for number in self._store.waiting:
            self._close_record(number, State.WAITING, FailureKind.SUPERVISOR_LOST, 0)
        finished = self._store.finished()
        for row in finished:
            self._close_record(row.number, row.state, row.reason, row.attempts)
            if row.value is not None:
                self._update_best(row.number, row.value)
            if row.seconds:
                self._n_timed, self._seconds = self._n_timed + 1, self._seconds + row.seconds
        last = max((row for row in finished if row.value is not None), key=lambda row: row.ended, default=None)
        self._newest = last.number if last else None
        self._apply_retention()

    def _close_record(self, number: int, state: State, reason: str, attempts: int) -> None:
        """Adds the closing event that a dead supervisor did not come to write; MLflow gets what it has missed."""
        self._records.close(number, state, reason, attempts, self._clock.time())
        self._sender.notify(number)

    def _fill(self) -> None:
        while len(self._running) < self._executor.n_slots and not self._exhausted and not self._stopping():
            counts = self._store.counts
            if counts[State.WAITING] == 0 and counts.total() >= self._n_trials:
                return
            asked = self._store.ask()
            if asked is None:
                self._exhausted = True
                return
            self._start(asked)

    def _start(self, asked: TrialRequest) -> None:
        number, now = asked.number, self._clock.monotonic()
        running = RunningTrial(asked, now, now)
        self._running[number] = running
        self._records.begin(asked)
        left = pending_result(self._records.read(number))
        if left is not None and is_terminal(left):  # it had come to its result when its supervisor died
            self._conclude(running, left)
            return
        try:
            store = self._prepare(asked.config)
        except DataError as error:
            failed = Failed(self._clock.time(), FailureKind.DATA, str(error))
            self._records.append(number, failed)
            self._conclude(running, failed)
            return
        title = f"{self._config.study} · trial {number}"
        folder = self._records.folder.trial(number)
        job = TrialJob(asked.config, folder, store, self._threads, asked.attempt, title, self._device)
        try:
            self._executor.submit(number, job)
        except OSError as error:
            self._handle_failure(running, FailureKind.KILLED, f"its process could not be started ({error})")
            self._release_slot(running)
            return
        # The first start waits for the forkserver's import of TensorFlow; that counts for no limit.
        running.began = running.heard = self._clock.monotonic()

    def _conclude(self, running: RunningTrial, result: Finished | Failed) -> None:
        """Settles a trial that has no process, and frees its slot."""
        running.result = result
        self._settle_result(running, result)
        self._release_slot(running)

    def _on_message(self, number: int, message: Event | Heartbeat | Exited) -> None:
        running = self._running[number]
        running.heard = self._clock.monotonic()
        if isinstance(message, Started):
            config = running.asked.config
            self._watch.started(
                number, running.asked.settings, message.attempt, message.from_epoch, config.train.epochs
            )
        elif isinstance(message, EpochEnded):
            self._watch.epoch_ended(number, message)
            prune = self._store.report(number, message.epoch, message.best_value)
            # What was reported of later epochs counts already; it can end only where it has come there again.
            behind = self._store.is_behind(number, message.epoch)
            self._executor.answer(number, behind or not (prune or running.stopped))
        elif isinstance(message, Finished):
            running.result = message
            self._settle_result(running, message)
        elif isinstance(message, Failed):
            running.result = message
        elif isinstance(message, Exited):
            if running.told is None:
                self._settle_exit(running, message)
            self._release_slot(running)
        if not isinstance(message, Heartbeat):
            self._sender.notify(number)

    def _settle_exit(self, running: RunningTrial, exited: Exited) -> None:
        """Decides about a trial whose process has ended, and was not told before."""
        # The record knows more than the pipe: the process may have died between writing and sending.
        result = running.result or pending_result(self._records.read(running.asked.number))
        if result is not None:
            self._settle_result(running, result)
        elif running.killed_for is not None:
            self._handle_failure(running, *running.killed_for)
        else:
            self._handle_failure(running, *failures.of_exit(exited))

    def _settle_result(self, running: RunningTrial, result: Finished | Failed) -> None:
        """Settles a trial by its own word."""
        if isinstance(result, Failed):
            self._handle_failure(running, fault_of(result), result.reason)
            return
        state, reason = State.COMPLETE, ""
        if result.ended == "pruned":
            curve = events.epochs(self._records.read(running.asked.number))
            state, reason = State.PRUNED, BY_HAND if running.stopped else f"pruned after epoch {curve[-1].epoch}"
        self._tell(running, state, reason, result.metrics[self._config.objective.metric])

    def _handle_failure(self, running: RunningTrial, fault: FailureKind, reason: str) -> None:
        """Settles what becomes of a trial by the table of faults."""
        number, n_crashes = running.asked.number, running.asked.n_crashes
        if failures.waits(fault, n_crashes, self._limits.retries):
            retried = FAILURE_POLICY[fault].then is failures.FailureAction.RETRIED
            self._store.requeue(number, crashed=retried)
            running.told = (State.WAITING, f"{reason}{RESUMES}" if retried else reason)
            if fault is FailureKind.DISK:
                self._halt_for_space()
            return
        if FAILURE_POLICY[fault].then is failures.FailureAction.RETRIED:
            reason += f", {n_crashes + 1} times" if n_crashes else ""
            reason += f"; {FAILURE_POLICY[fault].advice}" if FAILURE_POLICY[fault].advice else ""
        self._tell(running, State.FAIL, reason, None)

    def _tell(self, running: RunningTrial, state: State, reason: str, value: float | None) -> None:
        """Tells Optuna what became of a trial, for good."""
        number = running.asked.number
        curve = events.epochs(self._records.read(number))
        self._store.tell(number, state, value, events.summary(curve, value, reason))
        running.told = (state, reason)
        running.value = value
        self._n_timed, self._seconds = self._n_timed + 1, self._seconds + self._clock.monotonic() - running.began
        if value is not None:
            self._update_best(number, value)
            self._newest = number
            self._failures.clear()
        elif reason != BY_HAND:
            self._failures.append(reason)
            self._check_failure_limit()

    def _update_best(self, number: int, value: float) -> None:
        """Counts a trial's value among the best so far; among equals the first stays the best."""
        self._kept[number] = value
        sign = 1 if self._config.objective.direction == "maximize" else -1
        if self._best is None or sign * value > sign * self._best[1]:
            self._best = number, value

    def _check_failure_limit(self) -> None:
        """Ends a sweep that cannot work, with the reason that most of its failures share."""
        most = self._limits.consecutive_failures
        if most is not None and len(self._failures) >= most and not self._halted:
            ((reason, times),) = Counter(self._failures).most_common(1)
            share = "" if times == len(self._failures) else f" ({times} of them)"
            self._halted = (
                f"{len(self._failures)} trials failed one after another{share}: {reason}; fix the cause, then the "
                "same command goes on (limits.consecutive_failures)"
            )

    def _release_slot(self, running: RunningTrial) -> None:
        """A trial has left its slot: closes its record."""
        assert running.told is not None
        number, (state, reason) = running.asked.number, running.told
        self._records.append(number, AttemptEnded(self._clock.time(), state, reason, running.asked.attempt))
        del self._running[number]
        if state in FINISHED:
            self._records.clean_up(number, keep_model=state is not State.FAIL)
            self._apply_retention()
        self._sender.notify(number)
        self._watch.ended(number, state, running.value, reason)

    def _apply_retention(self) -> None:
        maximize, keep = self._config.objective.direction == "maximize", self._config.keep.checkpoints
        for number in retention.to_evict(self._kept, maximize, keep, self._newest):
            if number not in self._running:
                if self._records.evict(number, self._clock.time()):
                    self._sender.notify(number)
                del self._kept[number]  # others are better for good: it is not looked at again

    def _interrupt(self) -> None:
        """Ends every trial at once; each goes on later from its last epoch's checkpoint."""
        for number, running in self._running.items():
            if running.told is None and running.killed_for is None:
                running.killed_for = (FailureKind.INTERRUPTED, "interrupted")
                self._executor.kill(number)

    def _hold_limits(self) -> None:
        now = self._clock.monotonic()
        looking = now - self._looked >= _LOOK_S
        if looking:
            self._looked = now
            if self._records.free_bytes() < _LEAST_FREE_BYTES:
                self._halt_for_space()
        for number, running in self._running.items():
            if running.told is not None:
                self._kill_lingering(number, running, now)
            elif running.killed_for is None:
                weighed = looking and self._limits.memory_gb is not None
                held_bytes = self._executor.private_bytes(number) if weighed else None
                running.killed_for = running.over_a_limit(self._limits, now, held_bytes)
                if running.killed_for is not None:
                    self._executor.kill(number)

    def _kill_lingering(self, number: int, running: RunningTrial, now: float) -> None:
        """A process that has said its last word has a while to end by itself."""
        if running.end_by is None:
            running.end_by = now + _STOP_PATIENCE_S
        elif now > running.end_by:
            self._executor.kill(number)

    def _heed_stop_requests(self) -> None:
        """Another shell asks for a trial's end."""
        for number in self._records.take_stop_requests():
            running = self._running.get(number)
            if running is not None and running.told is None:
                running.stopped, running.end_by = True, self._clock.monotonic() + _STOP_PATIENCE_S

    def _halt_for_space(self) -> None:
        self._disk_full = True
        home, free = self._records.home, self._records.free_bytes() / 2**20
        self._halted = (
            f"the disk is full: {free:.0f} MB are left at {home}; what has finished is safe; free some "
            f"(`rnnexp doctor --home {home}` shows what takes it), then the same command goes on"
        )

    def _snapshot(self) -> ProgressSnapshot:
        n_finished, n_trials = self._store.n_finished, self._n_trials
        left = None
        if self._n_timed:
            each = self._seconds / self._n_timed
            now = self._clock.monotonic()
            spent = sum(min(each, now - running.began) for running in self._running.values())
            left = max(0.0, (n_trials - n_finished) * each - spent) / self._executor.n_slots
        number, value = self._best or (None, None)
        return ProgressSnapshot(n_finished, n_trials, number, value, left)
