"""What a study's folder keeps of it for the day on which Optuna's database is lost."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class StudyMetadata:
    """What must be known of a study to build it anew, beside its sweep file and its trials' folders.

    Attributes:
        identity: tells it from others of its name.
        data_digest: of the data that its base settings name.
        lineage: the later versions of its search space.
    """

    identity: str
    data_digest: str
    lineage: list[dict[str, Any]]

    @classmethod
    def load(cls, path: Path) -> "StudyMetadata | None":
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            return cls(str(values["identity"]), str(values["data_digest"]), list(values["lineage"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None
