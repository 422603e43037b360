"""A checkpoint that cannot be read now is not damaged: it must still be there for the next attempt."""

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnnexp.home import TrialFolder
from rnnexp.trial import checkpoint, fit


class _Variables:
    """A model or an optimizer."""

    def __init__(self) -> None:
        self.variables = [_Variable(np.arange(3.0))]


class _Variable:
    def __init__(self, value: Any) -> None:
        self.value, self.shape = value, value.shape

    def numpy(self) -> Any:
        return self.value

    def assign(self, value: Any) -> None:
        self.value = value


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrialFolder:
    folder = TrialFolder(tmp_path)
    checkpoint.save(folder.state, _Variables(), _Variables(), [{"loss": 0.5}], 2.0)
    monkeypatch.setattr(checkpoint, "model_fault", lambda _: "")
    return folder


def test_a_checkpoint_is_restored(folder: TrialFolder) -> None:
    assert fit._restore(folder, _Variables(), _Variables()) == ([{"loss": 0.5}], 2.0)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO, errno.ESTALE, errno.EACCES])
def test_a_checkpoint_that_cannot_be_read_now_stays(
    folder: TrialFolder, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(number, "not now")

    with monkeypatch.context() as context:
        context.setattr(np, "load", fail)
        with pytest.raises(OSError, match="not now"):
            fit._restore(folder, _Variables(), _Variables())
    assert fit._restore(folder, _Variables(), _Variables()) == ([{"loss": 0.5}], 2.0)


def test_a_damaged_checkpoint_is_removed(folder: TrialFolder) -> None:
    content = bytearray(folder.state.read_bytes())
    content[len(content) // 2] ^= 0xFF
    folder.state.write_bytes(content)
    assert fit._restore(folder, _Variables(), _Variables()) is None
    assert not folder.state.exists()
