"""Optuna's dashboard on a home shows its studies and changes nothing."""

import io
import json
from typing import Any

import pytest

from rnnexp.home import Home
from tests.study.fakes import FakeExecutor
from tests.study.small_study import Study

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    study = Study(tmp_path_factory.mktemp("study"))
    study.run(FakeExecutor())
    return study.home


def _ask(home: Home, method: str, path: str, body: Any = None) -> tuple[str, Any]:
    pytest.importorskip("optuna_dashboard")
    from rnnexp.storage.dashboard import application

    content = json.dumps(body).encode()
    environment = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": "after=0",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "CONTENT_LENGTH": str(len(content)),
        "CONTENT_TYPE": "application/json",
        "wsgi.input": io.BytesIO(content),
        "wsgi.errors": io.StringIO(),
        "wsgi.url_scheme": "http",
    }
    statuses: list[str] = []
    answer = b"".join(application(home)(environment, lambda status, *_: statuses.append(status)))
    return statuses[0], json.loads(answer) if answer.startswith((b"{", b"[")) else answer


def test_it_shows_the_studies_and_their_trials(home: Home) -> None:
    status, found = _ask(home, "GET", "/api/studies")
    assert status.startswith("200")
    (study,) = found["study_summaries"]
    assert study["study_name"] == "s"
    status, details = _ask(home, "GET", f"/api/studies/{study['study_id']}")
    assert status.startswith("200")
    assert len(details["trials"]) == 4
    assert _ask(home, "GET", "/dashboard")[0].startswith("200")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/studies", {"study_name": "new", "directions": ["maximize"]}),
        ("POST", "/api/studies/1/rename", {"study_name": "new"}),
        ("DELETE", "/api/studies/1", None),
        ("PUT", "/api/studies/1/note", {"body": "mine", "version": 1}),
        ("PUT", "/api/trials/1/user-attrs", {"user_attrs": {"a": 1}}),
    ],
)
def test_it_changes_nothing(home: Home, method: str, path: str, body: Any) -> None:
    before = home.optuna_db.read_bytes()
    status, answer = _ask(home, method, path, body)
    assert status == "403 Forbidden"
    assert "read-only" in answer["reason"]
    assert home.optuna_db.read_bytes() == before
