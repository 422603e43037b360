"""A report that cannot be written leaves the old one."""

import errno
from pathlib import Path
from typing import Any

import pytest

from rnnexp.analysis import report
from tests.study.fakes import FakeExecutor
from tests.study.small_study import Study


@pytest.mark.parametrize("suffix", [".html", ".csv"])
def test_a_full_disk_leaves_the_old_report(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    study, path = Study(tmp_path / "study"), tmp_path / "reports" / f"report{suffix}"
    study.run(FakeExecutor())

    def write() -> None:
        if suffix == ".csv":
            report.write_csv([study.view], path)
        else:
            report.write_html(study.home, [study.view], path)

    write()
    before = path.read_bytes()
    original = Path.replace

    def full(self: Path, target: Any) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write()
    monkeypatch.setattr(Path, "replace", original)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
