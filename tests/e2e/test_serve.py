"""`rnnexp serve` on a real bundle, and what is wrong with its command line."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.conftest import one_line, rnnexp
from tests.serve.clients import Server, texts

pytestmark = pytest.mark.tensorflow


@contextmanager
def _serving(bundle: Path, *options: str, **environment: str) -> Iterator[tuple[Server, str]]:
    """Runs the command; yields the server, and the line that it prints."""
    command = [sys.executable, "-m", "rnnexp", "serve", str(bundle), "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | environment)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        yield Server(process, int(line.split("/docs")[0].rsplit(":", 1)[1])), line
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("formats", [["keras", "onnx"], ["keras"]])
def test_the_server_gives_the_predictions_of_the_command(bundle: Path, tmp_path: Path, formats: list[str]) -> None:
    """With ONNX Runtime, or with TensorFlow where the bundle has no ONNX model."""
    served = tmp_path / "bundle"
    subprocess.run(["cp", "-r", str(bundle), str(served)], check=True)
    manifest = json.loads((served / "manifest.json").read_text())
    manifest["formats"] = formats
    (served / "manifest.json").write_text(json.dumps(manifest))
    sentences = ["The plot was superb.", "The cast was dull.", ""]
    expected = json.loads(rnnexp("predict", str(served), "--json", *sentences).stdout)
    with _serving(served) as (server, line):
        assert ("ONNX Runtime" if "onnx" in formats else "TensorFlow") in line
        assert server.send("/health")[0] == 200
        status, answer, _ = server.send("/predict", texts(*sentences))
        assert status == 200
        for one, command in zip(answer["predictions"], expected, strict=True):
            assert one["label"] == command["label"]
            assert one["probability"] == pytest.approx(command["probability"], abs=1e-5)
        invoked = server.send("/invocations", json.dumps({"inputs": sentences}))[1]
        assert invoked == answer
        assert server.send("/metadata")[1]["metrics"] == manifest["metrics"]
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 143
        assert server.process.stdout is not None
        assert server.process.stdout.read() == "stopped after 4 answers to 4 requests\n"


def test_another_host_than_loopback_needs_a_token(bundle: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "RNNEXP_SERVE_TOKEN"}

    def refusal(token: str | None) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "rnnexp", "serve", str(bundle), "--host", "0.0.0.0", "--port", "0"]
        extra = {} if token is None else {"RNNEXP_SERVE_TOKEN": token}
        return subprocess.run(command, capture_output=True, text=True, env=environment | extra, timeout=60)

    one_line(refusal(None), "--host 0.0.0.0", "set RNNEXP_SERVE_TOKEN to 16 or more characters")
    one_line(refusal("short"), "RNNEXP_SERVE_TOKEN: expected 16 or more ASCII characters")
    token = "a-token-of-some-length"
    with _serving(bundle, "--host", "0.0.0.0", RNNEXP_SERVE_TOKEN=token) as (server, line):
        assert "requests need the token of RNNEXP_SERVE_TOKEN" in line
        assert token not in line
        assert server.send("/predict", texts("x"))[0] == 401
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        assert server.send("/predict", texts("x"), headers)[0] == 200


def test_wrong_input_is_one_line(bundle: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        one_line(rnnexp("serve", str(bundle), "--port", str(port)), f"--port {port}: cannot be used on 127.0.0.1 (")
    one_line(rnnexp("serve", str(bundle), "--port", "99999"), "--port: got 99999, expected 0 to 65535")
    one_line(rnnexp("serve", str(bundle), "--host", "no-such-name.invalid"), "--host: got 'no-such-name.invalid'")
    one_line(rnnexp("serve", str(bundle), "--host", "x..y"), "--host: got 'x..y', expected an address")
    one_line(rnnexp("serve", str(tmp_path), "--port", "0"), "not a bundle (no manifest.json)")
