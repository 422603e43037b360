"""No credential of the MLflow server is stored or shown."""

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.e2e.conftest import SWEEP, rnnexp

pytestmark = pytest.mark.tensorflow

USER, PASSWORD, QUERY = "user-number-one", "pass@word/number-two", "query-number-three"
BEARER, OTHER_PASSWORD = "bearer-number-four", "password-number-five"
FORMS = (USER, PASSWORD, quote(PASSWORD, safe=""), QUERY, BEARER, OTHER_PASSWORD)


class _Server(BaseHTTPRequestHandler):
    """Refuses every request; its message contains all that the client has sent."""

    received: list[str]

    def _refuse(self) -> None:
        header = self.headers.get("Authorization", "")
        decoded = base64.b64decode(header.removeprefix("Basic ")).decode() if header.startswith("Basic ") else header
        type(self).received.append(decoded)
        body = f"no access for {decoded} to {self.path}".encode()
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _refuse

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def server() -> Iterator[str]:
    """The address of the refusing server, without a scheme."""
    _Server.received = []
    http = ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    yield f"127.0.0.1:{http.server_port}"
    http.shutdown()
    thread.join()
    http.server_close()


def test_five_secrets_are_neither_stored_nor_shown(tmp_path: Path, server: str) -> None:
    home, file, shown = tmp_path / "home", tmp_path / "sweep.yaml", []
    file.write_text(SWEEP.replace("trials: 3", "trials: 1"))
    for place in (server, "127.0.0.1:9"):
        environment = {
            "MLFLOW_TRACKING_URI": f"http://{USER}:{quote(PASSWORD, safe='')}@{place}/?token={QUERY}",
            "MLFLOW_TRACKING_TOKEN": BEARER,
            "MLFLOW_TRACKING_USERNAME": "other-user",
            "MLFLOW_TRACKING_PASSWORD": OTHER_PASSWORD,
        }
        for command in (
            ("sweep", str(file)),
            ("doctor", "--no-devices"),
            ("doctor", "--no-devices", "--repair", "--json"),
            ("ui",),
            ("compare", "small", "--html", str(tmp_path / "report.html"), "--csv", str(tmp_path / "trials.csv")),
            ("show", "small", "0"),
            ("delete", "small", "--yes"),
        ):
            if command[0] == "delete" and place == server:
                continue  # the last command of the test
            done = rnnexp(*command, "--home", str(home), **environment)
            assert done.returncode != 3, done.stderr
            shown.append(f"{command}: {done.stdout}{done.stderr}")
            assert not [secret for secret in FORMS if secret in shown[-1]], shown[-1]
            if command[0] == "sweep":
                assert done.returncode == 0, shown[-1]
                assert "MLflow cannot be written" in done.stdout
    assert f"{USER}:{PASSWORD}" in _Server.received, "the server gets the credentials of the address"
    assert not {BEARER, f"other-user:{OTHER_PASSWORD}"} & set(_Server.received), "as before, the address decides"
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 10
    leaks = [(path, secret) for path in files for secret in FORMS if secret.encode() in path.read_bytes()]
    assert not leaks
