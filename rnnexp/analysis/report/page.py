"""The page of a report: content as JSON, a script that draws it, and the library for its pictures, all in one file."""

import functools
import html
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnexp.analysis.report import content
from rnnexp.storage.views import StudyView

_ASSETS = Path(__file__).parent / "assets"
_SCRIPTS = ("base", "pictures", "study", "certificate", "leaderboard", "curves", "settings", "costs", "record", "page")
"""The files of the script, in the order in which the page runs them."""


@dataclass(frozen=True)
class Parts:
    """The parts of the page that are the same for all studies.

    Attributes:
        style: CSS.
        script: draws the content.
        plotly: the library for pictures, minified.
    """

    style: str
    script: str
    plotly: str


@functools.cache
def parts() -> Parts:
    """Reads the parts."""
    spec = importlib.util.find_spec("plotly")  # the package itself is not imported: only its script is needed
    assert spec is not None and spec.submodule_search_locations
    library = Path(spec.submodule_search_locations[0]) / "package_data" / "plotly.min.js"
    script = "\n".join((_ASSETS / f"{name}.js").read_text(encoding="utf-8") for name in _SCRIPTS)
    return Parts((_ASSETS / "report.css").read_text(encoding="utf-8"), script, library.read_text(encoding="utf-8"))


def page(views: Sequence[StudyView], contents: Sequence[dict[str, Any]]) -> str:
    """Returns the page of some studies with their contents."""
    fixed, title = parts(), " and ".join(view.name for view in views)
    values = {
        "title": title,
        "studies": contents,
    }
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{fixed.style}</style>\n</head>\n<body>\n"
        '<main id="report"><noscript>The report needs JavaScript.</noscript></main>\n'
        f'<script type="application/json" id="content">{content.plain(values)}</script>\n'
        f"<script>{fixed.plotly}</script>\n<script>\n{fixed.script}</script>\n</body>\n</html>\n"
    )
