"""The report of a bug: a new file that only the user can read, without the user's texts."""

import re
import sys
import tempfile
import time
from pathlib import Path

import pytest

from rnnexp import bug

SECRET = "my mother's diagnosis"


def _error() -> Exception:
    try:
        try:
            raise KeyError(SECRET)
        except KeyError:
            raise FileNotFoundError(2, "No such file or directory", f"/data/{SECRET}")  # noqa: B904 - the context counts
    except FileNotFoundError as error:
        try:
            raise ValueError(f"cannot parse {SECRET}") from error
        except ValueError as last:
            return last


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def _path(message: str) -> Path:
    found = re.search(r"the details are in (.*)$", message)
    assert found, message
    return Path(found[1])


def test_it_follows_no_link_and_replaces_no_file(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "strftime", lambda _: "rnnexp-bug-20260102-030405.log")
    victim = temporary / "victim"
    victim.write_text("mine")
    (temporary / "rnnexp-bug-20260102-030405.log").symlink_to(victim)
    first, second = _path(bug.report(_error(), None)), _path(bug.report(_error(), None))
    assert victim.read_text() == "mine"
    assert first != second
    assert first.stat().st_mode & 0o777 == 0o600


def test_it_is_saved_in_the_home(tmp_path: Path) -> None:
    path = _path(bug.report(_error(), str(tmp_path)))
    assert path.parent == tmp_path / "logs"
    assert path.stat().st_mode & 0o777 == 0o600


def test_it_holds_no_text_of_the_user(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys,
        "argv",
        ["/usr/bin/rnnexp", "predict", "best", SECRET, "--json", f"--home={SECRET}", "--", f"-{SECRET}", "-x"],
    )
    message = bug.report(_error(), None)
    assert SECRET in message, "the terminal shows the message"
    text = _path(message).read_text()
    assert SECRET not in text
    assert "command: rnnexp predict --json --home\n" in text
    assert "builtins.ValueError" in text
    assert "builtins.FileNotFoundError: No such file or directory" in text
    assert "builtins.KeyError" in text
    assert text.count("in _error") == 3
    assert "optuna: 5." in text


def test_a_report_that_cannot_be_saved_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file where the folder should be")
    assert "could not be saved (File exists)" in bug.report(_error(), str(tmp_path))
