"""The log of the uses of a test part: each is recorded and counted."""

import contextlib
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


def of_model(home: Home, digest: str, model: str) -> dict[str, Any] | None:
    """Returns the last record of `rnnexp evaluate` for a model; None if there is none.

    Args:
        home: has the log.
        digest: of the data that it was trained on.
        model: the hash of the file of its Keras model.
    """
    found = None
    with contextlib.suppress(OSError):
        for line in home.openings.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, dict) and (entry.get("data"), entry.get("model")) == (digest, model):
                    found = entry
    return found


def _is_of(entry: dict[str, Any], test: str, digest: str) -> bool:
    return bool(entry["test"] == test if "test" in entry else entry.get("data") == digest)
