"""Prepares the end of a study while its last trials train, so that the command ends soon after them.

One thread of this process imports the libraries of the report and of MLflow's models while the first trials start.
While no trial is left to start and a core is free, another one writes the bundle of the best trial so far and has it
checked in a process of its own. Both only save time: nothing is published or recorded here, and what was not prepared,
was prepared from other files, or failed, is done again at the end (`study_record`). On a machine with one core nothing
is prepared.
"""

import contextlib
import importlib
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnexp.engine import devices, local, start_method
from rnnexp.export import checked_bundle
from rnnexp.export.check import CheckProcess
from rnnexp.home import Home
from rnnexp.storage.views import TrialRow
from rnnexp.study.progress import ProgressReporter, ProgressSnapshot
from rnnexp.trial import events
from rnnexp.trial.cursor import Cursor
from rnnexp.trial.events import EpochEnded
from rnnexp.trial.states import State

_RUN_TIMEOUT_S = 10.0
"""How long the bundle waits for the trial's run in MLflow, which its manifest names."""
_POLL_S = 0.02


class PreparingReporter:
    """A `ProgressReporter` that passes everything on, and prepares the end of the study once no trial is to start."""

    def __init__(self, reporter: ProgressReporter, preparation: "EndPreparation") -> None:
        self._reporter, self._preparation = reporter, preparation
        self._running: set[int] = set()

    def started(self, number: int, settings: dict[str, Any], attempt: int, from_epoch: int, epochs: int) -> None:
        self._running.add(number)
        self._reporter.started(number, settings, attempt, from_epoch, epochs)

    def epoch_ended(self, number: int, event: EpochEnded) -> None:
        self._reporter.epoch_ended(number, event)

    def ended(self, number: int, state: State, value: float | None, reason: str) -> None:
        self._running.discard(number)
        self._reporter.ended(number, state, value, reason)

    def note(self, line: str) -> None:
        self._reporter.note(line)

    def tick(self, snapshot: ProgressSnapshot) -> None:
        self._reporter.tick(snapshot)
        # A paused trial may resume, and then trains longer than the preparation takes.
        if snapshot.n_finished + snapshot.n_paused + len(self._running) >= snapshot.n_trials:
            is_last = snapshot.n_finished >= snapshot.n_trials
            self._preparation.proceed(snapshot.best_number, len(self._running), is_last=is_last)


class EndPreparation:
    """The libraries and the bundle that the end of one study needs. Its methods return at once, except for `take`."""

    def __init__(self, home: Home, study: str, identity: str, n_fitting: int | None) -> None:
        """Args:
        home: contains the study.
        study: its name.
        identity: the study's; events of another study are not read.
        n_fitting: trials that fit into the free memory; None if that is unknown.
        """
        cores = local.n_cores()
        self._n_places = cores if n_fitting is None else min(cores, n_fitting)
        self._can_prepare = cores > 1
        # On a GPU the check would compete with the trials for its memory.
        self._can_check = self._can_prepare and not devices.gpu_is_possible()
        self._imports: _Imports | None = None
        self._bundle: _BundleThread | None = None
        self._home, self._study, self._identity = home, study, identity

    def start_imports(self) -> None:
        """Starts the imports; best called while the forkserver imports TensorFlow and this process waits for it."""
        if self._can_prepare:
            self._imports = _Imports()

    def proceed(self, best: int | None, n_running: int, *, is_last: bool) -> None:
        """Has the bundle of the best trial prepared, if there is room for that now.

        Args:
            best: the best trial so far; None if none has a value.
            n_running: trials whose processes run.
            is_last: whether no other trial can become the best one.
        """
        if self._can_check and n_running < self._n_places:
            if self._bundle is None:
                self._bundle = _BundleThread(self._home, self._study, self._identity)
            self._bundle.request(best, is_last=is_last)

    def take(self, row: TrialRow) -> Path | None:
        """Returns a trial's checked bundle in a temporary folder, which the caller publishes; None if there is none.

        Args:
            row: the trial, with its run.
        """
        if self._bundle is None:
            return None
        return self._bundle.take(
            checked_bundle.origin(self._study, row.number, row.run_id, row.best_epoch, row.metrics)
        )

    def finish_imports(self) -> None:
        """Waits for imports that have begun; those that have not are left to their first use."""
        if self._imports is not None:
            self._imports.finish()

    def close(self) -> None:
        """Ends the threads and removes a bundle that was not taken."""
        self.finish_imports()
        if self._bundle is not None:
            self._bundle.close()


