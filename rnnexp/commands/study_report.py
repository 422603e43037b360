"""Writes a study's report and puts it on the study's pages in MLflow, at its end and while it runs."""

import contextlib
import threading
import time
from pathlib import Path

from rnnexp.home import Home
from rnnexp.storage.views import StudyView, view

_EVERY_S = 60.0
"""Between two reports; a report that takes more than a second of processor time gets so many times more."""
_CLOSE_S = 5.0


def publish(home: Home, study: StudyView, began: float, more: tuple[Path, ...] = ()) -> None:
    """Writes the report, and the study's own run, its experiment's description and the ranks of its best trials.

    Args:
        home: contains the study.
        study: has a best trial; its rows have their runs.
        began: when the study began, in seconds since 1970.
        more: further files for the study's own run.

    Raises:
        Exception: if MLflow cannot be written.
    """
    from rnnexp.analysis import report
    from rnnexp.tracking import client
    from rnnexp.tracking.projection import Projection

    assert study.best is not None
    page = home.study(study.name).report
    (answer,) = report.write_html(home, [study], page)
    metrics = {f"best_{study.metric}": study.best.value or 0.0, "best_trial": float(study.best.number)}
    with client.IN_USE:
        pages = Projection.open(home, study.name, study.identity).pages
        run_id = pages.write_run([page, *more], metrics, began, time.time())
        pages.describe(run_id, answer)
        pages.mark_best(study.ranked)


class ReportThread:
    """Publishes the report of a running study about once a minute, and takes at most a second a minute for it."""

    def __init__(self, home: Home, study: str, began: float) -> None:
        self._home, self._study, self._began = home, study, began
        self._is_closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="report", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread; waits for a report that is being published, unless MLflow is slow."""
        self._is_closing.set()
        self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        wait_s = _EVERY_S
        while not self._is_closing.wait(wait_s):
            before = time.thread_time()
            with contextlib.suppress(Exception):  # the end of the study reports it
                study = view(self._home, self._study)
                if study.best is not None:
                    publish(self._home, study, self._began)
            wait_s = _EVERY_S * max(1.0, time.thread_time() - before)
