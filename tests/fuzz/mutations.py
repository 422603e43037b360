"""Seeded changes of valid inputs: of bytes, of texts, and of values."""

import copy
import datetime
from random import Random
from typing import Any

_YAML_TOKENS = (
    *("&a ", "*a", "<<: ", "!!python/object/apply:os.system [id]"),
    *("!!set {a, b}", "!!omap [a: 1]", "!!binary AA==", "!!float 1"),
    *("? ", "- ", ": ", "|\n", ">\n", "---\n", "...\n", "%YAML 1.1\n", "# "),
    *("'", '"', "[", "]", "{", "}", ",", "\t", "\r"),
    *(".nan", ".inf", "-.inf", "1e999", "0x" + "f" * 5000, "9" * 4000, "9" * 100),
    *("0b1", "1:59:59", "1_0", "-0", "~", "null", "yes"),
    *("2024-02-30", "2024-01-01", "\\u0000", "\x85", "\u2028", "\ufeff"),
    *("\x1b[2J", "é", "\U0001f600", "[" * 3000, "{a: " * 3000),
)  # fmt: skip

_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 1e-300, 0.5, -0.0, 1e308, 10**18, 10**40, float("nan"), float("inf")),
    *("", " ", "x", "lstm", "val_loss", "norm", "a\nb", "\x1b[2J", "../../x", "/etc/passwd", "x" * 5000, "\U0001f600"),
    *([], {}, [[]], [{}], [1, 2], [2, 1], [0.1, 1], ["lstm", "lstm"], [None], {"name": "tpe"}, {"int": [1, 10**12]}),
    *({"choice": [1, 2]}, {"float": [0, 1], "step": 1e-9}, {"int": [1, 9], "when": {"model.units": 3}}, {"choice": []}),
    *(datetime.date(2024, 1, 1), {1: 2}, {None: 1}, [[1] * 50] * 50, {"a": {"b": {"c": {"d": {"e": 1}}}}}),
)  # fmt: skip


def change_bytes(random: Random, content: bytes) -> bytes:
    """Returns the content with a few bytes replaced, inserted, removed, repeated, or cut."""
    data = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
        at = random.randrange(len(data) + 1)
        length = random.choice((1, 1, 2, 4, 8, 30))
        kind = random.randrange(7)
        if kind == 0:
            data[at : at + 1] = bytes([random.randrange(256)])
        elif kind == 1:
            data[at:at] = random.randbytes(length)
        elif kind == 2:
            del data[at : at + length]
        elif kind == 3:
            data[at:at] = data[at : at + length] * random.choice((1, 2, 100))
        elif kind == 4:
            del data[at:]
        elif kind == 5:
            data[at : at + length] = random.choice((b"\x00", b"\xff", b"\x7f", b"\x80")) * length
        elif at < len(data):
            data[at] ^= 1 << random.randrange(8)
    return bytes(data)


def change_text(random: Random, content: bytes) -> bytes:
    """Returns the content with a few characters inserted or removed; it stays UTF-8 if it was."""
    text = content.decode("utf-8", "surrogatepass")
    for _ in range(random.choice((1, 1, 2, 5))):
        at = random.randrange(len(text) + 1)
        if random.random() < 0.7:
            text = text[:at] + random.choice("\",;:{}[]\\'\t\n\r\x00\ufeff é\U0001f600-0a") + text[at:]
        else:
            text = text[:at] + text[at + random.choice((1, 1, 5, 50)) :]
    return text.encode("utf-8", "surrogatepass")


def change_yaml(random: Random, text: str) -> str:
    """Returns the text with a few tokens of YAML inserted, and lines removed, repeated or exchanged."""
    for _ in range(random.choice((1, 1, 2, 4))):
        at = random.randrange(len(text) + 1)
        lines = text.split("\n")
        line = random.randrange(len(lines))
        kind = random.randrange(5)
        if kind <= 1:
            text = text[:at] + random.choice(_YAML_TOKENS) + text[at:]
        elif kind == 2:
            text = "\n".join(lines[:line] + lines[line + 1 :])
        elif kind == 3:
            text = "\n".join(lines[:line] + lines[line : line + 2] * random.choice((2, 2, 200)) + lines[line + 2 :])
        else:
            lines[line] = " " * random.randrange(9) + lines[line].strip()
            text = "\n".join(lines)
    return text


def value(random: Random) -> Any:
    """Returns a value that is seldom right."""
    return copy.deepcopy(random.choice(_VALUES))


def change_value(random: Random, tree: Any) -> Any:
    """Returns lists and mappings in which a few values were replaced, removed, renamed or moved."""
    tree = copy.deepcopy(tree)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        places = list(_places(tree))
        if not places:
            return value(random)
        parent, key = random.choice(places)
        kind = random.randrange(5)
        if kind <= 1:
            parent[key] = value(random)
        elif kind == 2:
            del parent[key]
        elif kind == 3 and isinstance(parent, dict):
            name = random.choice(("x", 5, "", str(key)[:-1], str(key) + "s", "model.units", "a\nb", None, "x" * 3000))
            parent[name] = parent.pop(key)
        else:
            other, there = random.choice(places)
            try:
                parent[key] = copy.deepcopy(other[there])
            except (KeyError, IndexError):
                parent[key] = value(random)
    return tree


def _places(tree: Any) -> Any:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, item in list(items):
        yield tree, key
        yield from _places(item)
