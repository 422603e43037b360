"""Finds files that a finished study should have removed."""

from collections.abc import Iterator
from pathlib import Path

from rnnexp.disk import WRITING
from rnnexp.home import Home


def leftovers(home: Home, study: str, temporary: Path) -> Iterator[Path]:
    """Yields incomplete files, checkpoints of finished trials, and files in the temporary folder.

    Args:
        home: contains the study, whose trials have all finished.
        study: its name.
        temporary: the folder for temporary files that only this study used.
    """
    for path in home.root.rglob("*"):
        if path.name.startswith((WRITING, ".")) and path.suffix != ".lock":
            yield path
    folder = home.study(study)
    for number in folder.numbers():
        if folder.trial(number).state.exists():
            yield folder.trial(number).state
    if folder.stop_requests.is_dir():
        yield from folder.stop_requests.iterdir()
    yield from temporary.iterdir()