class _Imports:
    """Imports the libraries in a thread, when no other thread uses MLflow.

    Two threads that import modules of one library at the same time may see a module that is only half imported.
    """

    def __init__(self) -> None:
        self._is_wanted = True
        self._thread = threading.Thread(target=self._run, name="end-imports", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        from rnnexp.tracking import client

        while self._is_wanted:
            if client.IN_USE.acquire(timeout=_POLL_S):
                try:
                    with contextlib.suppress(Exception):  # the first use reports it
                        client.import_for_models()
                        importlib.import_module("rnnexp.analysis.report").load_libraries()
                finally:
                    client.IN_USE.release()
                return

    def finish(self) -> None:
        self._is_wanted = False
        self._thread.join()


@dataclass(frozen=True)
class _Prepared:
    """A checked bundle in a temporary folder, and what it was made from."""

    work: Path
    basis: tuple[Any, ...]


class _BundleThread:
    """Writes and checks the bundle of the trial that was requested last."""

    def __init__(self, home: Home, study: str, identity: str) -> None:
        self._home, self._study, self._identity = home, study, identity
        self._folder = home.study(study)
        self._wanted: int | None = None
        self._done: int | None = None
        self._needs_spare = True
        self._prepared: _Prepared | None = None
        self._process: CheckProcess | None = None
        self._is_hurried = self._is_closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="best-bundle", daemon=True)
        self._thread.start()

    def request(self, number: int | None, *, is_last: bool) -> None:
        """Asks for the bundle of a trial.

        Args:
            number: the trial; None to start only the process that will check its bundle.
            is_last: whether no other trial can become the best one.
        """
        self._needs_spare = not is_last
        if number != self._wanted:
            with self._changed:
                self._wanted = number
                self._changed.notify_all()

    def take(self, about: dict[str, Any]) -> Path | None:
        """Waits for the bundle that was requested; returns it if it is of this trial and of its present files."""
        with self._changed:
            self._is_hurried = True
            self._changed.wait_for(lambda: self._done == self._wanted)
            prepared, self._prepared = self._prepared, None
        with contextlib.suppress(OSError):  # a file is not there any more
            if prepared is not None and prepared.basis == self._basis(about):
                return prepared.work
        _remove(prepared)
        return None

    def close(self) -> None:
        """Ends the thread and its process; removes a bundle that was not taken."""
        with self._changed:
            self._is_hurried = self._is_closing = True
            self._changed.notify_all()
        self._kill_process()
        self._thread.join()
        _remove(self._prepared)

    def _run(self) -> None:
        while not self._is_closing:
            if self._needs_spare or self._wanted != self._done:
                self._start_process()
            with self._changed:
                self._changed.wait_for(lambda: self._wanted != self._done or self._is_closing)
                number = self._wanted
                obsolete, self._prepared = self._prepared, None
            _remove(obsolete)
            prepared = None
            if number is not None and not self._is_closing:
                with contextlib.suppress(Exception):  # at the end it is tried again, and a failure is reported
                    prepared = self._prepare(number)
            with self._changed:
                self._prepared, self._done = prepared, number
                self._changed.notify_all()
        self._kill_process()

    def _start_process(self) -> None:
        with contextlib.suppress(Exception):  # as above
            self._process = self._process or CheckProcess(start_method.context()[0])

    def _kill_process(self) -> None:
        if self._process is not None:
            self._process.kill()

    def _prepare(self, number: int) -> _Prepared:
        """Writes and checks the bundle of a trial, in a process that checks no other one."""
        self._start_process()
        process = self._process
        assert process is not None
        try:
            about = self._about(number)
            basis = self._basis(about)  # before the files are read
            source = checked_bundle.source_of(self._home, self._folder.trial(number), about)
            return _Prepared(checked_bundle.write_checked(source, self._folder.bundle, ["keras"], process)[0], basis)
        finally:
            process.kill()
            self._process = None

    def _about(self, number: int) -> dict[str, Any]:
        """Returns the origin of a trial's bundle, from the trial's files."""
        folder, deadline = self._folder.trial(number), time.monotonic() + _RUN_TIMEOUT_S
        while (run_id := Cursor.load(folder.tracking).run_id) is None and not self._is_hurried:
            if time.monotonic() > deadline:
                break
            time.sleep(_POLL_S)
        trial_events = events.of_study(events.read(folder.events), self._identity)
        summary = events.summary(trial_events, events.epochs(trial_events)[-1].best_value, "")
        return checked_bundle.origin(self._study, number, run_id, summary["best_epoch"], summary["metrics"])

    def _basis(self, about: dict[str, Any]) -> tuple[Any, ...]:
        """Returns what a bundle depends on: its origin, and the files that it is made from and checked with."""
        folder = self._folder.trial(about["trial"])
        status = [path.stat() for path in (folder.best, folder.held_out, folder.config)]
        return about, tuple((one.st_ino, one.st_mtime_ns, one.st_size) for one in status)


def _remove(prepared: _Prepared | None) -> None:
    if prepared is not None:
        shutil.rmtree(prepared.work, ignore_errors=True)
