"""`rnnexp doctor` and the servers that the environment names."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rnnexp.health import checks, servers
from rnnexp.home import Home
from tests.postgres_server import PASSWORD, PostgresServer
from tests.storage.optuna_studies import create_study
from tests.study.fakes import FakeExecutor
from tests.study.small_study import Study


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


def problems(home: Home) -> list[str]:
    found = [f"{finding.where}: {finding.what}" for finding in checks.find_problems(home)]
    assert PASSWORD not in "".join(found)
    return found


def test_a_usable_database_is_no_problem(on_postgres: str, home: Home) -> None:
    assert problems(home) == []
    create_study(home, "one")
    (server,) = servers.servers(home)
    assert server.works
    assert server.address == on_postgres.replace(f"{on_postgres.rpartition('/')[2]}:{PASSWORD}@", "", 1)
    assert [fact.partition(" ")[0] for fact in server.facts] == ["PostgreSQL", "user", "clock"]


def test_studies_of_other_homes_are_not_checked_here(on_postgres: str, tmp_path: Path) -> None:
    Study(tmp_path).run(FakeExecutor())
    assert problems(Home.open(tmp_path / "elsewhere")) == []


def test_a_database_that_does_not_answer(
    on_postgres: str, home: Home, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RNNEXP_STORAGE", on_postgres.replace("127.0.0.1", "127.0.0.9"))
    first, second = problems(home)
    assert first.startswith("postgresql+psycopg://127.0.0.9:")
    assert "Connection refused" in first
    assert second.startswith("optuna.db: the studies are not checked, because postgresql+psycopg://127.0.0.9")
    assert [outcome.done for outcome in checks.repair(home)] == [None, None]


def test_tables_of_another_version(on_postgres: str, home: Home, postgres_server: PostgresServer) -> None:
    create_study(home, "one")
    with postgres_server.as_administrator(on_postgres) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v2.6.0.a'")
        assert "has version v2.6.0.a instead of" in problems(home)[0].replace("have", "has")
        assert "optuna storage upgrade" in problems(home)[0]
        connection.execute("UPDATE alembic_version SET version_num = 'v9'")
        assert "install the library that wrote it" in problems(home)[0]


def test_a_user_who_may_only_read(on_postgres: str, home: Home, postgres_server: PostgresServer) -> None:
    create_study(home, "one")
    user = on_postgres.rpartition("/")[2]
    with postgres_server.as_administrator(on_postgres) as connection:
        connection.execute("REASSIGN OWNED BY " + user + " TO administrator")
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO " + user)
    line = problems(home)[0]
    assert line.endswith(f"the user {user} may not write to the tables; studies can be read, but not run")


class _Refusing(BaseHTTPRequestHandler):
    """Refuses every request."""

    status, body, date = 403, "", ""

    def do_GET(self) -> None:
        self.send_response_only(self.status)
        if self.date:
            self.send_header("Date", self.date)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body.encode())

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Refusing) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{http.server_port}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        yield address
        http.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (403, "Invalid Host header - possible DNS rebinding attack detected", "start it with --allowed-hosts"),
        (401, "You are not authenticated.", "it refuses this user; set MLFLOW_TRACKING_USERNAME"),
        (404, "no such page", "it answers with status 404 (no such page)"),
    ],
)
def test_a_tracking_server_that_refuses(
    refusing: str, home: Home, monkeypatch: pytest.MonkeyPatch, status: int, body: str, expected: str
) -> None:
    monkeypatch.setattr(_Refusing, "status", status)
    monkeypatch.setattr(_Refusing, "body", body)
    (line,) = problems(home)
    assert line.startswith(f"{refusing}: ")
    assert expected in line


def test_a_tracking_server_that_works(on_server: str, home: Home) -> None:
    assert problems(home) == []
    (server,) = servers.servers(home)
    assert server.works
    assert [fact.partition(" ")[0] for fact in server.facts] == ["MLflow", "clock"]


def test_a_tracking_server_whose_clock_is_wrong(refusing: str, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    monkeypatch.setattr(_Refusing, "status", 200)
    monkeypatch.setattr(_Refusing, "body", mlflow.__version__)
    monkeypatch.setattr(_Refusing, "date", "Thu, 01 Jan 2026 00:00:00 GMT")
    monkeypatch.setattr("mlflow.MlflowClient.search_experiments", lambda *_, **__: [])
    (line,) = problems(home)
    assert "its clock differs from this machine's by -" in line


def test_a_tracking_server_that_does_not_answer(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    (line,) = problems(home)
    assert line.startswith("http://127.0.0.1:9: it cannot be used")
