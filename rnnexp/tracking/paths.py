"""Converts between local paths and the addresses under which MLflow stores databases and artifacts."""

import re
import urllib.request
from pathlib import Path
from urllib.parse import urlparse


def artifact_address(folder: Path) -> str:
    """Returns the address of a local artifact folder: its path, or a `file:` URI if MLflow would misread the path."""
    return folder.as_uri() if re.search(r"[%?#;]", str(folder)) else str(folder)


def is_record_id(value: str) -> bool:
    """Tells whether a text has the form of MLflow's ids of runs and logged models, which are names of folders."""
    return re.fullmatch("(m-)?[0-9a-f]{32}", value) is not None


def local_path(address: str) -> Path | None:
    """Returns the path in which MLflow stores the artifacts of an address; None if they are not local files."""
    if address.startswith("/"):
        return Path(urllib.request.url2pathname(address))
    parsed = urlparse(address)
    if parsed.scheme == "file" and parsed.netloc in ("", "localhost") and parsed.path.startswith("/"):
        return Path(urllib.request.url2pathname(parsed.path))
    return None
