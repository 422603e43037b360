"""Makes text from data safe to print: a label, a text or a log may contain characters that control the terminal.

Such characters could move the cursor, hide other output, change the title of the window, or reverse the direction of
writing. They are shown as in a Python string, for example as `\\x1b`.
"""

import json
import re
from typing import Any

_CONTROLS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f"  # ESC and the other control characters, except tab and newline
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # they change the direction of writing
    r"\u2028\u2029\ud800-\udfff]"  # other ends of lines; halves of characters, which cannot be printed
)


def visible(text: str) -> str:
    """Returns the text on one line, with an escape sequence for each character that is not safe to print."""
    return visible_lines(text).replace("\n", r"\n")


def visible_lines(text: str) -> str:
    """Returns the text with an escape sequence for each unsafe character; its lines stay lines."""
    return _CONTROLS.sub(lambda match: _escape(match[0], r"\x"), text)


def json_text(value: Any) -> str:
    """Returns a value as JSON that is safe to print; letters of all languages stay readable."""
    text = json.dumps(value, ensure_ascii=False, indent=1)
    return _CONTROLS.sub(lambda match: _escape(match[0], r"\u"), text)


def _escape(character: str, short: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 and short == r"\x" else f"\\u{code:04x}"
