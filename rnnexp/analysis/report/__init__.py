"""Writes reports of studies: one self-contained HTML page, or a CSV table."""

from collections.abc import Sequence
from pathlib import Path

from rnnexp import disk
from rnnexp.analysis import frames
from rnnexp.analysis.report import content, page
from rnnexp.home import Home
from rnnexp.storage.views import StudyView


def load_libraries() -> None:
    """Imports the libraries of the reports, and reads the parts of the page."""
    frames.load_library()
    page.parts()


def write_csv(views: Sequence[StudyView], path: Path) -> None:
    """Writes a CSV table with one row per trial."""
    with disk.writing(path) as beside:
        frames.trials(views).to_csv(beside, index=False)


def write_html(home: Home, views: Sequence[StudyView], path: Path) -> list[list[str]]:
    """Writes the report as one page that needs no network.

    Returns:
        The answer of each study, in sentences.
    """
    contents = [content.study(home, view) for view in views]
    with disk.writing(path) as beside:
        beside.write_text(page.page(views, contents), encoding="utf-8")
    return [one["answer"] for one in contents]
