"""Wrong input of `predict` and `serve` is one line, before a model is loaded."""

import io
import sys
from pathlib import Path

import pytest

from rnnexp.cli import main
from rnnexp.commands import predict, serve
from rnnexp.data.text_rows import TextRow
from rnnexp.errors import UserError


def test_a_byte_that_is_not_utf8_is_told_by_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = io.TextIOWrapper(io.BytesIO(b"good\na\xff\n"), encoding="ascii")
    monkeypatch.setattr(sys, "stdin", text)
    assert main(["predict", "bundle"]) == 2
    assert capsys.readouterr().err == "predict: line 2 of standard input is not UTF-8 (byte 2 of the line)\n"


def test_lines_are_texts_with_any_end(monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.TextIOWrapper(io.BytesIO("gut\r\n\nschön\nlast".encode()), encoding="ascii")
    monkeypatch.setattr(sys, "stdin", text)
    assert predict._lines() == ["gut", "", "schön", "last"]


def test_an_option_for_files_is_named_as_it_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "bundle", "--text", "body", "good"]) == 2
    assert capsys.readouterr().err == "predict --text: is for a file; name it with --file\n"


def test_the_name_of_a_file_cannot_control_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    report = predict._BrokenRows(Path("a\x1b]0;owned\x07.csv"))
    for number in range(22):
        report(TextRow(number, None, (), "not UTF-8", 0.5))
    report.end()
    lines = capsys.readouterr().err
    assert len(lines.splitlines()) == 21
    assert lines.replace("\n", "").isprintable()


@pytest.mark.parametrize("token", ["short", "x" * 15, "a token of some length", "a-token-of-some-length ", "é" * 16])
def test_a_token_that_no_client_could_send_is_refused(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setenv("RNNEXP_SERVE_TOKEN", token)
    with pytest.raises(UserError, match="expected 16 or more ASCII characters without spaces"):
        serve._token("127.0.0.1", is_local=True)
    monkeypatch.setenv("RNNEXP_SERVE_TOKEN", "a-token-of-some-length")
    assert serve._token("0.0.0.0", is_local=False) == "a-token-of-some-length"
