"""The loop that runs a study: fills slots, hears what trials say, settles what became of them.

One thread. It alone writes Optuna; what it writes to a trial's events is replayed into MLflow by the sender. Whoever
runs it holds the study's lock, so any trial that Optuna calls RUNNING at the start is nobody's, and goes on here.
"""

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnexp.config.sweep import SweepConfig
from rnnexp.config.trial import TrialConfig
from rnnexp.engine.executor import Executor, Exited
from rnnexp.errors import DataError
from rnnexp.home import StudyFolder
from rnnexp.study import retention
from rnnexp.study.sender import Sender
from rnnexp.study.states import FINISHED, State
from rnnexp.study.store import Asked, StudyStore
from rnnexp.study.watch import Standing, Watch
from rnnexp.trial import events
from rnnexp.trial.events import Closed, EpochEnded, Evicted, Failed, Finished, Started
from rnnexp.trial.run import TrialJob

_TICK_S = 0.25
_SENDING_AT_THE_END_S, _SENDING_AFTER_A_SIGNAL_S = 60.0, 10.0
_STOP_PATIENCE_S = 30.0
"""A trial that is stopped by hand ends after its epoch, with its result; one that takes longer is killed."""
_BY_HAND = "stopped by hand"


@dataclass
class _Running:
    """A trial in a slot, and what is known of it."""

    asked: Asked
    began: float
    finished: Finished | None = None
    failed: Failed | None = None
    killed_for: str = ""
    stop_by: float | None = None
    told: tuple[State, str] | None = None


@dataclass(frozen=True)
class Outcome:
    """How a supervisor's work ended.

    Attributes:
        signal: the signal that ended it, or None.
        out_of_time: whether the time budget did.
        unsent: trials whose records MLflow does not have yet.
    """

    signal: int | None
    out_of_time: bool
    unsent: list[int]


