"""One case: the files that the program is given, and options; it can be kept as a JSON file."""

import base64
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Case:
    """The input of one call.

    Attributes:
        target: a name in `targets.TARGETS`.
        files: contents by path relative to the sandbox; a folder that is missing is created.
        options: further arguments of the target, as in JSON.
    """

    target: str
    files: dict[str, bytes]
    options: dict[str, Any] = field(default_factory=dict)

    def write(self, sandbox: Path) -> None:
        """Writes the files into an empty folder."""
        for name, content in self.files.items():
            path = sandbox / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def to_json(self) -> str:
        files = {name: base64.b64encode(content).decode() for name, content in self.files.items()}
        return json.dumps({"target": self.target, "options": self.options, "files": files}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Case":
        values = json.loads(text)
        files = {name: base64.b64decode(content) for name, content in values["files"].items()}
        return cls(values["target"], files, values["options"])
