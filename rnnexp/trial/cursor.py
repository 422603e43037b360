"""How far a trial's events were sent to MLflow: a file beside them."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from rnnexp import disk

OWN = "home"


@dataclass(frozen=True)
class Cursor:
    """What is known of a run.

    Attributes:
        run_id: MLflow's, None while there is none.
        sent: how many of the trial's events it has.
        store: where it is: the server's address, or `home` for the home's own database.
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
