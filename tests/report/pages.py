"""Reads what a written report shows, without a browser."""

import json
from pathlib import Path
from typing import Any


def content(page: Path) -> dict[str, Any]:
    """Returns what a report draws of its first study."""
    text = page.read_text(encoding="utf-8")
    start = text.index('id="content">') + len('id="content">')
    found: dict[str, Any] = json.loads(text[start : text.index("</script>", start)])["studies"][0]
    return found
