"""Keeps MLflow's pages of a running study current: the report about once a minute, the models of the best trials."""

import contextlib
import shutil
import threading
import time

from rnnexp.commands import study_record, study_report
from rnnexp.engine import devices, local, start_method
from rnnexp.export.check import CheckProcess
from rnnexp.home import Home
from rnnexp.storage.views import StudyView, view

_EVERY_S = 60.0
"""Between two reports; a report that takes more than a second of processor time gets so many times more."""
_CLOSE_S = 5.0
_N_MODELS = 3
"""So many of the best trials get a logged model while the study runs."""


class ReportThread:
    """Publishes the report of a running study, which takes at most a second of processor time a minute.

    After a report, the model of one of the best trials is checked and logged, if a trial has become one of them. On a
    machine with one core, or where the check could take memory of a GPU, that is left to the end of the study, which
    logs the model of the best trial.
    """

    def __init__(self, home: Home, study: str, began: float) -> None:
        self._home, self._study, self._began = home, study, began
        self._with_models = local.n_cores() > 1 and not devices.gpu_is_possible()
        self._tried: set[int] = set()
        self._is_closing, self._starting = threading.Event(), threading.Lock()
        self._check: CheckProcess | None = None
        self._thread = threading.Thread(target=self._run, name="report", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread; waits for what it is doing, unless MLflow is slow. A model in its check is not logged."""
        with self._starting:
            self._is_closing.set()
            if self._check is not None:
                self._check.kill()
        self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        wait_s = _EVERY_S
        while not self._is_closing.wait(wait_s):
            before = time.thread_time()
            with contextlib.suppress(Exception):  # the end of the study reports it
                study = view(self._home, self._study)
                if study.best is not None:
                    study_report.publish(self._home, study, self._began)
                    wait_s = _EVERY_S * max(1.0, time.thread_time() - before)
                    self._log_model(study)

    def _log_model(self, study: StudyView) -> None:
        """Logs the model of the first of the best trials that has none yet."""
        for row in study.ranked[:_N_MODELS] if self._with_models else ():
            is_kept = row.run_id is not None and study.folder.trial(row.number).best.exists()
            if row.number in self._tried or not is_kept or self._is_closing.is_set():
                continue
            self._tried.add(row.number)
            with self._starting:
                if self._is_closing.is_set():
                    return
                self._check = CheckProcess(start_method.context()[0])
            bundle = study_record.write_bundle(self._home, study, row, self._check)
            try:
                if not self._is_closing.is_set():
                    study_record.log_model(self._home, study, row, bundle, alias=None)
            finally:
                shutil.rmtree(bundle, ignore_errors=True)
            return
