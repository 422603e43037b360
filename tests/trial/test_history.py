import csv
import math
from pathlib import Path

import pytest

from rnnexp.home import TrialFolder
from rnnexp.trial import events, history
from rnnexp.trial.events import EpochEnded, Evicted

_NAMES = ("loss", "accuracy", "val_loss", "val_accuracy")


def _epoch(number: int, *values: float, best: int = 1) -> EpochEnded:
    return EpochEnded(float(number), number, dict(zip(_NAMES, values, strict=True)), 1.25 * number, best, 0.5)


@pytest.fixture
def folder(tmp_path: Path) -> TrialFolder:
    return TrialFolder(tmp_path / "00000")


def test_the_history_is_a_table_of_the_epochs(folder: TrialFolder) -> None:
    events.append(folder.events, _epoch(1, 0.7, 0.5, 0.6, 0.55))
    events.append(folder.events, _epoch(2, 0.1, 0.2, 0.3, 0.4))
    events.append(folder.events, Evicted(2.5))
    events.append(folder.events, _epoch(2, 1 / 3, 0.75, 0.5, 0.625, best=2))
    history.write(folder, "a title")
    assert folder.history.read_bytes() == (
        b"epoch,loss,accuracy,val_loss,val_accuracy,seconds\n"
        b"1,0.7,0.5,0.6,0.55,1.250\n"
        b"2,0.3333333333333333,0.75,0.5,0.625,2.500\n"
    )


def test_the_history_keeps_every_digit_and_values_that_are_not_finite(folder: TrialFolder) -> None:
    values = (0.1 + 0.2, math.inf, 1e-17, math.nan)
    events.append(folder.events, _epoch(1, *values))
    history.write(folder, "a title")
    with folder.history.open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert [repr(float(row[name])) for name in _NAMES] == [repr(value) for value in values]


def test_the_curves_are_a_png_that_is_drawn_again(folder: TrialFolder) -> None:
    events.append(folder.events, _epoch(1, 0.7, 0.5, 0.6, 0.55))
    history.write(folder, "cells 3")
    first = folder.curves.read_bytes()
    assert first.startswith(b"\x89PNG\r\n\x1a\n")
    assert first.rstrip(b"\x00").endswith(b"IEND\xaeB`\x82")
    width, height = (int.from_bytes(first[start : start + 4], "big") for start in (16, 20))
    assert width > height > 200
    events.append(folder.events, _epoch(2, 0.1, 0.9, 0.2, 0.8, best=2))
    history.write(folder, "cells 3")
    assert folder.curves.read_bytes() != first


def test_a_trial_without_an_epoch_has_neither(folder: TrialFolder) -> None:
    history.write(folder, "a title")
    assert not folder.root.exists()
    events.append(folder.events, Evicted(1.0))
    history.write(folder, "a title")
    assert [path.name for path in folder.root.iterdir()] == ["events.jsonl"]
