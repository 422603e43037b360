"""MLflow in memory: the client methods that `Projection` calls. The connection may fail, be slow or lose replies."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST

from tests.simulation.world import Generation, World

_TIMEOUT_S = 10.0
_TAG = re.compile(r"tags\.`([^`]+)` = '([^']*)'")
FINAL = ("FINISHED", "FAILED")


@dataclass
class FakeRun:
    """A run in MLflow.

    Attributes:
        metrics: (name, value, time in ms, step); a point that is logged twice is stored once, as in MLflow's tables.
        too_late: whether it was created after the trial's other run had ended; then no replay looks for duplicates.
    """

    run_id: str
    start_time: int
    tags: dict[str, str]
    status: str = "RUNNING"
    active: bool = True
    too_late: bool = False
    params: dict[str, str] = field(default_factory=dict)
    metrics: set[tuple[str, float, int, int]] = field(default_factory=set)
    artifacts: set[str] = field(default_factory=set)


class FakeServer:
    """The server's runs.

    A call that timed out for the client may still be executed: before the next call or, if
    it creates a run, much later.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.runs: dict[str, FakeRun] = {}
        self.outage_until = 0.0
        self.busy_until = 0.0
        self._late_calls: list[Callable[[], Any]] = []
        self._late_creations: list[Callable[[], Any]] = []

    def execute_late(self, call: Callable[[], Any], *, is_creation: bool) -> None:
        """Executes a call after it has timed out for the client."""
        if not is_creation:
            self._late_calls.append(call)
            return
        self._late_creations.append(call)

        def execute() -> None:
            if call in self._late_creations:
                self._late_creations.remove(call)
                self.world.log("mlflow", "executes a call late")
                call()

        self.world.schedule(_TIMEOUT_S + self.world.rng.uniform(0, 40), execute)

    def flush(self) -> None:
        """Executes the late calls that create no run."""
        while self._late_calls:
            self._late_calls.pop(0)()

    def of_trial(self, number: int) -> list[FakeRun]:
        """Returns a trial's active runs."""
        return [run for run in self.runs.values() if run.active and run.tags.get("rnnexp.trial") == str(number)]


class FakeClient:
    """The client of one supervisor."""

    def __init__(self, server: FakeServer, generation: Generation) -> None:
        self._server, self._generation, self._world = server, generation, server.world
        if self._world.now < server.outage_until:
            raise MlflowException("no route to the server")

    def _call(self, name: str, call: Callable[[], Any]) -> Any:
        self._generation.step(f"before mlflow {name}", "mlflow: step")
        server, world = self._server, self._world
        server.flush()
        if world.now < server.outage_until:
            raise MlflowException("no route to the server")
        kind = world.draw_fault("mlflow: create run" if name == "create_run" else "mlflow")
        if kind == "mlflow: outage":
            server.outage_until = world.now + world.rng.choice((2.0, 20.0, 120.0, 900.0))
            raise MlflowException("connection refused")
        if kind in ("mlflow: call fails", "mlflow: locked"):
            raise MlflowException("database is locked" if kind.endswith("locked") else "internal error")
        if kind == "mlflow: call late":
            server.busy_until = world.now + _TIMEOUT_S
            server.execute_late(call, is_creation=name == "create_run")
            raise MlflowException("the request has timed out")
        world.log("mlflow", name)
        result = call()
        if kind == "mlflow: reply lost":
            server.busy_until = world.now + _TIMEOUT_S
            raise MlflowException("the request has timed out")
        self._generation.step(f"after mlflow {name}", "mlflow: step")
        return result

    def _run(self, run_id: str) -> FakeRun:
        run = self._server.runs.get(run_id)
        if run is None or not run.active:
            raise MlflowException(f"no run {run_id}", error_code=RESOURCE_DOES_NOT_EXIST)
        return run

    def create_run(self, experiment: str, start_time: int, tags: dict[str, str], run_name: str) -> Any:
        def call() -> Any:
            run_id = f"{self._world.rng.getrandbits(64):016x}"
            others = self._server.of_trial(int(tags["rnnexp.trial"]))
            late = any(other.status in FINAL for other in others)
            self._server.runs[run_id] = FakeRun(run_id, start_time, dict(tags), too_late=late)
            return SimpleNamespace(info=SimpleNamespace(run_id=run_id))

        return self._call("create_run", call)

    def search_runs(self, experiments: list[str], filter_string: str) -> list[Any]:
        def call() -> list[Any]:
            wanted = dict(_TAG.findall(filter_string))
            found = [
                run
                for run in self._server.runs.values()
                if run.active and all(run.tags.get(key) == value for key, value in wanted.items())
            ]
            newest_first = sorted(found, key=lambda run: (-run.start_time, run.run_id))
            return [
                SimpleNamespace(info=SimpleNamespace(run_id=run.run_id), data=SimpleNamespace(tags=dict(run.tags)))
                for run in newest_first
            ]

        found: list[Any] = self._call("search_runs", call)
        return found

    def get_run(self, run_id: str) -> Any:
        return self._call("get_run", lambda: SimpleNamespace(data=SimpleNamespace(tags=dict(self._run(run_id).tags))))

    def update_run(self, run_id: str, status: str, name: str) -> None:
        def call() -> None:
            run = self._run(run_id)
            run.status, run.tags["mlflow.runName"] = status, name

        self._call(f"update_run {status}", call)

    def set_terminated(self, run_id: str, status: str, end_time: int) -> None:
        self._call(f"set_terminated {status}", lambda: setattr(self._run(run_id), "status", status))

    def delete_run(self, run_id: str) -> None:
        self._call("delete_run", lambda: setattr(self._run(run_id), "active", False))

    def delete_tag(self, run_id: str, key: str) -> None:
        self._call(f"delete_tag {key}", lambda: self._run(run_id).tags.pop(key, None))

    def log_inputs(self, run_id: str, datasets: list[Any]) -> None:
        self._call("log_inputs", lambda: self._run(run_id))

    def log_text(self, run_id: str, text: str, artifact_file: str) -> None:
        self._call("log_text", lambda: self._run(run_id).artifacts.add(artifact_file))

    def log_artifact(self, run_id: str, local_path: str, artifact_path: str | None = None) -> None:
        path = Path(local_path)
        path.read_bytes()
        name = f"{artifact_path}/{path.name}" if artifact_path else path.name
        self._call(f"log_artifact {name}", lambda: self._run(run_id).artifacts.add(name))

    def delete_artifacts(self, run_id: str, path: str) -> None:
        def call() -> None:
            run = self._run(run_id)
            run.artifacts = {name for name in run.artifacts if not name.startswith(f"{path}/")}

        self._call(f"delete_artifacts {path}", call)

    def log_batch(self, run_id: str, metrics: Any = (), params: Any = (), tags: Any = ()) -> None:
        def call() -> None:
            run = self._run(run_id)
            for param in params:
                if run.params.setdefault(param.key, param.value) != param.value:
                    raise MlflowException(f"{param.key}: a param cannot be changed")
            run.metrics |= {(metric.key, metric.value, metric.timestamp, metric.step) for metric in metrics}
            run.tags |= {tag.key: tag.value for tag in tags}

        logged = [*(f"{m.key}@{m.step}" for m in metrics), *(f"{t.key}={t.value}" for t in tags)]
        self._call("log_batch " + " ".join(logged or ["params"])[:100], call)
