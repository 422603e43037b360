"""A finished study of fake trials whose files are those of a healthy home."""

import zipfile
from pathlib import Path

from rnnexp.home import Home
from tests.study.fakes import FakeExecutor
from tests.study.small_study import Study


def write_archive(path: Path) -> None:
    """Writes an intact archive in the place of a model."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("part", "content")


def finish_study(tmp_path: Path) -> Home:
    """Runs study `s` with four fake trials, each with a model; returns its home."""
    study = Study(tmp_path)
    study.run(FakeExecutor())
    folder = study.home.study("s")
    folder.sweep.write_text(study.file.read_text())
    for number in folder.numbers():
        write_archive(folder.trial(number).best)
        write_archive(folder.trial(number).held_out)
    return study.home
