"""No character from data controls the terminal."""

import io
import json
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from rnnexp.terminal import tables
from rnnexp.terminal.escapes import json_text, visible, visible_lines
from rnnexp.terminal.progress import LiveWatch, PlainWatch
from rnnexp.trial.states import State

TITLE = "good\x1b]0;owned\x07\x9b2J\r\u202edoog\u2028\x7f\ud800"
"""Changes the window's title, clears the screen, returns to the start of the line, reverses the direction."""

UNSAFE = set("\x1b\x07\x9b\r\u202e\u2028\x7f\ud800")


def test_each_unsafe_character_is_shown_as_an_escape() -> None:
    assert visible(TITLE) == r"good\x1b]0;owned\x07\x9b2J\x0d\u202edoog\u2028\x7f\ud800"
    assert visible("a\nb\tc") == "a\\nb\tc"
    assert visible_lines("a\nb\x1b") == "a\nb\\x1b"
    for text in ("naïve café", "日本語", "العربية", "שלום", "🙂 ok", "[red]x[/red]"):
        assert visible(text) == text


def test_json_has_the_same_content_after_parsing() -> None:
    value = [{"text": TITLE + '\n日本語 \\ "quoted"', "label": "\x1b"}]
    text = json_text(value)
    assert json.loads(text) == value
    assert not UNSAFE & set(text)
    assert "日本語" in text


@pytest.mark.parametrize("width", [40, 220])
def test_the_console_prints_no_unsafe_character(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    output = io.StringIO()
    console = tables.console()
    console.file, console.width = output, width
    console.print(TITLE, soft_wrap=True)
    console.print(f"\n{TITLE}", style="dim")
    table = Table(TITLE)
    table.add_row(TITLE)
    console.print(table)
    console.print(tables.pairs([(TITLE, TITLE)]))
    assert not UNSAFE & set(output.getvalue())
    assert output.getvalue().count(r"\x1b") >= 4


@pytest.mark.parametrize("kind", [PlainWatch, LiveWatch])
def test_a_running_study_prints_no_unsafe_character(kind: Any) -> None:
    output = io.StringIO()
    console = tables.console()
    console.file = output
    display = kind(console, "val_accuracy") if kind is PlainWatch else kind(console, "val_accuracy", "cells")
    display.started(0, {"model.cell": TITLE}, 1, 0, 3)
    display.note(TITLE)
    display.ended(0, State.FAIL, None, TITLE)
    assert not UNSAFE & set(output.getvalue())
    assert r"\x1b]0;owned" in output.getvalue()


def test_a_console_of_rich_prints_them() -> None:
    """Without this, the tests above could not fail."""
    output = io.StringIO()
    Console(file=output, markup=False).print(TITLE.replace("\ud800", ""))
    assert "\x1b]0;owned" in output.getvalue()
