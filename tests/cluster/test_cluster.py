"""A team's study from end to end: Ray, PostgreSQL, MLflow with passwords and S3, while parts of it fail.

`make cluster-test` runs it on real IMDB: about ten minutes on two cores.
"""

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from rnnexp.home import Home
from rnnexp.trial import events
from rnnexp.trial.events import Started
from tests.cluster.servers import (
    BUCKET,
    FLASK_SECRET,
    MLFLOW_PASSWORD,
    S3,
    S3_SECRET,
    USER,
    running_mlflow,
    running_s3,
)
from tests.e2e import contents
from tests.e2e.conftest import BackgroundCommand, rnnexp
from tests.postgres_server import PASSWORD, PostgresServer, running_postgres
from tests.ray_cluster import TOKEN, TestCluster, running_cluster

pytestmark = [
    pytest.mark.slow,
    pytest.mark.tensorflow,
    pytest.mark.imdb,
    pytest.mark.skipif("RNNEXP_DATA" not in os.environ, reason="needs the real IMDB set (RNNEXP_DATA)"),
]

SECRETS = (PASSWORD, MLFLOW_PASSWORD, FLASK_SECRET, S3_SECRET, TOKEN)
N_TRIALS = 30
SWEEP = f"""
study: team
sampler: {{name: random, seed: 5}}
pruner: {{name: none}}
budget: {{trials: {N_TRIALS}}}
base:
  data: {{name: imdb, vocab_size: 5000, train_samples: 4000, maxlen: 60}}
  model: {{embedding_dim: 16}}
  train: {{epochs: 4, batch_size: 64, learning_rate: 0.003}}
space:
  model.cell: {{choice: [simple_rnn, gru, lstm]}}
  model.units: {{int: [8, 32]}}
  train.seed: {{int: [0, 1000]}}
keep: {{checkpoints: 3}}
"""


@dataclass(frozen=True)
class Team:
    """The running servers."""

    postgres: PostgresServer
    s3: S3
    mlflow: str
    ray: TestCluster
    root: Path


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    root = tmp_path_factory.mktemp("team")
    before = dict(os.environ)
    with ExitStack() as stack:
        postgres = stack.enter_context(running_postgres())
        s3 = stack.enter_context(running_s3(root))
        mlflow = stack.enter_context(running_mlflow(root, postgres, s3))
        ray = stack.enter_context(running_cluster(3))
        os.environ |= {
            "RNNEXP_STORAGE": postgres.new_database(),
            "MLFLOW_TRACKING_URI": mlflow,
            "MLFLOW_TRACKING_USERNAME": USER,
            "MLFLOW_TRACKING_PASSWORD": MLFLOW_PASSWORD,
        }
        yield Team(postgres, s3, mlflow, ray, root)
        os.environ.clear()
        os.environ |= before


class Faults:
    """Injects faults into the running sweep, one after another."""

    def __init__(self, team: Team, home: Home, sweep: BackgroundCommand) -> None:
        self._team, self._home, self._sweep = team, home, sweep

    def inject_all(self) -> None:
        self._wait(3)
        self._kill_trial()
        self._wait(6)
        self._team.ray.kill_node(self._team.ray.nodes[0])
        self._team.ray.add_node()
        self._wait(11)
        self._freeze_node(self._team.ray.nodes[1])
        self._wait(18)
        self._team.postgres.restart()
        self._sweep.read_until("the studies' database is back")

    def _wait(self, n_complete: int) -> None:
        """Waits until so many trials are complete."""
        while sum(" COMPLETE " in line for line in self._sweep.lines) < n_complete:
            self._sweep.read_until(" COMPLETE ")

    def _kill_trial(self) -> None:
        """Kills the process of a running trial."""
        self._sweep.read_until(" epoch 1/")
        number = int(self._sweep.lines[-1].split()[1])
        started = [
            event for event in events.read(self._home.study("team").trial(number).events) if isinstance(event, Started)
        ]
        os.kill(started[-1].pid, signal.SIGKILL)
        self._sweep.read_until(f"trial {number} WAITING: its process was killed by SIGKILL")

    def _freeze_node(self, node: Any) -> None:
        """Stops all processes of a node for longer than the time after which it counts as dead."""
        with self._team.ray.frozen(node):
            self._sweep.read_until("WAITING")
            time.sleep(5)
        self._team.ray.forget(node)
        self._team.ray.add_node()


