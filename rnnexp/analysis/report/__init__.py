"""Writes reports of studies: one self-contained HTML page, or a CSV table."""

from collections.abc import Sequence
from pathlib import Path

from rnnexp.analysis import frames
from rnnexp.analysis.report import page
from rnnexp.home import Home
from rnnexp.storage.views import StudyView


def load_libraries() -> None:
    """Imports the libraries of the reports, and reads the parts of the page."""
    frames.load_library()
    page.parts()


def write_csv(views: Sequence[StudyView], path: Path) -> None:
    """Writes a CSV table with one row per trial."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frames.trials(views).to_csv(path, index=False)


def write_html(home: Home, views: Sequence[StudyView], path: Path) -> None:
    """Writes the report as one page that needs no network."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page.page(home, views), encoding="utf-8")
