"""The log of the uses of a test part: each is recorded and counted."""

import json
import time
from typing import Any

from rnnexp.config.trial import DataConfig
from rnnexp.data.store import digest_of_test_part
from rnnexp.home import Home


def record(home: Home, config: DataConfig, digest: str, about: dict[str, Any]) -> int:
    """Records a use of the test part; returns how often its rows were used, with this time.

    Records of earlier versions name only the digest of the data, which depends on the training part too.

    Args:
        home: has the log.
        config: the settings of the data.
        digest: of the data.
        about: who used it, and the result.
    """
    test = digest_of_test_part(config)
    entry = {"time": time.time(), "data": digest, "test": test, **about}
    with home.openings.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")
    lines = home.openings.read_text(encoding="utf-8").splitlines()
    return sum(_is_of(json.loads(line), test, digest) for line in lines)


def of_trial(home: Home, digest: str, study: str, trial: int) -> dict[str, Any] | None:
    """Returns the last record of `rnnexp evaluate` for a trial; None if there is none.

    Args:
        home: has the log.
        digest: of the data of the trial.
        study: its name.
        trial: its number.
    """
    if not home.openings.exists():
        return None
    entries = [json.loads(line) for line in home.openings.read_text(encoding="utf-8").splitlines()]
    wanted = {"data": digest, "study": study, "trial": trial}
    found = [entry for entry in entries if entry.items() >= wanted.items() and "accuracy" in entry]
    return found[-1] if found else None


def _is_of(entry: dict[str, Any], test: str, digest: str) -> bool:
    return bool(entry["test"] == test if "test" in entry else entry.get("data") == digest)
