"""Who started a run, with which command, in which commit of which repository: MLflow's own tags for that."""

import functools
import getpass
import os
import shlex
import subprocess
import sys
from pathlib import Path

from rnnexp import addresses

_TIMEOUT_S = 2.0
_MAX_COMMAND = 500


@functools.cache
def tags() -> dict[str, str]:
    """Returns the tags of a new run; those of a repository only if the working folder is in one."""
    found = {
        "mlflow.source.name": "rnnexp",  # lists show what follows the last slash
        "mlflow.source.type": "LOCAL",
        "mlflow.user": _user(),
        "rnnexp.command": command(),
    }
    return {name: value for name, value in (found | _commit(Path.cwd())).items() if value}


def command() -> str:
    """Returns the command of this process without credentials, such as `rnnexp sweep imdb.yaml`."""
    program = Path(sys.argv[0])
    words = [program.parent.name if program.name == "__main__.py" else program.name, *sys.argv[1:]]
    return addresses.redact(shlex.join(words))[:_MAX_COMMAND]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may have no name for its user
        return str(os.getuid())


def _commit(folder: Path) -> dict[str, str]:
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return {}
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {
        "mlflow.source.git.commit": commit,
        "mlflow.source.git.branch": _git(folder, "rev-parse", "--abbrev-ref", "HEAD") or "",
        "mlflow.source.git.dirty": "" if changed is None else str(bool(changed)).lower(),
    }


def _git(folder: Path, *words: str) -> str | None:
    """Returns the output of a git command; None if there is no git, no repository, or it takes too long."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            env=environment | {"GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
