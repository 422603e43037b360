"""Reads and writes YAML files: UTF-8, one mapping, no duplicate keys, no aliases, and `1e-3` is a number.

An alias repeats a part of a file, and aliases of aliases multiply: a file of one kilobyte can stand for gigabytes. No
setting needs them.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from rnnexp.errors import ConfigError, UserError, short, shown

MAX_BYTES = 256_000
"""Largest size of a file; the sweep files of this project have about one thousand bytes."""

_MAX_REASON = 200
"""Largest number of characters of a parser's message, which can repeat a part of the file."""

_MAX_BITS = 512
"""Largest size of a whole number; Python refuses to write much larger ones as text."""


class _UnsupportedError(yaml.MarkedYAMLError):
    """The text is YAML, but uses a part of YAML that is refused here."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, except that a duplicate key is an error and `1e-3` is a number, not a string.

    It refuses anchors, aliases and merge keys.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        anchor = getattr(event, "anchor", None)
        if anchor is not None:
            kind, sign = ("alias", "*") if isinstance(event, yaml.AliasEvent) else ("anchor", "&")
            problem = f"the {kind} {sign}{shown(anchor)[1:-1]} is not supported; write the values out"
            raise _UnsupportedError(problem=problem, problem_mark=event.start_mark)
        return super().compose_node(parent, index)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        value: int = super().construct_yaml_int(node)
        if value.bit_length() > _MAX_BITS:
            raise _UnsupportedError(problem="the number is too large", problem_mark=node.start_mark)
        return value

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                problem = "the merge key << is not supported; write the values out"
                raise _UnsupportedError(problem=problem, problem_mark=key_node.start_mark)
            key = self.construct_object(key_node, deep=True)
            try:
                if key in seen:
                    problem = f"duplicate key {shown(key)}"
                    raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
                seen.add(key)
            except TypeError:
                break  # an unhashable key: the safe loader reports it
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper, except that it quotes strings which `_Loader` would read as numbers, and has no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)

for _kind in (_Loader, _Dumper):
    _kind.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(?:[0-9][0-9_]*)(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"),
        list("-+0123456789"),
    )


def parse(text: str, source: str) -> Any:
    """Returns the value of a YAML text.

    Args:
        text: the YAML text.
        source: the file or flag that error messages name.

    Raises:
        ConfigError: if the text is not valid YAML, with the line and column.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        kind = "" if isinstance(error, _UnsupportedError) else "not valid YAML: "
        raise ConfigError(source, [f"{place}{kind}{short(error.problem or error.context, _MAX_REASON)}"]) from None
    except RecursionError:
        raise ConfigError(source, ["not valid YAML: nested too deeply"]) from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(source, [f"not valid YAML: {short(' '.join(str(error).split()), _MAX_REASON)}"]) from None


def load_mapping(path: Path) -> dict[str, Any]:
    """Reads a file with one YAML mapping; raises as `load_commented` does."""
    return load_commented(path)[0]


def load_commented(path: Path) -> tuple[dict[str, Any], str | None]:
    """Reads a file with one YAML mapping; an empty file is an empty mapping.

    Returns:
        The mapping; and the first paragraph of the comment with which the file begins, as one line, if there is one.

    Raises:
        UserError: if the file cannot be read.
        ConfigError: if it is not UTF-8, not YAML, or not a mapping.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ConfigError(str(path), [f"has more than {MAX_BYTES:,} bytes; a file of settings is much smaller"])
        text = content.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), [f"not UTF-8 (byte {error.start}); save it as UTF-8"]) from None
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; sweep files are in sweeps/") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    value = parse(text, str(path))
    if value is not None and not isinstance(value, dict):
        raise ConfigError(str(path), [f"got a {type(value).__name__}, expected a mapping of settings"])
    return {str(key): item for key, item in (value or {}).items()}, _opening_comment(text)


def _opening_comment(text: str) -> str | None:
    lines = []
    for line in text.lstrip().splitlines():
        words = line.removeprefix("#").strip()
        if not line.startswith("#") or not words:
            break
        lines.append(words)
    return " ".join(lines) or None


def parse_assignment(text: str) -> tuple[str, Any]:
    """Splits the argument `a.b=v` of `--set` into name and value; the value is read as YAML.

    Raises:
        ConfigError: if there is no `=` or the value is not YAML.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise ConfigError("--set", [f"got {shown(text)}, expected name=value, as in model.units=64"])
    return name.strip(), parse(value, f"--set {short(name.strip())}")


def dump(value: dict[str, Any]) -> str:
    """Returns the mapping as YAML; the order of the keys is kept."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