class Supervisor:
    """Runs one study until its budget is done or it is told to stop."""

    def __init__(
        self,
        config: SweepConfig,
        store: StudyStore,
        folder: StudyFolder,
        executor: Executor,
        sender: Sender,
        watch: Watch,
        prepare: Callable[[TrialConfig], Path],
        threads: int,
    ) -> None:
        """Args:
        config: what is searched.
        store: the study, open.
        folder: where its trials keep their files.
        executor: the slots.
        sender: is told whose events have grown.
        watch: is told what happens.
        prepare: returns the token store for a trial's settings; raises `DataError`.
        threads: of each trial.
        """
        self._config, self._store, self._folder = config, store, folder
        self._executor, self._sender, self._watch = executor, sender, watch
        self._prepare, self._threads = prepare, threads
        self._n_trials = config.n_trials
        self._running: dict[int, _Running] = {}
        self._signal: int | None = None
        self._out_of_time = False
        self._began = time.monotonic()
        self._seconds: list[float] = []
        self._values: dict[int, float] = {}
        self._exhausted = False

    def receive_signal(self, number: int) -> None:
        """Asks for a clean end; safe to call from a signal handler."""
        self._signal = number

    def run(self) -> Outcome:
        """Runs until the study is done, the time is up, or a signal has come."""
        self._recover()
        while True:
            if not self._stopping():
                self._fill()
            if not self._running:
                break
            for number, message in self._executor.poll(_TICK_S):
                self._hear(number, message)
            if self._stopping():
                self._interrupt()
            self._hold_limits()
            self._heed_stop_requests()
            self._watch.tick(self._standing())
        patience_s = _SENDING_AT_THE_END_S if self._signal is None else _SENDING_AFTER_A_SIGNAL_S
        return Outcome(self._signal, self._out_of_time, self._sender.close(patience_s))

    def _stopping(self) -> bool:
        limit = self._config.budget.timeout_s
        if limit is not None and time.monotonic() - self._began > limit and not self._out_of_time:
            self._out_of_time = self._store_has_more()
        return self._signal is not None or self._out_of_time

    def _store_has_more(self) -> bool:
        counts = self._store.counts()
        return sum(counts[state] for state in FINISHED) < self._n_trials

    def _recover(self) -> None:
        """Takes over what a dead supervisor left, and has MLflow's gaps filled."""
        for number in self._store.take_over():
            self._watch.note(f"trial {number} was cut off; it goes on from its last epoch")
            self._close_record(number, State.WAITING, "cut off", 0)
        for row in self._store.finished():
            self._close_record(row.number, row.state, row.reason, row.attempts)
            if row.value is not None:
                self._values[row.number] = row.value
            if row.seconds:
                self._seconds.append(row.seconds)
        self._apply_retention()

    def _close_record(self, number: int, state: State, reason: str, attempts: int) -> None:
        """Adds the closing event that a dead supervisor did not come to write; MLflow gets what it has missed."""
        path = self._folder.trial(number).events
        happened = events.read(path)
        last = next((event for event in reversed(happened) if not isinstance(event, Evicted)), None)
        if last is not None and not (isinstance(last, Closed) and last.state == state):
            started = sum(isinstance(event, Started) for event in happened)
            events.append(path, Closed(time.time(), state, reason, attempts or started))
        self._sender.notify(number)

    def _fill(self) -> None:
        while len(self._running) < self._executor.n_slots and not self._exhausted:
            counts = self._store.counts()
            if counts[State.WAITING] == 0 and sum(counts.values()) >= self._n_trials:
                return
            asked = self._store.ask()
            if asked is None:
                self._exhausted = True
                return
            self._start(asked)

    def _start(self, asked: Asked) -> None:
        running = _Running(asked, time.monotonic())
        self._running[asked.number] = running
        folder = self._folder.trial(asked.number)
        folder.root.mkdir(parents=True, exist_ok=True)
        folder.config.write_text(asked.config.to_yaml(), encoding="utf-8")
        try:
            store = self._prepare(asked.config)
        except DataError as error:
            running.failed = Failed(time.time(), "data", str(error))
            events.append(folder.events, running.failed)
            self._settle(running)
            self._leave(running)
            return
        title = f"{self._config.study} · trial {asked.number}"
        job = TrialJob(asked.config, folder, store, self._threads, asked.attempt, title)
        self._executor.submit(asked.number, job)

    def _hear(self, number: int, message: Any) -> None:
        running = self._running[number]
        if isinstance(message, Started):
            config = running.asked.config
            self._watch.started(
                number, running.asked.settings, message.attempt, message.from_epoch, config.train.epochs
            )
        elif isinstance(message, EpochEnded):
            self._watch.epoch_ended(number, message)
            prune = self._store.report(number, message.epoch, message.best_value)
            self._executor.answer(number, not prune and running.stop_by is None)
        elif isinstance(message, Finished):
            running.finished = message
            self._settle(running)
        elif isinstance(message, Failed):
            running.failed = message
        elif isinstance(message, Exited):
            if running.told is None:
                self._settle_exit(running, message)
            self._leave(running)
        self._sender.notify(number)

    def _settle_exit(self, running: _Running, exited: Exited) -> None:
        """Decides about a trial whose process ended without a result."""
        if running.failed or running.killed_for:
            self._settle(running)
            return
        if exited.code < 0:
            how = f"its process was killed by {signal.Signals(-exited.code).name}"
        else:
            how = f"its process ended with exit code {exited.code}"
        if self._stopping():
            self._requeue(running, "interrupted")
        elif running.asked.deaths < self._config.limits.retries:
            self._requeue(running, f"{how}; it goes on from its last epoch", died=True)
        else:
            n_deaths = running.asked.deaths + 1
            running.killed_for = f"{how}, {n_deaths} times" if n_deaths > 1 else how
            self._settle(running)

    def _settle(self, running: _Running) -> None:
        """Tells Optuna what became of a trial, for good."""
        number, finished = running.asked.number, running.finished
        curve = events.epochs(events.read(self._folder.trial(number).events))
        state, reason, value = State.FAIL, "", None
        if finished is not None:
            state = State.PRUNED if finished.ended == "pruned" else State.COMPLETE
            if state is State.PRUNED:
                reason = f"pruned after epoch {curve[-1].epoch}" if running.stop_by is None else _BY_HAND
            value = finished.metrics[self._config.objective.metric]
        elif running.failed is not None:
            reason = running.failed.reason
        else:
            reason = running.killed_for
        best_epoch = curve[-1].best_epoch if curve and value is not None else None
        summary = {
            "best_epoch": best_epoch,
            "metrics": curve[best_epoch - 1].metrics if best_epoch else {},
            "duration_s": round(sum(epoch.seconds for epoch in curve), 3),
            "reason": reason,
        }
        self._store.tell(number, state, value, summary)
        running.told = (state, reason)
        self._seconds.append(time.monotonic() - running.began)
        if value is not None:
            self._values[number] = value

    def _requeue(self, running: _Running, reason: str, *, died: bool = False) -> None:
        self._store.requeue(running.asked.number, died=died)
        running.told = (State.WAITING, reason)

    def _leave(self, running: _Running) -> None:
        """A trial has left its slot: closes its record."""
        assert running.told is not None
        number, (state, reason) = running.asked.number, running.told
        folder = self._folder.trial(number)
        events.append(folder.events, Closed(time.time(), state, reason, running.asked.attempt))
        del self._running[number]
        if state in FINISHED:
            retention.clean_up(folder, keep_model=state is not State.FAIL)
            self._apply_retention()
        self._sender.notify(number)
        self._watch.ended(number, state, self._values.get(number), reason)

    def _apply_retention(self) -> None:
        maximize = self._config.objective.direction == "maximize"
        for number in retention.to_evict(self._values, maximize, self._config.keep.checkpoints):
            if retention.evict(self._folder.trial(number), time.time()):
                self._sender.notify(number)

    def _interrupt(self) -> None:
        """Ends every trial at once; each goes on later from its last epoch's checkpoint."""
        for number, running in self._running.items():
            if running.told is None:
                self._executor.kill(number)

    def _hold_limits(self) -> None:
        limits = self._config.limits
        for number, running in self._running.items():
            if running.told is not None or running.killed_for:
                continue
            if running.stop_by is not None and time.monotonic() > running.stop_by:
                running.killed_for = _BY_HAND
            elif limits.trial_s is not None and time.monotonic() - running.began > limits.trial_s:
                running.killed_for = f"over its limit of {limits.trial_s:g} s (limits.trial_s)"
            elif limits.memory_gb is not None:
                used = self._executor.private_bytes(number)
                if used is not None and used > limits.memory_gb * 2**30:
                    running.killed_for = (
                        f"over its limit of {limits.memory_gb:g} GB (limits.memory_gb): {used / 2**30:.2f} GB"
                    )
            if running.killed_for:
                self._executor.kill(number)

    def _heed_stop_requests(self) -> None:
        """Another shell asks for a trial's end by a file that bears its number."""
        if not self._folder.stop_requests.is_dir():
            return
        for request in self._folder.stop_requests.iterdir():
            running = self._running.get(int(request.name)) if request.name.isdigit() else None
            if running is not None and running.told is None:
                running.stop_by = time.monotonic() + _STOP_PATIENCE_S
            request.unlink(missing_ok=True)

    def _standing(self) -> Standing:
        counts = self._store.counts()
        n_finished, n_trials = sum(counts[state] for state in FINISHED), self._n_trials
        pick = max if self._config.objective.direction == "maximize" else min
        best = pick(self._values, key=lambda number: self._values[number]) if self._values else None
        left = None
        if self._seconds:
            each = sum(self._seconds) / len(self._seconds)
            spent = sum(min(each, time.monotonic() - running.began) for running in self._running.values())
            left = max(0.0, (n_trials - n_finished) * each - spent) / self._executor.n_slots
        return Standing(n_finished, n_trials, best, self._values[best] if best is not None else None, left)
