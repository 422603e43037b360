"""Finds what leads out of the home: symbolic links, and names or addresses in the databases of a copied home.

A repair removes and writes files. It must not do so outside the home, so what leads there is only reported.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from rnnexp.config.names import STUDY_NAME
from rnnexp.home import Home, TrialFolder
from rnnexp.tracking.paths import is_record_id, local_path


def is_inside(folder: Path, path: Path) -> bool:
    """Tells whether a path is below a folder after all symbolic links are followed; the folder itself is not."""
    outer, inner = folder.resolve(), path.resolve()
    return outer != inner and inner.is_relative_to(outer)


def is_study_name(name: str) -> bool:
    """Tells whether a name follows the rule for studies, so that it names one folder."""
    return re.fullmatch(STUDY_NAME, name) is not None


def link_out_of(home: Home, folder: TrialFolder) -> Path | None:
    """Returns the first of a trial's folders and files that is a symbolic link to a place outside the home."""
    return next((path for path in _links(folder) if not is_inside(home.root, path)), None)


def _links(folder: TrialFolder) -> Iterator[Path]:
    """Yields the symbolic links among a trial's folders and files."""
    if folder.root.is_symlink():
        yield folder.root
    for each in (folder.root, folder.best.parent, folder.set_aside):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(each) as entries:
            yield from [Path(entry.path) for entry in entries if entry.is_symlink()]


def own_artifact_folder(home: Home, address: str, owner: str) -> Path | None:
    """Returns the artifact folder of a run or a logged model; None if the address names another place.

    Args:
        home: the folder must be in its artifacts.
        address: of the artifacts, from MLflow's database.
        owner: the id of the run or model; it names the folder, so that no other folder of the home is meant.
    """
    path = local_path(address)
    if path is None or not is_record_id(owner):
        return None
    real = path.resolve()
    # `artifacts` itself may be a link.
    is_own = all(real.is_relative_to(folder.resolve()) for folder in (home.artifacts, home.root))
    return path if real.parent.name == owner and is_own else None
