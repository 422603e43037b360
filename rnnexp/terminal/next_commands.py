"""The commands that are suggested to the user at the end of `sweep`, `train` and `export`."""

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from rnnexp.config.trial import DataConfig
from rnnexp.data.examples import example_text
from rnnexp.data.store import TokenStore
from rnnexp.home import Home
from rnnexp.terminal import tables

Suggestion = tuple[str, str]
"""A command's arguments as the user types them, and what the command does."""


def show(suggestions: Sequence[Suggestion]) -> None:
    """Prints each command with its purpose on the line above, so that long paths do not break the layout."""
    console, program = tables.console(), _program()
    console.print("next:")
    for arguments, purpose in suggestions:
        console.print(f"  # {purpose}", style="dim", soft_wrap=True)
        console.print(f"  {program} {arguments}", soft_wrap=True)


def home_option(home: Home) -> str:
    """Returns ` --home DIR` for the command line, or nothing for the default home."""
    return "" if home.root == Path("mlruns").absolute() else f" --home {shlex.quote(str(home.root))}"


def predict(bundle: str, tokens: TokenStore, data: DataConfig) -> Suggestion:
    """Returns the suggestion to label a held-out text.

    Args:
        bundle: the bundle's folder.
        tokens: the data that the model was trained on.
        data: the settings that name its validation part.
    """
    text = example_text(tokens, data)
    return f"predict {shlex.quote(bundle)} {shlex.quote(text)}", "label a text; this one is from the validation part"


def _program() -> str:
    """Returns what the user types to run this program: its name, or its path if the shell does not find the name."""
    typed = Path(sys.argv[0])
    if typed.name == "__main__.py":
        return "python -m rnnexp"
    if shutil.which("rnnexp"):
        return "rnnexp"
    return shlex.quote(os.path.relpath(typed))
