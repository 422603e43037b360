"""How many events of a trial were sent to MLflow. The cursor is a file beside the events."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from rnnexp import disk

OWN = "home"


@dataclass(frozen=True)
class Cursor:
    """The MLflow run of a trial and its state.

    Attributes:
        run_id: the id of the run in MLflow, None before it is created.
        sent: number of the trial's events that were sent.
        store: where the run is stored: the address of a server, or `home` for the home's own database.
    """

    run_id: str | None = None
    sent: int = 0
    store: str = OWN

    @classmethod
    def load(cls, path: Path) -> "Cursor":
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            return cls(values["run_id"], values["sent"], values.get("store", OWN))
        except (OSError, ValueError, KeyError, AttributeError):
            return cls()

    def save(self, path: Path) -> None:
        disk.write_text(path, json.dumps(asdict(self)))
