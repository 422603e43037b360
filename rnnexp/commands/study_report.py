"""Writes a study's report and puts it on the study's pages in MLflow, at its end and while it runs."""

import time
from pathlib import Path

from rnnexp.home import Home
from rnnexp.storage.views import StudyView


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
        pages.describe(run_id, study.question, answer)
        pages.mark_best(study.ranked)
