"""The log of the uses of a test part: each is recorded and counted."""

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

from rnnexp import disk
from rnnexp.config.trial import DataConfig
from rnnexp.data.store import digest_of_test_part
from rnnexp.home import Home, existing_text


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
    disk.append_line(home.openings, json.dumps(entry))
    return sum(_is_of(each, test, digest) for each in _entries(home))


def of_model(home: Home, digest: str, model: str) -> dict[str, Any] | None:
    """Returns the last record of `rnnexp evaluate` for a model; None if there is none.

    Args:
        home: has the log.
        digest: of the data that it was trained on.
        model: the hash of the file of its Keras model.
    """
    found = [each for each in _entries(home) if (each.get("data"), each.get("model")) == (digest, model)]
    return found[-1] if found else None


def _entries(home: Home) -> Iterator[dict[str, Any]]:
    """Yields the records; a line that a full disk or a power failure has cut is left out.

    Raises:
        HomeError: if they cannot be read now.
    """
    for line in (existing_text(home.openings) or "").split("\n"):
        with contextlib.suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict):
                yield entry


def _is_of(entry: dict[str, Any], test: str, digest: str) -> bool:
    return bool(entry["test"] == test if "test" in entry else entry.get("data") == digest)
