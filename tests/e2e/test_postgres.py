"""Studies in PostgreSQL and runs on MLflow's server: a restart in mid-study, other machines, wrong addresses."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import SWEEP, BackgroundCommand, one_line, rnnexp, tree
from tests.postgres_server import PASSWORD, PostgresServer
from tests.report.pages import content

pytestmark = pytest.mark.tensorflow

LONG = SWEEP.replace("study: small", "study: team").replace("epochs: 2", "epochs: 10")
KEPT = ("number", "state", "value", "best_epoch", "settings", "metrics", "run_id")


def rows(home: Path, *keys: str) -> list[list[Any]]:
    done = rnnexp("trials", "team", "--json", "--home", str(home))
    assert done.returncode == 0, done.stderr
    return [[row[key] for key in keys] for row in json.loads(done.stdout)]


def test_a_restart_in_mid_study_loses_nothing_and_other_machines_can_use_the_result(
    tmp_path: Path, on_postgres: str, on_server: str, postgres_server: PostgresServer
) -> None:
    file, home, elsewhere = tmp_path / "sweep.yaml", tmp_path / "home", tmp_path / "elsewhere"
    file.write_text(LONG)
    running = BackgroundCommand(["sweep", str(file), "--home", str(home), "--workers", "1"])
    running.read_until("trial 0 epoch 3/10")
    postgres_server.restart()
    running.read_until("the studies' database is back")
    assert running.end() == 0, "".join(running.lines)
    output = "".join(running.lines)
    assert output.count("the studies' database is lost") == 1
    assert "Traceback" not in output
    assert PASSWORD not in output
    assert [row[0] for row in rows(home, "state")] == ["COMPLETE"] * 3
    shown = json.loads(rnnexp("show", "team", "0", "--json", "--home", str(home)).stdout)
    assert [point["epoch"] for point in shown["curve"]] == list(range(1, 11))
    assert shown["attempts"] == 2
    done = rnnexp("doctor", "--no-devices", "--home", str(home))
    assert done.returncode == 0, done.stdout
    assert "PostgreSQL 1" in done.stdout
    assert PASSWORD not in done.stdout
    _check_elsewhere(home, elsewhere, tmp_path / "best")
    leaks = [path for path in tmp_path.rglob("*") if path.is_file() and PASSWORD.encode() in path.read_bytes()]
    assert not leaks


def _check_elsewhere(home: Path, elsewhere: Path, best: Path) -> None:
    """Uses the study from a home that has only the addresses."""
    columns = [key for key in KEPT if key != "run_id"]
    assert rows(elsewhere, *columns) == rows(home, *columns)
    here, there = (
        json.loads(rnnexp("show", "team", "1", "--json", "--home", str(root)).stdout) for root in (home, elsewhere)
    )
    assert {key: value for key, value in there.items() if key != "folder"} == {
        key: value for key, value in here.items() if key != "folder"
    }
    done = rnnexp("show", "team", "1", "--yaml", "--home", str(elsewhere))
    assert done.stdout == rnnexp("show", "team", "1", "--yaml", "--home", str(home)).stdout
    log = rnnexp("logs", "team", "1", "--home", str(elsewhere))
    assert log.stdout == rnnexp("logs", "team", "1", "--home", str(home)).stdout
    done = rnnexp("compare", "team", "--html", str(elsewhere / "report.html"), "--home", str(elsewhere))
    assert done.returncode == 0, done.stderr
    trials = content(elsewhere / "report.html")["trials"]
    assert all(len(trial["curve"]["val_accuracy"]) == len(trial["epoch_seconds"]) > 0 for trial in trials)
    done = rnnexp("export", "team", "--to", str(best), "--home", str(elsewhere))
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert "the bundle that MLflow has" in done.stdout
    (answer,) = json.loads(rnnexp("predict", str(best), "--json", "a good film").stdout)
    assert 0.5 <= answer["probability"] <= 1
    number = max(rows(elsewhere, "value", "number"))[1]
    options = ["--trial", str(number), "--format", "saved_model", "--to", f"{best}-2", "--home", str(elsewhere)]
    done = rnnexp("export", "team", *options)
    assert done.returncode == 0, done.stderr
    assert "checked in a new process" in done.stdout
    for command, line in (
        (("sweep", str(home.parent / "sweep.yaml")), f"its trials are in home {home}"),
        (("delete", "team", "--yes"), "delete it from there"),
        (("stop", "team"), "is not running"),
    ):
        one_line(rnnexp(*command, "--home", str(elsewhere)), line)


@pytest.mark.parametrize(
    ("storage", "words"),
    [
        (
            f"postgresql://team:{PASSWORD}@127.0.0.1:9/db",
            ("postgresql+psycopg://127.0.0.1:9/db", "Connection refused"),
        ),
        (
            f"mysql://team:{PASSWORD}@127.0.0.1:9/db",
            ("mysql://127.0.0.1:9/db", "expected postgresql+psycopg"),
        ),
        ("somewhere", ("got 'somewhere'", "expected postgresql+psycopg")),
    ],
)
def test_a_wrong_address_is_one_line_and_leaves_nothing(tmp_path: Path, storage: str, words: tuple[str, ...]) -> None:
    file, home = tmp_path / "sweep.yaml", tmp_path / "home"
    file.write_text(SWEEP)
    for command in (
        ("sweep", str(file)),
        ("studies",),
        ("trials", "small"),
        ("export", "small", "--to", str(tmp_path / "b")),
    ):
        one_line(rnnexp(*command, "--home", str(home), RNNEXP_STORAGE=storage), *words)
    assert tree(tmp_path) == ["sweep.yaml"]


def test_a_password_on_the_command_line_is_refused(tmp_path: Path) -> None:
    done = rnnexp("studies", "--storage", f"postgresql://team:{PASSWORD}@127.0.0.1:9/db", "--home", str(tmp_path))
    one_line(done, "--storage", "must not contain a password", "PGPASSWORD")
    assert PASSWORD not in done.stderr
    done = rnnexp("studies", "--storage", "postgresql://team@127.0.0.1:9/db", "--home", str(tmp_path))
    one_line(done, "postgresql+psycopg://127.0.0.1:9/db", "Connection refused")
