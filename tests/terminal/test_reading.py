import io

import pytest
from rich.console import Console

from rnnexp.terminal import reading
from rnnexp.terminal.reading import progress_bar


def _shown(terminal: bool) -> str:
    out = io.StringIO()
    with progress_bar(Console(file=out, force_terminal=terminal, width=80), "reading [a].csv") as show:
        show(0.25)
        show(0.5)
    return out.getvalue()


def test_a_terminal_shows_a_bar_that_disappears(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_SHOWN_AFTER_S", -1.0)
    shown = _shown(terminal=True)
    assert "reading [a].csv" in shown
    assert "25%" in shown
    assert "50%" in shown
    assert shown.rstrip("\x1b[?25h\n").endswith("\x1b[2K")


def test_short_work_and_a_file_show_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _shown(terminal=True) == ""
    monkeypatch.setattr(reading, "_SHOWN_AFTER_S", -1.0)
    assert _shown(terminal=False) == ""
