"""How many events of a trial were sent to MLflow. The cursor is a file beside the events."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from rnnexp import addresses, disk

OWN = "home"


@dataclass(frozen=True)
class Cursor:
    """The MLflow run of a trial and its state.

    Attributes:
        run_id: the id of the run in MLflow, None before it is created.
        sent: number of the trial's events that were sent.
        store: where the run is stored: the address of a server, without credentials, or `home` for the home's own
            database.
        home: the identity of the home that wrote the run; empty if it was written before homes had one.
    """

    run_id: str | None = None
    sent: int = 0
    store: str = OWN
    home: str = ""

    @classmethod
    def load(cls, path: Path) -> "Cursor":
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            store = addresses.without_credentials(values.get("store", OWN))
            return cls(values["run_id"], values["sent"], store, values.get("home", ""))
        except (OSError, ValueError, KeyError, AttributeError):
            return cls()

    @classmethod
    def has_credentials(cls, path: Path) -> bool:
        """Tells whether the file contains the credentials of a server; versions before December 2026 wrote them."""
        try:
            store = str(json.loads(path.read_text(encoding="utf-8")).get("store", OWN))
        except (OSError, ValueError, AttributeError):
            return False
        return "@" in store and "@" not in addresses.without_credentials(store)

    def save(self, path: Path) -> None:
        disk.write_text(path, json.dumps(asdict(self)))