def test_a_study_of_a_team_survives_faults_and_is_used_elsewhere(team: Team) -> None:
    file, home, elsewhere = team.root / "sweep.yaml", team.root / "home", team.root / "elsewhere"
    file.write_text(SWEEP)
    began = time.monotonic()
    sweep = BackgroundCommand(
        ["sweep", str(file), "--home", str(home), "--engine", "ray", "--address", team.ray.address]
    )
    Faults(team, Home.at(home), sweep).inject_all()
    command_lines = _command_lines()
    assert sweep.end() == 0, "".join(sweep.lines)
    output = "".join(sweep.lines)
    assert "Traceback" not in output, output
    rows = json.loads(rnnexp("trials", "team", "--json", "--home", str(home)).stdout)
    assert [row["state"] for row in rows] == ["COMPLETE"] * N_TRIALS
    done = rnnexp("doctor", "--no-devices", "--home", str(home))
    assert done.returncode == 0, done.stdout
    shown = [output, done.stdout, _check_mlflow(team, rows), *_use_elsewhere(elsewhere, rows)]
    _check_secrets(team, shown, command_lines)
    print(f"{N_TRIALS} trials, {sum(row['attempts'] for row in rows)} attempts, {time.monotonic() - began:.0f} s")


def _check_mlflow(team: Team, rows: list[dict[str, Any]]) -> str:
    """Compares MLflow with the trials; returns the names of the files in S3."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=team.mlflow)
    best = contents.check_runs(client, "team", rows, keep=3)[0]
    contents.check_study(client, "team", best)
    experiment = client.get_experiment_by_name("team")
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert len(runs) == N_TRIALS + 1
    pages = team.s3.client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    names = [item["Key"] for page in pages for item in page.get("Contents", [])]
    for row in rows:
        assert any(row["run_id"] in name and name.endswith("/events.jsonl") for name in names)
    name = next(name for name in names if best["run_id"] in name and name.endswith("best.keras"))
    model = team.s3.client().get_object(Bucket=BUCKET, Key=name)["Body"].read()
    assert model[:2] == b"PK", "best.keras is a ZIP file"
    return "\n".join(names)


def _use_elsewhere(elsewhere: Path, rows: list[dict[str, Any]]) -> list[str]:
    """Exports and predicts from a home that has only the addresses, without data; returns what was printed."""
    assert "RNNEXP_DATA" in os.environ
    best, home = elsewhere / "best", ("--home", str(elsewhere / "home"))
    outputs = []
    for command in (
        ("studies", *home),
        ("trials", "team", *home),
        ("show", "team", str(rows[0]["number"]), *home),
        ("compare", "team", "--html", str(elsewhere / "report.html"), *home),
        ("export", "team", "--to", str(best), *home),
        ("predict", str(best), "I loved every minute of this film, it is wonderful.", "--json"),
    ):
        done = rnnexp(*command, RNNEXP_DATA=str(elsewhere / "no-data"))
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        outputs.append(done.stdout)
    (answer,) = json.loads(outputs[-1])
    assert answer["label"] in ("positive", "negative")
    return outputs


def _command_lines() -> str:
    lines = []
    for process in psutil.process_iter():
        try:
            lines.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return "\n".join(lines)


def _check_secrets(team: Team, shown: list[str], command_lines: str) -> None:
    """Searches what was printed, all command lines, all files of both homes and of S3, and the logs of the servers."""
    for text in (*shown, command_lines):
        assert not [secret for secret in SECRETS if secret in text]
    own = {team.root / "auth.ini"}  # the server's own file with passwords
    files = [path for path in team.root.rglob("*") if path.is_file() and path not in own]
    assert len(files) > 200
    leaks = [(path, secret) for path in files for secret in SECRETS if secret.encode() in path.read_bytes()]
    assert not leaks


def test_without_credentials_every_server_refuses(team: Team) -> None:
    import psycopg
    import requests
    from botocore.exceptions import ClientError

    address = os.environ["RNNEXP_STORAGE"].replace("postgresql+psycopg", "postgresql")
    for wrong in (address.replace(f":{PASSWORD}", ""), address.replace(PASSWORD, "wrong")):
        with pytest.raises(psycopg.OperationalError, match=r"no password supplied|password authentication failed"):
            psycopg.connect(wrong)
    for user in (None, (USER, "wrong")):
        answer = requests.get(f"{team.mlflow}/api/2.0/mlflow/experiments/search?max_results=1", auth=user, timeout=10)
        assert answer.status_code == requests.codes.unauthorized
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        team.s3.client("wrong").list_objects_v2(Bucket=BUCKET)
    assert requests.get(f"{team.s3.address}/{BUCKET}", timeout=10).status_code in (400, 401, 403)
    file, home = team.root / "sweep.yaml", team.root / "refused"
    file.write_text(SWEEP)
    for token in ("", "a-wrong-token-a-wrong-token-a-wrong"):
        done = rnnexp(
            *("sweep", str(file), "--study", "other", "--home", str(home)),
            *("--engine", "ray", "--address", team.ray.address),
            RAY_AUTH_TOKEN=token,
        )
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1, done.stderr
