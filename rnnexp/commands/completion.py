"""`rnnexp completion`: print the script that completes commands, options and names of studies in a shell."""

import argparse
from collections.abc import Iterator
from typing import Any

import shtab

_INSTALL = {
    "bash": 'eval "$(rnnexp completion bash)"   # in ~/.bashrc',
    "zsh": 'eval "$(rnnexp completion zsh)"   # in ~/.zshrc, after compinit',
    "fish": "rnnexp completion fish > ~/.config/fish/completions/rnnexp.fish",
}

_STUDIES: dict[str, str] = {"bash": "_rnnexp_studies", "zsh": "_rnnexp_studies", "fish": "(__rnnexp_studies)"}
"""The functions that print the names of the studies; each passes on the --home of the command line."""

_PREAMBLE = {
    "bash": """
_rnnexp_studies() {
  local place=() i
  for ((i = 1; i < COMP_CWORD; i++)); do
    [[ ${COMP_WORDS[i]} == --home ]] && place=(--home "${COMP_WORDS[i + 1]}")
  done
  compgen -W "$(rnnexp studies --names "${place[@]}" 2>/dev/null)" -- "$1"
}
""",
    "zsh": """
_rnnexp_studies() {
  local -a place names
  local i
  for ((i = 1; i < CURRENT; i++)); do
    [[ ${words[i]} == --home ]] && place=(--home "${words[i + 1]}")
  done
  names=(${(f)"$(rnnexp studies --names "${place[@]}" 2>/dev/null)"})
  compadd -- $names
}
""",
    "fish": """
function __rnnexp_studies
  set -l typed (commandline -opc)
  set -l place
  for i in (seq (count $typed))
    test "$typed[$i]" = --home; and set place --home $typed[(math $i + 1)]
  end
  rnnexp studies --names $place 2>/dev/null
end
""",
}

_YAML = shtab.glob("*.yaml", "*.yml")
_BY_VERB = {"sweep": {"file": _YAML}, "train": {"file": _YAML}, "validate": {"file": _YAML}}
_BY_NAME: dict[str, Any] = {
    "study": _STUDIES,
    "bundle": shtab.DIRECTORY,
    "home": shtab.DIRECTORY,
    "to": shtab.DIRECTORY,
    "file": shtab.FILE,
    "csv": shtab.FILE,
    "html": shtab.FILE,
    "out": shtab.FILE,
}
"""How the value of an argument is completed, by the argument's name."""


def run(args: argparse.Namespace) -> int:
    """Prints the script."""
    parser: argparse.ArgumentParser = args.make_parser()
    for verb, action in _arguments(parser):
        complete = _BY_VERB.get(verb, {}).get(action.dest) or _BY_NAME.get(action.dest)
        if complete is not None and not (verb == "sweep" and action.dest == "study"):  # that names a new study
            action.complete = complete  # type: ignore[attr-defined]
    print(f"# Completion of rnnexp. To use it in every shell: {_INSTALL[args.shell]}")
    print(shtab.complete(parser, args.shell, preamble=_PREAMBLE[args.shell]))
    return 0


def _arguments(parser: argparse.ArgumentParser, verb: str = "") -> Iterator[tuple[str, argparse.Action]]:
    """Yields the arguments of all verbs."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, child in action.choices.items():
                yield from _arguments(child, verb or name)
        else:
            yield verb, action
